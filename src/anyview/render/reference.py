"""Compositing of splats as one would write it down: one after the other, nearest first. The truth for the fast one."""

import torch
from jaxtyping import Float
from torch import Tensor

from anyview.geometry.camera import pixel_centers
from anyview.render.splats import FAINTEST, Splats

MOST_OPAQUE = 0.999
"""A splat lets at least the rest through, so that what lies behind it keeps a gradient."""
DARKEST = 1e-4
"""A pixel takes no more splats when the next would let less light than this through."""


def composite_reference(
    splats: Splats, height: int, width: int
) -> tuple[Float[Tensor, "height width 3"], Float[Tensor, "height width"], Float[Tensor, "height width"]]:
    """Return colour on black, the sum of weight times depth, and alpha of every pixel."""
    pixels = pixel_centers(height, width, splats.centers.device, splats.centers.dtype)
    color, depth = torch.zeros_like(pixels[..., :1]).expand(-1, -1, 3), torch.zeros_like(pixels[..., 0])
    light = torch.ones_like(depth)  # what comes through from behind
    open_ = torch.ones_like(depth, dtype=torch.bool)
    inverses = torch.linalg.inv(splats.covariances)
    for index in range(len(splats.centers)):
        offsets = pixels - splats.centers[index]
        distance = (offsets @ inverses[index] * offsets).sum(-1)
        alpha = (splats.opacities[index] * torch.exp(-distance / 2)).clamp(max=MOST_OPAQUE)
        alpha = torch.where(alpha >= FAINTEST, alpha, 0)
        open_ = open_ & (light * (1 - alpha) > DARKEST)
        weight = torch.where(open_, alpha * light, 0)
        color = color + weight[..., None] * splats.colors[index]
        depth = depth + weight * splats.depths[index]
        light = light - weight
    return color, depth, 1 - light
