import math

import numpy as np
import pytest

from anyview.bench.metrics.dtu import Observability, score_dtu, thin_to_distance


def everywhere(size: int = 20, plane=(0.0, 0, 1, -2.5)) -> Observability:
    """The benchmark's volume (A.4): cells of 1, known below 12."""
    mask = np.zeros((size,) * 3, bool)
    mask[:, :, :12] = True
    return Observability(mask, np.zeros(3), np.full(3, size - 1.0), 1.0, np.array(plane))


def test_the_benchmarks_example():
    steps = np.arange(400.0)
    line = np.stack([0.07 * steps, np.full(400, 5.0), 3 + 0.03 * steps], -1)
    border = [[-59, 5, 5], [-61, 5, 5], [5, 5, 138.9], [5, 5, 139.1]]
    steps = np.arange(40.0)
    truth = np.stack([0.5 * steps, np.full(40, 5.3), 2 + 0.2 * steps], -1)
    scores = score_dtu(np.concatenate([line, np.array(border)]), truth, everywhere())
    assert scores.points == 116
    assert scores.accuracy == pytest.approx(1.2346786692, abs=1e-9)
    assert scores.completeness == pytest.approx(1.2348148545, abs=1e-9)
    assert scores.overall == pytest.approx(1.2347467619, abs=1e-9)
    assert scores.by_name("compat") == {
        "comp": scores.accuracy,
        "acc": scores.completeness,
        "overall": scores.overall,
    }
    assert scores.by_name("sane")["acc"] == scores.accuracy


def test_points_are_shuffled_as_the_published_evaluator_does():
    rows = np.arange(10)
    np.random.default_rng(42).shuffle(rows, axis=0)
    assert rows.tolist() == [5, 6, 0, 7, 3, 2, 4, 9, 1, 8]


def test_distances_by_hand_with_and_without_outliers():
    truth = np.array([[0.0, 0, 4], [30, 0, 4]])
    predicted = np.array([[0.0, 0, 5], [2, 2, 4], [5, 5, 13]])  # the last one's cell was not observed
    scores = score_dtu(predicted, truth, everywhere())
    assert scores.accuracy == pytest.approx((1 + math.sqrt(8)) / 2)
    # To the nearest of all three, the unobserved one included: 1, and more than 20.
    assert scores.completeness == pytest.approx(1)
    assert scores.untrimmed_accuracy == scores.accuracy
    assert scores.untrimmed_completeness == pytest.approx((1 + math.sqrt(25**2 + 25 + 81)) / 2)


def test_nothing_observed_has_no_mean():
    scores = score_dtu(np.array([[5.0, 5, 15]]), np.array([[5.0, 5, 5]]), everywhere())
    assert math.isnan(scores.accuracy)
    assert math.isnan(scores.overall)
    assert scores.completeness == pytest.approx(10)
    nothing = score_dtu(np.zeros((0, 3)), np.array([[5.0, 5, 5]]), everywhere())
    assert math.isnan(nothing.accuracy)
    assert math.isnan(nothing.completeness)
    assert nothing.untrimmed_completeness == math.inf


def test_the_caller_keeps_its_points():
    points = np.arange(30.0).reshape(10, 3)
    before = points.copy()
    score_dtu(points, points, everywhere())
    np.testing.assert_array_equal(points, before)


def thin_point_by_point(points: np.ndarray, distance: float) -> np.ndarray:
    """The definition."""
    kept: list[np.ndarray] = []
    for point in points:
        if not kept or np.linalg.norm(np.array(kept) - point, axis=-1).min() > distance:
            kept.append(point)
    return np.array(kept).reshape(-1, 3)


@pytest.mark.parametrize(("count", "distance"), [(1500, 0.1), (1500, 0.02), (2500, 0.5), (1, 0.1), (0, 0.1)])
def test_thinning_in_stretches_is_thinning_point_by_point(count, distance):
    points = np.random.default_rng(count).random((count, 3))
    np.testing.assert_array_equal(thin_to_distance(points, distance), thin_point_by_point(points, distance))


def test_thinning_in_order_by_hand():
    row = np.array([0.0, 0.15, 0.3, 0.45, 0.1, 0.6])
    points = np.stack([row, 0 * row, 0 * row], -1)
    assert thin_to_distance(points, 0.2)[:, 0].tolist() == [0.0, 0.3, 0.6]
    assert thin_to_distance(points[::-1], 0.2)[:, 0].tolist() == [0.6, 0.1]
