"""Scores of DTU's evaluation (benchmark 2.5)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from anyview.bench.metrics.clouds import nearest_distances
from anyview.options import Protocol

DENSITY = 0.2
PATCH = 60.0
OUTLIER = 20.0
"""Millimetres, as the two above."""
SHUFFLE_SEED = 42


@dataclass(frozen=True)
class Observability:
    """Where the truth of a scan knows the surface."""

    mask: Bool[np.ndarray, "x y z"]
    """ObsMask: cells that were observed."""
    low: Float[np.ndarray, "3"]
    """First row of BB: the position of cell (0, 0, 0)."""
    high: Float[np.ndarray, "3"]
    """Second row of BB."""
    resolution: float
    """Res: edge of a cell."""
    plane: Float[np.ndarray, "4"]
    """P: true points count above it, where P · (x, y, z, 1) > 0."""


@dataclass(frozen=True)
class DtuScores:
    """Mean distances in millimetres, those of 20 and more left out unless said otherwise."""

    accuracy: float
    """From predicted points to the truth."""
    completeness: float
    """From true points to the prediction."""
    overall: float
    """Mean of the two."""
    untrimmed_accuracy: float
    """With distances of 20 and more."""
    untrimmed_completeness: float
    """With distances of 20 and more."""
    points: int
    """Predicted points after thinning."""

    def by_name(self, protocol: Protocol) -> dict[str, float]:
        """Name the scores as result files do: "compat" exchanges ``acc`` and ``comp`` (quirk 42)."""
        if protocol == "compat":
            return {"comp": self.accuracy, "acc": self.completeness, "overall": self.overall}
        return {
            "acc": self.accuracy,
            "comp": self.completeness,
            "overall": self.overall,
            "acc_untrimmed": self.untrimmed_accuracy,
            "comp_untrimmed": self.untrimmed_completeness,
        }


def score_dtu(
    predicted: Float[np.ndarray, "predicted_points 3"],
    truth: Float[np.ndarray, "true_points 3"],
    observability: Observability,
) -> DtuScores:
    """Compare a point cloud with a scan, where the scan knows the surface. Needs the extra ``bench``.

    A mean over no points is NaN, which the published evaluator writes too.
    """
    points = predicted.astype(np.float64)
    np.random.default_rng(SHUFFLE_SEED).shuffle(points, axis=0)
    points = thin_to_distance(points, DENSITY)
    low, high = observability.low, observability.high
    near = points[((points >= low - PATCH) & (points < high + 2 * PATCH)).all(-1)]
    to_truth = _distances(near[_observed(near, observability)], truth)
    above = truth @ observability.plane[:3] + observability.plane[3] > 0
    to_predicted = _distances(truth[above], near)
    accuracy, completeness = (_mean(distances[distances < OUTLIER]) for distances in (to_truth, to_predicted))
    return DtuScores(
        accuracy, completeness, (accuracy + completeness) / 2, _mean(to_truth), _mean(to_predicted), len(points)
    )


def thin_to_distance(points: Float[np.ndarray, "points 3"], distance: float) -> Float[np.ndarray, "kept 3"]:
    """Go through the points in order and keep those with no kept point within ``distance``. Needs the extra ``bench``.

    Point after point would take hours for millions of them. So they are taken in stretches that double: what lies near
    points kept before is dropped first, and what is left of the stretch decides among itself.
    """
    try:
        from scipy.spatial import KDTree
    except ImportError as error:
        raise ImportError('scoring point clouds needs scipy: pip install "anyview[bench]"') from error
    kept = points[:0]
    start, size = 0, 1024
    while start < len(points):
        stretch = points[start : start + size]
        if len(kept):
            stretch = stretch[KDTree(kept).query(stretch)[0] > distance]
        pairs = KDTree(stretch).query_pairs(distance, output_type="ndarray") if len(stretch) else np.zeros((0, 2), int)
        kept = np.concatenate([kept, stretch[_first_come(pairs, len(stretch))]])
        start, size = start + size, 2 * size
    return kept


def _first_come(pairs: Int[np.ndarray, "pairs 2"], count: int) -> Bool[np.ndarray, " count"]:
    """Choose from ``count`` elements in order, none of which may be paired with an earlier chosen one.

    In each round those are chosen that no earlier undecided element could still exclude.
    """
    early, late = pairs.min(-1), pairs.max(-1)
    chosen, undecided = np.zeros(count, bool), np.ones(count, bool)
    while undecided.any():
        waits = np.zeros(count, bool)
        waits[late] = True
        winners = undecided & ~waits
        chosen |= winners
        undecided &= ~winners
        excluded = np.zeros(count, bool)
        excluded[late[winners[early]]] = True
        undecided &= ~excluded
        open_pairs = undecided[early] & undecided[late]
        early, late = early[open_pairs], late[open_pairs]
    return chosen


def _observed(points: Float[np.ndarray, "points 3"], observability: Observability) -> Bool[np.ndarray, " points"]:
    mask = observability.mask
    cells = np.rint((points - observability.low) / observability.resolution).astype(np.int64)
    inside = ((cells >= 0) & (cells < mask.shape)).all(-1)
    observed = np.zeros(len(points), bool)
    observed[inside] = mask[tuple(cells[inside].T)]
    return observed


def _distances(points: Float[np.ndarray, "points 3"], others: Float[np.ndarray, "others 3"]) -> Float[np.ndarray, "_"]:
    if len(points) == 0 or len(others) == 0:
        return np.full(len(points), np.inf)
    return nearest_distances(points, others)


def _mean(values: Float[np.ndarray, " values"]) -> float:
    return float(values.mean()) if len(values) else float("nan")
