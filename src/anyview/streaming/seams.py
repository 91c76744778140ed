"""Where two predictions of the same frames meet: the similarity between them, and one set of views from both."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anyview.geometry.alignment import Similarity
from anyview.geometry.camera import unproject_to_world
from anyview.geometry.pose import orthonormalize, rigid_inverse, rigid_transform
from anyview.geometry.robust_alignment import fit_similarity_robustly
from anyview.streaming.frames import PosedViews
from anyview.types import Cameras

MOST_POINTS = 6000
"""Of an overlap that take part in its alignment, spread evenly over its frames."""
CAMERA_SHARE = 0.3
"""Weight of the cameras in it; the rest is the points'."""
CONFIDENCE_SHARE = 0.1
"""Pixels whose confidence, less 1, is below this part of the median's do not take part."""
TOLERANCE = 0.1
"""Relative error up to which a point of both predictions counts as the same."""
LEAST_DEVIATION = 0.02
"""Of a seam: what is not seen in the overlap, that windows are bent within."""


@dataclass(frozen=True)
class Seam:
    """How one prediction of some frames fits onto another."""

    similarity: Similarity
    """From the source's frame to the target's."""
    inliers: float
    """Share of the points whose error is below `TOLERANCE` of their depth."""
    error: float
    """Standard deviation of the points' errors, in parts of their depth."""
    scale_deviation: float
    """Standard deviation of the logarithm of scale, judged by how much the frames disagree about it."""


def edge_deviation(seam: Seam, frames: int, least: float = LEAST_DEVIATION) -> float:
    """Return the standard deviation of a seam's rotation, translation (parts of depth) and logarithm of scale.

    Within one frame errors of depth hang together, and only from frame to frame they even out: the points' error counts
    as that of one point per frame. ``least`` is what exact predictions get.
    """
    scale = 0.0 if math.isnan(seam.scale_deviation) else seam.scale_deviation
    return max(least, seam.error / math.sqrt(frames), scale)


def align_views(source: PosedViews, target: PosedViews, *, with_scale: bool = True) -> Seam:
    """Find the similarity that brings one prediction of some frames onto another, by their points and cameras.

    Points of the same pixel are pairs, weighted with the root of the product of confidences; each camera counts as its
    centre and three points before it along its axes, at the typical depth. What does not fit is let go of.
    """
    chosen = _chosen_pixels(source, target)
    if not chosen.any():
        chosen = _both_valid(source, target)
    surface_source, surface_target = _points(source)[chosen], _points(target)[chosen]
    confidence = (_certainty(source) * _certainty(target)).sqrt()[chosen].double().clamp(min=1e-6)
    typical_source, typical_target = typical_depth(source), typical_depth(target)
    cameras_source, cameras_target = _camera_points(source, typical_source), _camera_points(target, typical_target)
    camera_weight = CAMERA_SHARE / (1 - CAMERA_SHARE) * float(confidence.sum()) / len(cameras_source)
    if not len(confidence):
        camera_weight = 1.0
    fit = fit_similarity_robustly(
        torch.cat([surface_source, cameras_source]),
        torch.cat([surface_target, cameras_target]),
        torch.cat([confidence, torch.full((len(cameras_source),), camera_weight, dtype=torch.float64)]),
        torch.cat([target.depth[chosen].double(), torch.full((len(cameras_target),), typical_target).double()]),
        with_scale=with_scale,
    )
    errors = fit.errors[: len(confidence)]
    inliers = float((errors < TOLERANCE).double().mean()) if len(errors) else 0.0
    deviation = _scale_deviation(source, target, fit.similarity, chosen)
    return Seam(fit.similarity, inliers, fit.width, deviation if with_scale else 0.0)


