"""A result on the page: the 3D view and the depth pictures, against the truth."""

import numpy as np
import pytest
import torch
from browsing import EXPORT, WITHOUT_BROWSER, changed, difference, far_pixels, fitted, metres

from anyview.render.rasterize import rasterize
from anyview.render.scene import scene_gaussians
from anyview.types import Cameras

pytestmark = pytest.mark.skipif(WITHOUT_BROWSER, reason="no Chromium is installed (Debian: apt install chromium)")


def test_cameras_are_seen_and_lead_into_their_views(visit, truth, result):
    visit.open_result(result)
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
    differences = [difference(inside, picture) for picture in truth.images.numpy()]
    assert differences[3] < min(20, 0.75 * min(differences[:3]))


def test_sliders_and_colours_change_the_view_and_compute_nothing(visit, result):
    page = visit.page
    visit.open_result(result)
    page.uncheck("#show-cameras")
    before = visit.see()
    asked = len(visit.requests)
    page.get_by_role("slider", name="Hide the least sure").press("End")
    fewer = visit.see()
    assert visit.shown(fewer) < 0.6 * visit.shown(before)
    assert visit.text("#sure-value").startswith("95 % (confidence below ")
    page.keyboard.press("Home")
    assert visit.text("#sure-value") == "none"
    page.get_by_role("slider", name="Size of points").press("End")
    assert visit.shown(visit.see()) > visit.shown(before)
    page.keyboard.press("Home")
    colors = visit.see()
    for coloring in ("depth", "confidence"):
        page.select_option("#coloring", coloring)
        assert changed(colors, visit.see()).mean() > 0.1
    assert len(visit.requests) == asked


def test_known_distances_are_measured(visit, truth, result):
    first, second, distance = far_pixels(truth, 0)
    page = visit.page
    visit.open_result(result)
    page.locator("#strip button").first.click()
    page.check("#measure")
    visit.settle()
    for pixel in (first, second):
        page.mouse.click(*visit.place("#stage-canvas", pixel, truth.depth.shape[1:]))
        visit.settle()
    assert metres(visit.text("#hint")) == pytest.approx(distance, rel=0.05)
    assert metres(visit.text("#measure-label")) == pytest.approx(distance, rel=0.05)
    label = page.locator("#measure-label").bounding_box()
    for pixel in (first, second):  # neither is under the label
        x, y = visit.place("#stage-canvas", pixel, truth.depth.shape[1:])
        assert not (0 <= x - label["x"] <= label["width"] and 0 <= y - label["y"] <= label["height"])
    visit.keep("measure")
    page.click("#clear-marks")
    assert page.locator("#measure-label").is_hidden()


def test_depth_is_read_under_the_pointer(visit, truth, result):
    first, second, distance = far_pixels(truth, 1)
    page = visit.page
    visit.open_result(result)
    page.click("#tab-depth")
    page.locator("#strip button").nth(1).click()
    visit.settle()
    assert visit.text("#strip [aria-current=true]") == "room_1.png"
    for x, y in (first, second):
        page.mouse.click(*visit.place("#depth-canvas", (x, y), truth.depth.shape[1:]))
        place, depth, confidence = visit.text("#depth-readout").split(" · ")
        assert place == f"x {x}, y {y}"
        assert metres(depth) == pytest.approx(float(truth.depth[1, y, x]), rel=0.005)
        assert float(confidence.split()[1]) == pytest.approx(float(truth.confidence[1, y, x]), rel=0.005)
    assert metres(visit.text("#depth-distance")) == pytest.approx(distance, rel=0.005)
    low, _, high = visit.text("#depth-legend").partition(" … ")
    assert metres(low) < metres(high)
    visit.keep("depth")


def test_gaussians_are_drawn_as_our_rasteriser_draws_them(visit, truth, result):
    page = visit.page
    visit.open_result(result)
    page.locator("#strip button").first.click()
    page.uncheck("#show-points")
    assert visit.shown(visit.see()) < 0.001
    page.check("#show-gaussians")
    seen = visit.see()
    _, _, height, width = fitted(seen.shape, truth.images.shape[1:])
    camera = truth.cameras[:1]
    scale = torch.tensor([width / truth.images.shape[2], height / truth.images.shape[1], 1])
    camera = Cameras(camera.world_to_camera, scale[:, None] * camera.intrinsics)
    background = [value / 255 for value in visit.background]
    rendered = rasterize(scene_gaussians(truth, EXPORT), camera, height, width, background=background)
    expected = (255 * rendered.color[0]).round().clamp(0, 255).byte().numpy()
    # Gaussians of pixels are as fine as a screen's pixels, and the page's canvas lies between those.
    assert difference(seen, expected, coarse=4) < 5


def test_the_mesh_is_drawn(visit, truth, result):
    page = visit.page
    visit.open_result(result)
    page.locator("#strip button").first.click()
    page.uncheck("#show-points")
    page.check("#show-mesh")
    # It was made of the first view's pixels.
    assert difference(visit.see(), truth.images[0].numpy()) < 5


def test_a_browser_without_webgl_shows_depth(visit, result):
    visit.page.add_init_script(
        """const draw = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
            return kind === "webgl2" ? null : draw.call(this, kind, ...rest); };"""
    )
    visit.open_result(result)
    assert "no WebGL 2" in visit.text("#message-text")
    assert visit.page.locator("#tab-space").is_hidden()
    visit.page.locator("#depth-canvas").hover()
    assert " · depth " in visit.text("#depth-readout")
