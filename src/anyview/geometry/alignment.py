"""Fitting one reconstruction to another: similarities of points and trajectories, scale and shift of depth.

In the fits of depth all values of the last dimension share one fit. Weights are not negative; where they are 0, depth
may be anything, NaN too. Where nothing is left to fit the result is NaN.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anyview.geometry.pose import camera_centers, orthonormalize, rigid_inverse, rigid_transform

RANK_TOLERANCE = 1e-6
"""Below this ratio of second to first singular value of the covariance, points lie on a line: 0.1 % of the length
across it in both sets, which is less than cameras are known to."""
BASELINE_TOLERANCE = 1e-6
"""Centres closer than this part of their distance from the origin coincide: float32 cannot tell."""
BASELINE_FLOOR = 1e-9
"""Centres closer than this coincide in any unit: what is left of zero after a matrix inversion."""
L1_ITERATIONS = 50
EQUAL_EPSILONS = 16
"""Depths whose spread is within this many units of rounding are all equal: they determine a shift but no scale."""
RANSAC_FROM_VIEWS = 10
RANSAC_ITERATIONS = 10
RANSAC_SEED = 42

ABSOLUTE_RANK_TOLERANCE = float(np.finfo(np.float64).eps)

AlignmentMethod = Literal["ransac", "umeyama", "rotations"]
RansacThreshold = Literal["nearest", "matched"]
"""Whether the residuals whose median decides who is an inlier are distances to the nearest target point, as in the
reference, or to the point's own partner. On dense or looping trajectories the former are far too small."""


@dataclass(frozen=True)
class Similarity:
    """A change of world frame and unit: x → scale · rotation · x + translation."""

    scale: Float[Tensor, "*batch"]
    rotation: Float[Tensor, "*batch 3 3"]
    translation: Float[Tensor, "*batch 3"]

    def apply(self, points: Float[Tensor, "*batch points 3"]) -> Float[Tensor, "*batch points 3"]:
        """Move points."""
        return self.scale[..., None, None] * (points @ self.rotation.mT) + self.translation[..., None, :]

    def apply_to_poses(self, world_to_camera: Float[Tensor, "*batch views 4 4"]) -> Float[Tensor, "*batch views 4 4"]:
        """Move cameras; depth seen by them has to be multiplied by ``scale``."""
        camera_to_world = rigid_inverse(world_to_camera)
        rotation = self.rotation[..., None, :, :] @ camera_to_world[..., :3, :3]
        return rigid_inverse(rigid_transform(rotation, self.apply(camera_to_world[..., :3, 3])))

    def inverse(self) -> "Similarity":
        """Return the similarity that undoes this one."""
        rotation = self.rotation.mT
        translation = -(rotation @ self.translation[..., None])[..., 0] / self.scale[..., None]
        return Similarity(1 / self.scale, rotation, translation)

    def compose(self, first: "Similarity") -> "Similarity":
        """Return the similarity that applies ``first``, then this one."""
        translation = self.apply(first.translation[..., None, :])[..., 0, :]
        return Similarity(self.scale * first.scale, self.rotation @ first.rotation, translation)


@dataclass(frozen=True)
class TrajectoryAlignment:
    """How one set of cameras was brought onto another."""

    similarity: Similarity
    method: AlignmentMethod
    """From camera centres, with or without RANSAC; or, where these lie on a line, from rotations and distances."""
    scale_known: bool
    """False where the cameras have no baseline: the scale is then 1 for want of a better one."""


def umeyama(
    source: Float[Tensor, "*batch points 3"],
    target: Float[Tensor, "*batch points 3"],
    weights: Float[Tensor, "*batch points"] | None = None,
    with_scale: bool = True,
) -> tuple[Similarity, Bool[Tensor, "*batch"]]:
    """Fit target ≈ s R source + t by weighted least squares (Umeyama 1991), in float64.

    Also returns whether the points determine the rotation: where they lie on a line or coincide they do not, and the
    result is one of many. Weights must not all be 0; points of weight 0 must still be finite.
    """
    similarity, spread = _fit(source.double(), target.double(), weights, with_scale)
    return _cast(similarity, source), spread[..., 1] > RANK_TOLERANCE * spread[..., 0]


