"""Known cameras, and known intrinsics alone: which frame, scale and unit results come back in."""

import copy
import functools

import numpy as np
import pytest
import torch

from anyview.geometry.camera import pixel_centers, unproject_pixels
from anyview.geometry.pose import matrix_from_quaternion_xyzw, rigid_inverse, rigid_transform
from anyview.options import PredictOptions
from anyview.predictor import DepthAnything3
from anyview.types import Cameras, Picture, Prediction, Scene
from filled import filled, filled_model
from golden import fill

OPTIONS = PredictOptions(resolution=56, rays=True)
HEIGHT, WIDTH = 84, 112
MODELS = ["anyview", "gaussian", "nested"]


def picture(index: int) -> np.ndarray:
    return fill.image(f"known:{index}", HEIGHT, WIDTH)


def cameras_at(centers: torch.Tensor, seed: int = 0) -> Cameras:
    """Cameras at positions, turned at random, far from the origin of the world."""
    count = len(centers)
    generator = torch.Generator().manual_seed(seed)
    turns = torch.cat([0.2 * torch.randn(count, 3, generator=generator), torch.ones(count, 1)], dim=1)
    world = matrix_from_quaternion_xyzw(torch.tensor([0.5, -0.3, 0.7, 0.4]))
    camera_to_world = rigid_transform(world @ matrix_from_quaternion_xyzw(turns), centers + torch.tensor([3.0, -7, 5]))
    intrinsics = torch.tensor([[100.0, 0, 58], [0, 104, 40], [0, 0, 1]]).repeat(count, 1, 1)
    return Cameras(rigid_inverse(camera_to_world), intrinsics)


CENTERS = {
    "four views": 5 * torch.tensor([[0.0, 0, 0], [1, 0.2, 0], [0.3, 1, 0.4], [-0.5, 0.6, 1]]),
    "two views": torch.tensor([[0.0, 0, 0], [2, 1, 0]]),
    "on a line": torch.tensor([[0.0, 0, 0], [1, 2, 3], [2, 4, 6], [5, 10, 15]]),
    "one view": torch.zeros(1, 3),
    "in one place": torch.zeros(3, 3),
}
WITH_BASELINE = ["four views", "two views", "on a line"]
WITHOUT_BASELINE = ["one view", "in one place"]


@functools.cache
def predicted(name: str, layout: str, pose_frame: str, gaussians: bool = False) -> Prediction:
    cameras = cameras_at(CENTERS[layout])
    options = PredictOptions(resolution=56, rays=True, pose_frame=pose_frame, gaussians=gaussians)
    images = [picture(index) for index in range(len(cameras))]
    return filled_model(name).predict(images, cameras, options=options)


def at_camera(points: torch.Tensor, cameras: Cameras) -> torch.Tensor:
    """World points, one set per view or one for all, in the axes of each camera."""
    rotation, translation = cameras.world_to_camera[:, :3, :3], cameras.world_to_camera[:, :3, 3]
    return points @ rotation.mT + translation[:, None]


@pytest.mark.parametrize("layout", CENTERS)
@pytest.mark.parametrize("name", MODELS)
def test_the_given_cameras_come_back(name, layout):
    given = cameras_at(CENTERS[layout])
    cameras = predicted(name, layout, "input").cameras
    assert torch.equal(cameras.world_to_camera, given.world_to_camera)
    halved = torch.tensor([[0.5, 1, 0.5], [1, 0.5, 0.5], [1, 1, 1]])  # 112 × 84 became 56 × 42
    assert torch.equal(cameras.intrinsics, given.intrinsics * halved)


@pytest.mark.parametrize("layout", WITH_BASELINE)
@pytest.mark.parametrize("name", MODELS)
def test_a_baseline_brings_the_unit_of_the_caller(name, layout):
    prediction = predicted(name, layout, "input")
    assert prediction.units == "caller"
    assert prediction.notes == ()


@pytest.mark.parametrize("layout", WITHOUT_BASELINE)
@pytest.mark.parametrize(("name", "units"), [("anyview", "arbitrary"), ("nested", "metres")])
def test_without_a_baseline_the_unit_is_the_network_s_own_and_a_note_says_so(name, units, layout):
    prediction = predicted(name, layout, "input")
    assert prediction.units == units
    (note,) = prediction.notes
    assert note.startswith("the known cameras have no baseline to take a scale from")
    assert torch.equal(prediction.depth, predicted(name, layout, "predicted").depth)


