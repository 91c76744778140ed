"""Gaussians whose colours give the pictures back, with everything else as it is."""

from dataclasses import replace

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from anyview.geometry.harmonics import colors_of_harmonics, harmonics_of_colors
from anyview.render.rasterize import rasterize
from anyview.types import Cameras, Gaussians, map_tensors

_RELAXATION = 1.5
"""Of a correction: any number below 2 converges, this one sooner than 1."""
_LEAST_WEIGHT = 0.35
"""Of a Gaussian in all pictures together, in pixels: one that is seen less, behind others, hardly changes."""


@torch.inference_mode(mode=False)
@torch.enable_grad()
def fit_colors(
    gaussians: Gaussians,
    images: UInt8[Tensor, "views height width 3"],
    cameras: Cameras,
    rounds: int,
    *,
    near: float,
    valid: Bool[Tensor, "views height width"] | None = None,
) -> Gaussians:
    """Solve for the colours that give the pictures back, by simultaneous iterative reconstruction (Gilbert 1972).

    A pixel is a weighted sum of colours, so each round adds to a colour the mean of what is missing in all pixels, as
    much of each as the Gaussian is seen there. The renderer's gradients are these sums. What is let through counts as
    right: beside a hole nothing becomes brighter for it. Of harmonics above degree 0 nothing changes; no colour leaves
    the range from black to white, or goes farther from it than it was. The arguments stay as they are.

    Args:
        gaussians: of one scene.
        images: what they show.
        cameras: one per picture, in pixels of the pictures.
        rounds: 0 changes nothing; 2 do most of what there is to do.
        near: Gaussians with less z-depth are not drawn (`rasterize`).
        valid: pixels that count; default: all.

    Raises:
        ValueError: the number of rounds is negative.
    """
    if rounds < 0:
        raise ValueError(f"expected 0 rounds or more, got {rounds}")
    # Tensors of inference mode have no gradients; their copies do.
    gaussians, cameras = map_tensors(gaussians, torch.clone), map_tensors(cameras, torch.clone)
    colors, higher = colors_of_harmonics(gaussians.harmonics[..., 0]), gaussians.harmonics[..., 1:]
    darkest, brightest = colors.clamp(max=0), colors.clamp(min=1)
    seen_as = torch.zeros_like(colors)
    for number in range(rounds):
        leaf, missing = colors.clone().requires_grad_(), torch.zeros_like(colors)
        for view in range(len(images)):
            there = torch.ones_like(images[view, ..., 0], dtype=torch.bool) if valid is None else valid[view].clone()
            shown = replace(gaussians, harmonics=torch.cat([harmonics_of_colors(leaf)[..., None], higher], -1))
            seen = rasterize(shown, cameras[view : view + 1], *images.shape[1:3], near=near)
            color, alpha = seen.color[0][there], seen.alpha[0][there]
            if not color.requires_grad:  # nothing is far enough away to be drawn
                continue
            error = (alpha[:, None] * images[view].clone()[there].to(color) / 255 - color).detach()
            missing += torch.autograd.grad(color, leaf, error, retain_graph=number == 0)[0]
            if number == 0:
                seen_as += torch.autograd.grad(color, leaf, torch.ones_like(color))[0]
        colors = (colors + _RELAXATION * missing / seen_as.clamp(min=_LEAST_WEIGHT)).clamp(darkest, brightest)
    return replace(gaussians, harmonics=torch.cat([harmonics_of_colors(colors)[..., None], higher], -1))
