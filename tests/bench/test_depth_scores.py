import dataclasses
import math

import numpy as np
import pytest
import torch

from anyview.bench.metrics.depth import (
    align_depth,
    align_disparity,
    compare_depth,
    depth_scores,
    disparity_abs_rel,
    score_depth,
    score_disparity,
)

TRUTH = torch.tensor([[1.0, 2.0, 4.0, 5.0], [0.0, 8.0, 3.0, 6.0]])
VALID = TRUTH > 0
ALIGNMENTS = ["none", "median", "scale", "affine_depth", "affine_depth_l1", "affine_disparity"]


def test_scores_by_hand():
    scores = compare_depth(torch.tensor([1.0, 3.0, 2.0]), torch.tensor([1.0, 2.0, 4.0]))
    assert scores.abs_rel == pytest.approx((0 + 1 / 2 + 2 / 4) / 3)
    assert scores.sq_rel == pytest.approx((0 + 1 / 2 + 4 / 4) / 3)
    assert scores.rmse == pytest.approx(math.sqrt((1 + 4) / 3))
    assert (scores.delta1, scores.delta2, scores.delta3) == pytest.approx((1 / 3, 2 / 3, 2 / 3))


def test_the_ratios_limits_are_strict():
    scores = compare_depth(torch.tensor([1.25, 1.5625, 1.953125]), torch.ones(3))
    assert (scores.delta1, scores.delta2, scores.delta3) == pytest.approx((0, 1 / 3, 2 / 3))


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_the_truth_scores_perfectly_under_every_alignment(alignment):
    scores = score_depth(TRUTH, TRUTH, VALID, alignment)
    assert dataclasses.astuple(scores) == pytest.approx((0, 0, 0, 1, 1, 1), abs=1e-6)


@pytest.mark.parametrize(
    ("alignment", "spoil"),
    [
        ("median", lambda depth: 3 * depth),
        ("scale", lambda depth: 3 * depth),
        ("affine_depth", lambda depth: 3 * depth + 0.5),
        ("affine_depth_l1", lambda depth: 3 * depth + 0.5),
        ("affine_disparity", lambda depth: 1 / (3 / depth + 0.5)),
    ],
)
def test_alignments_undo_what_they_fit(alignment, spoil):
    assert score_depth(spoil(TRUTH), TRUTH, VALID, alignment).abs_rel == pytest.approx(0, abs=1e-6)
    assert score_depth(spoil(TRUTH), TRUTH, VALID, "none").abs_rel > 0.3


def test_alignments_by_hand():
    predicted, truth = torch.tensor([1.0, 2, 4]).double(), torch.tensor([2.0, 6, 4]).double()
    assert align_depth(predicted, truth, "median").tolist() == [2, 4, 8]
    assert align_depth(predicted, truth, "scale").tolist() == pytest.approx([30 / 21, 60 / 21, 120 / 21])
    slope, offset = np.polyfit(predicted, truth, 1)
    assert align_depth(predicted, truth, "affine_depth").tolist() == pytest.approx(
        (slope * predicted + offset).tolist()
    )
    slope, offset = np.polyfit(1 / predicted, 1 / truth, 1)
    aligned = 1 / align_depth(predicted, truth, "affine_disparity")
    assert aligned.tolist() == pytest.approx((slope / predicted + offset).tolist())


def test_the_robust_fit_ignores_an_outlier():
    truth = torch.linspace(1, 10, 50).double()
    predicted = 2 * truth + 1
    predicted[20] *= 2
    others = torch.arange(50) != 20
    robust, least_squares = (
        (align_depth(predicted, truth, name) - truth)[others] for name in ("affine_depth_l1", "affine_depth")
    )
    assert robust.abs().max() < 1e-4
    assert least_squares.abs().max() > 0.1


def test_only_valid_pixels_count():
    spoilt = TRUTH.clone()
    spoilt[0, 1], spoilt[1, 0] = 100, math.nan
    valid = VALID.clone()
    valid[0, 1] = False
    assert score_depth(spoilt, TRUTH, valid, "scale").abs_rel == pytest.approx(0, abs=1e-9)


def test_predictions_that_are_no_depth_become_the_smallest():
    truth = torch.full((1, 4), 2.0)
    predicted = torch.tensor([[2.0, math.nan, -1, math.inf]])
    scores = score_depth(predicted, truth, truth > 0, "none", nearest=0.5, farthest=3.0)
    assert scores.abs_rel == pytest.approx((0 + 3 * 1.5 / 2) / 4)
    aligned = score_depth(predicted, truth, truth > 0, "median", nearest=0.5, farthest=3.0)
    assert aligned.abs_rel == scores.abs_rel


def test_predictions_stay_within_the_cap():
    truth = torch.tensor([[10.0, 80.0]])
    predicted = torch.tensor([[10.0, 500.0]])
    assert score_depth(predicted, truth, truth > 0, "none", farthest=80.0).rmse == 0


def test_disparity_is_fitted_in_disparity_and_compared_in_depth():
    disparity = 5 / TRUTH + 2
    assert score_disparity(disparity, TRUTH, VALID).abs_rel == pytest.approx(0, abs=1e-6)


def test_the_floor_of_disparity():
    truth = torch.tensor([1.0, 2, 4, 100]).double()
    disparity = torch.tensor([1.0, 0.5, 0.25, -0.1]).double()
    aligned = align_disparity(disparity, truth, smallest=1 / 80)
    assert aligned[3].item() == pytest.approx(1 / 80)
    assert disparity_abs_rel(aligned[3:], truth[3:]) == pytest.approx(0.25)
    far = score_disparity(disparity[None], truth[None], truth[None] > 0, farthest=80.0)
    assert far.abs_rel < score_disparity(disparity[None], truth[None], truth[None] > 0).abs_rel


def test_a_picture_without_truth_is_refused():
    nothing = torch.zeros_like(VALID)
    for score in (lambda: score_depth(TRUTH, TRUTH, nothing, "none"), lambda: score_disparity(TRUTH, TRUTH, nothing)):
        with pytest.raises(ValueError, match="at least one valid pixel"):
            score()


def test_depth_is_compared_up_to_one_scale():
    truth = torch.tensor([[1.0, 2.0, 4.0, 0.0, 5.0]])
    exact = depth_scores(3 * truth.clamp(min=0.1), truth)
    assert exact["delta1"] == 1
    assert exact["abs_rel"] == pytest.approx(0, abs=1e-12)
    one_off = depth_scores(torch.tensor([[1.0, 2.0, 4.0, 9.0, 10.0]]), truth)
    assert one_off["delta1"] == 0.75
    assert one_off["abs_rel"] == pytest.approx(0.25)
    assert all(np.isnan(value) for value in depth_scores(truth, torch.zeros_like(truth)).values())
