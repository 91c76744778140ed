import numpy as np
import pytest
import torch

from anyview.fusion.dtu import backproject, cap_points, consistent_points
from anyview.geometry.camera import unproject_to_world
from anyview.types import Cameras

VIEWS = 6


def fixture(focal: float, center: tuple[float, float], translations: list, depths: list) -> tuple[torch.Tensor, ...]:
    """Six views of 30 × 40 pixels that look along z; no depth in the first three rows (benchmark A.4)."""
    depth = torch.tensor(depths)[:, None, None].expand(VIEWS, 30, 40).clone()
    depth[:, :3] = 0
    # The benchmark counts pixel centres from 0.
    intrinsics = torch.tensor([[focal, 0, center[0] + 0.5], [0, focal, center[1] + 0.5], [0, 0, 1]])
    poses = torch.eye(4).repeat(VIEWS, 1, 1)
    poses[:, :3, 3] = torch.tensor(translations)
    return depth, intrinsics.expand(VIEWS, 3, 3), poses


F1 = fixture(200.0, (20.0, 15.0), [(-2.0 * k, -(k % 2), 0.0) for k in range(VIEWS)], [100.0] * 4 + [100.15, 100.5])
F2 = fixture(
    900.0,
    (20.3, 14.6),
    [(-2.1 * k - 300, -1.3 * (k % 3) + 200, 500.0) for k in range(VIEWS)],
    [600, 600.02, 600.05, 599.97, 600.1, 600.6],
)


@pytest.mark.parametrize(
    ("scene", "counts", "means"),
    [
        (
            F1,
            [700, 800, 800, 800, 700, 0],
            {0: (2.74891, 1.00026, 100.02571), 1: (3.74917, 1.00027, 100.02719), 4: (4.74328, 1.00093, 100.03107)},
        ),
        (F2, [744, 811, 736, 811, 744, 0], {0: (302.87246, -198.33819, 100.02592)}),
    ],
)
def test_the_benchmarks_fixtures(scene, counts, means):
    found = list(consistent_points(*scene))
    assert [len(points) for points in found] == counts
    for reference, mean in means.items():
        assert found[reference].double().mean(0).tolist() == pytest.approx(mean, abs=5e-4)


def test_depths_of_the_second_fixture():
    z = [points[:, 2].double().mean().item() for points in list(consistent_points(*F2))[:5]]
    assert z == pytest.approx([100.0259, 100.0269, 100.0270, 100.0262, 100.0282], abs=5e-4)


def test_enough_views_must_agree():
    depth, intrinsics, poses = F1
    apart = depth.clone()
    apart[1:] += torch.arange(1, VIEWS)[:, None, None]  # every view sees another plane
    apart[:, :3] = 0
    assert [len(points) for points in consistent_points(apart, intrinsics, poses)] == [0] * VIEWS
    alone = list(consistent_points(apart, intrinsics, poses, views=1))
    assert [len(points) for points in alone] == [27 * 40] * VIEWS
    three = list(consistent_points(depth[:3], intrinsics[:3], poses[:3]))
    assert [len(points) for points in three] == [0] * 3


def test_a_pixel_without_depth_agrees_with_nothing_even_where_the_camera_stands_in_the_origin():
    depth = torch.zeros(5, 4, 4)
    poses = torch.eye(4).repeat(5, 1, 1)
    intrinsics = torch.tensor([[4.0, 0, 2], [0, 4, 2], [0, 0, 1]]).expand(5, 3, 3)
    assert [len(points) for points in consistent_points(depth, intrinsics, poses)] == [0] * 5


def test_backprojection_is_the_packages(assert_close):
    depth, intrinsics, poses = F2
    intrinsics, poses = intrinsics.double(), poses.double()
    expected = unproject_to_world(depth.double(), Cameras(poses, intrinsics))[depth > 0]
    assert_close(
        backproject(depth, intrinsics, poses), expected.float(), 1e-6, reason="an inverse of single precision, 500 away"
    )


def test_the_cap_draws_as_the_published_evaluator_does():
    points = np.arange(60.0).reshape(20, 3)
    assert (cap_points(points, 6)[:, 0] / 3).tolist() == [11, 12, 8, 17, 7, 1]
    assert cap_points(points, 20) is points
