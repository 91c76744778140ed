"""A result on the page while files are on their way: what it says, and what comes when it is no longer there."""

import pytest
from browsing import WITHOUT_BROWSER

pytestmark = pytest.mark.skipif(WITHOUT_BROWSER, reason="no Chromium is installed (Debian: apt install chromium)")

COUNT_CLOSED = """
    window.bitmaps = { made: 0, closed: 0 };
    const [make, close] = [window.createImageBitmap, ImageBitmap.prototype.close];
    window.createImageBitmap = (...rest) => { bitmaps.made += 1; return make.call(window, ...rest); };
    ImageBitmap.prototype.close = function () { bitmaps.closed += this.width > 0; return close.call(this); };
"""
IS_LOST = "document.getElementById('stage-canvas').getContext('webgl2').isContextLost()"


def test_a_layer_says_that_it_loads(visit, result):
    page, held = visit.page, visit.hold("**/mesh.ply")
    visit.open_result(result)
    page.focus("#show-mesh")
    page.keyboard.press("Space")
    page.get_by_text("Loading the mesh …").wait_for()
    assert page.locator("#hint").get_attribute("aria-live") == "polite"
    assert page.locator("#show-mesh").is_disabled()
    page.keyboard.press("Space")  # does nothing
    held[0].continue_()
    page.get_by_text("The mesh is shown.").wait_for()
    assert page.locator("#show-mesh").is_enabled()
    assert page.locator("#show-mesh").is_checked()
    assert page.evaluate("document.activeElement.id") == "show-mesh"
    assert len(held) == 1


def test_a_layer_that_does_not_come_is_not_shown(make_visit, site, result):
    with make_visit(site.address, faults=("ERR_FAILED",)) as visit:
        page = visit.page
        page.route("**/mesh.ply", lambda route: route.abort())
        visit.open_result(result)
        page.click("#show-mesh")
        page.locator("#message.error").wait_for()
        assert page.locator("#show-mesh").is_enabled()
        assert not page.locator("#show-mesh").is_checked()
        assert visit.text("#hint") == ""


def test_a_viewer_that_was_left_is_left_alone(visit, result):
    page, held = visit.page, visit.hold("**/mesh.ply")
    visit.open_result(result)
    page.check("#show-mesh")
    page.evaluate("location.hash = '#/'")
    page.locator("#gallery li").first.wait_for()
    assert page.evaluate(IS_LOST)
    held[0].continue_()
    page.wait_for_load_state("networkidle")
    assert page.locator("#message").is_hidden()
    page.unroute("**/mesh.ply")
    visit.open_result(result)
    assert not page.evaluate(IS_LOST)
    assert page.locator("#show-mesh").is_enabled()
    assert visit.shown(visit.see()) > 0.3


def test_a_result_that_was_left_takes_no_place(visit, result):
    page, held = visit.page, visit.hold("**/scene.json")
    visit.open(f"#/jobs/{result}")
    page.locator("#result").wait_for()
    page.evaluate("window.canvas = document.getElementById('stage-canvas'); location.hash = '#/'")
    page.locator("#gallery li").first.wait_for()
    held[0].continue_()
    page.wait_for_load_state("networkidle")
    assert page.evaluate("window.canvas === document.getElementById('stage-canvas')")
    assert page.locator("#downloads li").count() == 0


def test_pictures_do_not_stay_in_memory_twice(visit, result):
    page = visit.page
    page.add_init_script(COUNT_CLOSED)
    visit.open_result(result)
    page.wait_for_function("() => bitmaps.closed === 4")
    assert page.evaluate("bitmaps.made") == 4
    page.click("#tab-depth")
    visit.settle()
    page.locator("#strip button").nth(1).click()
    page.wait_for_function("() => bitmaps.made === 6 && bitmaps.closed === 5")
    page.evaluate("location.hash = '#/'")
    page.wait_for_function("() => bitmaps.closed === 6")


def test_a_broken_picture_is_told(visit, result):
    visit.page.route("**/view/001.jpg", lambda route: route.fulfill(body=b"none", content_type="image/jpeg"))
    visit.open_result(result)
    visit.page.locator("#message.error").wait_for()
    assert "decoded" in visit.text("#message-text")


def test_it_is_said_how_many_gaussians_are_shown(visit, result):
    page = visit.page

    def thin(route):
        scene = route.fetch().json()
        scene["gaussians"]["total"] = 1_000_000
        scene["gaussians"]["count"] = 31_360
        route.fulfill(json=scene)

    page.route("**/scene.json", thin)
    visit.open_result(result)
    assert page.locator("#gaussians-share").is_hidden()
    page.check("#show-gaussians")
    page.locator("#gaussians-share").wait_for()
    assert "31,360 of 1,000,000 Gaussians are shown" in visit.text("#gaussians-share")
