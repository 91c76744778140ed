import torch

from anyview.synth.hashing import mix, seed_from, uniform, value_noise


def test_seeds_tell_their_parts_apart():
    seeds = {seed_from("a", 1), seed_from("a", 2), seed_from("b", 1), seed_from("a1"), seed_from("a", "1")}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_from("a", 1) == seed_from("a", 1)


def test_uniform_numbers_are_spread_and_repeatable():
    numbers = uniform(torch.arange(1000, dtype=torch.int32), 50)
    assert numbers.shape == (1000, 50)
    assert numbers.min() >= 0
    assert numbers.max() <= 1
    assert abs(numbers.mean() - 0.5) < 0.005
    assert abs(numbers.var() - 1 / 12) < 0.002
    correlation = torch.corrcoef(numbers.T)
    assert (correlation - torch.eye(50)).abs().max() < 0.15
    assert torch.equal(uniform(torch.tensor(7, dtype=torch.int32), 50), numbers[7])


def test_neighbouring_keys_have_nothing_in_common():
    keys = mix(torch.arange(1 << 16, dtype=torch.int32))
    assert len(keys.unique()) == 1 << 16
    flipped = (keys ^ mix(torch.arange(1 << 16, dtype=torch.int32) ^ 1)).unsqueeze(-1) >> torch.arange(32) & 1
    assert (flipped.float().mean(0) - 0.5).abs().max() < 0.02


def test_noise_is_smooth_and_as_large_as_promised():
    seed = torch.zeros(2001, dtype=torch.int32)
    line = torch.linspace(-10, 10, 2001)
    noise = value_noise(torch.stack([line, 0.3 * line, -0.5 * line]), seed)
    assert noise.abs().max() <= 1
    assert noise.std() > 0.2
    assert noise.diff().abs().max() < 0.06
    assert not torch.equal(noise, value_noise(torch.stack([line, 0.3 * line, -0.5 * line]), seed + 1))
