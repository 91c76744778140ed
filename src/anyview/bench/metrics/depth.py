"""Scores of depth maps (benchmark 3.2)."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anyview.geometry.alignment import fit_scale, fit_scale_and_shift, fit_scale_l1

DepthAlignment = Literal["none", "median", "scale", "affine_depth", "affine_disparity"]
"""What is fitted to the truth before depth is compared, over the valid pixels of a picture:

none; the ratio of medians; the least-squares scale; least-squares scale and shift of depth; the same of disparity."""


@dataclass(frozen=True)
class DepthScores:
    """Means over the valid pixels of one picture."""

    abs_rel: float
    """|p − g| / g."""
    sq_rel: float
    """(p − g)² / g."""
    rmse: float
    """Root mean square of p − g."""
    delta1: float
    """Share of pixels with max(p / g, g / p) below 1.25."""
    delta2: float
    """The same below 1.25²."""
    delta3: float
    """The same below 1.25³."""


def score_depth(
    predicted: Float[Tensor, "height width"],
    truth: Float[Tensor, "height width"],
    valid: Bool[Tensor, "height width"],
    alignment: DepthAlignment,
    nearest: float = 1e-3,
    farthest: float = torch.inf,
) -> DepthScores:
    """Align predicted depth to the truth, clamp it to the range ``nearest`` … ``farthest`` and compare.

    Args:
        predicted: depth at the size of the truth.
        truth: depth, above 0 where valid.
        valid: pixels that count: inside of the crop and with truth within the range.
        alignment: see `DepthAlignment`.
        nearest: predictions below it become it, as do those that are not finite or not positive after alignment.
        farthest: predictions above it become it.

    Raises:
        ValueError: no pixel is valid.
    """
    if not valid.any():
        raise ValueError("expected at least one valid pixel to compare depth at, got none")
    g = truth[valid].double()
    p = align_depth(predicted[valid].double(), g, alignment, farthest)
    p = torch.where(p.isfinite() & (p > 0), p, nearest).clamp(nearest, farthest)
    return compare_depth(p, g)


def align_depth(
    predicted: Float[Tensor, " pixels"],
    truth: Float[Tensor, " pixels"],
    alignment: DepthAlignment,
    farthest: float = torch.inf,
) -> Float[Tensor, " pixels"]:
    """Fit predicted depth to true depth. Pixels whose prediction is not finite and positive have no say in the fit."""
    usable = predicted.isfinite() & (predicted > 0)
    p, g = predicted[usable], truth[usable]
    if alignment == "none" or len(p) == 0:
        return predicted
    if alignment == "median":
        return predicted * (g.quantile(0.5) / p.quantile(0.5))
    if alignment == "scale":
        return predicted * fit_scale(p, g)
    if alignment == "affine_depth":
        scale, shift = fit_scale_and_shift(p, g)
        return scale * predicted + shift
    return 1 / align_disparity(1 / predicted, truth, farthest)


def align_disparity(
    disparity: Float[Tensor, " pixels"], true_depth: Float[Tensor, " pixels"], farthest: float = torch.inf
) -> Float[Tensor, " pixels"]:
    """Fit predicted disparity to 1 / true depth with scale and shift; at least 1 / ``farthest``."""
    usable = disparity.isfinite()
    scale, shift = fit_scale_and_shift(disparity[usable], 1 / true_depth[usable])
    return (scale * disparity + shift).clamp(min=1 / farthest)


def compare_depth(predicted: Float[Tensor, " pixels"], truth: Float[Tensor, " pixels"]) -> DepthScores:
    """Compare positive depths."""
    error = predicted - truth
    ratio = torch.maximum(predicted / truth, truth / predicted)
    return DepthScores(
        (error.abs() / truth).mean().item(),
        (error.square() / truth).mean().item(),
        error.square().mean().sqrt().item(),
        *((ratio < 1.25**power).double().mean().item() for power in (1, 2, 3)),
    )


def depth_scores(
    predicted: Float[Tensor, "*views height width"], truth: Float[Tensor, "*views height width"]
) -> dict[str, float]:
    """Compare depth up to one scale for all views, the L1-best one: δ1 (ratio below 1.25) and AbsRel.

    Pixels without true depth (0) do not count; NaN where none has any.
    """
    known = truth > 0
    if not known.any():
        return {"delta1": float("nan"), "abs_rel": float("nan")}
    depth, true_depth = predicted[known].double(), truth[known].double()
    scores = compare_depth(depth * fit_scale_l1(depth, true_depth, 1 / true_depth), true_depth)
    return {"delta1": scores.delta1, "abs_rel": scores.abs_rel}
