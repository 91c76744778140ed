"""The baselines of view synthesis, on cameras in a row before a wall."""

import pytest
import torch

from anyview.bench.baselines import nearest_views, warp_by_depth
from anyview.bench.sampling import view_distances
from anyview.geometry.pose import matrix_from_quaternion_xyzw, rigid_transform
from anyview.types import Cameras

INTRINSICS = torch.tensor([[10.0, 0, 6], [0, 10, 4], [0, 0, 1]])


def in_a_row(*x: float) -> Cameras:
    """Cameras that look along +z from (x, 0, 0)."""
    poses = torch.eye(4).repeat(len(x), 1, 1)
    poses[:, 0, 3] = -torch.tensor(x)
    return Cameras(poses, INTRINSICS.repeat(len(x), 1, 1))


def test_distances_join_place_and_direction():
    turned = rigid_transform(matrix_from_quaternion_xyzw(torch.tensor([[0, 1.0, 0, 1]])), torch.zeros(1, 3))
    poses = torch.cat([in_a_row(0, 3, 1).world_to_camera, turned])
    distances = view_distances(poses, poses)
    assert distances[0].tolist() == pytest.approx([0, 1, 1 / 3, 0.5], abs=1e-3)
    assert distances[1, 3].item() == pytest.approx(1.5, abs=1e-3)


def test_the_nearest_view_is_copied():
    images = torch.arange(3, dtype=torch.uint8)[:, None, None, None].expand(3, 2, 2, 3)
    answers = nearest_views(images, in_a_row(0, 1, 5), in_a_row(4, 0.4, 0.6))
    assert answers[:, 0, 0, 0].tolist() == [2, 0, 1]


def test_a_wall_is_moved_by_its_disparity():
    """At depth 2 with focal length 10, half a unit to the right is 2.5 pixels to the left."""
    image = torch.zeros(1, 8, 12, 3, dtype=torch.uint8)
    image[:, :, 6:] = 200
    depth = torch.full((1, 8, 12), 2.0)
    (same,) = warp_by_depth(image, depth, in_a_row(0), in_a_row(0))
    assert torch.equal(same, image[0])
    (moved,) = warp_by_depth(image, depth, in_a_row(0), in_a_row(0.5))
    assert moved[3, :, 0].tolist() == [0, 0, 0, 100, 200, 200, 200, 200, 200, 200, 200, 200]


def test_what_is_nearer_hides_and_holes_are_filled():
    image = torch.full((1, 8, 12, 3), 50, dtype=torch.uint8)
    depth = torch.full((1, 8, 12), 4.0)
    image[:, :, 4:8], depth[:, :, 4:8] = 250, 2.0  # a pillar before a wall
    (moved,) = warp_by_depth(image, depth, in_a_row(0), in_a_row(0.8))  # the wall moves by 2, the pillar by 4
    row = moved[3, :, 0]
    assert row[:4].tolist() == [250] * 4
    assert row[6:10].tolist() == [50] * 4
    assert (row[4:6] > 50).any()  # what the pillar hid takes colours from both sides
    assert (row[10:] == 50).all()  # nor was this seen


def test_masked_pixels_are_not_drawn_and_nothing_is_black():
    image = torch.full((1, 8, 12, 3), 50, dtype=torch.uint8)
    nothing = torch.zeros(1, 8, 12, dtype=torch.bool)
    assert not warp_by_depth(image, torch.ones(1, 8, 12), in_a_row(0), in_a_row(0), nothing).any()
