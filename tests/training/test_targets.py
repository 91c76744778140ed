"""Targets are the truth seen from the first camera in the scene's own unit; exact outputs lose nothing."""

from dataclasses import replace

import torch
from rooms import Rooms

from anyview.geometry.camera import unproject_to_world
from anyview.geometry.pose import decode_pose, matrix_from_quaternion_xyzw, rigid_transform
from anyview.training.step import Reading, compare
from anyview.training.targets import Targets, at_ray_grid, make_targets
from anyview.types import Cameras, TrueViews

HEIGHT, WIDTH = 42, 56


def exact(targets: Targets, confidence: float = 1.0) -> Reading:
    """What a perfect network says."""
    return Reading(
        targets.depth,
        torch.full_like(targets.depth, confidence),
        targets.rays,
        torch.full_like(targets.rays[..., 0], confidence),
        targets.encoding,
    )


def scene(scale: float = 1.0) -> TrueViews:
    return Rooms(scale=scale).batch((5, 6), 3, HEIGHT, WIDTH, 0.5)


def guess(targets: Targets) -> Reading:
    generator = torch.Generator().manual_seed(2)
    perfect = exact(targets, 1.5)
    return Reading(*(value + 0.1 * torch.rand(value.shape, generator=generator) for value in perfect[:5]))


def test_exact_outputs_are_at_the_minimum():
    targets = make_targets(scene())
    for name, term in compare(exact(targets), targets, 0.2).items():
        assert term.shape == (2,)
        assert term.abs().max() < 1e-6, name
    for name, term in compare(guess(targets), targets, 0.0).items():
        assert (term > 0.01).all(), name


def test_the_unit_is_the_mean_distance_from_the_first_camera(assert_close):
    truth = scene()
    targets = make_targets(truth)
    points = unproject_to_world(targets.depth, targets.cameras)
    assert_close(points.norm(dim=-1).flatten(1).mean(1), torch.ones(2))
    assert_close(targets.cameras.world_to_camera[:, 0], torch.eye(4).expand(2, 4, 4), 1e-6, reason="an inverse")
    # The same points, measured in the world of the truth.
    center = torch.linalg.inv(truth.cameras.world_to_camera[:, 0])[:, None, None, None, :3, 3]
    world = unproject_to_world(truth.depth, truth.cameras)
    assert_close((world - center).norm(dim=-1).flatten(1).mean(1), targets.unit)


def test_the_scale_and_frame_of_the_world_do_not_matter(assert_close):
    truth = scene()
    turn = matrix_from_quaternion_xyzw(torch.tensor([0.1, 0.2, -0.3, 0.9]))
    move = rigid_transform(turn, torch.tensor([3.0, -1.0, 2.0]))
    moved = replace(truth, cameras=Cameras(truth.cameras.world_to_camera @ move, truth.cameras.intrinsics))
    targets = make_targets(truth)
    expected = compare(guess(targets), targets, 0.2)
    for other in (scene(1000.0), scene(1e-3), moved):
        actual = compare(guess(targets), make_targets(other), 0.2)
        for name, term in expected.items():
            assert_close(actual[name], term, 1e-4, reason="float32 poses before they are compared")


def test_pixels_without_depth_do_not_count(assert_close):
    truth = scene()
    depth = truth.depth.clone()
    depth[:, :, :20] = torch.tensor([0.0, torch.nan, torch.inf, -1.0]).repeat(5)[:, None]
    targets = make_targets(replace(truth, depth=depth))
    assert not targets.valid[:, :, :20].any()
    assert targets.valid[:, :, 20:].all()
    assert not targets.valid_points[:, :, :11].any()  # row 11 reaches from 19.25 to 21
    assert targets.valid_points[:, :, 12:].all()
    wrong = exact(targets)
    wrong.depth[:, :, :19] = 9.0
    for name, term in compare(wrong, targets, 0.2).items():
        assert term.abs().max() < 1e-6, name


def test_a_scene_without_depth_has_no_targets():
    truth = scene()
    depth = truth.depth.clone()
    depth[1] = 0
    targets = make_targets(replace(truth, depth=depth))
    terms = compare(exact(targets), targets, 0.2)
    assert all(term[0].isfinite() for term in terms.values())
    assert terms["camera"][1].isnan()


def test_points_lie_where_depth_and_rays_lead(assert_close):
    targets = make_targets(scene())
    rows, columns = targets.rays.shape[2:4]
    assert (rows, columns) == (HEIGHT * 8 // 14, WIDTH * 8 // 14)
    # A point of the ray grid projects to the centre of its cell.
    camera = decode_pose(targets.encoding, HEIGHT, WIDTH)
    point = targets.points[1, 2, 7, 9]
    local = camera.world_to_camera[1, 2, :3, :3] @ point + camera.world_to_camera[1, 2, :3, 3]
    pixel = camera.intrinsics[1, 2] @ local / local[2]
    assert_close(pixel[:2], torch.tensor([9.5 * 1.75, 7.5 * 1.75]), 1e-4, reason="a projection in float32")


def test_resampling_interpolates_between_pixel_centres(assert_close):
    ramp = (torch.arange(28) + 0.5).expand(1, 1, 14, 28)
    assert_close(at_ray_grid(ramp, 8, 16)[0, 0, 3, 1:-1], (torch.arange(1, 15) + 0.5) * 1.75)