@pytest.mark.parametrize("layout", ["four views", "on a line"])
@pytest.mark.parametrize("name", MODELS)
def test_depth_scales_with_the_given_cameras(name, layout, assert_close):
    """The network sees normalised poses, so that the caller's unit reaches its result and nothing else.

    Not with two views: the lower of two middle distances is the first view's 0 there (network.md, section 12).
    """
    small = cameras_at(CENTERS[layout])
    poses = rigid_inverse(small.world_to_camera)
    poses[:, :3, 3] *= 7
    large = Cameras(rigid_inverse(poses), small.intrinsics)
    images = [picture(index) for index in range(len(small))]
    prediction = filled_model(name).predict(images, large, options=OPTIONS)
    assert_close(prediction.depth, 7 * predicted(name, layout, "input").depth, 1e-4, reason="poses far from the origin")


@pytest.mark.parametrize("layout", CENTERS)
@pytest.mark.parametrize("name", MODELS)
def test_both_frames_show_every_camera_the_same_rays(name, layout, assert_close):
    """Points along the rays, seen from their camera, differ by the scale of depth alone."""
    ours, theirs = predicted(name, layout, "predicted"), predicted(name, layout, "input")
    scale = (theirs.depth / ours.depth).mean()
    assert_close(theirs.depth, scale * ours.depth)
    points = {}
    for frame, prediction, length in (("predicted", ours, 2.0), ("input", theirs, 2.0 * scale)):
        directions, origins = prediction.rays.flatten(1, 2).split(3, dim=-1)
        points[frame] = at_camera(origins + length * directions, prediction.cameras)
    assert_close(points["input"], scale * points["predicted"], 1e-4, reason="world coordinates cancel")
    assert torch.equal(ours.confidence, theirs.confidence)
    assert torch.equal(ours.ray_confidence, theirs.ray_confidence)
    assert torch.equal(ours.cameras.intrinsics, theirs.cameras.intrinsics)


@pytest.mark.parametrize("layout", CENTERS)
@pytest.mark.parametrize("name", ["gaussian", "nested"])
def test_both_frames_show_every_camera_the_same_gaussians(name, layout, assert_close):
    ours, theirs = predicted(name, layout, "predicted", True), predicted(name, layout, "input", True)
    scale = (theirs.depth / ours.depth).mean()
    seen = at_camera(theirs.gaussians.means, theirs.cameras)
    expected = at_camera(ours.gaussians.means, ours.cameras)
    assert_close(seen, scale * expected, 1e-4, reason="world coordinates cancel")
    assert_close(theirs.gaussians.scales, scale * ours.gaussians.scales)
    assert torch.equal(theirs.gaussians.opacities, ours.gaussians.opacities)


def without_offsets(name: str) -> DepthAnything3:
    """A network whose Gaussians lie exactly where the depth says, without sky."""
    network = copy.deepcopy(filled(name))
    any_view = network.any_view if name == "nested" else network
    torch.nn.init.zeros_(any_view.gaussian_head.reader.output.weight)
    torch.nn.init.zeros_(any_view.gaussian_head.reader.output.bias)
    any_view.gaussian_head.reader.output.bias.data[8] = 1.0  # a quaternion needs a length
    if name == "nested":
        network.metric.head.sky_reader.output.bias.data.fill_(-10.0)
    return DepthAnything3(network, name, device="cpu")


@pytest.mark.parametrize("pose_frame", ["input", "predicted"])
@pytest.mark.parametrize("layout", CENTERS)
@pytest.mark.parametrize("name", ["gaussian", "nested"])
def test_gaussians_lie_at_the_depth_of_their_pixels(name, layout, pose_frame, assert_close):
    """On rays of the cameras that come back, as far along them as the depth that comes back says (network.md, 13)."""
    model, given = without_offsets(name), cameras_at(CENTERS[layout])
    images = [picture(index) for index in range(len(given))]
    options = PredictOptions(resolution=56, gaussians=True, pose_frame=pose_frame)
    prediction = model.predict(images, given, options=options)
    expected = along_rays(prediction.cameras, prediction.depth)
    assert_close(prediction.gaussians.means, expected, 1e-4, reason="two ways through the scales")


@pytest.mark.parametrize("name", ["gaussian", "nested"])
def test_the_network_s_own_frame_has_gaussians_before_its_own_cameras(name, assert_close):
    model, given = without_offsets(name), cameras_at(CENTERS["four views"])
    options = PredictOptions(resolution=56, gaussians=True, pose_frame="network")
    prediction = model.predict([picture(index) for index in range(4)], given, options=options)
    expected = along_rays(prediction.cameras, prediction.depth)
    assert_close(prediction.gaussians.means, expected, 1e-4, reason="two ways through the scales")


