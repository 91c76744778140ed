"""Sky, quantiles and metric scale, computed by hand."""

import numpy as np
import pytest
import torch

from anyview.model.metric import fill_sky, is_sky, masked_quantile, metric_scale, metric_sky_depth, to_metres


def sky_of(count: int, height: int = 5, width: int = 10) -> torch.Tensor:
    """Scores with ``count`` pixels of sky, the first ones."""
    scores = torch.zeros(height * width)
    scores[:count] = 0.9
    return scores.view(height, width)


def ramp(height: int = 5, width: int = 10) -> torch.Tensor:
    """Depth 1, 2, 3 ... row by row."""
    return torch.arange(1.0, height * width + 1).view(height, width)


def test_sky_begins_at_its_threshold():
    assert is_sky(torch.tensor([0.0, 0.29999, 0.3, 1.0])).tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    ("sky_pixels", "filled"), [(0, False), (10, False), (11, True), (39, True), (40, False), (50, False)]
)
def test_sky_is_filled_if_there_is_enough_of_both(sky_pixels, filled):
    """More than 10 pixels of sky, and of ground: out of 50, from 11 to 39 of sky."""
    depth, sky = ramp()[None], sky_of(sky_pixels)[None]
    result = fill_sky(depth, sky)
    if not filled:
        assert torch.equal(result, depth)
        return
    # The ground is sky_pixels + 1 … 50; its 0.99 quantile lies 0.01 · (count − 1) below 50.
    expected = 50 - 0.01 * (50 - sky_pixels - 1)
    assert torch.allclose(result.flatten()[:sky_pixels], torch.tensor(expected))
    assert torch.equal(result.flatten()[sky_pixels:], depth.flatten()[sky_pixels:])


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_each_view_is_filled_by_itself(batch):
    """Whatever lies beside it: also a view with too little sky, or too little ground, to fill."""
    counts = [3, 20, 47, 30, 11, 0]
    scores = torch.stack([sky_of(count) for count in counts])
    depths = torch.stack([ramp() * (1 + index) for index in range(6)])
    wanted = int(np.prod(batch))
    alone = torch.cat([fill_sky(depths[i : i + 1], scores[i : i + 1]) for i in range(wanted)])
    together = fill_sky(depths[:wanted].view(*batch, 5, 10), scores[:wanted].view(*batch, 5, 10))
    assert torch.equal(together.view(-1, 5, 10), alone)
    assert torch.equal(alone[0], depths[0]), "3 pixels of sky are too few to fill"


def test_quantiles_are_those_of_the_masked_values():
    values = torch.tensor([[5.0, 1, 9, 3, 7], [1, 2, 3, 4, 5]])
    mask = torch.tensor([[True, True, False, True, True], [False, False, False, False, False]])
    middle = masked_quantile(values, mask, 0.5)
    assert middle[0] == 4.0  # of 1, 3, 5, 7
    assert middle[1].isnan()


@pytest.mark.parametrize(("count", "stride"), [(100_000, 1), (100_001, 2), (200_000, 2), (250_000, 3)])
def test_of_very_many_values_every_nth_counts(count, stride):
    values = torch.rand(count, generator=torch.Generator().manual_seed(0))
    mask = values > 0.25
    first = masked_quantile(values, mask, 0.99)
    kept = values.numpy()[::stride]
    assert first.item() == pytest.approx(np.quantile(kept[kept > 0.25], 0.99), rel=1e-6)
    torch.rand(5)
    assert torch.equal(masked_quantile(values, mask, 0.99), first)


def test_metres_are_canonical_depth_times_the_mean_focal_length_over_300():
    intrinsics = torch.tensor([[[500.0, 0, 10], [0, 700, 10], [0, 0, 1]], [[150, 0, 10], [0, 150, 10], [0, 0, 1]]])
    metres = to_metres(torch.ones(2, 3, 4), intrinsics)
    assert torch.equal(metres[0], torch.full((3, 4), 2.0))
    assert torch.equal(metres[1], torch.full((3, 4), 0.5))


