"""Depth and colour of views -> Gaussians, for models that predict none."""

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from anyview.geometry.camera import focal_lengths, unproject
from anyview.geometry.harmonics import harmonics_of_colors
from anyview.geometry.normals import normals_from_depth
from anyview.geometry.pose import quaternion_xyzw_from_matrix
from anyview.render.colors import fit_colors
from anyview.render.splats import NEAR, NEAR_PART
from anyview.types import Cameras, Gaussians

NOTE = "the Gaussians are made of depth and colour, one per pixel; no network predicted them"
SIZE = 0.18
"""Standard deviation in pixels of the view that a Gaussian comes from. Larger ones blur, smaller ones leave gaps."""
COLOR_ROUNDS = 2
"""Of `fit_colors`, for what neighbours and other views blur."""
THICKNESS = 0.1
"""Standard deviation along the surface's normal, as a part of the one in the picture's plane."""
OPACITY = 0.99
"""Not 1: whatever is drawn in front of it must leave light for it, see `reference.DARKEST`."""
_LEAST_COSINE = 0.4
"""Surfaces seen more sideways than this are treated as if they were seen so."""


def pixel_gaussians(
    images: UInt8[Tensor, "views height width 3"],
    depth: Float[Tensor, "views height width"],
    cameras: Cameras,
    valid: Bool[Tensor, "views height width"],
    *,
    color_rounds: int = COLOR_ROUNDS,
) -> Gaussians:
    """Make a flat Gaussian of each valid pixel, view by view and row by row, in the world of the cameras.

    It lies in the surface that the neighbouring depths span, and covers the pixel there: a surface that is seen
    sideways has no gaps when it is seen from the front. Then colours are fitted to the pictures, for ``color_rounds``
    rounds.
    """
    parts = [_of_view(images[v], depth[v], cameras[v], valid[v]) for v in range(len(depth))]
    gaussians = Gaussians(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})
    near = NEAR_PART * float(depth[valid].median()) if valid.any() else NEAR
    return fit_colors(gaussians, images, cameras, color_rounds, near=near, valid=valid)


def _of_view(
    image: UInt8[Tensor, "height width 3"],
    depth: Float[Tensor, "height width"],
    camera: Cameras,
    valid: Bool[Tensor, "height width"],
) -> dict[str, Tensor]:
    points = unproject(depth, camera.intrinsics)[valid]
    normals = normals_from_depth(depth, camera.intrinsics, valid)[valid]
    views = torch.nn.functional.normalize(points, dim=-1)
    cosine = -(normals * views).sum(-1).clamp(max=-_LEAST_COSINE)
    # Across the line of sight the pixel keeps its width in the surface; along the slope it is stretched.
    across = torch.linalg.cross(normals, views)
    any_other = torch.linalg.cross(normals, normals.roll(1, -1) + normals.new_tensor([1.0, 0, 0]))
    across = torch.where(across.norm(dim=-1, keepdim=True) > 1e-3, across, any_other)
    across = torch.nn.functional.normalize(across, dim=-1)
    axes = torch.stack([across, torch.linalg.cross(normals, across), normals], -1)
    rotation, translation = camera.world_to_camera[:3, :3], camera.world_to_camera[:3, 3]
    pixel = SIZE * points[:, 2] / focal_lengths(camera.intrinsics).mean()
    return {
        "means": (points - translation) @ rotation,
        "scales": torch.stack([pixel, pixel / cosine, THICKNESS * pixel], -1),
        "quaternions_wxyz": quaternion_xyzw_from_matrix(rotation.mT @ axes).roll(1, -1),
        "harmonics": harmonics_of_colors(image[valid] / 255)[..., None],
        "opacities": torch.full_like(pixel, OPACITY),
    }