def blend_views(earlier: PosedViews, later: PosedViews) -> PosedViews:
    """Make one set of views from two predictions of the same frames in the same frame of reference.

    From the first frame to the last the later prediction gains weight; depth is weighted with confidence too. Where the
    two differ by more than a tenth, one surface lies before another: a mean would hang in between, and the heavier one
    counts. So each surface is there once.
    """
    count = len(earlier)
    gain = (torch.arange(count, dtype=torch.float32) + 1) / (count + 1)
    old = _certainty(earlier) * (1 - gain)[:, None, None]
    new = _certainty(later) * gain[:, None, None]
    nothing = (old + new) <= 0
    share = torch.where(nothing, gain[:, None, None].expand_as(new), new / (old + new).clamp(min=1e-12))
    ratio = later.depth / earlier.depth
    apart = (ratio - 1).abs() > TOLERANCE
    share = torch.where(apart, (share > 0.5).float(), share)
    depth = torch.lerp(earlier.depth, later.depth, share)
    confidence = torch.lerp(earlier.confidence, later.confidence, share)
    return PosedViews(earlier.images, depth, confidence, blend_cameras(earlier.cameras, later.cameras, gain))


def blend_cameras(earlier: Cameras, later: Cameras, gain: Float[Tensor, " views"]) -> Cameras:
    """Take means of cameras, ``gain`` parts of the later and the rest of the earlier ones."""
    old, new = rigid_inverse(earlier.world_to_camera.double()), rigid_inverse(later.world_to_camera.double())
    mixed = torch.lerp(old, new, gain.double()[:, None, None])
    camera_to_world = rigid_transform(orthonormalize(mixed[:, :3, :3]), mixed[:, :3, 3])
    intrinsics = torch.lerp(earlier.intrinsics, later.intrinsics, gain.to(earlier.intrinsics)[:, None, None])
    return Cameras(rigid_inverse(camera_to_world).to(earlier.world_to_camera), intrinsics)


def typical_depth(views: PosedViews) -> float:
    """The median depth of the valid pixels: a length that scales with the scene; 1 where there is none."""
    valid = valid_pixels(views)
    return float(views.depth[valid].median()) if valid.any() else 1.0


def valid_pixels(views: PosedViews) -> Bool[Tensor, "views height width"]:
    """Pixels that have a prediction with positive, finite depth."""
    return (views.confidence >= 1) & views.depth.isfinite() & (views.depth > 0)


def _both_valid(source: PosedViews, target: PosedViews) -> Bool[Tensor, "views height width"]:
    return valid_pixels(source) & valid_pixels(target)


def _certainty(views: PosedViews) -> Float[Tensor, "views height width"]:
    """Confidence from 0 on, with 0 where there is no prediction."""
    return torch.where(valid_pixels(views), (views.confidence - 1).clamp(min=1e-3), 0.0)


def _chosen_pixels(source: PosedViews, target: PosedViews) -> Bool[Tensor, "views height width"]:
    """Pixels sure in both predictions, on a regular grid that leaves `MOST_POINTS` of them at most."""
    views, height, width = source.depth.shape
    stride = max(1, math.ceil(math.sqrt(views * height * width / MOST_POINTS)))
    grid = torch.zeros(height, width, dtype=torch.bool)
    grid[stride // 2 :: stride, stride // 2 :: stride] = True
    chosen = _both_valid(source, target) & grid
    for side in (source, target):
        if chosen.any():
            certainty = _certainty(side)
            chosen = chosen & (certainty >= CONFIDENCE_SHARE * certainty[chosen].median())
    return chosen


def _points(views: PosedViews) -> Float[Tensor, "views height width 3"]:
    cameras = Cameras(views.cameras.world_to_camera.double(), views.cameras.intrinsics.double())
    return unproject_to_world(views.depth.double(), cameras)


def _camera_points(views: PosedViews, length: float) -> Float[Tensor, "points 3"]:
    camera_to_world = rigid_inverse(views.cameras.world_to_camera.double())
    center, axes = camera_to_world[:, :3, 3], camera_to_world[:, :3, :3].mT
    return torch.cat([center[:, None], center[:, None] + length * axes], 1).flatten(0, 1)


def _scale_deviation(
    source: PosedViews, target: PosedViews, similarity: Similarity, chosen: Bool[Tensor, "views height width"]
) -> float:
    logs = [
        float((target.depth[view][chosen[view]] / source.depth[view][chosen[view]]).log().median())
        for view in range(len(source))
        if chosen[view].any()
    ]
    if len(logs) < 2:
        return math.nan
    ratios = torch.tensor(logs, dtype=torch.float64) - similarity.scale.log()
    return float(ratios.std() / math.sqrt(len(logs)))
