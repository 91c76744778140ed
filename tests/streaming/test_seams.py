"""Two predictions of the same frames: their similarity, and one surface from both."""

import math
from dataclasses import replace

import pytest
import torch

from anyview.geometry.alignment import Similarity
from anyview.geometry.pose import camera_centers
from anyview.geometry.rotation_vector import rotation_from_vector
from anyview.streaming.frames import PosedViews
from anyview.streaming.injected import box_depth, circle_cameras
from anyview.streaming.seams import Seam, align_views, blend_views, edge_deviation
from anyview.types import Cameras

MOVE = Similarity(
    torch.tensor(1.7).double(),
    rotation_from_vector(torch.tensor([0.3, -1.2, 0.5]).double()),
    torch.tensor([3.0, -2.0, 1.0]).double(),
)


def some_views(count: int = 4) -> PosedViews:
    cameras = circle_cameras(100, 28, 42)[10 : 10 + count]
    depth = box_depth(cameras, 28, 42).float()
    poses = Cameras(cameras.world_to_camera.float(), cameras.intrinsics.float())
    return PosedViews(torch.zeros(*depth.shape, 3, dtype=torch.uint8), depth, torch.full_like(depth, 2.0), poses)


def flat(depth: float, confidence: float, count: int = 1) -> PosedViews:
    """Views of a wall, from one place."""
    shape = (count, 2, 2)
    intrinsics = torch.tensor([[2.0, 0, 1], [0, 2, 1], [0, 0, 1]]).expand(count, 3, 3)
    return PosedViews(
        torch.zeros(*shape, 3, dtype=torch.uint8),
        torch.full(shape, depth),
        torch.full(shape, confidence),
        Cameras(torch.eye(4).expand(count, 4, 4), intrinsics),
    )


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_moved_prediction_is_moved_back(count, assert_close):
    views = some_views(count)
    seam = align_views(views.moved(MOVE.inverse()), views)
    for name in ("scale", "rotation", "translation"):
        assert_close(getattr(seam.similarity, name), getattr(MOVE, name), 1e-5, reason="the views are float32")
    assert seam.inliers == 1.0


def test_exchanging_the_sides_gives_the_inverse():
    """With noise too: a regression's scale would be too small both ways."""
    views, other = some_views(), some_views().moved(MOVE.inverse())
    noise = (0.05 * torch.randn(views.depth.shape, generator=torch.Generator().manual_seed(0))).exp()
    noisy = PosedViews(other.images, other.depth * noise, other.confidence, other.cameras)
    there, back = align_views(noisy, views), align_views(views, noisy)
    assert float(there.similarity.scale * back.similarity.scale) == pytest.approx(1.0, abs=2e-3)


def test_rigid_seams_keep_the_scale():
    seam = align_views(some_views().moved(MOVE.inverse()), some_views(), with_scale=False)
    assert float(seam.similarity.scale) == 1.0


def test_unsure_and_missing_pixels_take_no_part():
    views = some_views()
    other = views.moved(MOVE.inverse())
    depth, confidence = other.depth.clone(), other.confidence.clone()
    depth[:, :, :20], confidence[:, :, :20] = 100.0, 1.001
    depth[:, :5], confidence[:, :5] = math.nan, 0.0
    seam = align_views(PosedViews(other.images, depth, confidence, other.cameras), views)
    assert float(seam.similarity.scale) == pytest.approx(1.7, rel=1e-5)


def test_cameras_alone_will_do_where_no_pixel_is_valid():
    views = some_views()
    blind = PosedViews(views.images, views.depth, torch.zeros_like(views.confidence), views.cameras)
    rigid = replace(MOVE, scale=torch.ones(()).double())
    seam = align_views(blind.moved(rigid.inverse()), blind)
    assert torch.allclose(seam.similarity.rotation, MOVE.rotation, atol=1e-5)
    assert seam.inliers == 0.0


def test_frames_that_disagree_about_scale_say_how_sure_it_is():
    """Four frames whose depths differ by e^±0.01: the mean is known to 0.01 · √(4/3) / √4."""
    views = some_views(4)
    factors = torch.tensor([0.01, -0.01, 0.01, -0.01]).exp()[:, None, None]
    other = PosedViews(views.images, views.depth * factors, views.confidence, views.cameras)
    assert align_views(other, views).scale_deviation == pytest.approx(0.01 / math.sqrt(3), rel=0.05)


@pytest.mark.parametrize(
    ("error", "scale_deviation", "expected"), [(0.12, math.nan, 0.04), (0.01, 0.001, 0.02), (0.03, 0.05, 0.05)]
)
def test_a_seam_is_as_sure_as_one_point_of_each_frame(error, scale_deviation, expected):
    """Nine frames: 0.12 / 3; below, the floor; or what the frames say of scale."""
    assert edge_deviation(Seam(MOVE, 1.0, error, scale_deviation), 9) == pytest.approx(expected)


def test_a_blend_is_the_mean_weighted_with_confidence_and_place():
    """One frame: half and half by place, certainty 1 and 3."""
    blended = blend_views(flat(1.0, 2.0), flat(1.04, 4.0))
    assert blended.depth.flatten().tolist() == pytest.approx([1.03] * 4)
    assert blended.confidence.flatten().tolist() == pytest.approx([3.5] * 4)


def test_from_the_first_to_the_last_frame_the_later_prediction_gains():
    blended = blend_views(flat(1.0, 2.0, 3), flat(1.04, 2.0, 3))
    assert blended.depth[:, 0, 0].tolist() == pytest.approx([1.01, 1.02, 1.03])


def test_surfaces_apart_are_not_averaged():
    blended = blend_views(flat(1.0, 2.0), flat(2.0, 4.0))
    assert blended.depth.flatten().tolist() == [2.0] * 4


def test_what_one_side_lacks_the_other_gives():
    assert blend_views(flat(1.0, 0.0), flat(1.05, 2.0)).depth.flatten().tolist() == pytest.approx([1.05] * 4)
    assert blend_views(flat(1.0, 2.0), flat(1.05, 0.0)).depth.flatten().tolist() == pytest.approx([1.0] * 4)


def test_blended_cameras_lie_between(assert_close):
    views = some_views(1)
    turn = Similarity(
        torch.ones(()).double(), rotation_from_vector(torch.tensor([0.0, 0.2, 0.0]).double()), torch.ones(3).double()
    )
    half = Similarity(
        torch.ones(()).double(), rotation_from_vector(torch.tensor([0.0, 0.1, 0.0]).double()), torch.ones(3).double()
    )
    blended = blend_views(views, views.moved(turn)).cameras.world_to_camera
    # Rotations by ±0.1 about one axis average to none; positions average too.
    assert_close(blended[:, :3, :3], views.moved(half).cameras.world_to_camera[:, :3, :3])
    both = camera_centers(views.cameras.world_to_camera) + camera_centers(views.moved(turn).cameras.world_to_camera)
    assert_close(camera_centers(blended), both / 2)
