import numpy as np
import pytest
import torch

from anyview.images.preprocess import prepare_views
from anyview.images.restore import (
    restore_depth,
    restore_linear,
    restore_mask,
    restored_placements,
    stack_pictures,
)
from anyview.types import Picture, Placement


def uniform_picture(height: int, width: int) -> Picture:
    return Picture(np.full((height, width, 3), 90, np.uint8), "uniform")


def plane_depth(height: int, width: int, scale: tuple[float, float], offset: tuple[float, float]) -> torch.Tensor:
    """Depth, 1 to 4, of a slanted plane at the pixel centres of a view of a 200x300 picture."""
    y = (torch.arange(height) + 0.5 - offset[0]) / scale[0]
    x = (torch.arange(width) + 0.5 - offset[1]) / scale[1]
    return 1 / (0.25 + 0.5 * y[:, None] / 200 + 0.25 * x / 300)


@pytest.mark.parametrize("resize", ["upper_bound_resize", "upper_bound_crop", "lower_bound_resize", "lower_bound_crop"])
@pytest.mark.parametrize("resolution", [56, 98, 420])
def test_plane_comes_back_as_a_plane(resize, resolution, assert_close):
    pictures = [uniform_picture(200, 300)]
    views = prepare_views(pictures, resolution=resolution, resize=resize)
    (placement,) = views.placements
    scale, offset = (placement.scale_y, placement.scale_x), (placement.offset_y, placement.offset_x)
    depth = plane_depth(*views.images.shape[1:3], scale, offset)
    mask = restore_mask(views)
    restored = restore_depth(depth[None], views, pictures)
    expected = plane_depth(200, 300, (1, 1), (0, 0))[None] * mask
    assert mask.float().mean() > 0.7
    assert_close(restored, expected, 1e-4, reason="float32 of inverse depths, extrapolated at the border")


def test_steep_plane_is_no_discontinuity():
    pictures = [uniform_picture(160, 160)]
    views = prepare_views(pictures, resolution=56)
    rows = torch.arange(160) + 0.5
    small = (torch.arange(56) + 0.5) * 160 / 56
    floor = (1 / (small + 10))[:, None].expand(56, 56)  # neighbours differ by up to a fifth
    restored = restore_depth(floor[None], views, pictures)[0]
    relative = restored * (rows + 10)[:, None] - 1
    assert relative[4:].abs().max() < 1e-4


@pytest.mark.parametrize("resolution", [70, 420])
def test_step_stays_a_step_where_the_colours_change(resolution):
    """A near square before a far wall, placed off the grid, so that neighbours straddle its border."""
    pixels = np.full((203, 301, 3), 200, np.uint8)
    pixels[67:141, 91:222] = 30
    truth = torch.full((203, 301), 5.0)
    truth[67:141, 91:222] = 1.0
    picture = Picture(pixels, "square")
    views = prepare_views([picture], resolution=resolution)
    depth = torch.where(views.images[0, ..., 0] > 115, 5.0, 1.0)
    restored = restore_depth(depth[None], views, [picture])[0]
    # away from the view's own pixels that mix both colours, the border follows the picture, not the coarse grid
    assert sorted(restored.unique().tolist()) == pytest.approx([1.0, 5.0], rel=1e-6)
    wrong = ((restored - truth).abs() > 1).float().mean().item()
    nearest = torch.nn.functional.interpolate(depth[None, None], (203, 301), mode="nearest-exact")[0, 0]
    assert wrong < 0.6 * ((nearest - truth).abs() > 1).float().mean().item() or wrong < 1e-3


def test_step_without_colours_falls_between_the_neighbours():
    picture = uniform_picture(14, 28)
    views = prepare_views([picture], resolution=14, resize="upper_bound_resize")
    assert views.images.shape[1:3] == (14, 14)
    depth = torch.ones(1, 14, 14)
    depth[..., 7:] = 3.0
    expected = torch.ones(14, 28)
    expected[:, 14:] = 3.0
    assert torch.equal(restore_depth(depth, views, [picture])[0], expected)


def test_ramp_between_surfaces_is_kept_not_invented():
    """A thin spike of one view pixel is no slanted plane."""
    picture = uniform_picture(56, 56)
    views = prepare_views([picture], resolution=28)
    depth = torch.full((1, 28, 28), 4.0)
    depth[:, :, 10] = 2.0
    restored = restore_depth(depth, views, [picture])
    assert sorted(restored.unique().tolist()) == [2.0, 4.0]
    assert (restored == 2.0).sum() == 56 * 2


def test_unequal_pictures_are_stacked_and_masked():
    pictures = [uniform_picture(140, 210), uniform_picture(210, 140), uniform_picture(100, 100)]
    views = prepare_views(pictures, resolution=70, mixed_sizes="pad")
    depth = torch.full(views.images.shape[:3], 2.0)
    depth[~views.mask] = 77.0  # what a network says about padding must not leak
    mask, restored = restore_mask(views), restore_depth(depth, views, pictures)
    assert restored.shape == mask.shape == (3, 210, 210)
    expected = torch.zeros(3, 210, 210, dtype=torch.bool)
    for view, picture in enumerate(pictures):
        expected[view, : picture.pixels.shape[0], : picture.pixels.shape[1]] = True
    assert torch.equal(mask, expected)
    assert torch.equal(restored, expected * 2.0)
    stack = stack_pictures(pictures)
    assert torch.equal(stack[..., 0] == 90, expected)
    assert restored_placements(views.placements)[1] == Placement(210, 140)


def test_what_was_cropped_away_is_masked():
    pictures = [uniform_picture(84, 112), uniform_picture(112, 84)]
    views = prepare_views(pictures, resolution=112, mixed_sizes="crop")
    mask = restore_mask(views)
    expected = torch.zeros(2, 112, 112, dtype=torch.bool)
    expected[0, :84, 14:98] = True
    expected[1, 14:98, :84] = True
    assert torch.equal(mask, expected)
    assert torch.equal(restore_linear(torch.ones(2, 84, 84), views), expected.float())


def test_linear_maps_stay_linear(assert_close):
    pictures = [uniform_picture(100, 200)]
    views = prepare_views(pictures, resolution=70)  # 35x70 -> 42x70
    height, width = views.images.shape[1:3]
    y, x = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
    restored = restore_linear((1 + y[:, None] + 2 * x)[None], views)
    y, x = (torch.arange(100) + 0.5) / 100, (torch.arange(200) + 0.5) / 200
    assert_close(restored[0], 1 + y[:, None] + 2 * x)


def test_same_size_is_the_identity(assert_close):
    picture = Picture(np.random.default_rng(0).integers(0, 255, (70, 98, 3), dtype=np.uint8), "noise")
    views = prepare_views([picture], resolution=98)
    depth = torch.rand(1, 70, 98, generator=torch.Generator().manual_seed(0)) + 0.5
    restored = restore_depth(depth, views, [picture])
    assert_close(restored, depth)
    assert restore_mask(views).all()
