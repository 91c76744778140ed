"""Sky, and the scale that turns any-view depth into metres."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anyview.geometry.camera import focal_lengths

SKY_THRESHOLD = 0.3
"""Sky scores from here on are sky."""
FEWEST_PIXELS = 10
"""With this many pixels of ground or sky, or fewer, there is nothing to fill from or to fill."""
CANONICAL_FOCAL_LENGTH = 300.0
"""Pixels. A metric network's output is in metres for a camera of this focal length."""
FARTHEST_SKY = 200.0
"""Metres."""
_SAMPLES = 100_000


def is_sky(score: Float[Tensor, "*batch"]) -> Bool[Tensor, "*batch"]:
    """Where a sky score means sky."""
    return score >= SKY_THRESHOLD


def masked_quantile(
    values: Float[Tensor, "*batch pixels"], mask: Bool[Tensor, "*batch pixels"], fraction: float
) -> Float[Tensor, "*batch"]:
    """Quantile of the masked values, NaN where there are none; of every n-th value where they are very many."""
    stride = -(-values.shape[-1] // _SAMPLES)
    return torch.where(mask, values, torch.nan)[..., ::stride].nanquantile(fraction, dim=-1)


def fill_sky(
    depth: Float[Tensor, "*batch height width"], sky_score: Float[Tensor, "*batch height width"]
) -> Float[Tensor, "*batch height width"]:
    """Put the sky of each view at the 0.99 quantile of the depth of its ground, if it has enough of both."""
    ground = ~is_sky(sky_score)
    far = masked_quantile(depth.flatten(-2), ground.flatten(-2), 0.99)
    enough = [pixels.flatten(-2).sum(-1) > FEWEST_PIXELS for pixels in (ground, ~ground)]
    fill = ~ground & (enough[0] & enough[1])[..., None, None]
    return torch.where(fill, far[..., None, None], depth)


def to_metres(
    canonical_depth: Float[Tensor, "*batch height width"], intrinsics: Float[Tensor, "*batch 3 3"]
) -> Float[Tensor, "*batch height width"]:
    """Canonical depth of a metric network times focal length / 300: metres."""
    return canonical_depth * (focal_lengths(intrinsics).mean(-1) / CANONICAL_FOCAL_LENGTH)[..., None, None]


def metric_scale(
    depth: Float[Tensor, "batch views height width"],
    confidence: Float[Tensor, "batch views height width"],
    metres: Float[Tensor, "batch views height width"],
    sky_score: Float[Tensor, "batch views height width"],
) -> Float[Tensor, " batch"]:
    """Factor that brings any-view depth closest to metric depth, over the surer half of the ground of all views.

    NaN for scenes with too little ground to tell.
    """
    ground = ~is_sky(sky_score)
    median = masked_quantile(confidence.flatten(1), ground.flatten(1), 0.5)
    sure = ground & (confidence >= median[:, None, None, None]) & (metres > 0.01) & (depth > 0.001)
    weighted = torch.where(sure, depth, 0.0)
    scale = (weighted * metres).flatten(1).sum(1) / weighted.square().flatten(1).sum(1).clamp(min=1e-12)
    return torch.where(ground.flatten(1).sum(1) > FEWEST_PIXELS, scale, torch.nan)


def metric_sky_depth(
    metres: Float[Tensor, "batch views height width"],
    sky_score: Float[Tensor, "batch views height width"],
    is_metric: Bool[Tensor, " batch"],
) -> Float[Tensor, "batch views height width"]:
    """Put the sky of metric scenes at the 0.99 quantile of the depth of all their ground, at most 200 m away."""
    sky = is_sky(sky_score)
    far = masked_quantile(metres.flatten(1), ~sky.flatten(1), 0.99).clamp(max=FARTHEST_SKY)
    return torch.where(sky & is_metric[:, None, None, None], far[:, None, None, None], metres)
