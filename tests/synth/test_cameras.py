import math
from random import Random

import pytest
import torch

from anyview.geometry.camera import field_of_view
from anyview.geometry.pose import camera_centers
from anyview.synth.cameras import FIELD_OF_VIEW, LEAST_CLEARANCE, RIGS, look_at, overlap, place_cameras, propose, sees
from anyview.synth.raytrace import clearance
from anyview.synth.renderer import render
from anyview.synth.rooms import room
from anyview.synth.world import World, stack_layouts
from anyview.types import Cameras


@pytest.fixture(scope="module")
def rooms() -> World:
    return stack_layouts([room(Random(seed)) for seed in range(4)])


SEEDS = torch.tensor([3, 1, 4, 159], dtype=torch.int32)


def test_look_at_points_the_axes():
    pose = look_at(torch.tensor([0.0, -2.0, 1.0]), torch.tensor([0.0, 5.0, 1.0]), torch.tensor(0.0))
    expected = torch.tensor([[1.0, 0, 0, 0], [0, 0, -1, 1], [0, 1, 0, 2], [0, 0, 0, 1]])
    torch.testing.assert_close(pose, expected)
    rolled = look_at(torch.tensor([0.0, -2.0, 1.0]), torch.tensor([0.0, 5.0, 1.0]), torch.tensor(math.pi / 2))
    torch.testing.assert_close(rolled[0, :3], torch.tensor([0.0, 0, -1]), atol=1e-6, rtol=0)


def test_rigs_differ_and_lenses_are_plausible(rooms):
    spans = []
    for rig in range(len(RIGS)):
        cameras = propose(rooms, torch.full((4,), rig), SEEDS, 5, 6, 120, 160, 1.0)
        assert cameras.world_to_camera.shape == (4, 5, 6, 4, 4)
        rotation = cameras.world_to_camera[..., :3, :3]
        torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand_as(rotation), atol=1e-6, rtol=0)
        assert (torch.linalg.det(rotation) > 0).all()
        angle = torch.rad2deg(field_of_view(cameras.intrinsics, 120, 160)[..., 1])
        assert angle.min() >= FIELD_OF_VIEW[0]
        assert angle.max() <= FIELD_OF_VIEW[1]
        center = cameras.intrinsics[..., :2, 2] / torch.tensor([160.0, 120.0])
        assert 0 < (center - 0.5).abs().max() < 0.04
        spans.append(camera_centers(cameras.world_to_camera).std(-2).norm(dim=-1).mean().item())
    orbit, walk, handheld, wide = spans
    assert handheld < 0.3 * min(orbit, walk, wide)


def test_less_spread_brings_the_views_together(rooms):
    for rig in range(len(RIGS)):
        wide, narrow = (
            camera_centers(propose(rooms, torch.full((4,), rig), SEEDS, 3, 4, 64, 64, spread).world_to_camera)
            .std(-2)
            .mean()
            for spread in (1.0, 0.2)
        )
        assert narrow < 0.5 * wide


def test_placed_cameras_are_free_and_overlap(rooms):
    rigs = torch.tensor([0, 1, 2, 3])
    cameras, placed = place_cameras(rooms, rigs, SEEDS, views=4, height=64, width=64, least_overlap=0.4)
    assert placed.all()
    assert clearance(rooms.solids, camera_centers(cameras.world_to_camera)).min() >= LEAST_CLEARANCE
    picture = render(rooms, cameras, 64, 64, shadows=False)
    assert picture.depth[picture.depth > 0].min() > 0.9 * LEAST_CLEARANCE * math.cos(math.radians(60))
    shares = overlap(sees(picture.depth, picture.normals, cameras), picture.depth > 0)
    assert shares.min() > 0.3  # the cameras were chosen on a coarser look


def test_scenes_without_a_place_for_cameras_are_named(rooms):
    rigs, size = torch.tensor([0, 1, 2, 3]), {"views": 4, "height": 64, "width": 64}
    cameras, placed = place_cameras(rooms, rigs, SEEDS, least_overlap=0.93, **size)
    assert 0 < placed.sum() < 4  # harder than some rooms bear
    alone = place_cameras(rooms.take([2]), rigs[2:3], SEEDS[2:3], least_overlap=0.93, **size)
    assert alone[1][0] == placed[2]
    assert torch.equal(alone[0].world_to_camera[0], cameras.world_to_camera[2])


def facing_wall(shift: float) -> tuple[torch.Tensor, Cameras]:
    """Pose and lens of a camera at (shift, 0, 0) that looks along z at a wall at depth 2, 90 degrees wide."""
    pose = torch.eye(4)
    pose[0, 3] = -shift
    return pose, torch.tensor([[4.0, 0, 4], [0, 4, 4], [0, 0, 1]])


def test_half_a_wall_is_seen_by_a_camera_half_a_picture_away():
    poses, lenses = zip(*(facing_wall(shift) for shift in (0.0, 2.0, 40.0)), strict=True)
    cameras = Cameras(torch.stack(poses), torch.stack(lenses))
    depth = torch.full((3, 8, 8), 2.0)
    normals = torch.tensor([0.0, 0, -1]).expand(3, 8, 8, 3)
    seen = sees(depth, normals, cameras)
    shares = seen.float().mean((-2, -1))
    torch.testing.assert_close(shares, torch.tensor([[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]]))
    assert seen[0, 1, :, 4:].all()
    torch.testing.assert_close(overlap(seen, depth > 0), torch.tensor([0.5, 0.5, 0.0]))
    hidden = torch.stack([depth[0], torch.full((8, 8), 1.0), depth[2]])
    assert not sees(hidden, normals, cameras)[0, 1].any()
    assert not sees(torch.zeros(3, 8, 8), normals, cameras).any()
