import math

import pytest
import torch

from anyview.geometry.camera import (
    field_of_view,
    focal_lengths,
    intrinsics_from_field_of_view,
    pixel_centers,
    place_intrinsics,
    project,
    unplace_intrinsics,
    unproject,
    unproject_pixels,
    unproject_to_world,
)
from anyview.types import Cameras, Placement

BATCHES = [(), (2,), (3, 1, 2)]


def test_field_of_view_of_a_right_angle(assert_close):
    intrinsics = torch.tensor([[50.0, 0, 50], [0, 40, 30], [0, 0, 1]], dtype=torch.float64)
    assert_close(
        field_of_view(intrinsics, height=80, width=100), torch.tensor([math.pi / 2, math.pi / 2], dtype=torch.float64)
    )
    assert focal_lengths(intrinsics).tolist() == [50, 40]


@pytest.mark.parametrize("batch", BATCHES)
def test_field_of_view_round_trip(batch, assert_close):
    angles = 0.1 + 2.5 * torch.rand(*batch, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    intrinsics = intrinsics_from_field_of_view(angles, height=70, width=98)
    assert intrinsics.shape == (*batch, 3, 3)
    assert_close(intrinsics[..., :2, 2], torch.tensor([49.0, 35.0], dtype=torch.float64).expand(*batch, 2))
    assert_close(field_of_view(intrinsics, height=70, width=98), angles)


def test_no_field_of_view_gives_a_finite_focal_length():
    intrinsics = intrinsics_from_field_of_view(torch.zeros(2), height=70, width=98)
    assert focal_lengths(intrinsics).tolist() == pytest.approx([49e6, 35e6])


def test_pixel_centers_are_at_half_integers():
    expected = [[[0.5, 0.5], [1.5, 0.5], [2.5, 0.5]], [[0.5, 1.5], [1.5, 1.5], [2.5, 1.5]]]
    assert pixel_centers(2, 3).tolist() == expected
    assert pixel_centers(2, 3, "meta", torch.float64).dtype == torch.float64


def test_unproject_by_hand():
    intrinsics = torch.tensor([[2.0, 0, 1], [0, 4, 1], [0, 0, 1]])
    depth = torch.tensor([[1.0, 2.0], [4.0, 8.0]])
    points = unproject(depth, intrinsics)
    assert points[0, 0].tolist() == [-0.25, -0.125, 1]
    assert points[1, 1].tolist() == [2, 1, 8]


def test_unproject_is_exact_with_skew(assert_close):
    intrinsics = torch.tensor([[300.0, 7, 160], [0, 280, 110], [0, 0, 1]], dtype=torch.float64)
    pixels = 200 * torch.rand(20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points = unproject_pixels(pixels, intrinsics)
    expected = torch.linalg.solve(intrinsics, torch.cat([pixels, torch.ones(20, 1)], -1).mT).mT
    assert_close(points, expected)


@pytest.mark.parametrize("batch", BATCHES)
def test_project_undoes_unproject(batch, random_cameras, assert_close):
    cameras = random_cameras(*batch)
    cameras.intrinsics[..., 0, 1] = 5
    depth = 1 + torch.rand(*batch, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points = unproject_to_world(depth, cameras)
    assert points.shape == (*batch, 4, 6, 3)
    pixels, projected_depth = project(points.flatten(-3, -2), cameras)
    centers = pixel_centers(4, 6, dtype=torch.float64).flatten(0, 1)
    assert_close(pixels, centers.expand(*batch, 24, 2))
    assert_close(projected_depth, depth.flatten(-2))


def test_one_set_of_points_is_projected_into_all_views(random_cameras):
    cameras = random_cameras(3)
    points = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pixels, depth = project(points, cameras)
    assert pixels.shape == (3, 5, 2)
    alone, depth_alone = project(points, cameras[1])
    assert torch.equal(pixels[1], alone)
    assert torch.equal(depth[1], depth_alone)


def test_points_behind_the_camera_have_negative_depth():
    cameras = Cameras(torch.eye(4), torch.eye(3))
    _, depth = project(torch.tensor([[0.0, 0, -2], [0, 0, 3]]), cameras)
    assert depth.tolist() == [-2, 3]


def test_intrinsics_follow_resize_and_crop():
    intrinsics = torch.tensor([[[400.0, 0, 320], [0, 410, 240], [0, 0, 1]]] * 2)
    placements = [
        Placement(input_height=480, input_width=640, scale_x=0.5, scale_y=0.25),
        Placement(input_height=480, input_width=640, offset_x=-10.0, offset_y=-20.0),
    ]
    placed = place_intrinsics(intrinsics, placements)
    assert placed[0].tolist() == [[200, 0, 160], [0, 102.5, 60], [0, 0, 1]]
    assert placed[1].tolist() == [[400, 0, 310], [0, 410, 220], [0, 0, 1]]


def test_a_point_is_seen_at_the_placed_pixel(random_cameras, assert_close):
    cameras = random_cameras(1)
    placement = Placement(336, 504, scale_x=0.6, scale_y=0.7, offset_x=-3.0, offset_y=4.0)
    points = torch.randn(1, 9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    before, _ = project(points, cameras)
    after, _ = project(points, Cameras(cameras.world_to_camera, place_intrinsics(cameras.intrinsics, [placement])))
    scale, offset = torch.tensor([0.6, 0.7], dtype=torch.float64), torch.tensor([-3.0, 4.0], dtype=torch.float64)
    assert_close(after, before * scale + offset)


@pytest.mark.parametrize("batch", BATCHES)
def test_unplace_undoes_place(batch, random_cameras, assert_close):
    intrinsics = random_cameras(*batch, 2).intrinsics
    placements = [Placement(100, 200, 0.3, 0.4, -7.0, 3.0), Placement(50, 60, 2.0, 1.5, 0.0, -1.0)]
    assert_close(unplace_intrinsics(place_intrinsics(intrinsics, placements), placements), intrinsics)


def test_a_placement_per_view_is_needed(random_cameras):
    with pytest.raises(ValueError, match="one placement per view, got 1 for 2 views"):
        place_intrinsics(random_cameras(2).intrinsics, [Placement(10, 10)])