def scene(views: int = 2, height: int = 6, width: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    depth = 1 + torch.rand(1, views, height, width, generator=generator)
    confidence = 1 + torch.rand(1, views, height, width, generator=generator)
    return depth, confidence


def test_the_metric_scale_is_that_of_a_linear_relation():
    depth, confidence = scene()
    scale = metric_scale(depth, confidence, 2.5 * depth, torch.zeros_like(depth))
    assert scale.tolist() == pytest.approx([2.5])


def test_the_metric_scale_listens_to_the_surer_half_of_the_ground():
    depth, confidence = scene()
    sky = torch.zeros_like(depth)
    sky[..., :2, :] = 1.0
    ground = sky < 0.3
    median = confidence[ground].median()  # the lower of the two middle ones, so at least half are above
    metres = torch.where(ground & (confidence > median), 2.5 * depth, 100.0)
    assert metric_scale(depth, confidence, metres, sky).tolist() == pytest.approx([2.5])


def test_the_metric_scale_minimises_squared_errors():
    """(1·1 + 2·3 + 3·4) / (1 + 4 + 9) = 19/14, over the pixels of confidence 5; the others are at the minimum."""
    depth, metres = torch.full((1, 1, 3, 6), 7.0), torch.full((1, 1, 3, 6), 50.0)
    confidence = torch.full((1, 1, 3, 6), 1.0)
    depth.view(-1)[:3] = torch.tensor([1.0, 2, 3])
    metres.view(-1)[:3] = torch.tensor([1.0, 3, 4])
    confidence.view(-1)[:9] = 5.0
    # The median lies at (5 + 1) / 2 = 3. Six sure pixels more count nothing: no depth, or nothing measured there.
    depth.view(-1)[3:6] = 0.0005
    metres.view(-1)[6:9] = 0.005
    assert metric_scale(depth, confidence, metres, torch.zeros(1, 1, 3, 6)).tolist() == pytest.approx([19 / 14])


@pytest.mark.parametrize(("ground_pixels", "known"), [(0, False), (10, False), (11, True)])
def test_the_metric_scale_needs_ground(ground_pixels, known):
    depth, confidence = scene(views=1)
    sky = torch.ones(48)
    sky[:ground_pixels] = 0
    scale = metric_scale(depth, confidence, 3 * depth, sky.view(1, 1, 6, 8))
    assert scale.tolist() == (pytest.approx([3.0]) if known else pytest.approx([float("nan")], nan_ok=True))


def test_each_scene_of_a_batch_has_its_own_scale():
    depth, confidence = scene()
    factors = torch.tensor([2.0, 5.0, 7.0]).view(3, 1, 1, 1)
    sky = torch.zeros(3, *depth.shape[1:])
    sky[2] = 1.0
    scale = metric_scale(depth.expand(3, -1, -1, -1), confidence.expand(3, -1, -1, -1), factors * depth, sky)
    assert scale[:2].tolist() == pytest.approx([2.0, 5.0])
    assert scale[2].isnan()


def test_the_sky_of_a_metric_scene_lies_behind_all_its_ground():
    metres = torch.stack([ramp(), ramp()])[None]
    sky = torch.stack([sky_of(20), torch.zeros(5, 10)])[None]
    filled = metric_sky_depth(metres, sky, torch.tensor([True]))
    ground = np.concatenate([np.arange(21, 51), np.arange(1, 51)])
    assert torch.allclose(filled[0, 0].flatten()[:20], torch.tensor(np.quantile(ground, 0.99), dtype=torch.float32))
    assert torch.equal(filled[0, 1], metres[0, 1])
    assert torch.equal(filled[0, 0].flatten()[20:], metres[0, 0].flatten()[20:])


def test_the_sky_is_at_most_200_metres_away():
    metres = 100 * ramp()[None, None]
    filled = metric_sky_depth(metres, sky_of(20)[None, None], torch.tensor([True]))
    assert (filled.flatten()[:20] == 200).all()
    assert filled.max() == 5000


def test_the_sky_of_a_scene_without_metres_stays():
    metres = ramp()[None, None].expand(2, 1, -1, -1)
    sky = sky_of(20)[None, None].expand(2, 1, -1, -1)
    filled = metric_sky_depth(metres, sky, torch.tensor([False, True]))
    assert torch.equal(filled[0], metres[0])
    assert not torch.equal(filled[1], metres[1])
