"""Rotations as vectors: axis times angle in radians, where small changes add up."""

import torch
from jaxtyping import Float
from torch import Tensor

from anyview.geometry.pose import quaternion_xyzw_from_matrix

_SMALL = 1e-4
"""Angle in radians below which series take the place of quotients of vanishing numbers; exact in float64."""


def cross_matrix(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Return [v]× with [v]× x = v × x."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    rows = [torch.stack([zero, -z, y], -1), torch.stack([z, zero, -x], -1), torch.stack([-y, x, zero], -1)]
    return torch.stack(rows, -2)


def rotation_from_vector(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotate about the vector by its length in radians (Rodrigues)."""
    angle = vector.norm(dim=-1)[..., None, None]
    is_small, safe = angle < _SMALL, angle.clamp(min=_SMALL)
    sine = torch.where(is_small, 1 - angle.square() / 6, safe.sin() / safe)
    cosine = torch.where(is_small, 0.5 - angle.square() / 24, (1 - safe.cos()) / safe.square())
    cross = cross_matrix(vector)
    return torch.eye(3, dtype=vector.dtype, device=vector.device) + sine * cross + cosine * (cross @ cross)


def vector_from_rotation(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Return the vector, of length 0 to π, that `rotation_from_vector` makes this rotation of."""
    quaternion = quaternion_xyzw_from_matrix(rotation)
    imaginary, real = quaternion[..., :3], quaternion[..., 3:]
    sine = imaginary.norm(dim=-1, keepdim=True)
    is_small, safe = sine < _SMALL, sine.clamp(min=_SMALL)
    factor = torch.where(is_small, 2 + sine.square() / 3, 2 * torch.atan2(safe, real) / safe)
    return factor * imaginary


def right_jacobian_inverse(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Return J with log(exp(v) exp(w)) ≈ v + J w for small w; the transpose does the same for exp(w) exp(v)."""
    angle = vector.norm(dim=-1)[..., None, None]
    is_small, safe = angle < _SMALL, angle.clamp(min=_SMALL)
    exact = 1 / safe.square() - 1 / (2 * safe * (safe / 2).tan())
    factor = torch.where(is_small, 1 / 12 + angle.square() / 720, exact)
    cross = cross_matrix(vector)
    return torch.eye(3, dtype=vector.dtype, device=vector.device) + 0.5 * cross + factor * (cross @ cross)
