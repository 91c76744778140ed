"""Depth maps -> the point cloud that DTU's evaluation scores (benchmark 2.5)."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor
from torch.nn.functional import grid_sample

MAX_POINTS = 4_000_000
CAP_SEED = 42
SMALLEST_DEPTH = 0.001
"""Millimetres."""


def backproject(
    depth: Float[Tensor, "views height width"],
    intrinsics: Float[Tensor, "views 3 3"],
    world_to_camera: Float[Tensor, "views 4 4"],
) -> Float32[Tensor, "points 3"]:
    """Lift every pixel with depth into the world, view by view, with no check against other views (unposed mode)."""
    return torch.cat(
        [
            _point_map(view, _projection(*camera))[view > SMALLEST_DEPTH]
            for view, *camera in zip(depth.float(), intrinsics, world_to_camera, strict=True)
        ]
    )


def consistent_points(
    depth: Float[Tensor, "views height width"],
    intrinsics: Float[Tensor, "views 3 3"],
    world_to_camera: Float[Tensor, "views 4 4"],
    *,
    tolerance: float = 0.2,
    views: int = 4,
) -> Iterator[Float32[Tensor, "points 3"]]:
    """Lift the pixels that agree with other views into the world; yields the points of one reference view at a time.

    A pixel agrees with a view where its own point and that view's surface, interpolated where the pixel falls in it,
    are closer than ``tolerance``. Pixels that agree with at least ``views`` of them, their own included, become the
    mean of those surfaces' points. The same point is found again from every view that sees it, and all are kept.

    Args:
        depth: 0 where there is none.
        intrinsics: as everywhere in this package, with pixel centres at half-integers.
        world_to_camera: OpenCV axes.
        tolerance: in the unit of the depth (DTU: millimetres).
        views: how many have to agree.
    """
    depth = depth.float()
    projections = [_projection(*camera) for camera in zip(intrinsics, world_to_camera, strict=True)]
    maps = [_point_map(view, projection) for view, projection in zip(depth, projections, strict=True)]
    for own_depth, own_map in zip(depth, maps, strict=True):
        points = own_map[own_depth > 0]
        count = torch.zeros(len(points))
        total = torch.zeros_like(points, dtype=torch.float64)
        for surface, projection in zip(maps, projections, strict=True):
            seen, finite = _interpolate(surface, _project(points, projection))
            agrees = finite & ((points - seen).norm(dim=-1) < tolerance)
            count += agrees
            total += torch.where(agrees[:, None], seen, 0)
        kept = count >= views
        yield (total[kept] / count[kept, None]).float()


def cap_points(points: Float[np.ndarray, "points 3"], limit: int = MAX_POINTS) -> Float[np.ndarray, "kept 3"]:
    """Draw ``limit`` of the points if there are more, without replacement and in the order drawn."""
    if len(points) <= limit:
        return points
    return points[np.random.default_rng(CAP_SEED).choice(len(points), limit, replace=False)]


def _projection(intrinsics: Float[Tensor, "3 3"], world_to_camera: Float[Tensor, "4 4"]) -> Float32[Tensor, "4 4"]:
    """World point -> (column·depth, row·depth, depth, 1)."""
    matrix, projection = intrinsics.double().clone(), world_to_camera.double().clone()
    matrix[:2, 2] -= 0.5  # from pixel coordinates to indices
    projection[:3] = matrix @ projection[:3]
    return projection.float()


def _point_map(
    depth: Float32[Tensor, "height width"], projection: Float32[Tensor, "4 4"]
) -> Float32[Tensor, "height width 3"]:
    """World point of every pixel; where depth is 0 that is the camera's centre."""
    row, column = torch.meshgrid(*(torch.arange(size, dtype=torch.float32) for size in depth.shape), indexing="ij")
    inverse = torch.linalg.inv(projection.double()).float()
    return torch.stack([column * depth, row * depth, depth], -1) @ inverse[:3, :3].T + inverse[:3, 3]


def _project(points: Float32[Tensor, "points 3"], projection: Float32[Tensor, "4 4"]) -> Float32[Tensor, "points 2"]:
    homogeneous = points @ projection[:3, :3].T + projection[:3, 3]
    return homogeneous[:, :2] / homogeneous[:, 2:]


def _interpolate(
    surface: Float32[Tensor, "height width 3"], pixels: Float32[Tensor, "points 2"]
) -> tuple[Float32[Tensor, "points 3"], Bool[Tensor, " points"]]:
    """Sample a point map between its pixels, zeros beyond its border; also say which pixels are numbers at all."""
    height, width = surface.shape[:2]
    grid = pixels / (torch.tensor([width - 1, height - 1]) / 2) - 1
    finite = grid.isfinite().all(-1)
    sampled = grid_sample(
        surface.permute(2, 0, 1)[None],
        torch.where(finite[:, None], grid, 2.0)[None, None],
        mode="bilinear",
        padding_mode="zeros",
        align_corners=True,
    )
    return sampled[0, :, 0].T, finite