def _fit(
    x: Float[Tensor, "*batch points 3"],
    y: Float[Tensor, "*batch points 3"],
    weights: Float[Tensor, "*batch points"] | None = None,
    with_scale: bool = True,
) -> tuple[Similarity, Float[Tensor, "*batch 3"]]:
    """Umeyama's fit, and the singular values of the covariance."""
    w = torch.ones_like(x[..., 0]) if weights is None else weights.double()
    w = (w / w.sum(-1, keepdim=True))[..., None]
    x_mean, y_mean = (w * x).sum(-2, keepdim=True), (w * y).sum(-2, keepdim=True)
    covariance = (w * (y - y_mean)).mT @ (x - x_mean)
    left, spread, right = torch.linalg.svd(covariance)
    signs = torch.ones_like(spread)
    signs[..., 2] = torch.where(torch.linalg.det(left @ right) < 0, -1.0, 1.0)
    rotation = left * signs[..., None, :] @ right
    scale = torch.ones_like(spread[..., 0])
    if with_scale:
        variance = (w * (x - x_mean).square()).sum((-2, -1))
        scale = torch.where(variance > 0, (spread * signs).sum(-1) / variance, scale)
    translation = (y_mean - scale[..., None, None] * (x_mean @ rotation.mT))[..., 0, :]
    return Similarity(scale, rotation, translation), spread


