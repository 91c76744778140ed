"""Which pixels become points, and the points themselves: the one place that decides for every format."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from anyview.geometry.camera import unproject_to_world
from anyview.geometry.normals import normals_from_depth
from anyview.options import ExportOptions
from anyview.types import Prediction

CONFIDENCE_FLOOR = 1.05
"""Confidence starts at 1: below this the network said that it does not know (spec 14)."""
KEPT_AT_LEAST = 90
"""Percentile: the floor may not take more than this share of the pixels (spec 14)."""


@dataclass(frozen=True)
class PointCloud:
    """Points in world space, in the unit of the prediction they come from."""

    positions: Float[Tensor, "points 3"]
    colors: UInt8[Tensor, "points 3"]
    """sRGB."""
    normals: Float[Tensor, "points 3"] | None = None
    """Unit length, towards the camera that saw the point."""
    confidence: Float[Tensor, " points"] | None = None


def point_cloud(prediction: Prediction, options: ExportOptions, *, normals: bool = False) -> PointCloud:
    """Lift the pixels that the options choose into the world, in the order of views and rows."""
    assert prediction.cameras is not None
    chosen = thin(select_pixels(prediction, options), options.max_points, options.sampling_seed)
    # View by view, so that only what is kept exists for all views at once.
    views = range(len(prediction))
    return PointCloud(
        positions=torch.cat([unproject_to_world(prediction.depth[v], prediction.cameras[v])[chosen[v]] for v in views]),
        colors=prediction.images[chosen],
        normals=torch.cat([_world_normals(prediction, v)[chosen[v]] for v in views]) if normals else None,
        confidence=None if prediction.confidence is None else prediction.confidence[chosen],
    )


def extent(cloud: PointCloud) -> float:
    """Measure the diagonal of the box from the 5th to the 95th percentile of the points."""
    low, high = np.percentile(cloud.positions.numpy(), [5, 95], axis=0)
    return float(np.linalg.norm(high - low))


def select_pixels(prediction: Prediction, options: ExportOptions) -> Bool[Tensor, "views height width"]:
    """Choose the pixels worth showing: valid, confident, and neither sky nor background where those are dropped.

    The confidence needed is the percentile of the options over all valid pixels, raised to 1.05 where it is lower,
    unless that would leave less than a tenth of the pixels: then that tenth is kept. Percentile 0 keeps all.
    """
    valid = prediction.valid()
    chosen = valid
    if prediction.confidence is not None and options.confidence_percentile > 0 and valid.any():
        percentiles = [options.confidence_percentile, KEPT_AT_LEAST]
        wanted, most = np.percentile(prediction.confidence[valid].numpy(), percentiles)
        chosen = chosen & (prediction.confidence >= min(max(CONFIDENCE_FLOOR, wanted), most))
    if prediction.sky is not None and options.drop_sky:
        chosen = chosen & ~prediction.sky
    if options.drop_black_background:
        chosen = chosen & (prediction.images >= 16).any(-1)
    if options.drop_white_background:
        chosen = chosen & (prediction.images < 240).any(-1)
    return chosen


def thin(chosen: Bool[Tensor, "*shape"], count: int, seed: int) -> Bool[Tensor, "*shape"]:
    """Keep at most ``count`` of the chosen elements, drawn without replacement."""
    indices = chosen.flatten().nonzero()[:, 0]
    if len(indices) <= count:
        return chosen
    generator = torch.Generator().manual_seed(seed)
    kept = torch.zeros(chosen.numel(), dtype=torch.bool)
    kept[indices[torch.randperm(len(indices), generator=generator)[:count]]] = True
    return kept.view(chosen.shape)


def _world_normals(prediction: Prediction, view: int) -> Float[Tensor, "height width 3"]:
    assert prediction.cameras is not None
    camera = prediction.cameras[view]
    valid = prediction.valid()[view]
    return normals_from_depth(prediction.depth[view], camera.intrinsics, valid) @ camera.world_to_camera[:3, :3]
