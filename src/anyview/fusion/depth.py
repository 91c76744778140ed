"""Predicted depth and cameras at the size of the true pictures, ready to be fused (benchmark 1.7).

"compat" is what the published evaluator does, quirks included; "sane" leaves those out.
"""

from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int

from anyview.options import Protocol

ResizeRule = Literal["opencv", "torch"]
"""How the nearest source pixel is found: the two round differently in a few columns of some pairs of sizes."""


def nearest_indices(source: int, target: int, rule: ResizeRule = "opencv") -> Int[np.ndarray, " target"]:
    """Find the source pixel of each target pixel when a row of ``source`` pixels is resized to ``target``."""
    positions = np.arange(target)
    if rule == "opencv":
        indices = np.floor(positions * (1 / (target / source)))
    else:
        indices = np.floor(positions.astype(np.float32) * (np.float32(source) / np.float32(target)))
    return np.minimum(indices.astype(np.int64), source - 1)


def resize_nearest(
    depth: Float[np.ndarray, "*views from_height from_width"], height: int, width: int, rule: ResizeRule = "opencv"
) -> Float[np.ndarray, "*views height width"]:
    """Resize maps by taking the nearest pixel."""
    rows = nearest_indices(depth.shape[-2], height, rule)
    columns = nearest_indices(depth.shape[-1], width, rule)
    return depth[..., rows[:, None], columns]


def resize_linear(
    depth: Float[np.ndarray, "from_height from_width"], height: int, width: int
) -> Float[np.ndarray, "height width"]:
    """Resize a map linearly, without antialiasing: mixes depth across edges (ScanNet++ in "compat", quirks 34, 35)."""
    return cv2.resize(depth, (width, height), interpolation=cv2.INTER_LINEAR)


def mask_depth(
    depth: Float[np.ndarray, "*views height width"],
    mask: Bool[np.ndarray, "*views height width"] | None,
    protocol: Protocol,
) -> Float[np.ndarray, "*views height width"]:
    """Set depth to 0 where the truth has none, or where it is not a positive number.

    In "compat" depth that is not finite becomes NaN under a mask (quirk 16; fusing ignores it), and negative depth
    stays. None is a truth without a mask: a missing file, which "sane" callers refuse before they come here.
    """
    finite = np.isfinite(depth)
    if protocol == "compat" and mask is not None:
        with np.errstate(invalid="ignore"):
            return depth * (mask & finite)
    good = finite & (depth > 0) if mask is None else mask & finite & (depth > 0)
    return np.where(good, depth, np.zeros_like(depth))


def prepare_depth(
    depth: Float[np.ndarray, "from_height from_width"],
    height: int,
    width: int,
    mask: Bool[np.ndarray, "height width"] | None,
    scale: float,
    protocol: Protocol,
) -> Float32[np.ndarray, "height width"]:
    """Resize predicted depth to ``height`` × ``width``, mask it, then multiply it with ``scale``."""
    masked = mask_depth(resize_nearest(depth, height, width), mask, protocol)
    return (scale * masked).astype(np.float32)


def fusion_intrinsics(
    intrinsics: Float[np.ndarray, "*views 3 3"],
    from_size: tuple[int, int],
    to_size: tuple[int, int],
    protocol: Protocol,
) -> Float64[np.ndarray, "*views 3 3"]:
    """Scale the intrinsics of maps of ``from_size`` to ``to_size`` (height, width), for `Tsdf.integrate`.

    In "compat" ``intrinsics`` are the numbers in the files, whatever they count pixel centres from; they are scaled
    about the corner and then taken as counted from centres at whole numbers (quirk 17), which in this package's
    convention moves the principal point by half a pixel. In "sane" they are in this package's convention throughout.
    """
    scale = np.array([to_size[1] / from_size[1], to_size[0] / from_size[0], 1.0])
    scaled = scale[:, None] * intrinsics.astype(np.float64)
    if protocol == "compat":
        scaled[..., :2, 2] += 0.5
    return scaled
