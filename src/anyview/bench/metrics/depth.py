"""Scores of depth maps (benchmark 3.2)."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anyview.geometry.alignment import fit_scale, fit_scale_and_shift, fit_scale_and_shift_l1, fit_scale_l1

DepthAlignment = Literal["none", "median", "scale", "affine_depth", "affine_depth_l1", "affine_disparity"]
"""What is fitted to the truth before depth is compared, over the valid pixels of a picture.

Nothing; the ratio of medians; a scale; scale and shift, by least squares or by least absolute relative error (MoGe's
weights 1 / g, here on all pixels); scale and shift of disparity. Scales and shifts are least squares but for the L1."""


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
    smallest_disparity: float | None = None,
    fitted: Bool[Tensor, "height width"] | None = None,
) -> DepthScores:
    """Align predicted depth to the truth, clamp it to the range ``nearest`` … ``farthest`` and compare.

    Args:
        predicted: depth at the size of the truth.
        truth: depth, above 0 where valid.
        valid: pixels that count: inside of the crop and with truth within the range.
        alignment: what is fitted.
        nearest: predictions below it become it, as do those that are not finite or not positive after alignment.
        farthest: predictions above it become it.
        smallest_disparity: floor of aligned disparity; None: 1 / ``farthest``.
        fitted: valid pixels that the alignment is fitted at; None: all of them.

    Raises:
        ValueError: no pixel is valid.
    """
    g = _valid_truth(truth, valid)
    chosen = None if fitted is None or not fitted.any() else fitted[valid]
    p = align_depth(predicted[valid].double(), g, alignment, smallest_disparity or 1 / farthest, chosen)
    return compare_depth(_within(p, nearest, farthest), g)


def score_disparity(
    predicted: Float[Tensor, "height width"],
    truth: Float[Tensor, "height width"],
    valid: Bool[Tensor, "height width"],
    nearest: float = 1e-3,
    farthest: float = torch.inf,
    smallest_disparity: float | None = None,
) -> DepthScores:
    """Compare what predicts disparity up to scale and shift (Depth Anything 2, MiDaS): as `score_depth`, then in depth.

    Raises:
        ValueError: no pixel is valid.
    """
    g = _valid_truth(truth, valid)
    aligned = align_disparity(predicted[valid].double(), g, smallest_disparity or 1 / farthest)
    return compare_depth(_within(1 / aligned, nearest, farthest), g)


def align_depth(
    predicted: Float[Tensor, " pixels"],
    truth: Float[Tensor, " pixels"],
    alignment: DepthAlignment,
    smallest_disparity: float = 0.0,
    fitted: Bool[Tensor, " pixels"] | None = None,
) -> Float[Tensor, " pixels"]:
    """Fit predicted depth to true depth. Pixels whose prediction is not finite and positive have no say in the fit.

    ``fitted`` says which others have.
    """
    usable = predicted.isfinite() & (predicted > 0)
    if fitted is not None:
        usable &= fitted
    p, g = predicted[usable], truth[usable]
    if alignment == "none" or len(p) == 0:
        return predicted
    if alignment == "median":
        return predicted * (g.quantile(0.5) / p.quantile(0.5))
    if alignment == "scale":
        return predicted * fit_scale(p, g)
    if alignment == "affine_disparity":
        disparity = torch.where(predicted.isfinite() & (predicted > 0), 1 / predicted, torch.nan)
        return 1 / align_disparity(disparity, truth, smallest_disparity, fitted)
    scale, shift = fit_scale_and_shift(p, g) if alignment == "affine_depth" else fit_scale_and_shift_l1(p, g, 1 / g)
    return scale * predicted + shift


def align_disparity(
    predicted: Float[Tensor, " pixels"],
    true_depth: Float[Tensor, " pixels"],
    smallest: float = 0.0,
    fitted: Bool[Tensor, " pixels"] | None = None,
) -> Float[Tensor, " pixels"]:
    """Fit predicted disparity to 1 / true depth with scale and shift, and raise it to ``smallest`` where it is less.

    Pixels whose prediction is not finite have no say in the fit; ``fitted`` says which others have.
    """
    usable = predicted.isfinite() if fitted is None else predicted.isfinite() & fitted
    scale, shift = fit_scale_and_shift(predicted[usable], 1 / true_depth[usable])
    return (scale * predicted + shift).clamp(min=smallest)


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


def disparity_abs_rel(aligned: Float[Tensor, " pixels"], true_depth: Float[Tensor, " pixels"]) -> float:
    """Compute the mean of |q − 1/g| g, which Depth Anything's authors report as AbsRel of aligned disparity q."""
    return ((aligned - 1 / true_depth).abs() * true_depth).mean().item()


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


def _valid_truth(truth: Float[Tensor, "height width"], valid: Bool[Tensor, "height width"]) -> Float[Tensor, " pixels"]:
    if not valid.any():
        raise ValueError("expected at least one valid pixel to compare depth at, got none")
    return truth[valid].double()


def _within(depth: Float[Tensor, " pixels"], nearest: float, farthest: float) -> Float[Tensor, " pixels"]:
    return torch.where(depth.isfinite() & (depth > 0), depth, nearest).clamp(nearest, farthest)
