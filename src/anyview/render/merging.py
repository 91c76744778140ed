"""Fewer Gaussians for the same scene: those in one cube become one."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from anyview.geometry.gaussians import covariances
from anyview.geometry.pose import quaternion_xyzw_from_matrix
from anyview.types import Gaussians


def merge_by_voxel(gaussians: Gaussians, voxel_size: float) -> Gaussians:
    """Merge Gaussians of one scene whose centres lie in the same cube of a grid, in the order of first occurrence.

    The merged one has the centre, covariance and colour of the mixture, weighted by opacity, and hides what all of
    them together would hide, one behind the other. A Gaussian alone in its cube stays as it is.
    """
    cells = torch.floor(gaussians.means.double() / voxel_size).long()
    _, group, counts = torch.unique(cells, dim=0, return_inverse=True, return_counts=True)
    group = _by_first_occurrence(group, len(counts))
    counts = torch.bincount(group, minlength=len(counts))
    weights = gaussians.opacities.clamp(min=1e-6)
    weights = weights / _sum(weights, group, len(counts))[group]

    means = _sum(weights[:, None] * gaussians.means, group, len(counts))
    offsets = gaussians.means - means[group]
    spread = covariances(gaussians) + offsets[:, :, None] * offsets[:, None, :]
    alone = counts == 1
    first = torch.full_like(counts, len(group)).scatter_reduce_(
        0, group, torch.arange(len(group), device=group.device), "amin"
    )
    variances, axes = torch.linalg.eigh(_sum(weights[:, None, None] * spread, group, len(counts)))
    axes = torch.cat([axes[..., :2], axes[..., 2:] * torch.linalg.det(axes)[:, None, None]], -1)  # right-handed
    hidden = -torch.expm1(_sum(torch.log1p(-gaussians.opacities.clamp(max=1 - 1e-6)), group, len(counts)))

    def merged(values: Tensor, original: Tensor) -> Tensor:
        return torch.where(alone.view(-1, *[1] * (values.ndim - 1)), original[first], values)

    return Gaussians(
        means=merged(means, gaussians.means),
        scales=merged(variances.clamp(min=0).sqrt(), gaussians.scales),
        quaternions_wxyz=merged(quaternion_xyzw_from_matrix(axes).roll(1, -1), gaussians.quaternions_wxyz),
        harmonics=merged(_sum(weights[:, None, None] * gaussians.harmonics, group, len(counts)), gaussians.harmonics),
        opacities=merged(hidden, gaussians.opacities),
    )


def _by_first_occurrence(group: Int[Tensor, " gaussians"], count: int) -> Int[Tensor, " gaussians"]:
    """Number groups in the order in which they occur."""
    places = torch.arange(len(group), device=group.device)
    first = torch.full((count,), len(group), device=group.device).scatter_reduce_(0, group, places, "amin")
    return first.argsort().argsort()[group]


def _sum(
    values: Float[Tensor, "gaussians *shape"], group: Int[Tensor, " gaussians"], count: int
) -> Float[Tensor, "groups *shape"]:
    return values.new_zeros(count, *values.shape[1:]).index_add_(0, group, values)
