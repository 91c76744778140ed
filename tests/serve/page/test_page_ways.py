"""The page without a mouse: by keys alone, and with fingers on a phone."""

import itertools

import pytest
from browsing import WITHOUT_BROWSER, Visit, changed, far_pixels, metres

pytestmark = pytest.mark.skipif(WITHOUT_BROWSER, reason="no Chromium is installed (Debian: apt install chromium)")

PHONE = {"viewport": {"width": 390, "height": 780}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}


def test_all_is_done_by_keys(visit, truth, result, pictures):
    page = visit.page
    visit.open()
    page.locator("#formats input").first.wait_for()
    with page.expect_file_chooser() as chooser:  # Chromium must know that it is awaited before a key asks for it
        tab_to(visit, "picker")
        page.keyboard.press("Space")
    chooser.value.set_files(pictures)
    tab_to(visit, "predict-summary")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("112")
    tab_to(visit, "send")
    page.keyboard.press("Enter")
    page.locator("#strip button").nth(3).wait_for()

    visit.open_result(result)
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
    assert all(changed(one, other).mean() > 0.02 for one, other in itertools.pairwise(views))
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
    height, width = truth.depth.shape[1:]
    x, y = width // 2 + 1, height // 2
    assert visit.text("#depth-readout").startswith(f"x {x}, y {y} · depth ")
    assert metres(visit.text("#depth-readout").split(" · ")[1]) == pytest.approx(float(truth.depth[0, y, x]), rel=0.005)
    tab_to(visit, "download-all")


def tab_to(visit: Visit, wanted: str, key: str = "Tab") -> None:
    """Press Tab until an element has the focus, which must be visible as such."""
    for _ in range(80):
        visit.page.keyboard.press(key)
        if visit.page.evaluate("document.activeElement.id") == wanted:
            return
    pytest.fail(f"{key} does not lead to {wanted}")


def test_a_phone_shows_all(make_visit, site, truth, result):
    with make_visit(site.address, color_scheme="dark", **PHONE) as visit:
        page = visit.page
        visit.open()
        page.locator("#gallery img").first.wait_for()
        assert fits(visit)
        visit.open_result(result)
        assert fits(visit)
        assert max(visit.background) < 40  # dark
        assert visit.shown(visit.see()) > 0.1
        visit.keep("phone")
        page.locator("#strip button").first.tap()
        page.check("#measure")
        first, second, distance = far_pixels(truth, 0)
        for pixel in (first, second):
            visit.settle()
            page.touchscreen.tap(*visit.place("#stage-canvas", pixel, truth.depth.shape[1:]))
        visit.settle()
        assert metres(visit.text("#hint")) == pytest.approx(distance, rel=0.05)
        page.tap("#tab-depth")
        assert fits(visit)


def fits(visit: Visit) -> bool:
    """Whether nothing has to be scrolled sideways."""
    return visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
