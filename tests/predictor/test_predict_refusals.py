"""Everything refused is refused with a ValueError of one line, before anything is computed."""

import math
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from anyview.model.footprint import estimate_bytes
from anyview.options import PredictOptions
from anyview.predictor import DepthAnything3
from anyview.types import Cameras, Picture, Scene
from filled import filled, filled_model
from golden import fill

OPTIONS = PredictOptions(resolution=56)
IMAGES = [fill.image(f"refused:{index}", 84, 112) for index in range(3)]
INTRINSICS = [[100.0, 0, 56], [0, 100, 42], [0, 0, 1]]


def refused(message: str, call: Callable[[], object]) -> None:
    """Assert that ``call`` raises a ValueError of one line that has a match for ``message``."""
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def predict(name: str = "anyview", images: object = IMAGES, cameras=None, intrinsics=None, **options):
    return filled_model(name).predict(images, cameras, intrinsics=intrinsics, options=replace(OPTIONS, **options))


def cameras(count: int = 3, **changes: object) -> Cameras:
    """Cameras in a row; ``pose`` and ``matrix`` change the second one."""
    poses, matrices = torch.eye(4).repeat(count, 1, 1), torch.tensor(INTRINSICS).repeat(count, 1, 1)
    poses[:, 0, 3] = torch.arange(count)
    for entry, value in changes.get("pose", {}).items():
        poses[1][entry] = value
    for entry, value in changes.get("matrix", {}).items():
        matrices[1][entry] = value
    return Cameras(poses, matrices)


@pytest.mark.parametrize("name", ["mono", "metric"])
def test_cameras_for_a_model_that_sees_one_image_at_a_time(name):
    message = f"^{name} takes no camera poses: .* give intrinsics alone, or choose an any-view model$"
    refused(message, lambda: predict(name, cameras=cameras()))
    scene = Scene(tuple(Picture(image, "x") for image in IMAGES), cameras())
    refused(message, lambda: predict(name, scene))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_wrong_number_of_cameras(count):
    poses = torch.eye(4).repeat(count, 1, 1)
    given = Cameras(poses, torch.tensor(INTRINSICS).repeat(count, 1, 1))
    refused(f"got {count} cameras for 3 views", lambda: predict(cameras=given))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pose": {(0, 3): math.nan}}, "camera of view 1: world_to_camera holds NaN or infinite values"),
        ({"pose": {(0, 3): math.inf}}, "camera of view 1: world_to_camera holds NaN or infinite values"),
        ({"pose": {0: 0.0}}, r"camera of view 1: the rotation is not orthonormal .* by up to 1, allowed is 0\.001"),
        ({"pose": {(2, 2): -1.0}}, r"camera of view 1: the rotation is left-handed \(determinant -1\)"),
        ({"pose": {(0, 0): 1.1}}, r"the rotation is not orthonormal .* by up to 0\.21, allowed is 0\.001"),
        ({"pose": {3: 1.0}}, r"the last row of world_to_camera must be \(0, 0, 0, 1\)"),
        ({"matrix": {(0, 0): math.nan}}, "camera of view 1: the intrinsics hold NaN or infinite values"),
        ({"matrix": {(0, 0): 0.0}}, "camera of view 1: focal lengths must be positive, got fx = 0, fy = 100"),
        ({"matrix": {(1, 1): -100.0}}, "a negative fy means that the y axis points up"),
        ({"matrix": {(2, 2): 2.0}}, r"the last row of the intrinsics must be \(0, 0, 1\)"),
        ({"matrix": {(1, 0): 3.0}}, "the intrinsics must be upper triangular"),
    ],
)
def test_cameras_that_cannot_be_right(changes, message):
    refused(message, lambda: predict(cameras=cameras(**changes)))


def test_tolerable_rounding_of_rotations_is_accepted():
    given = cameras(pose={(0, 0): 1.0003})
    assert predict(cameras=given).depth.isfinite().all()


@pytest.mark.parametrize(
    ("intrinsics", "message"),
    [
        ([[100.0, 0], [0, 100]], r"expected intrinsics of shape \(3, 3\) or \(views, 3, 3\), got \(2, 2\)"),
        ([INTRINSICS] * 2, "expected one matrix of intrinsics per view, got 2 for 3 views"),
        (np.zeros((3, 3)), r"intrinsics of view 0: the last row of the intrinsics must be"),
        ([[100.0, 0, math.nan], [0, 100, 42], [0, 0, 1]], "intrinsics of view 0: the intrinsics hold NaN"),
    ],
)
@pytest.mark.parametrize("name", ["anyview", "metric"])
def test_intrinsics_that_cannot_be_right(name, intrinsics, message):
    refused(message, lambda: predict(name, intrinsics=intrinsics))
    refused(message, lambda: list(filled_model(name).predict_each(IMAGES, intrinsics=intrinsics, options=OPTIONS)))


def test_gaussians_of_a_model_without_the_head():
    message = "^anyview has no Gaussian head; .*da3-giant and da3nested-giant-large have one$"
    refused(message, lambda: predict(gaussians=True))


