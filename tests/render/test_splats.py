"""Projection of Gaussians, beside numbers by hand, the projection of points, and gsplat."""

import dataclasses

import pytest
import torch

from anyview.geometry.camera import project
from anyview.geometry.gaussians import covariances, select_gaussians
from anyview.geometry.pose import camera_centers
from anyview.render.paths import find_focus
from anyview.render.rasterize import rasterize
from anyview.render.splats import BLUR, NEAR, perspective_jacobian, splat
from anyview.types import Cameras, Gaussians

HEIGHT, WIDTH = 40, 56
CAMERA = Cameras(torch.eye(4), torch.tensor([[50.0, 0, 30], [0, 60, 18], [0, 0, 1]]))


def ball(*center: float, size: float = 0.1, opacity: float = 0.8, harmonics: tuple[float, ...] = (0.0,)) -> Gaussians:
    return Gaussians(
        torch.tensor([center]).float(),
        torch.full((1, 3), size),
        torch.tensor([[1.0, 0, 0, 0]]),
        torch.tensor(harmonics).expand(1, 3, -1),
        torch.tensor([opacity]),
    )


def test_a_ball_on_the_axis_by_hand(assert_close):
    seen = splat(ball(0, 0, 2), CAMERA, HEIGHT, WIDTH)
    assert_close(seen.centers, torch.tensor([[30.0, 18]]))
    assert_close(seen.depths, torch.tensor([2.0]))
    assert_close(seen.covariances, torch.tensor([[[2.5**2 + BLUR, 0], [0, 3.0**2 + BLUR]]]))
    assert_close(seen.colors, torch.full((1, 3), 0.5))
    # At the edge of its reach it is as faint as one level of 255: 0.8 exp(−reach² / 2 variance) = 1/255.
    variance = seen.covariances[0, 0, 0]
    assert_close(0.8 * torch.exp(-(seen.reach()[0, 0] ** 2) / (2 * variance)), torch.tensor(1 / 255))


def test_a_flat_gaussian_seen_edge_on_is_a_line(assert_close):
    edge = dataclasses.replace(ball(0, 0, 2), scales=torch.tensor([[0.1, 0.0, 0.1]]))
    assert_close(splat(edge, CAMERA, HEIGHT, WIDTH).covariances[0, 1, 1], torch.tensor(BLUR))
    turned = dataclasses.replace(edge, quaternions_wxyz=torch.tensor([[0.5, 0, 0, 0.5]]) * 2)  # by 90° around z
    assert_close(splat(turned, CAMERA, HEIGHT, WIDTH).covariances[0, 0, 0], torch.tensor(BLUR))


def test_colour_depends_on_the_direction_from_camera_to_gaussian(assert_close):
    straight = splat(ball(0, 0, 2, harmonics=(0, 0, 1.0, 0)), CAMERA, HEIGHT, WIDTH)
    assert_close(straight.colors, torch.full((1, 3), 0.5 + 0.4886025))
    behind = dataclasses.replace(ball(0, 0, 2, harmonics=(0, 0, -2.0, 0)))
    assert_close(splat(behind, CAMERA, HEIGHT, WIDTH).colors, torch.zeros(1, 3))


@pytest.mark.parametrize(
    "gaussian",
    [
        ball(0, 0, -2),
        ball(0, 0, NEAR / 2),
        ball(0, 0, 2, opacity=0.003),
        ball(9, 0, 2),
        ball(0, -9, 2),
        ball(float("nan"), 0, 2),
    ],
    ids=["behind", "too near", "too faint", "right", "above", "nowhere"],
)
def test_what_leaves_no_trace_is_left_out(gaussian):
    assert len(splat(gaussian, CAMERA, HEIGHT, WIDTH).depths) == 0


def test_a_scene_in_kilometres_is_drawn(random_gaussians, random_views, assert_close):
    gaussians, cameras = random_gaussians(50), random_views(1, HEIGHT, WIDTH)
    small = dataclasses.replace(gaussians, means=1e-3 * gaussians.means, scales=1e-3 * gaussians.scales)
    poses = cameras.world_to_camera.clone()
    poses[..., :3, 3] *= 1e-3
    near = Cameras(poses, cameras.intrinsics)
    expected = rasterize(gaussians, cameras, HEIGHT, WIDTH)
    assert expected.alpha.max() > 0.5
    assert_close(rasterize(small, near, HEIGHT, WIDTH, near=1e-3 * NEAR).color, expected.color)
    assert rasterize(small, near, HEIGHT, WIDTH).alpha.max() == 0
    focus, focus_small = find_focus(cameras, gaussians.means), find_focus(near, small.means)
    assert focus.near == pytest.approx(1e-3 * focus.distance)
    assert_close(rasterize(small, near, HEIGHT, WIDTH, near=focus_small.near).color, expected.color)