def umeyama_ransac(
    source: Float[Tensor, "points 3"],
    target: Float[Tensor, "points 3"],
    threshold: RansacThreshold = "nearest",
    *,
    absolute_rank: bool = False,
) -> tuple[Similarity, Bool[Tensor, ""]]:
    """Fit target ≈ s R source + t with RANSAC, draw for draw as the reference does (spec 12, benchmark 1.6).

    Also returns whether the points determine the rotation.

    Args:
        source: what is moved.
        target: its partners, in the same order.
        threshold: which residuals decide who is an inlier.
        absolute_rank: take points as determining the rotation from a covariance of 2.2e-16 in their unit on, as the
            published evaluator does, which lets nearly straight trajectories pass.

    Raises:
        ValueError: there are fewer than three points.
    """
    count = len(source)
    if count < 3:
        raise ValueError(f"RANSAC needs at least 3 points, got {count}")
    x, y = source.double(), target.double()

    def determines(spread: Float[Tensor, "*batch 3"]) -> Bool[Tensor, "*batch"]:
        smallest = ABSOLUTE_RANK_TOLERANCE if absolute_rank else RANK_TOLERANCE * spread[..., 0]
        return spread[..., 1] > smallest

    everything, spread = _fit(x, y)
    determined = determines(spread)
    if threshold == "nearest":
        residuals = torch.cdist(everything.apply(x), y).min(-1).values
    else:
        residuals = (everything.apply(x) - y).norm(dim=-1)
    draws = np.random.default_rng(RANSAC_SEED)
    size = max(3, (count + 1) // 2)
    subsets = np.stack([draws.choice(count, size, replace=False) for _ in range(RANSAC_ITERATIONS)])
    chosen = torch.from_numpy(subsets).to(source.device)
    candidates, spread = _fit(x[chosen], y[chosen])
    errors = (candidates.apply(x.expand(len(chosen), -1, -1)) - y).norm(dim=-1)
    inliers = errors <= residuals.quantile(0.5)
    best = _best_candidate(errors, inliers, determines(spread))
    if best is None:
        return _cast(everything, source), determined
    if inliers[best].sum() >= 3:
        refitted, spread = _fit(x[inliers[best]], y[inliers[best]])
        if determines(spread):
            return _cast(refitted, source), determined
    candidate = Similarity(candidates.scale[best], candidates.rotation[best], candidates.translation[best])
    return _cast(candidate, source), determined


def _best_candidate(
    errors: Float[Tensor, "candidates points"],
    inliers: Bool[Tensor, "candidates points"],
    usable: Bool[Tensor, " candidates"],
) -> int | None:
    """Most inliers, then smallest mean error among them, then first."""
    counts = inliers.sum(-1)
    means = torch.where(inliers, errors, 0).sum(-1) / counts.clamp(min=1)
    ranking = [
        (-count, mean, index)
        for index, (count, mean, fits) in enumerate(zip(counts.tolist(), means.tolist(), usable.tolist(), strict=True))
        if fits
    ]
    return min(ranking)[2] if ranking else None


def _cast(similarity: Similarity, like: Tensor) -> Similarity:
    return Similarity(similarity.scale.to(like), similarity.rotation.to(like), similarity.translation.to(like))


def align_trajectories(
    source: Float[Tensor, "views 4 4"],
    target: Float[Tensor, "views 4 4"],
    *,
    ransac_from: int = RANSAC_FROM_VIEWS,
    threshold: RansacThreshold = "nearest",
) -> TrajectoryAlignment:
    """Find the similarity that brings the cameras ``source`` (world to camera) onto ``target``.

    From the camera centres, with RANSAC from ``ransac_from`` views on; the defaults are the reference's (spec 12).
    Where the centres do not determine the rotation (one view, two views, views on a line or in one place), the mean of
    the cameras' relative rotations is the rotation, and the spread of the centres gives the scale if there is any.
    """
    source_centers, target_centers = camera_centers(source), camera_centers(target)
    scale_known = _has_baseline(source_centers) and _has_baseline(target_centers)
    similarity, determined = umeyama(source_centers, target_centers)
    if not (scale_known and determined):
        similarity = _similarity_from_rotations(source.double(), target.double(), scale_known)
        return TrajectoryAlignment(_cast(similarity, source), "rotations", scale_known)
    if len(source) < ransac_from:
        return TrajectoryAlignment(similarity, "umeyama", scale_known)
    similarity, _ = umeyama_ransac(source_centers, target_centers, threshold)
    return TrajectoryAlignment(similarity, "ransac", scale_known)


def _similarity_from_rotations(
    source: Float[Tensor, "views 4 4"], target: Float[Tensor, "views 4 4"], scale_known: bool
) -> Similarity:
    rotation = orthonormalize((target[:, :3, :3].mT @ source[:, :3, :3]).sum(0))
    source_centers, target_centers = camera_centers(source), camera_centers(target)
    scale = _spread(target_centers) / _spread(source_centers) if scale_known else source.new_ones(())
    return Similarity(scale, rotation, target_centers.mean(0) - scale * (rotation @ source_centers.mean(0)))


def _has_baseline(centers: Float[Tensor, "views 3"]) -> bool:
    noise = BASELINE_TOLERANCE * centers.norm(dim=-1).max() + BASELINE_FLOOR
    return bool(_spread(centers) > noise)


def _spread(centers: Float[Tensor, "views 3"]) -> Float[Tensor, ""]:
    """Root mean square distance from the mean."""
    return (centers - centers.mean(0)).square().sum(-1).mean().sqrt()


def fit_scale(
    source: Float[Tensor, "*batch values"],
    target: Float[Tensor, "*batch values"],
    weights: Float[Tensor, "*batch values"] | None = None,
) -> Float[Tensor, "*batch"]:
    """Find s that minimises Σ w (target − s · source)²."""
    x, y, w = _used(source, target, weights)
    return (w * x * y).sum(-1) / (w * x * x).sum(-1)


def fit_scale_and_shift(
    source: Float[Tensor, "*batch values"],
    target: Float[Tensor, "*batch values"],
    weights: Float[Tensor, "*batch values"] | None = None,
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Find (s, t) that minimise Σ w (target − s · source − t)²; s is 0 where all sources are equal."""
    x, y, w = _used(source, target, weights)
    total = w.sum(-1, keepdim=True)
    x_mean, y_mean = (w * x).sum(-1, keepdim=True) / total, (w * y).sum(-1, keepdim=True) / total
    covariance = (w * (x - x_mean) * (y - y_mean)).sum(-1)
    variance = (w * (x - x_mean).square()).sum(-1)
    rounding = total[..., 0] * (EQUAL_EPSILONS * torch.finfo(x.dtype).eps * x_mean[..., 0]).square()
    scale = torch.where(variance <= rounding, 0, covariance / variance)
    return scale, y_mean[..., 0] - scale * x_mean[..., 0]


def fit_scale_l1(
    source: Float[Tensor, "*batch values"],
    target: Float[Tensor, "*batch values"],
    weights: Float[Tensor, "*batch values"] | None = None,
) -> Float[Tensor, "*batch"]:
    """Find s that minimises Σ w |target − s · source|: the median of the ratios, weighted with w |source|."""
    x, y, w = _used(source, target, weights)
    influence = w * x.abs()
    ratios, order = torch.where(influence > 0, y / x, torch.inf).sort(-1)
    cumulative = influence.gather(-1, order).cumsum(-1, dtype=torch.float64)
    middle = torch.searchsorted(cumulative, cumulative[..., -1:] / 2)
    scale = ratios.gather(-1, middle)[..., 0]
    return torch.where(cumulative[..., -1] > 0, scale, torch.nan)


def fit_scale_and_shift_l1(
    source: Float[Tensor, "*batch values"],
    target: Float[Tensor, "*batch values"],
    weights: Float[Tensor, "*batch values"] | None = None,
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Find (s, t) that minimise Σ w |target − s · source − t|, by iteratively reweighted least squares."""
    x, y, w = _used(source, target, weights)
    spread = (w * y.abs()).sum(-1, keepdim=True) / w.sum(-1, keepdim=True)
    reweighted = w
    for _ in range(L1_ITERATIONS):
        scale, shift = fit_scale_and_shift(x, y, reweighted)
        residual = (y - scale[..., None] * x - shift[..., None]).abs()
        reweighted = w / residual.clamp(min=1e-6 * spread)
    return scale, shift


def _used(source: Tensor, target: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Fill in missing weights; put zeros where the weight is zero, since 0 · NaN is NaN."""
    if weights is None:
        return source, target, torch.ones_like(source)
    used = weights > 0
    return torch.where(used, source, 0), torch.where(used, target, 0), torch.where(used, weights, 0)
