"""The similarity between two point sets of which many pairs are wrong."""

from dataclasses import replace
from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor

from anyview.geometry.alignment import Similarity, umeyama

MEDIAN_ITERATIONS = 8
"""Reweightings towards the least sum of distances, which up to half of the pairs may spoil."""
KERNEL_ITERATIONS = 8
"""Reweightings with a kernel that lets go of what lies outside (Geman and McClure), from there on."""
DEVIATION_OF_MEDIAN = 1.4826
"""Standard deviation of normal errors, in parts of the median of their absolute values."""
FLOOR = 1e-6
"""Smallest relative error that is told from 0."""


class RobustFit(NamedTuple):
    """A similarity, and how well it holds."""

    similarity: Similarity
    determined: Bool[Tensor, ""]
    """False where the points lie on a line or in one place: the rotation is then one of many."""
    errors: Float[Tensor, " points"]
    """Distances between the points of a pair after alignment, in parts of the pair's unit."""
    width: float
    """Standard deviation of the errors, judged by their median."""


def fit_similarity_robustly(
    source: Float[Tensor, "points 3"],
    target: Float[Tensor, "points 3"],
    weights: Float[Tensor, " points"],
    units: Float[Tensor, " points"],
    *,
    with_scale: bool = True,
) -> RobustFit:
    """Fit target ≈ s R source + t by iteratively reweighted least squares, in float64.

    Errors of a pair count in parts of its ``units``: those of depth grow with depth. The scale is the ratio of the two
    sets' spreads and not a regression's, which noise in ``source`` would make smaller from seam to seam; so exchanging
    the sets gives the inverse.
    """
    x, y = source.double(), target.double()
    base = weights.double() / units.double().square()
    similarity, determined = _fit(x, y, base, with_scale)
    errors = _errors(similarity, x, y, units)
    width = _width(errors, weights)
    for iteration in range(MEDIAN_ITERATIONS + KERNEL_ITERATIONS):
        if iteration < MEDIAN_ITERATIONS:
            kernel = 1 / errors.clamp(min=max(0.1 * width, FLOOR))
        else:
            # Three deviations in space keep nearly all of what is only noisy.
            kernel = 1 / (1 + (errors / (3 * max(width, FLOOR))).square()).square()
        similarity, determined = _fit(x, y, base * kernel, with_scale)
        errors = _errors(similarity, x, y, units)
        width = _width(errors, weights)
    return RobustFit(similarity, determined, errors, width)


def _fit(
    x: Float[Tensor, "points 3"], y: Float[Tensor, "points 3"], weights: Float[Tensor, " points"], with_scale: bool
) -> tuple[Similarity, Bool[Tensor, ""]]:
    similarity, determined = umeyama(x, y, weights, with_scale=False)
    if not with_scale:
        return similarity, determined
    share = (weights / weights.sum())[:, None]
    x_mean, y_mean = (share * x).sum(0), (share * y).sum(0)
    spread_x = (share * (x - x_mean).square()).sum()
    scale = ((share * (y - y_mean).square()).sum() / spread_x).sqrt() if spread_x > 0 else spread_x.new_ones(())
    translation = y_mean - scale * (similarity.rotation @ x_mean)
    return replace(similarity, scale=scale, translation=translation), determined


def _errors(
    similarity: Similarity, x: Float[Tensor, "points 3"], y: Float[Tensor, "points 3"], units: Float[Tensor, " points"]
) -> Float[Tensor, " points"]:
    return (similarity.apply(x) - y).norm(dim=-1) / units


def _width(errors: Float[Tensor, " points"], weights: Float[Tensor, " points"]) -> float:
    used = errors[weights > 0]
    return DEVIATION_OF_MEDIAN * float(used.median()) if len(used) else 0.0
