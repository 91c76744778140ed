"""What training of Gaussians minimises (training spec 6): pure functions, one value per scene."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from anyview.geometry.alignment import fit_scale_l1
from anyview.training.losses import mean_over

Pictures = Float[Tensor, "batch views height width 3"]

GRADIENT_LEVELS = 3
"""Resolutions that `edge_loss` compares, each half of the one before."""


def color_loss(rendered: Pictures, truth: Pictures) -> Float[Tensor, " batch"]:
    """Mean squared error of colours, 0 to 1."""
    return (rendered - truth).square().flatten(1).mean(1)


def edge_loss(rendered: Pictures, truth: Pictures) -> Float[Tensor, " batch"]:
    """Compare differences between neighbouring pixels, at several resolutions: the sum of their mean errors [ours].

    It stands in for LPIPS where that has no weights: unlike squared errors it is not least where edges are blurred.
    """
    error = (rendered - truth).flatten(0, 1).movedim(-1, 1)
    total = torch.zeros_like(error[:, 0, 0, 0])
    for level in range(GRADIENT_LEVELS):
        if level:
            error = F.avg_pool2d(error, 2)
        for axis in (-1, -2):
            if error.shape[axis] > 1:
                total = total + error.diff(dim=axis).abs().flatten(1).mean(1)
    return total.unflatten(0, rendered.shape[:2]).mean(1)


def shape_loss(
    depth: Float[Tensor, "batch views height width"],
    truth: Float[Tensor, "batch views height width"],
    valid: Bool[Tensor, "batch views height width"],
) -> Float[Tensor, " batch"]:
    """Compare the Gaussians' depth in the observed views, in parts of the true one, whatever its scale.

    Each scene's depth has the factor that makes this loss least, so the gradient through that factor is zero.
    """
    ratio = torch.where(valid, depth / torch.where(valid, truth, 1.0), 0.0)
    parts, ones = ratio.detach().flatten(1), torch.ones_like(ratio).flatten(1)
    factor = fit_scale_l1(parts, ones, valid.flatten(1).float()).nan_to_num(nan=1.0)
    return mean_over(valid, (factor[:, None, None, None] * ratio - 1).abs())
