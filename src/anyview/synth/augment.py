"""What cameras do to pictures: exposure, white balance, contrast, blur, noise, compression. Geometry stays as it is."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from anyview.synth.hashing import mix, uniform

_BLOCK = 8
_BRIGHTNESS_STEPS = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
"""Quantisation of JPEG at quality 50 (ITU-T T.81, annex K)."""
_COLOR_STEPS = (17, 18, 24, 47, 99, 99, 99, 99)
"""Diagonal of a table for colour differences close to that of the annex: entry (i, j) is the larger of i's and j's."""
_TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def photograph(
    images: Float[Tensor, "scenes views height width 3"], seeds: Int[Tensor, " scenes"]
) -> Float[Tensor, "scenes views height width 3"]:
    """Take pictures (0 to 1) of a scene with one camera whose settings, partly, change from view to view."""
    scenes, views = images.shape[:2]
    shared = uniform(seeds ^ 0x3C6EF372, 12)[:, None].expand(-1, views, -1)
    single = uniform(seeds ^ 0x1F83D9AB, views * 12).view(scenes, views, 12)
    setting = (0.7 * shared + 0.3 * single)[..., None, None, :]
    gain = torch.exp2(1.0 * (setting[..., 0:1] - 0.5)) * (1 + 0.35 * (setting[..., 1:4] - 0.5))
    pictures = (images * gain).clamp(0, 1).pow(torch.exp2(setting[..., 4:5] - 0.5))
    pictures = torch.lerp(pictures.mean(-1, keepdim=True), pictures, 0.6 + 0.7 * setting[..., 5:6])
    switch = single.unbind(-1)
    pictures = blur(pictures, torch.where(switch[6] < 0.5, 1.2 * switch[7], 0.0))
    pictures = pictures + noise(pictures.shape, seeds) * (0.04 * shared[..., 8] ** 2)[..., None, None, None]
    quality = torch.where(switch[9] < 0.6, 35 + 60 * switch[10], 100.0)
    return compress(pictures.clamp(0, 1), quality)


def blur(
    images: Float[Tensor, "*batch height width 3"], sigma: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch height width 3"]:
    """Blur with a Gaussian of ``sigma`` pixels, cut off at 2 pixels; edges are repeated."""
    weights = torch.exp(-0.5 * (torch.arange(3, device=sigma.device) / sigma.clamp(min=0.05)[..., None]).square())
    weights = weights / (weights[..., :1] + 2 * weights[..., 1:].sum(-1, keepdim=True))
    center, near, far = weights[..., None, None, None, :].unbind(-1)
    for axis in (-3, -2):
        size = images.shape[axis]
        shifts = [
            images.index_select(axis, torch.arange(size, device=sigma.device).add(step).clamp(0, size - 1))
            for step in (-2, -1, 1, 2)
        ]
        images = center * images + near * (shifts[1] + shifts[2]) + far * (shifts[0] + shifts[3])
    return images


def noise(shape: torch.Size, seeds: Int[Tensor, " scenes"]) -> Float[Tensor, "scenes views height width 3"]:
    """Draw noise of mean 0 and variance 1, nearly normal: sums of the four bytes of a hash."""
    place = torch.arange(math.prod(shape[1:]), device=seeds.device, dtype=torch.int32)
    keys = mix(mix(seeds)[:, None] + place)
    total = sum(((keys >> shift) & 255 for shift in (8, 16, 24)), keys & 255)
    return ((total.float() - 510) / 147.8).view(shape)


def compress(
    images: Float[Tensor, "*batch height width 3"], quality: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch height width 3"]:
    """Lose what JPEG loses at a quality from 1 to 100, without subsampling colours."""
    height, width = images.shape[-3:-1]
    rows, columns = -(-height // _BLOCK), -(-width // _BLOCK)
    to_ycbcr = torch.tensor(_TO_YCBCR, device=images.device)
    y = torch.arange(rows * _BLOCK, device=images.device).clamp(max=height - 1)
    x = torch.arange(columns * _BLOCK, device=images.device).clamp(max=width - 1)
    planes = (255 * images.index_select(-3, y).index_select(-2, x)) @ to_ycbcr.T
    blocks = planes.movedim(-1, -3).unflatten(-1, (columns, _BLOCK)).unflatten(-3, (rows, _BLOCK)).transpose(-3, -2)
    cosine = _cosine_transform(images.device)
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50).clamp(min=0.01)
    steps = (_quantisation(images.device) * scale[..., None, None, None]).clamp(min=1)[..., :, None, None, :, :]
    coefficients = (cosine @ blocks @ cosine.T / steps).round() * steps
    planes = (cosine.T @ coefficients @ cosine).transpose(-3, -2).flatten(-4, -3).flatten(-2, -1).movedim(-3, -1)
    return (planes[..., :height, :width, :] @ torch.linalg.inv(to_ycbcr).T / 255).clamp(0, 1)


def _cosine_transform(device: torch.device) -> Float[Tensor, "8 8"]:
    """The orthonormal DCT-II of 8 samples."""
    number = torch.arange(_BLOCK, device=device)
    matrix = torch.cos(math.pi / _BLOCK * (number + 0.5) * number[:, None]) / 2
    matrix[0] /= math.sqrt(2)
    return matrix


def _quantisation(device: torch.device) -> Float[Tensor, "3 8 8"]:
    brightness = torch.tensor(_BRIGHTNESS_STEPS, device=device, dtype=torch.float32)
    first = torch.tensor(_COLOR_STEPS, device=device, dtype=torch.float32)
    color = torch.maximum(first[:, None], first)
    return torch.stack([brightness, color, color])
