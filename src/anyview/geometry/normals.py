import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anyview.geometry.camera import unproject

EDGE = 0.1
"""Inverse depth that changes by more than this part from one pixel to the next is an edge, not a slope."""


def normals_from_depth(
    depth: Float[Tensor, "*batch height width"],
    intrinsics: Float[Tensor, "*batch 3 3"],
    valid: Bool[Tensor, "*batch height width"],
) -> Float[Tensor, "*batch height width 3"]:
    """Compute surface normals in camera space, of unit length, towards the camera.

    Differences to neighbours across depth edges are left out. A pixel with no neighbour on its surface, in either
    direction, gets the direction to the camera.
    """
    inverse_depth = torch.where(valid, 1 / depth, torch.nan)
    points = torch.where(valid[..., None], unproject(depth, intrinsics), 0)
    normals = torch.linalg.cross(_tangent(points, inverse_depth, -1), _tangent(points, inverse_depth, -2))
    normals = torch.where(normals.any(-1, keepdim=True), normals, -points)
    away = (normals * points).sum(-1, keepdim=True) > 0
    return torch.nn.functional.normalize(torch.where(away, -normals, normals), dim=-1, eps=1e-30)


def _tangent(
    points: Float[Tensor, "*batch height width 3"], inverse_depth: Float[Tensor, "*batch height width"], axis: int
) -> Float[Tensor, "*batch height width 3"]:
    """Average the steps to the neighbours on the same surface: both if alike, else that of the smaller jump; or zero.

    Inverse depth is linear in the pixel on a plane, however slanted, so jumps are compared there.
    """
    steps = torch.diff(points, dim=axis - 1)
    jumps = torch.diff(inverse_depth, dim=axis).abs().nan_to_num(nan=torch.inf)
    no_step, no_jump = (
        torch.zeros_like(points.narrow(axis - 1, 0, 1)),
        torch.full_like(inverse_depth.narrow(axis, 0, 1), torch.inf),
    )
    both_steps = torch.stack([torch.cat([no_step, steps], axis - 1), torch.cat([steps, no_step], axis - 1)])
    both_jumps = torch.stack([torch.cat([no_jump, jumps], axis), torch.cat([jumps, no_jump], axis)])
    alike = 2 * both_jumps.amin(0) + 1e-3 * inverse_depth
    used = both_jumps <= torch.minimum(alike, EDGE * inverse_depth)
    return (both_steps * used[..., None]).sum(0) / used.sum(0).clamp(min=1)[..., None]
