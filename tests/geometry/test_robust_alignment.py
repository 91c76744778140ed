"""Similarities of point sets with wrong pairs."""

import pytest
import torch

from anyview.geometry.alignment import Similarity
from anyview.geometry.robust_alignment import fit_similarity_robustly


@pytest.fixture
def pairs(random_rotations):
    """200 points, and where a similarity takes them."""
    generator = torch.Generator().manual_seed(1)
    source = torch.randn(200, 3, generator=generator, dtype=torch.float64)
    truth = Similarity(torch.tensor(2.5).double(), random_rotations(), torch.tensor([1.0, -2.0, 3.0]).double())
    return source, truth.apply(source), truth


def ones(count: int) -> torch.Tensor:
    return torch.ones(count, dtype=torch.float64)


def check(found: Similarity, truth: Similarity, assert_close, tolerance: float) -> None:
    for name in ("scale", "rotation", "translation"):
        assert_close(getattr(found, name), getattr(truth, name), tolerance, reason="iterated to that")


def test_exact_pairs_give_the_similarity(pairs, assert_close):
    source, target, truth = pairs
    fit = fit_similarity_robustly(source, target, ones(200), ones(200))
    check(fit.similarity, truth, assert_close, 1e-9)
    assert fit.determined
    assert fit.errors.max() < 1e-9


@pytest.mark.parametrize("wrong", [20, 60])
def test_wrong_pairs_do_not_pull(wrong, pairs, assert_close):
    """A tenth and three tenths of the pairs, which agree with each other: they are of twice the size, elsewhere."""
    source, target, truth = pairs
    target = target.clone()
    target[:wrong] += torch.tensor([8.0, 3.0, 5.0]) + target[:wrong]
    fit = fit_similarity_robustly(source, target, ones(200), ones(200))
    check(fit.similarity, truth, assert_close, 1e-6)
    assert (fit.errors[:wrong] > 1).all()
    assert fit.errors[wrong:].max() < 1e-5


def test_pairs_without_weight_do_not_count(pairs, assert_close):
    source, target, truth = pairs
    target = target.clone()
    target[:150] = 0.0
    weights = ones(200)
    weights[:150] = 0
    check(fit_similarity_robustly(source, target, weights, ones(200)).similarity, truth, assert_close, 1e-9)


def test_errors_count_in_parts_of_their_unit(pairs):
    source, target, _ = pairs
    far = ones(200)
    far[100:] = 10.0
    noise = 0.01 * far[:, None] * torch.randn(200, 3, generator=torch.Generator().manual_seed(2)).double()
    fit = fit_similarity_robustly(source, target + noise, ones(200), far)
    near_error, far_error = fit.errors[:100].mean(), fit.errors[100:].mean()
    assert float(far_error / near_error) == pytest.approx(1.0, rel=0.2)


def test_noise_in_the_source_does_not_shrink_the_scale(pairs):
    """A regression's scale would be 1 / 1.09 of the true one for noise of 0.3 on points of spread 1."""
    source, target, truth = pairs
    noise = 0.3 * torch.randn(200, 3, generator=torch.Generator().manual_seed(3)).double()
    there = fit_similarity_robustly(source + noise, target + float(truth.scale) * noise.flip(0), ones(200), ones(200))
    assert float(there.similarity.scale / truth.scale) == pytest.approx(1.0, abs=0.03)


def test_without_scale_it_stays_one(pairs):
    source, target, _ = pairs
    fit = fit_similarity_robustly(source, target, ones(200), ones(200), with_scale=False)
    assert float(fit.similarity.scale) == 1.0


def test_points_on_a_line_determine_no_rotation():
    line = torch.linspace(0, 1, 10, dtype=torch.float64)[:, None] * torch.tensor([1.0, 2.0, 3.0])
    fit = fit_similarity_robustly(line, 2 * line, ones(10), ones(10))
    assert not fit.determined
    assert float(fit.similarity.scale) == pytest.approx(2.0)
