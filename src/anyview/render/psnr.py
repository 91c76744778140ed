"""How far pictures are from the truth, in decibels."""

import math

from jaxtyping import Bool, Float
from torch import Tensor


def psnr(
    rendered: Float[Tensor, "*picture"], truth: Float[Tensor, "*picture"], where: Bool[Tensor, "*pixels"] | None = None
) -> float:
    """Compute the peak signal-to-noise ratio over pixels and channels, 0 to 1; ∞ for equal pictures.

    ``where`` leaves out pixels, of pictures whose last dimension is colour.
    """
    errors = (rendered.clamp(0, 1).double() - truth.clamp(0, 1).double()).square()
    error = (errors if where is None else errors[where]).mean().item()
    return math.inf if error == 0 else -10 * math.log10(error)
