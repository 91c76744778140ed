"""Real spherical harmonics up to degree 3, with the signs and order of 3D Gaussian splatting."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from anyview.geometry.pose import matrix_from_quaternion_xyzw, quaternion_xyzw_from_matrix

MAX_DEGREE = 3
CONSTANT = 0.28209479177387814
"""Value of the function of degree 0."""


def evaluate(
    coefficients: Float[Tensor, "*batch channels coefficients"], directions: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch channels"]:
    """Sum the harmonics in unit directions (from the camera to the Gaussian).

    Splatting renderers take the result plus 0.5 as colour.
    """
    return (coefficients @ _basis(directions, _degree(coefficients))[..., None])[..., 0]


def harmonics_of_colors(colors: Float[Tensor, "*batch channels"]) -> Float[Tensor, "*batch channels"]:
    """Return the coefficients of degree 0 whose colour, 0.5 added, is the same from everywhere."""
    return (colors - 0.5) / CONSTANT


def colors_of_harmonics(harmonics: Float[Tensor, "*batch channels"]) -> Float[Tensor, "*batch channels"]:
    """Return the colours of coefficients of degree 0: the inverse of `harmonics_of_colors`."""
    return 0.5 + CONSTANT * harmonics


def rotate_harmonics(
    harmonics: Float[Tensor, "*batch channels coefficients"], rotation: Float[Tensor, "*batch 3 3"]
) -> Float[Tensor, "*batch channels coefficients"]:
    """Rotate functions on the sphere: the result has in direction R d the value that ``harmonics`` has in d.

    This is the Wigner D(α, −β, γ) of spec 13, in e3nn's angles of P⁻¹RP: the minus turns e3nn's signs into those of
    splatting. Here D comes from the basis itself, Y(R d) = D Y(d), so that no angle is singular. The rotation is first
    made orthonormal.
    """
    degree = _degree(harmonics)
    directions = _sample_directions((degree + 1) ** 2).to(harmonics)
    before = _basis(directions, degree)
    # By way of a quaternion rather than an SVD, whose gradient is NaN at every rotation.
    orthonormal = matrix_from_quaternion_xyzw(quaternion_xyzw_from_matrix(rotation))
    after = _basis(directions @ orthonormal.mT, degree)
    rotated = [
        harmonics[..., low:high] @ (torch.linalg.pinv(before[:, low:high]) @ after[..., low:high])
        for low, high in ((d * d, (d + 1) ** 2) for d in range(degree + 1))
    ]
    return torch.cat(rotated, -1)


def _degree(coefficients: Float[Tensor, "*batch channels coefficients"]) -> int:
    count = coefficients.shape[-1]
    degree = math.isqrt(count) - 1
    if count != (degree + 1) ** 2 or not 0 <= degree <= MAX_DEGREE:
        raise ValueError(f"expected 1, 4, 9 or 16 harmonics (degree 0 to {MAX_DEGREE}), got {count}")
    return degree


def _sample_directions(count: int) -> Float[Tensor, "count 3"]:
    """Spread directions over the sphere along a spiral: for every degree of up to ``count`` harmonics independent."""
    index = torch.arange(count, dtype=torch.float64) + 0.5
    z = 1 - 2 * index / count
    radius, angle = (1 - z * z).sqrt(), index * math.pi * (3 - math.sqrt(5))
    return torch.stack([radius * angle.cos(), radius * angle.sin(), z], -1)


def _basis(directions: Float[Tensor, "*batch 3"], degree: int) -> Float[Tensor, "*batch coefficients"]:
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    values = [
        CONSTANT * torch.ones_like(x),
        -0.4886025119029199 * y,
        0.4886025119029199 * z,
        -0.4886025119029199 * x,
        1.0925484305920792 * x * y,
        -1.0925484305920792 * y * z,
        0.31539156525252005 * (2 * zz - xx - yy),
        -1.0925484305920792 * x * z,
        0.5462742152960396 * (xx - yy),
        -0.5900435899266435 * y * (3 * xx - yy),
        2.890611442640554 * x * y * z,
        -0.4570457994644658 * y * (4 * zz - xx - yy),
        0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
        -0.4570457994644658 * x * (4 * zz - xx - yy),
        1.445305721320277 * z * (xx - yy),
        -0.5900435899266435 * x * (xx - 3 * yy),
    ]
    return torch.stack(values[: (degree + 1) ** 2], -1)
