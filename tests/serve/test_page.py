"""The page in a real browser, against a real server."""

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import trimesh
from browsing import CHROMIUM, LARGE_ROOM, PICTURES, ROOM, SWITCHES, Visit, changed, far_pixels
from browsing import store_result, true_prediction, write_pictures
from PIL import Image
from serving import QUICK, Running, picture, running, until

from anyview.serve.options import ServeOptions

pytest.importorskip("playwright", reason="playwright is not installed (extra dev)")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None and "CI" not in os.environ, reason="no Chromium is installed (Debian: apt install chromium)"
)

Open = Callable[..., Visit]

TRUTH = true_prediction(LARGE_ROOM if PICTURES else ROOM)
VIEWPORT = {"width": 1280, "height": 860} if PICTURES else {"width": 960, "height": 640}
PHONE = {"viewport": {"width": 390, "height": 780}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
PATIENCE_S = 180.0
"""For machines that do much else at the same time: a browser without a GPU is slow enough."""
TOKEN = "a-token-that-nobody-guesses"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def truth(folder: Path) -> str:
    """Id of a finished job with true depth."""
    return store_result(folder / "data", TRUTH)


@pytest.fixture(scope="module")
def site(truth: str, folder: Path, tiny: Path) -> Iterator[Running]:
    options = ServeOptions(data=folder / "data", devices=("cpu",), free_mib=0.0, cancel_s=PATIENCE_S)
    with running(options, tiny) as server:
        until(lambda: server.service.workers_ready, PATIENCE_S)
        yield server


@pytest.fixture(scope="module")
def pictures(folder: Path) -> list[Path]:
    return write_pictures(TRUTH, folder)


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield started
        started.close()


@contextmanager
def visiting(browser, address: str, faults: tuple[str, ...] = (), **settings: object) -> Iterator[Visit]:
    """A visit in a window of its own, during which nothing may go wrong but ``faults``."""
    window = {"viewport": VIEWPORT, "reduced_motion": "reduce", "locale": "en-GB", **settings}
    context = browser.new_context(**window)
    context.set_default_timeout(1000 * PATIENCE_S)
    visit = Visit(context.new_page(), address)
    yield visit
    context.close()
    assert [fault for fault in visit.faults if not any(known in fault for known in faults)] == []
    assert visit.foreign == []


@pytest.fixture
def visit(browser, site: Running) -> Iterator[Visit]:
    with visiting(browser, site.address) as opened:
        yield opened


def screen_place(visit: Visit, pixel: tuple[int, int]) -> tuple[float, float]:
    """Where a pixel of the first view lies on the screen while one looks through its camera: all of it fits."""
    visit.page.locator("#stage-canvas").scroll_into_view_if_needed()
    box = visit.page.locator("#stage-canvas").bounding_box()
    height, width = TRUTH.depth.shape[1:]
    scale = min(box["height"] / height, box["width"] / width)
    x = box["x"] + box["width"] / 2 + (pixel[0] + 0.5 - width / 2) * scale
    y = box["y"] + box["height"] / 2 + (pixel[1] + 0.5 - height / 2) * scale
    return x, y


def metres(text: str) -> float:
    """The length that a text ends with."""
    value, unit = text.split()[-2:]
    return float(value) * {"m": 1.0, "cm": 0.01}[unit]


def test_four_pictures_become_a_space_to_walk_in(visit, site, pictures, tmp_path):
    page = visit.page
    visit.open()
    page.locator("#formats input").first.wait_for()
    assert "Licence:" in visit.text("#licence")
    page.set_input_files("#picker", pictures)
    assert visit.text("#send") == "Reconstruct from 4 files"
    page.get_by_text("Options of the prediction").click()
    page.fill("[name=resolution]", "112")
    page.evaluate(
        """() => { window.seen = []; const watched = document.getElementById("waiting");
        new MutationObserver(() => window.seen.push([document.getElementById("stage").textContent,
            document.getElementById("job-bar").value])).observe(watched, { subtree: true, attributes: true, childList: true }); }"""
    )
    page.click("#send")
    page.locator("#strip button").nth(3).wait_for()
    stages, bar = zip(*page.evaluate("window.seen"), strict=True)
    assert "Done" in stages
    assert {"Reading", "Predicting", "Exporting", "Viewing"} & set(stages)
    assert sorted(bar) == list(bar)
    assert bar[-1] == 1
    assert visit.text("#result-title") == "4 views with tiny"
    assert "scale unknown" in visit.text("#result-units")
    assert visit.shown(visit.see()) > 0.02

    job = page.url.rpartition("/")[2]
    assert site.client.job(job)["files"]
    with page.expect_download() as download:
        page.get_by_role("link", name="scene.glb").click()
    scene = trimesh.load(io.BytesIO(Path(download.value.path()).read_bytes()), file_type="glb")
    assert len(scene.geometry["points"].vertices) > 100
    with page.expect_download() as download:
        page.click("#download-all")
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.testzip() is None
        assert "scene.glb" in archive.namelist()
    assert download.value.suggested_filename == f"anyview-{job[:8]}.zip"


def test_cameras_are_seen_and_lead_into_their_views(visit, truth):
    visit.open_result(truth)
    with_cameras = visit.see()
    assert visit.shown(with_cameras) > 0.3
    visit.keep("space")
    visit.page.uncheck("#show-cameras")
    without = visit.see()
    frusta = changed(with_cameras, without)
    assert 0.003 < frusta.mean() < 0.3
    visit.page.check("#show-cameras")
    rows, columns = np.nonzero(frusta)
    right = columns > np.quantile(columns, 0.9)
    box = visit.page.locator("#stage-canvas").bounding_box()
    visit.page.mouse.click(box["x"] + np.median(columns[right]), box["y"] + np.median(rows[right]))
    inside = visit.see()
    assert changed(with_cameras, inside).mean() > 0.2
    # The camera on the right is the last one, whose picture is what is seen now.
    differences = [difference(inside, view) for view in range(4)]
    assert differences[3] < min(20, 0.75 * min(differences[:3]))


def difference(seen: np.ndarray, view: int) -> float:
    """Mean difference of a view's picture from what is seen through its camera."""
    height, width = seen.shape[:2]
    picture = Image.fromarray(TRUTH.images[view].numpy())
    scale = min(height / picture.height, width / picture.width)
    expected = np.asarray(picture.resize((round(picture.width * scale), round(picture.height * scale)))).astype(int)
    top, left = (height - expected.shape[0]) // 2, (width - expected.shape[1]) // 2
    return float(np.abs(seen[top : top + expected.shape[0], left : left + expected.shape[1]] - expected).mean())


def test_sliders_and_colours_change_the_view_and_compute_nothing(visit, truth):
    page = visit.page
    visit.open_result(truth)
    page.uncheck("#show-cameras")
    before = visit.see()
    asked = len(visit.requests)
    page.focus("#sure")
    page.keyboard.press("End")
    fewer = visit.see()
    assert visit.shown(fewer) < 0.6 * visit.shown(before)
    assert visit.text("#sure-value").startswith("95 % (confidence below ")
    page.keyboard.press("Home")
    assert visit.text("#sure-value") == "none"
    page.focus("#size")
    page.keyboard.press("End")
    assert visit.shown(visit.see()) > visit.shown(before)
    page.keyboard.press("Home")
    colors = visit.see()
    for coloring in ("depth", "confidence"):
        page.select_option("#coloring", coloring)
        assert changed(colors, visit.see()).mean() > 0.1
    assert len(visit.requests) == asked


def test_known_distances_are_measured(visit, truth):
    first, second, distance = far_pixels(TRUTH, 0)
    page = visit.page
    visit.open_result(truth)
    page.locator("#strip button").first.click()
    page.check("#measure")
    visit.settle()
    for pixel in (first, second):
        page.mouse.click(*screen_place(visit, pixel))
        visit.settle()
    assert metres(visit.text("#hint")) == pytest.approx(distance, rel=0.05)
    assert metres(visit.text("#measure-label")) == pytest.approx(distance, rel=0.05)
    visit.keep("measure")
    page.click("#clear-marks")
    assert page.locator("#measure-label").is_hidden()


def test_depth_is_read_under_the_pointer(visit, truth):
    first, second, distance = far_pixels(TRUTH, 1)
    page = visit.page
    visit.open_result(truth)
    page.click("#tab-depth")
    page.locator("#strip button").nth(1).click()
    visit.settle()
    box = page.locator("#depth-canvas").bounding_box()
    height, width = TRUTH.depth.shape[1:]
    scale = min(box["height"] / height, box["width"] / width)
    for x, y in (first, second):
        page.mouse.click(
            box["x"] + box["width"] / 2 + (x + 0.5 - width / 2) * scale,
            box["y"] + box["height"] / 2 + (y + 0.5 - height / 2) * scale,
        )
        place, depth, confidence = visit.text("#depth-readout").split(" · ")
        assert place == f"x {x}, y {y}"
        assert metres(depth) == pytest.approx(float(TRUTH.depth[1, y, x]), rel=0.005)
        assert float(confidence.split()[1]) == pytest.approx(float(TRUTH.confidence[1, y, x]), rel=0.005)
    assert metres(visit.text("#depth-distance")) == pytest.approx(distance, rel=0.005)
    low, _, high = visit.text("#depth-legend").partition(" … ")
    assert metres(low) < metres(high)
    visit.keep("depth")


def test_mesh_and_gaussians_are_drawn(visit, truth):
    page = visit.page
    visit.open_result(truth)
    page.locator("#strip button").first.click()
    page.uncheck("#show-points")
    empty = visit.see()
    assert visit.shown(empty) < 0.001
    page.check("#show-gaussians")
    gaussians = visit.see()
    differences = [difference(gaussians, view) for view in range(4)]
    assert differences[0] < min(20, 0.75 * min(differences[1:]))
    page.uncheck("#show-gaussians")
    page.check("#show-mesh")
    assert difference(visit.see(), 0) < 20


def test_a_browser_without_webgl_shows_depth(visit, truth):
    visit.page.add_init_script(
        """const draw = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
            return kind === "webgl2" ? null : draw.call(this, kind, ...rest); };"""
    )
    visit.open_result(truth)
    assert "no WebGL 2" in visit.text("#message-text")
    assert visit.page.locator("#tab-space").is_hidden()
    visit.page.locator("#depth-canvas").hover()
    assert " · depth " in visit.text("#depth-readout")


def test_a_job_is_cancelled(visit, site, folder):
    page = visit.page
    large = folder / "large.png"
    large.write_bytes(picture(height=560, width=560))
    visit.open()
    page.locator("#formats input").first.wait_for()
    page.set_input_files("#picker", [large] * 6)
    page.get_by_text("Options of the prediction").click()
    page.fill("[name=resolution]", "560")
    page.click("#send")
    page.click("#cancel")
    page.get_by_text("Cancelled").wait_for()
    assert page.locator("#cancel").is_hidden()
    assert site.client.job(page.url.rpartition("/")[2])["state"] == "cancelled"


def test_broken_files_are_named(browser, site, folder, pictures):
    half, text = folder / "half.png", folder / "notes.jpg"
    half.write_bytes(pictures[0].read_bytes()[:3000])
    text.write_text("no picture at all")
    with visiting(browser, site.address, faults=("status of 415",)) as visit:
        page = visit.page
        visit.open()
        page.locator("#formats input").first.wait_for()
        page.set_input_files("#picker", [text])
        page.click("#send")
        page.locator("#message.error").wait_for()
        assert "notes.jpg" in visit.text("#message-text")
        page.click("#message-close")
        assert page.locator("#message").is_hidden()
        page.get_by_role("button", name="Remove notes.jpg").click()
        page.set_input_files("#picker", [pictures[1], half])
        page.click("#send")
        page.get_by_text("Failed").wait_for()
        assert "half.png" in visit.text("#job-error")
        visit.keep("failed")


def test_all_is_done_by_keys(visit, truth, pictures):
    page = visit.page
    visit.open()
    page.locator("#formats input").first.wait_for()
    tab_to(visit, "picker")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files(pictures)
    tab_to(visit, "predict-summary")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("112")
    tab_to(visit, "send")
    page.keyboard.press("Enter")
    page.locator("#strip button").nth(3).wait_for()

    visit.open_result(truth)
    tab_to(visit, "stage-canvas")
    views = []
    for keys in (
        ["f"],
        ["ArrowLeft"] * 3,
        ["+"] * 3,
        ["Shift+ArrowUp"] * 3,
        ["w"] * 3,
        ["r", "ArrowRight", "r"],
        ["2"],
    ):
        for key in keys:
            page.keyboard.press(key)
        views.append(visit.see())
    assert all(changed(one, other).mean() > 0.02 for one, other in zip(views, views[1:], strict=False))
    for key in ("1", "m", "Enter", *["ArrowLeft"] * 3, "Enter"):
        page.keyboard.press(key)
    visit.settle()
    assert 0.01 < metres(visit.text("#hint")) < 5
    page.keyboard.press("Escape")
    assert page.locator("#measure-label").is_hidden()
    tab_to(visit, "tab-depth", "Shift+Tab")
    page.keyboard.press("Enter")
    visit.settle()
    tab_to(visit, "depth-canvas")
    page.keyboard.press("ArrowRight")
    height, width = TRUTH.depth.shape[1:]
    x, y = width // 2 + 1, height // 2
    assert visit.text("#depth-readout").startswith(f"x {x}, y {y} · depth ")
    assert metres(visit.text("#depth-readout").split(" · ")[1]) == pytest.approx(float(TRUTH.depth[0, y, x]), rel=0.005)
    tab_to(visit, "download-all")


def tab_to(visit: Visit, wanted: str, key: str = "Tab") -> None:
    """Press Tab until an element has the focus, which must be visible as such."""
    for _ in range(80):
        visit.page.keyboard.press(key)
        if visit.page.evaluate("document.activeElement.id") == wanted:
            return
    pytest.fail(f"{key} does not lead to {wanted}")


def test_a_phone_shows_all(browser, site, truth, pictures):
    with visiting(browser, site.address, color_scheme="dark", **PHONE) as visit:
        page = visit.page
        visit.open()
        page.locator("#gallery img").first.wait_for()
        assert fits(visit)
        visit.keep("phone_start")
        visit.open_result(truth)
        assert fits(visit)
        seen = visit.see()
        assert seen[2, seen.shape[1] // 2].max() < 40  # dark
        assert visit.shown(seen) > 0.1
        visit.keep("phone")
        page.locator("#strip button").first.tap()
        page.check("#measure")
        first, second, distance = far_pixels(TRUTH, 0)
        for pixel in (first, second):
            visit.settle()
            page.touchscreen.tap(*screen_place(visit, pixel))
        visit.settle()
        assert metres(visit.text("#hint")) == pytest.approx(distance, rel=0.05)
        page.tap("#tab-depth")
        assert fits(visit)


def fits(visit: Visit) -> bool:
    """Whether nothing has to be scrolled sideways."""
    return visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_results_are_kept_shared_and_removed(browser, visit, site, truth, tmp_path):
    page = visit.page
    visit.open()
    page.locator(f"#gallery a[href='#/jobs/{truth}'] img").wait_for()
    visit.keep("start")
    visit.open_result(truth)
    page.click("#share")
    page.locator("#share-link").wait_for()
    link = page.input_value("#share-link")
    with visiting(browser, site.address) as guest:
        guest.page.goto(link)
        guest.page.locator("#strip button").first.wait_for()
        assert guest.shown(guest.see()) > 0.3
        assert guest.page.locator("#remove").is_hidden()
        assert guest.page.locator("#share").is_hidden()
        with guest.page.expect_download() as download:
            guest.page.get_by_role("link", name="scene.glb").click()
        assert Path(download.value.path()).read_bytes()[:4] == b"glTF"

    one = tmp_path / "one.png"
    one.write_bytes(picture())
    job = site.client.wait(site.client.submit([one], QUICK)["id"])
    removed = job["id"]
    visit.open_result(removed)
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("#remove")
    page.locator("#gallery li").first.wait_for()
    assert page.locator(f"#gallery a[href$='{removed}']").count() == 0
    assert page.locator(f"#gallery a[href='#/jobs/{truth}']").count() == 1


def test_files_are_dropped(visit):
    visit.open()
    visit.page.locator("#formats input").first.wait_for()
    visit.page.evaluate(
        """() => { const files = new DataTransfer();
        files.items.add(new File(["x"], "<img src=x onerror=alert(1)>.png", { type: "image/png" }));
        document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true })); }"""
    )
    assert "<img src=x onerror=alert(1)>.png (1 bytes)" in visit.text("#files")
    assert visit.page.locator("#send").is_enabled()


def test_a_token_lets_in(browser, tmp_path, tiny):
    options = ServeOptions(data=tmp_path, devices=("cpu",), free_mib=0.0, auth="on")
    with (
        running(options, tiny, {"anna": TOKEN}) as server,
        visiting(browser, server.address, faults=("status of 401", "status of 403")) as visit,
    ):
        page = visit.page
        visit.open()
        for given in ("wrong-token-of-enough-letters", TOKEN):
            page.locator("#access[open]").wait_for()
            page.fill("#token", given)
            page.get_by_role("button", name="Use it").click()
        page.locator("#formats input").first.wait_for()
        assert page.evaluate("JSON.stringify([sessionStorage, localStorage, document.cookie])") == '[{},{},""]'
        page.reload()
        page.locator("#formats input").first.wait_for()
        page.click("#leave")
        page.locator("#access[open]").wait_for()
