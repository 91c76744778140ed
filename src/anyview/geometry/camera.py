"""The pinhole model: pixels, intrinsics, projection. Intrinsics are upper triangular with last row (0, 0, 1)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from anyview.types import Cameras, Placement


def focal_lengths(intrinsics: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 2"]:
    """Return the (horizontal, vertical) focal lengths in pixels."""
    return intrinsics.diagonal(dim1=-2, dim2=-1)[..., :2]


def field_of_view(intrinsics: Float[Tensor, "*batch 3 3"], height: int, width: int) -> Float[Tensor, "*batch 2"]:
    """Compute the (vertical, horizontal) field of view in radians of a camera with a centred principal point."""
    focal_y, focal_x = intrinsics[..., 1, 1], intrinsics[..., 0, 0]
    return 2 * torch.stack([torch.atan(height / 2 / focal_y), torch.atan(width / 2 / focal_x)], -1)


def intrinsics_from_field_of_view(
    field_of_view: Float[Tensor, "*batch 2"], height: int, width: int
) -> Float[Tensor, "*batch 3 3"]:
    """Build intrinsics with a centred principal point from the (vertical, horizontal) field of view in radians."""
    tangent_y, tangent_x = (field_of_view / 2).tan().clamp(min=1e-6).unbind(-1)  # the floor is the network's (spec 7)
    zero, one = torch.zeros_like(tangent_x), torch.ones_like(tangent_x)
    rows = [
        torch.stack([width / 2 / tangent_x, zero, width / 2 * one], -1),
        torch.stack([zero, height / 2 / tangent_y, height / 2 * one], -1),
        torch.stack([zero, zero, one], -1),
    ]
    return torch.stack(rows, -2)


def pixel_centers(
    height: int, width: int, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "height width 2"]:
    """Return the (x, y) of every pixel's centre: (0.5, 0.5) at the top left."""
    y = torch.arange(height, device=device, dtype=dtype) + 0.5
    x = torch.arange(width, device=device, dtype=dtype) + 0.5
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def unproject_pixels(
    pixels: Float[Tensor, "*#batch points 2"], intrinsics: Float[Tensor, "*#batch 3 3"]
) -> Float[Tensor, "*#batch points 3"]:
    """Compute the camera-space points of depth 1 that project to ``pixels``: K⁻¹ (x, y, 1)."""
    focal_x, skew, center_x = intrinsics[..., 0, :, None].unbind(-2)
    _, focal_y, center_y = intrinsics[..., 1, :, None].unbind(-2)
    y = (pixels[..., 1] - center_y) / focal_y
    x = (pixels[..., 0] - center_x - skew * y) / focal_x
    return torch.stack([x, y, torch.ones_like(x)], -1)


def unproject(
    depth: Float[Tensor, "*batch height width"], intrinsics: Float[Tensor, "*batch 3 3"]
) -> Float[Tensor, "*batch height width 3"]:
    """Lift every pixel centre of a z-depth map to its point in camera space."""
    height, width = depth.shape[-2:]
    pixels = pixel_centers(height, width, depth.device, depth.dtype).flatten(0, 1)
    return unproject_pixels(pixels, intrinsics).unflatten(-2, (height, width)) * depth[..., None]


def unproject_to_world(
    depth: Float[Tensor, "*batch height width"], cameras: Cameras
) -> Float[Tensor, "*batch height width 3"]:
    """Lift every pixel centre of a z-depth map to its point in world space."""
    rotation, translation = cameras.world_to_camera[..., :3, :3], cameras.world_to_camera[..., :3, 3]
    points = unproject(depth, cameras.intrinsics).flatten(-3, -2)
    return ((points - translation[..., None, :]) @ rotation).unflatten(-2, depth.shape[-2:])


def project(
    points: Float[Tensor, "*#batch points 3"], cameras: Cameras
) -> tuple[Float[Tensor, "*#batch points 2"], Float[Tensor, "*#batch points"]]:
    """Project world points; return pixels and z-depth. Batches of points and cameras are broadcast.

    Where depth is not positive the point lies behind the camera and its pixel means nothing.
    """
    rotation, translation = cameras.world_to_camera[..., :3, :3], cameras.world_to_camera[..., :3, 3]
    camera_points = points @ rotation.mT + translation[..., None, :]
    depth = camera_points[..., 2]
    return (camera_points @ cameras.intrinsics.mT)[..., :2] / depth[..., None], depth


def place_intrinsics(
    intrinsics: Float[Tensor, "*batch views 3 3"], placements: Sequence[Placement]
) -> Float[Tensor, "*batch views 3 3"]:
    """Move the intrinsics of input pictures into the views that were cut from them; one placement per view."""
    return _placement_matrices(intrinsics, placements).to(intrinsics) @ intrinsics


def unplace_intrinsics(
    intrinsics: Float[Tensor, "*batch views 3 3"], placements: Sequence[Placement]
) -> Float[Tensor, "*batch views 3 3"]:
    """Move the intrinsics of views back to the input pictures: the inverse of :func:`place_intrinsics`."""
    return torch.linalg.inv(_placement_matrices(intrinsics, placements)).to(intrinsics) @ intrinsics


def _placement_matrices(
    intrinsics: Float[Tensor, "*batch views 3 3"], placements: Sequence[Placement]
) -> Float[Tensor, "views 3 3"]:
    if len(placements) != intrinsics.shape[-3]:
        raise ValueError(f"expected one placement per view, got {len(placements)} for {intrinsics.shape[-3]} views")
    rows = [[[p.scale_x, 0, p.offset_x], [0, p.scale_y, p.offset_y], [0, 0, 1]] for p in placements]
    return torch.tensor(rows, dtype=torch.float64)