def test_splats_come_nearest_first_and_in_order_at_equal_depth():
    depths = [3.0, 1, 2, 1]
    many = [ball(0.01 * index, 0, depth) for index, depth in enumerate(depths)]
    gaussians = Gaussians(
        **{f.name: torch.cat([getattr(g, f.name) for g in many]) for f in dataclasses.fields(Gaussians)}
    )
    seen = splat(gaussians, CAMERA, HEIGHT, WIDTH)
    assert seen.depths.tolist() == [1, 1, 2, 3]
    assert seen.centers[:2, 0].tolist() == pytest.approx([30.5, 31.5])


def test_the_jacobian_is_that_of_the_projection(random_gaussians, random_views, assert_close):
    camera = random_views(1, HEIGHT, WIDTH)[0]
    in_camera = Cameras(torch.eye(4, dtype=torch.float64), camera.intrinsics)
    points = torch.tensor([[0.1, -0.2, 2.0], [-0.3, 0.4, 1.5], [0.6, 0.1, 3.0]], dtype=torch.float64)
    expected = torch.stack(
        [torch.autograd.functional.jacobian(lambda p: project(p[None], in_camera)[0][0], point) for point in points]
    )
    assert_close(perspective_jacobian(points, camera.intrinsics, HEIGHT, WIDTH), expected)


def test_far_outside_the_picture_perspective_is_that_of_its_margin(assert_close):
    points = torch.tensor([[50.0, 0, 2], [1e4, 0, 2]])
    jacobians = perspective_jacobian(points, CAMERA.intrinsics, HEIGHT, WIDTH)
    assert_close(jacobians[0], jacobians[1])
    assert_close(jacobians[0, 0, 2], torch.tensor(-(WIDTH - 30 + 0.3 * WIDTH / 2) / 2))


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_equal_to_the_functions_of_gsplat(degree, random_gaussians, random_views, assert_close):
    reference = pytest.importorskip("gsplat.cuda._torch_impl")
    gaussians = random_gaussians(200, degree)
    cameras = random_views(1, HEIGHT, WIDTH)
    cameras.intrinsics[:, 0, 1] = 0  # gsplat knows no skew
    gaussians = dataclasses.replace(gaussians, opacities=torch.ones(200, dtype=torch.float64))
    spread, _ = reference._quat_scale_to_covar_preci(
        torch.nn.functional.normalize(gaussians.quaternions_wxyz, dim=-1), gaussians.scales, compute_preci=False
    )
    assert_close(covariances(gaussians), spread)
    radii, centers, depths, inverses, _ = reference._fully_fused_projection(
        gaussians.means, spread, cameras.world_to_camera, cameras.intrinsics, WIDTH, HEIGHT
    )
    directions = gaussians.means - camera_centers(cameras.world_to_camera)
    colors = reference._spherical_harmonics(degree, directions, gaussians.harmonics.mT)
    ours = splat(gaussians, cameras[0], HEIGHT, WIDTH)
    inside = (radii[0] > 0).all(-1).nonzero()[:, 0]
    order = inside[depths[0, inside].argsort(stable=True)]
    # gsplat rounds reaches up to whole pixels, so it may keep a few that leave no trace.
    order = order[torch.isin(depths[0, order], ours.depths)]
    assert len(order) == len(ours.depths) > 50
    assert_close(ours.centers, centers[0, order])
    xx, xy, yy = inverses[0, order].unbind(-1)
    assert_close(torch.linalg.inv(ours.covariances), torch.stack([xx, xy, xy, yy], -1).view(-1, 2, 2))
    assert_close(ours.colors, (colors[order] + 0.5).clamp(min=0), 1e-7, reason="gsplat's constants have eight digits")


def test_some_of_many(random_gaussians):
    gaussians = random_gaussians(5)
    chosen = select_gaussians(gaussians, torch.tensor([4, 1]))
    assert torch.equal(chosen.means, gaussians.means[[4, 1]])
    masked = select_gaussians(gaussians, torch.tensor([False, True, False, False, True]))
    assert torch.equal(masked.harmonics, gaussians.harmonics[[1, 4]])