@pytest.mark.parametrize("options", [{"rays": True}, {"camera_source": "rays"}])
def test_rays_of_a_model_without_them(options):
    refused("^mono predicts depth and sky only, no rays$", lambda: predict("mono", **options))


@pytest.mark.parametrize("block", [-1, 8, 100])
def test_features_out_of_range(block):
    refused(f"anyview has blocks 0 to 7, features were asked of {block}", lambda: predict(features=(3, block)))


@pytest.mark.parametrize("resolution", [13, 1, 0, -56])
def test_a_resolution_below_one_patch(resolution):
    message = f"expected a resolution of at least 14 pixels, one patch; got {resolution}"
    refused(message, lambda: predict(resolution=resolution))


@pytest.mark.parametrize("resize", ["upper_bound_resize", "upper_bound_crop", "lower_bound_resize"])
def test_pictures_that_are_too_elongated(resize):
    for shape in ((1, 5000, 3), (5000, 1, 3)):
        refused("0000 is too elongated", lambda shape=shape: predict(images=[np.zeros(shape, np.uint8)], resize=resize))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"focal_length": 0.0}, "expected a positive focal length in pixels, got 0.0"),
        ({"focal_length": math.nan}, "expected a positive focal length in pixels, got nan"),
        ({"field_of_view": 180.0}, "expected a field of view between 0 and 180 degrees, got 180.0"),
        ({"field_of_view": -1.0}, "expected a field of view between 0 and 180 degrees, got -1.0"),
    ],
)
def test_cameras_nobody_has(options, message):
    refused(message, lambda: predict("metric", **options))


@pytest.mark.parametrize("batch_size", [0, -1])
def test_an_empty_batch(batch_size):
    message = f"expected a batch size of at least 1, got {batch_size}"
    refused(message, lambda: filled_model("mono").predict_each(IMAGES, batch_size=batch_size))


def test_no_pictures():
    refused("no pictures given", lambda: predict(images=[]))
    refused("no pictures given", lambda: predict(images=Scene(())))


def test_no_pictures_one_by_one():
    refused("no pictures given", lambda: list(filled_model("mono").predict_each([])))


def test_a_path_that_does_not_exist(tmp_path):
    refused("no such path", lambda: predict(images=tmp_path / "nothing.jpg"))
    refused("no such path", lambda: list(filled_model("mono").predict_each(tmp_path / "nothing.jpg")))


class TestMemory:
    MESSAGE = re.compile(
        r"^(?P<count>\d+) views? of (?P<width>\d+)×(?P<height>\d+) pixels with anyview need about (?P<needed>[\d.]+) "
        r"GiB beside the weights, and (?P<limit>[\d.]+) GiB are available; try --resolution (?P<resolution>\d+)"
        r"( or at most (?P<views>\d+) views at once)?$"
    )

    def refusal(self, images: list[np.ndarray], **options) -> re.Match[str]:
        with pytest.raises(ValueError, match="GiB are available") as caught:
            predict(images=images, **options)
        match = self.MESSAGE.match(str(caught.value))
        assert match, str(caught.value)
        return match

    def test_more_than_there_is(self):
        images = [fill.image(f"large:{index}", 336, 504) for index in range(4)]
        match = self.refusal(images, resolution=504, memory_limit=0.1)
        assert (match["count"], match["width"], match["height"], match["limit"]) == ("4", "504", "336", "0.1")
        needed = estimate_bytes(filled("anyview").config, 4, 336, 504)
        assert float(match["needed"]) == pytest.approx(needed / 2**30, abs=0.05)

    @pytest.mark.parametrize("memory_limit", [0.18, 0.1, 0.05])
    def test_the_ways_out_are_ways_out(self, memory_limit):
        images = [fill.image(f"large:{index}", 336, 504) for index in range(4)]
        match = self.refusal(images, resolution=504, memory_limit=memory_limit)
        smaller = predict(images=images, resolution=int(match["resolution"]), memory_limit=memory_limit)
        assert smaller.depth.shape[2] < 504
        if match["views"]:
            fewer = predict(images=images[: int(match["views"])], resolution=504, memory_limit=memory_limit)
            assert fewer.depth.shape[1:] == (336, 504)

    def test_almost_nothing(self):
        match = self.refusal(IMAGES, memory_limit=0.0001)
        assert int(match["resolution"]) < 56

    def test_single_pictures(self):
        each = filled_model("mono").predict_each(IMAGES, options=replace(OPTIONS, memory_limit=1e-4))
        refused("GiB are available; try --resolution", lambda: list(each))

    def test_enough(self):
        assert len(predict(memory_limit=1.0)) == 3


@pytest.mark.parametrize("device", ["abacus", "cuda:99", "xpu", "meta:x"])
def test_devices_that_are_not_there(device):
    refused(f"device '{device}' cannot be used here", lambda: DepthAnything3(filled("mono"), "mono", device=device))


def test_an_unknown_model():
    refused("unknown model 'da3-huge'; did you mean", lambda: DepthAnything3.from_pretrained("da3-huge"))
    refused("unknown model 'da3-nanno'; did", lambda: DepthAnything3.with_random_weights("da3-nanno"))