def along_rays(cameras: Cameras, depth: torch.Tensor) -> torch.Tensor:
    """World points as far along the pixels' rays as depth says, view by view."""
    rays = unproject_pixels(pixel_centers(*depth.shape[1:]).flatten(0, 1), cameras.intrinsics)
    along = rays / rays.norm(dim=-1, keepdim=True) * depth.flatten(1)[..., None]
    poses = cameras.world_to_camera
    return ((along - poses[:, None, :3, 3]) @ poses[:, :3, :3]).flatten(0, 1)


def test_scenes_bring_their_cameras():
    given = cameras_at(CENTERS["four views"])
    scene = Scene(tuple(Picture(picture(index), str(index)) for index in range(4)), given)
    prediction = filled_model("anyview").predict(scene, options=OPTIONS)
    assert torch.equal(prediction.depth, predicted("anyview", "four views", "input").depth)
    assert torch.equal(prediction.cameras.world_to_camera, given.world_to_camera)


def test_given_cameras_go_before_those_of_the_scene():
    scene = Scene(tuple(Picture(picture(i), str(i)) for i in range(4)), cameras_at(CENTERS["on a line"]))
    prediction = filled_model("anyview").predict(scene, cameras_at(CENTERS["four views"]), options=OPTIONS)
    assert torch.equal(prediction.depth, predicted("anyview", "four views", "input").depth)


def test_poses_may_have_three_rows_and_intrinsics_be_whole_numbers():
    given = cameras_at(CENTERS["four views"])
    poses, intrinsics = given.world_to_camera[:, :3].numpy(), given.intrinsics.numpy().astype(np.int64)
    cameras = Cameras.from_arrays(poses, intrinsics)
    prediction = filled_model("anyview").predict([picture(index) for index in range(4)], cameras, options=OPTIONS)
    assert torch.equal(prediction.depth, predicted("anyview", "four views", "input").depth)


def test_given_cameras_are_not_changed():
    given = cameras_at(CENTERS["four views"])
    before = copy.deepcopy(given)
    filled_model("anyview").predict([picture(index) for index in range(4)], given, options=OPTIONS)
    assert torch.equal(given.world_to_camera, before.world_to_camera)
    assert torch.equal(given.intrinsics, before.intrinsics)


ONE_FOR_ALL = [[100, 0, 56], [0, 104, 42], [0, 0, 1]]


@pytest.mark.parametrize(
    "intrinsics",
    [ONE_FOR_ALL, np.array(ONE_FOR_ALL), np.array([ONE_FOR_ALL] * 3), torch.tensor(ONE_FOR_ALL, dtype=torch.float64)],
    ids=["lists", "whole numbers", "one each", "double"],
)
def test_intrinsics_alone_come_back_and_condition_nothing(intrinsics):
    images = [picture(index) for index in range(3)]
    prediction = filled_model("anyview").predict(images, intrinsics=intrinsics, options=OPTIONS)
    plain = filled_model("anyview").predict(images, options=OPTIONS)
    assert torch.equal(prediction.depth, plain.depth)
    assert torch.equal(prediction.cameras.world_to_camera, plain.cameras.world_to_camera)
    expected = torch.tensor([[50.0, 0, 28], [0, 52, 21], [0, 0, 1]])
    assert torch.equal(prediction.cameras.intrinsics, expected.expand(3, 3, 3))
    assert prediction.units == "arbitrary"


def test_intrinsics_alone_set_the_metres_of_a_nested_model(assert_close):
    images = [picture(index) for index in range(3)]
    plain = filled_model("nested").predict(images, options=OPTIONS)
    scales = []
    for focal_length in (100, 300):
        matrix = [[focal_length, 0, 56], [0, focal_length, 42], [0, 0, 1]]
        scales.append(filled_model("nested").predict(images, intrinsics=matrix, options=OPTIONS).metric_scale)
    assert scales[1] == pytest.approx(3 * scales[0])
    assert plain.metric_scale != pytest.approx(scales[0])


def test_cameras_and_intrinsics_together_are_refused():
    with pytest.raises(ValueError, match="give cameras or intrinsics, not both"):
        filled_model("anyview").predict(
            [picture(0)], cameras_at(CENTERS["one view"]), intrinsics=ONE_FOR_ALL, options=OPTIONS
        )
