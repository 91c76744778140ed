import math

import pytest
import torch

from anyview.geometry.alignment import Similarity
from anyview.geometry.camera import unproject_to_world
from anyview.geometry.rays import cameras_from_rays, rays_from_cameras, transform_rays
from anyview.types import Cameras

HEIGHT, WIDTH = 336, 504
ROWS, COLUMNS = 24, 36


def noise_like(tensor: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return torch.randn(tensor.shape, generator=torch.Generator().manual_seed(seed), dtype=tensor.dtype)


def confidence_of(rays: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return 1 + torch.rand(rays.shape[:-1], generator=generator, dtype=rays.dtype)


def solve(rays: torch.Tensor, confidence: torch.Tensor | None = None, seed: int | None = None) -> Cameras:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return cameras_from_rays(rays, confidence_of(rays) if confidence is None else confidence, HEIGHT, WIDTH, generator)


def degrees_between(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    chord = (one[..., :3, :3] - other[..., :3, :3]).flatten(-2).norm(dim=-1)
    return torch.rad2deg(2 * torch.arcsin(chord / math.sqrt(8)))


def test_rays_by_hand(assert_close):
    turned = torch.tensor([[0.0, 0, -1, 0], [0, 1, 0, 0], [1, 0, 0, -2], [0, 0, 0, 1]])  # at (2, 0, 0), looks along x
    cameras = Cameras(turned, torch.tensor([[2.0, 0, 2], [0, 4, 2], [0, 0, 1]]))
    rays = rays_from_cameras(cameras, rows=2, columns=4, height=4, width=4)
    assert rays.shape == (2, 4, 6)
    assert_close(rays[0, 0], torch.tensor([1, -0.25, 0.75, 2, 0, 0]))  # pixel (0.5, 1)
    assert_close(rays[1, 3], torch.tensor([1, 0.25, -0.75, 2, 0, 0]))  # pixel (3.5, 3)


@pytest.mark.parametrize("batch", [(), (2,), (3, 1, 2)])
def test_depth_times_direction_plus_origin_is_the_point(batch, random_cameras, assert_close):
    cameras = random_cameras(*batch)
    depth = 1 + noise_like(torch.empty(*batch, 6, 8, dtype=torch.float64)).abs()
    direction, origin = rays_from_cameras(cameras, 6, 8, 6, 8).split(3, -1)
    assert_close(origin + depth[..., None] * direction, unproject_to_world(depth, cameras))


@pytest.mark.parametrize("batch", [(), (2,), (3, 1, 2)])
def test_exact_rays_give_back_any_camera(batch, random_cameras, assert_close):
    cameras = random_cameras(*batch, dtype=torch.float32)
    solved = solve(rays_from_cameras(cameras, ROWS, COLUMNS, HEIGHT, WIDTH))
    assert solved.world_to_camera.dtype == torch.float32
    assert_close(solved.world_to_camera, cameras.world_to_camera)
    assert_close(solved.intrinsics, cameras.intrinsics)


@pytest.mark.parametrize("degrees", [1, 5, 60, 120, 170])
def test_exact_rays_of_any_field_of_view(degrees, random_cameras):
    cameras = random_cameras(2, dtype=torch.float32)
    focal_length = WIDTH / 2 / math.tan(math.radians(degrees / 2))
    cameras.intrinsics[:, 0, 0] = focal_length
    cameras.intrinsics[:, 1, 1] = 1.3 * focal_length
    solved = solve(rays_from_cameras(cameras, ROWS, COLUMNS, HEIGHT, WIDTH))
    assert degrees_between(solved.world_to_camera, cameras.world_to_camera).max() < math.degrees(1e-4)
    assert (solved.intrinsics / cameras.intrinsics)[:, [0, 1], [0, 1]].allclose(torch.ones(2, 2), atol=1e-4)
    assert (solved.intrinsics - cameras.intrinsics)[:, :2, 2].abs().max() < 1e-4 * focal_length


def test_scale_of_directions_and_skew_do_not_matter(random_cameras, assert_close):
    cameras = random_cameras(2)
    rays = rays_from_cameras(cameras, ROWS, COLUMNS, HEIGHT, WIDTH)
    stretched = torch.cat([rays[..., :3] * (1 + noise_like(rays[..., :1]).abs()), rays[..., 3:]], -1)
    assert_close(solve(stretched).intrinsics, cameras.intrinsics)
    cameras.intrinsics[:, 0, 1] = 3
    solved = solve(rays_from_cameras(cameras, ROWS, COLUMNS, HEIGHT, WIDTH))
    assert (solved.intrinsics[:, 0, 1] == 0).all()
    assert_close(solved.world_to_camera, cameras.world_to_camera)


def test_noise_averages_out(random_cameras):
    cameras = random_cameras(4)
    rays = rays_from_cameras(cameras, 48, 72, HEIGHT, WIDTH)
    solved = solve(rays + 0.01 * noise_like(rays))
    assert degrees_between(solved.world_to_camera, cameras.world_to_camera).max() < 0.3
    assert (solved.intrinsics - cameras.intrinsics).abs().max() < 3


def test_outliers_are_left_out(random_cameras):
    cameras = random_cameras(4)
    rays = rays_from_cameras(cameras, 48, 72, HEIGHT, WIDTH)
    wrong = torch.rand(rays.shape[:-1], generator=torch.Generator().manual_seed(1)) < 0.3
    rays = torch.where(wrong[..., None], 3 * noise_like(rays), rays + 0.005 * noise_like(rays, seed=2))
    solved = solve(rays)
    assert degrees_between(solved.world_to_camera, cameras.world_to_camera).max() < 0.5
    assert (solved.intrinsics - cameras.intrinsics).abs().max() < 5


def test_confidence_counts(random_cameras):
    """A third of the picture shows another camera; whichever is surer is found."""
    one, other = random_cameras(seed=1), random_cameras(seed=2)
    split = (torch.arange(COLUMNS) < COLUMNS // 3)[None, :].expand(ROWS, COLUMNS)
    rays = torch.where(
        split[..., None],
        rays_from_cameras(one, ROWS, COLUMNS, HEIGHT, WIDTH),
        rays_from_cameras(other, ROWS, COLUMNS, HEIGHT, WIDTH),
    )
    surely_one = solve(rays, torch.where(split, 100.0, 1.0).double())
    surely_other = solve(rays, torch.where(split, 1.0, 100.0).double())
    assert degrees_between(surely_one.world_to_camera, one.world_to_camera) < 1
    assert degrees_between(surely_other.world_to_camera, other.world_to_camera) < 1


def test_the_world_frame_does_not_matter(random_cameras, random_rotations, assert_close):
    """Noisy rays, turned and scaled, give the camera turned and scaled."""
    rays = rays_from_cameras(random_cameras(3), ROWS, COLUMNS, HEIGHT, WIDTH)
    rays = rays + 0.02 * noise_like(rays)
    frame = Similarity(
        torch.tensor(2.5, dtype=torch.float64), random_rotations(), torch.tensor([1.0, -2, 3], dtype=torch.float64)
    )
    moved, expected = solve(transform_rays(rays, frame)), solve(rays)
    assert_close(moved.world_to_camera, frame.apply_to_poses(expected.world_to_camera))
    assert_close(moved.intrinsics, expected.intrinsics)


def test_views_do_not_depend_on_each_other(random_cameras):
    rays = rays_from_cameras(random_cameras(3, dtype=torch.float32), ROWS, COLUMNS, HEIGHT, WIDTH)
    rays = rays + 0.02 * noise_like(rays)
    together = solve(rays)
    for view in range(3):
        alone = solve(rays[view], confidence_of(rays)[view])
        assert torch.equal(alone.world_to_camera, together.world_to_camera[view])
        assert torch.equal(alone.intrinsics, together.intrinsics[view])


def test_the_seed_decides(random_cameras):
    rays = rays_from_cameras(random_cameras(2), ROWS, COLUMNS, HEIGHT, WIDTH)
    wrong = torch.rand(rays.shape[:-1], generator=torch.Generator().manual_seed(1)) < 0.4
    rays = torch.where(wrong[..., None], noise_like(rays), rays + 0.1 * noise_like(rays, seed=2))
    assert torch.equal(solve(rays).world_to_camera, solve(rays).world_to_camera)
    assert torch.equal(solve(rays, seed=7).world_to_camera, solve(rays, seed=7).world_to_camera)
    assert not torch.equal(solve(rays, seed=7).world_to_camera, solve(rays, seed=8).world_to_camera)


def test_neither_input_nor_global_randomness_is_touched(random_cameras):
    rays = rays_from_cameras(random_cameras(2), ROWS, COLUMNS, HEIGHT, WIDTH)
    rays[0, 0, 0] = torch.nan
    confidence = confidence_of(rays)
    rays_before, confidence_before, state = rays.clone(), confidence.clone(), torch.get_rng_state()
    solve(rays, confidence)
    assert torch.equal(rays.nan_to_num(), rays_before.nan_to_num())
    assert torch.equal(confidence, confidence_before)
    assert torch.equal(torch.get_rng_state(), state)


def test_invalid_rays_are_ignored(random_cameras, assert_close):
    cameras = random_cameras(2)
    rays, confidence = rays_from_cameras(cameras, ROWS, COLUMNS, HEIGHT, WIDTH), torch.ones(2, ROWS, COLUMNS)
    rays[0, ::3] = torch.nan
    rays[0, 1::3, :, :3] = 0
    rays[1, ::2, :, 3] = torch.inf
    confidence[1, 1, :5] = torch.nan
    confidence[1, 3, :5] = -1
    solved = solve(rays, confidence)
    assert_close(solved.world_to_camera, cameras.world_to_camera)
    assert_close(solved.intrinsics, cameras.intrinsics)


def test_views_that_determine_no_camera_are_nan_and_others_are_not(random_cameras, assert_close):
    cameras = random_cameras(5, dtype=torch.float32)
    rays = rays_from_cameras(cameras, ROWS, COLUMNS, HEIGHT, WIDTH)
    rays[0, ..., :3] = 0
    rays[1] = torch.nan
    rays[2, ..., :3] = rays[2, :1, :1, :3]  # all parallel
    rays[3, 1:] = torch.nan  # one row of the picture
    solved = solve(rays)
    assert solved.world_to_camera[:4].isnan().all()
    assert solved.intrinsics[:4].isnan().all()
    assert_close(solved.world_to_camera[4], cameras.world_to_camera[4])


def test_too_few_rays_are_refused(random_cameras):
    rays = rays_from_cameras(random_cameras(), 1, 7, HEIGHT, WIDTH)
    with pytest.raises(ValueError, match="at least 8 rays per view, got 1 x 7"):
        solve(rays)


def test_the_least_number_of_rays_is_enough(random_cameras, assert_close):
    cameras = random_cameras()
    assert_close(solve(rays_from_cameras(cameras, 2, 4, HEIGHT, WIDTH)).world_to_camera, cameras.world_to_camera)


def test_transformed_rays_are_those_of_transformed_cameras(random_cameras, random_rotations, assert_close):
    cameras = random_cameras(2)
    frame = Similarity(
        torch.tensor(0.3, dtype=torch.float64), random_rotations(), torch.tensor([1.0, -2, 3], dtype=torch.float64)
    )
    moved = Cameras(frame.apply_to_poses(cameras.world_to_camera), cameras.intrinsics)
    assert_close(
        transform_rays(rays_from_cameras(cameras, 4, 6, HEIGHT, WIDTH), frame),
        rays_from_cameras(moved, 4, 6, HEIGHT, WIDTH),
    )
