"""Jobs on the page: uploads, progress, refusals, files, past results, links and tokens."""

import io
import zipfile
from pathlib import Path

import pytest
import trimesh
from browsing import WITHOUT_BROWSER
from serving import QUICK, picture, running

from anyview.serve.options import ServeOptions

pytestmark = pytest.mark.skipif(WITHOUT_BROWSER, reason="no Chromium is installed (Debian: apt install chromium)")

WATCH = """() => {
    window.seen = [];
    const [stage, bar] = ["stage", "job-bar"].map((id) => document.getElementById(id));
    const look = () => window.seen.push([stage.textContent, bar.value]);
    const changes = { subtree: true, attributes: true, childList: true };
    new MutationObserver(look).observe(document.getElementById("waiting"), changes);
}"""
DROP = """() => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File(["x"], "<img src=x onerror=alert(1)>.png", { type: "image/png" }));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}"""
TOKEN = "a-token-that-nobody-guesses"


def test_four_pictures_become_a_space_to_walk_in(visit, site, pictures, tmp_path):
    page = visit.page
    visit.open()
    page.locator("#formats input").first.wait_for()
    assert "Licence:" in visit.text("#licence")
    page.set_input_files("#picker", pictures)
    assert visit.text("#send") == "Reconstruct from 4 files"
    page.get_by_text("Options of the prediction").click()
    page.fill("[name=resolution]", "112")
    page.evaluate(WATCH)
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
    page.locator("#downloads summary", has_text="depth_vis/").click()
    assert page.locator("#downloads details a:visible").count() == 4
    with page.expect_download() as download:
        page.click("#download-all")
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.testzip() is None
        assert "scene.glb" in archive.namelist()
    assert download.value.suggested_filename == f"anyview-{job[:8]}.zip"


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


def test_broken_files_are_named(make_visit, site, folder, pictures):
    half, text = folder / "half.png", folder / "notes.jpg"
    half.write_bytes(pictures[0].read_bytes()[:3000])
    text.write_text("no picture at all")
    with make_visit(site.address, faults=("status of 415",)) as visit:
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


def test_files_are_dropped(visit):
    visit.open()
    visit.page.locator("#formats input").first.wait_for()
    visit.page.evaluate(DROP)
    assert "<img src=x onerror=alert(1)>.png (1 bytes)" in visit.text("#files")
    assert visit.page.locator("#send").is_enabled()


def test_results_are_kept_shared_and_removed(make_visit, visit, site, result, tmp_path):
    page = visit.page
    visit.open()
    page.locator(f"#gallery a[href='#/jobs/{result}'] img").wait_for()
    visit.open_result(result)
    page.click("#share")
    page.locator("#share-link").wait_for()
    link = page.input_value("#share-link")
    with make_visit(site.address) as guest:
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
    assert page.locator(f"#gallery a[href='#/jobs/{result}']").count() == 1


def test_a_token_lets_in(make_visit, tmp_path, tiny):
    options = ServeOptions(data=tmp_path, devices=("cpu",), free_mib=0.0, auth="on")
    with (
        running(options, tiny, {"anna": TOKEN}) as server,
        make_visit(server.address, faults=("status of 401", "status of 403")) as visit,
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
