"""Scores of rendered pictures (benchmark 3.1)."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d

from anyview.render.lpips import open_lpips

WINDOW, DEVIATION = 11, 1.5
"""Of SSIM's Gaussian window, in pixels."""


def ssim(rendered: Float[Tensor, "3 height width"], truth: Float[Tensor, "3 height width"]) -> float:
    """Compute the structural similarity of pictures, 0 to 1 (Wang et al. 2004).

    Statistics come from windows of 11 × 11 pixels with Gaussian weights, wherever such a window fits into the picture,
    and the result is the mean over windows and channels.

    Raises:
        ValueError: no window fits.
    """
    if min(truth.shape[-2:]) < WINDOW:
        raise ValueError(f"expected pictures of at least {WINDOW} pixels each way, got {tuple(truth.shape[-2:])}")
    x, y = rendered.clamp(0, 1).double()[:, None], truth.clamp(0, 1).double()[:, None]
    x_mean, y_mean = _window_means(x), _window_means(y)
    x_variance, y_variance = _window_means(x * x) - x_mean.square(), _window_means(y * y) - y_mean.square()
    covariance = _window_means(x * y) - x_mean * y_mean
    luminance = (2 * x_mean * y_mean + 0.01**2) / (x_mean.square() + y_mean.square() + 0.01**2)
    structure = (2 * covariance + 0.03**2) / (x_variance + y_variance + 0.03**2)
    return (luminance * structure).mean().item()


def lpips_lacks() -> str | None:
    """Say why LPIPS cannot be computed here; None: it can."""
    try:
        open_lpips()
    except (ImportError, ValueError) as error:
        return str(error)
    return None


def lpips(rendered: Float[Tensor, "3 height width"], truth: Float[Tensor, "3 height width"]) -> float:
    """Compute the perceptual distance LPIPS (Zhang et al. 2018) with VGG features, of pictures from 0 to 1.

    Raises:
        ImportError: a package is missing, see `render.lpips`.
        ValueError: the weights are.
    """
    distance = open_lpips()
    with torch.inference_mode():
        return distance(rendered.clamp(0, 1)[None], truth.clamp(0, 1)[None]).item()


def _window_means(images: Float[Tensor, "channels 1 height width"]) -> Float[Tensor, "channels 1 rows columns"]:
    offsets = torch.arange(WINDOW, dtype=images.dtype, device=images.device) - WINDOW // 2
    weights = torch.exp(-0.5 * (offsets / DEVIATION).square())
    weights = weights / weights.sum()
    return conv2d(conv2d(images, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
