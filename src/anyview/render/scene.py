"""Which Gaussians of a prediction are shown: the one place that decides for renderings and files."""

import numpy as np
from torch import Tensor

from anyview.geometry.gaussians import select_gaussians
from anyview.options import GaussianOptions
from anyview.render.colors import fit_colors
from anyview.render.merging import merge_by_voxel
from anyview.render.paths import find_focus
from anyview.render.pixels import pixel_gaussians
from anyview.types import Gaussians, Prediction


def scene_gaussians(prediction: Prediction, options: GaussianOptions) -> Gaussians:
    """Take the Gaussians of a prediction, in the frame and unit of its cameras, pruned, merged and recoloured.

    Raises:
        ValueError: there are none and `pixel_gaussians` is off, or it is on and there are no cameras; there is no
            confidence to prune by; an option is out of range; none is left.
    """
    options.check_gaussians()
    if prediction.gaussians is not None:
        gaussians, confidence = prediction.gaussians, _confidence(prediction, options)
    elif options.pixel_gaussians:
        if prediction.cameras is None:
            reason = prediction.lacks.get("cameras", "they were not predicted")
            raise ValueError(f"Gaussians of depth and colour need cameras, and this prediction has none: {reason}")
        valid = prediction.valid()  # sky, too: it has the depth of the farthest ground
        gaussians = pixel_gaussians(prediction.images, prediction.depth, prediction.cameras, valid)
        confidence = None if prediction.confidence is None else prediction.confidence[valid]
    else:
        reason = prediction.lacks.get("gaussians", "they were not predicted")
        raise ValueError(f"this prediction has no Gaussians: {reason}; pixel_gaussians makes some of depth and colour")
    kept = prune(gaussians, confidence, options)
    if options.color_rounds == 0:
        return kept
    if prediction.cameras is None:
        raise ValueError("color_rounds needs the cameras of the pictures, and this prediction has none")
    near = find_focus(prediction.cameras, kept.means).near
    return fit_colors(kept, prediction.images, prediction.cameras, options.color_rounds, near=near)


def prune(gaussians: Gaussians, confidence: Tensor | None, options: GaussianOptions) -> Gaussians:
    """Drop and merge Gaussians; ``confidence`` has one value for each.

    Raises:
        ValueError: there is no confidence to prune by, or nothing is left.
    """
    kept = gaussians.opacities >= options.least_opacity
    if options.gaussian_percentile > 0:
        if confidence is None:
            raise ValueError("gaussian_percentile needs a confidence for every Gaussian, and there is none")
        if len(confidence):
            kept &= confidence >= float(np.percentile(confidence.numpy(), options.gaussian_percentile))
    for value in vars(gaussians).values():
        kept &= value.flatten(1).isfinite().all(-1) if value.ndim > 1 else value.isfinite()
    if not kept.any():
        raise ValueError(
            f"no Gaussian is left: all {len(kept)} are dropped by confidence or opacity, or are not finite"
        )
    chosen = select_gaussians(gaussians, kept)
    return merge_by_voxel(chosen, options.voxel_size) if options.voxel_size > 0 else chosen


def _confidence(prediction: Prediction, options: GaussianOptions) -> Tensor | None:
    """Confidence of predicted Gaussians, of which there is one per pixel of the network's resolution."""
    if options.gaussian_percentile == 0 or prediction.confidence is None or prediction.gaussians is None:
        return None
    confidence = prediction.confidence.flatten()
    if len(confidence) != len(prediction.gaussians.means):
        raise ValueError(
            f"gaussian_percentile needs maps of the resolution of the Gaussians, of which there are "
            f"{len(prediction.gaussians.means)}, for {len(confidence)} pixels: predict with output_resolution='network'"
        )
    return confidence
