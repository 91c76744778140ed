"""What stands behind a picture where nothing is known: colours from beside."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

OPAQUE = 0.5
"""From this alpha on a rendered pixel says what is there."""


def fill_behind(
    color: Float[Tensor, "height width 3"], alpha: Float[Tensor, "height width"]
) -> Float[Tensor, "height width 3"]:
    """Put behind a picture, rendered on black, what it shows where it is opaque, and between from beside.

    What is put there has no gradients: the picture alone is to be made right.
    """
    with torch.no_grad():
        opaque = alpha >= OPAQUE
        shown = torch.where(opaque[..., None], color / alpha.clamp(min=OPAQUE)[..., None], 0.0)
        behind = fill_from_beside(shown, opaque)
    return color + (1 - alpha[..., None]) * behind


def fill_from_beside(
    picture: Float[Tensor, "height width 3"], known: Bool[Tensor, "height width"]
) -> Float[Tensor, "height width 3"]:
    """Give unknown pixels the mean of their known neighbours, ring by ring; all stay black where none is known."""
    values, mask = picture.permute(2, 0, 1)[None], known.float()[None, None]
    while mask.any() and not mask.all():
        around = torch.nn.functional.avg_pool2d(mask, 3, 1, 1)
        mean = torch.nn.functional.avg_pool2d(values * mask, 3, 1, 1) / around.clamp(min=1e-12)
        values = torch.where(mask > 0, values, mean)
        mask = (around > 0).float()
    return values[0].permute(1, 2, 0)
