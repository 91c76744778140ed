import gzip
import math
import struct
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anyview.files import atomic_path
from anyview.geometry.alignment import Similarity
from anyview.geometry.gaussians import transform_gaussians
from anyview.options import ExportOptions
from anyview.render.scene import scene_gaussians
from anyview.types import Gaussians, Prediction

MAGIC, VERSION = 0x5053474E, 2
"""Niantic's public format, in the version that every reader knows."""
HEADER = "<IIIBBBB"
"""Magic, version, Gaussians, degree of the harmonics, fractional bits of positions, flags, reserved."""
COLOR_SCALE = 0.15
"""A step of a colour's byte is 1 / (255 · this) of the coefficient of degree 0."""
HARMONIC_STEPS = (8, 16, 16)
"""Steps of 1/128 that harmonics of degree 1, 2 and 3 are rounded to: 5 and 4 bits, as the format's own tools do."""
MOST_FRACTIONAL_BITS = 23


def write(prediction: Prediction, folder: Path, options: ExportOptions) -> list[Path]:
    """Write ``gaussians.spz``: Niantic's compressed format, about a tenth of the PLY file.

    Its axes are x right, y up, z backward. Positions have 24 bits, of which as few as hold the scene are before the
    point; rotations, scales, colours and opacities have a byte for each number.
    """
    path = folder / "gaussians.spz"
    # Compressed without name or time: the same scene gives the same bytes.
    packed = gzip.compress(spz_bytes(scene_gaussians(prediction, options)), mtime=0)
    with atomic_path(path) as temporary:
        temporary.write_bytes(packed)
    return [path]


def spz_bytes(gaussians: Gaussians) -> bytes:
    """Lay out Gaussians of one scene, before compression."""
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    turned = transform_gaussians(gaussians, Similarity(torch.tensor(1.0), flip, torch.zeros(3)))
    fractional = fractional_bits(turned.means)
    quaternions = torch.nn.functional.normalize(turned.quaternions_wxyz, dim=-1)
    quaternions = torch.where(quaternions[:, :1] < 0, -quaternions, quaternions)
    degree = math.isqrt(turned.harmonics.shape[-1]) - 1
    base, rest = turned.harmonics[..., 0], turned.harmonics[..., 1:]
    bands = [HARMONIC_STEPS[band] for band in range(degree) for _ in range(2 * band + 3)]
    steps = torch.tensor(bands, dtype=torch.float32)
    parts = [
        _fixed_points(turned.means, fractional),
        _bytes(turned.opacities * 255),
        _bytes(base * (COLOR_SCALE * 255) + 127.5),
        _bytes((turned.scales.clamp(min=1e-30).log() + 10) * 16),
        _bytes(quaternions[:, 1:] * 127.5 + 127.5),
        _bytes(((rest * 128 + 128) / steps).round().mul(steps).mT),  # colours change fastest
    ]
    return struct.pack(HEADER, MAGIC, VERSION, len(turned.means), degree, fractional, 0, 0) + b"".join(parts)


def fractional_bits(means: Float[Tensor, "gaussians 3"]) -> int:
    """Return how many of 24 bits, one of them the sign, positions have behind the point.

    Raises:
        ValueError: a position is too far from the origin for the format.
    """
    farthest = means.abs().max().item()
    bits = min(MOST_FRACTIONAL_BITS, 23 - math.ceil(math.log2(max(farthest, 2.0**-24) * (1 + 2.0**-22))))
    if bits < 0:
        raise ValueError(f"spz holds positions up to {2**23}, and a Gaussian is {farthest:g} from the origin")
    return bits


def _fixed_points(means: Float[Tensor, "gaussians 3"], bits: int) -> bytes:
    numbers = (means.double() * 2**bits).round().to(torch.int32).numpy().astype("<i4")
    return numbers.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()


def _bytes(values: Float[Tensor, "..."]) -> bytes:
    return values.round().clamp(0, 255).byte().contiguous().numpy().tobytes()
