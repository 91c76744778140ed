import pytest
import torch

from anyview.synth.terrain import height, height_at, meet_ground, slope

WAVES = ((0.03, 0.01, 0.3, 1.2), (-0.02, 0.06, 0.7, 0.5), (0.15, 0.1, 0.1, 0.15))
TABLE = torch.tensor(WAVES)[..., None]


def test_a_wave_is_a_chain_of_parabolas():
    wave = torch.tensor([[[0.5], [0.0], [0.0], [2.0]]])
    x = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 0.25])
    torch.testing.assert_close(height(wave, x, 0 * x), torch.tensor([0.0, 2.0, 0.0, -2.0, 0.0, 1.5]))


def test_heights_and_slopes_agree():
    x, y = torch.randn(2, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 30
    waves, step = TABLE.double(), 1e-4
    slope_x, slope_y = slope(waves, x, y)
    torch.testing.assert_close(
        slope_x, (height(waves, x + step, y) - height(waves, x - step, y)) / (2 * step), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(
        slope_y, (height(waves, x, y + step) - height(waves, x, y - step)) / (2 * step), atol=1e-4, rtol=0
    )
    exact = torch.tensor(WAVES, dtype=torch.float64)[..., None]
    assert height_at(WAVES, x[0].item(), y[0].item()) == pytest.approx(height(exact, x[:1], y[:1]).item())


def test_rays_meet_the_ground_where_fine_steps_do():
    generator = torch.Generator().manual_seed(1)
    count = 400
    origin = torch.rand(3, count, generator=generator) * torch.tensor([[40.0], [40.0], [3.0]]) + torch.tensor(
        [[0.0], [0.0], [2.5]]
    )
    direction = torch.randn(3, count, generator=generator) * torch.tensor([[1.0], [1.0], [0.3]])
    reach = torch.full((count,), 60.0)
    t = meet_ground(TABLE, origin, direction, reach)

    samples = torch.linspace(0, 60, 20001)[:, None].double()
    x, y, z = (origin[axis].double() + samples * direction[axis].double() for axis in range(3))
    below = z - height(TABLE.double(), x.flatten(), y.flatten()).view_as(x) < 0
    first = torch.where(below.any(0), samples[below.int().argmax(0), 0], torch.inf)
    found = t.isfinite()
    assert 100 < found.sum() < 390
    assert (found == first.isfinite()).float().mean() > 0.99
    both = found & first.isfinite()
    assert ((t[both] - first[both]).abs() < 0.004).float().mean() > 0.98  # the others graze a crest
    x, y, z = (origin + t * direction)[:, found].double()
    assert (z - height(TABLE.double(), x, y)).abs().max() < 1e-4 * 20


def test_rays_upwards_or_cut_short_meet_nothing():
    origin = torch.tensor([[0.0, 0.0], [0.0, 0.0], [5.0, 5.0]])
    direction = torch.tensor([[0.1, 0.0], [0.0, 0.0], [1.0, -1.0]])
    assert meet_ground(TABLE, origin, direction, torch.tensor([100.0, 3.0])).tolist() == [torch.inf, torch.inf]
