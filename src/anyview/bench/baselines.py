"""What view synthesis has to beat: answers that need no Gaussians."""

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from anyview.bench.sampling import view_distances
from anyview.geometry.camera import project, unproject_to_world
from anyview.render.holes import fill_from_beside
from anyview.types import Cameras

_SAME_DEPTH = 0.01
"""Points up to this part behind the nearest one lie on the same surface."""


def nearest_views(
    images: UInt8[Tensor, "views height width 3"], cameras: Cameras, targets: Cameras
) -> UInt8[Tensor, "targets height width 3"]:
    """Answer with the picture of the view whose pose is nearest."""
    return images[view_distances(targets.world_to_camera, cameras.world_to_camera).argmin(-1)]


def warp_by_depth(
    images: UInt8[Tensor, "views height width 3"],
    depth: Float[Tensor, "views height width"],
    cameras: Cameras,
    targets: Cameras,
    valid: Bool[Tensor, "views height width"] | None = None,
) -> UInt8[Tensor, "targets height width 3"]:
    """Answer with the colours of all views, moved to where their depth puts them.

    Every pixel is a point that covers the four pixels around it, the nearest points win, and those on one surface are
    averaged. Holes take the mean of what surrounds them; a target that sees nothing is black.
    """
    height, width = depth.shape[1:]
    used = (depth > 0) & depth.isfinite() if valid is None else valid
    points = torch.cat([unproject_to_world(depth[v], cameras[v])[used[v]] for v in range(len(depth))])
    colors = images[used].float()
    pixels, distances = project(points, targets)
    return torch.stack([_draw(pixels[t], distances[t], colors, height, width) for t in range(len(targets))])


def _draw(
    pixels: Float[Tensor, "points 2"],
    distances: Float[Tensor, " points"],
    colors: Float[Tensor, "points 3"],
    height: int,
    width: int,
) -> UInt8[Tensor, "height width 3"]:
    corner = (pixels - 0.5).floor()
    share = pixels - 0.5 - corner
    places, weights = [], []
    for x, y in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column, row = corner[:, 0] + x, corner[:, 1] + y
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (distances > 0)
        places.append(torch.where(inside, row * width + column, height * width).long())
        weights.append((share[:, 0] - (1 - x)).abs() * (share[:, 1] - (1 - y)).abs())
    place, weight = torch.cat(places), torch.cat(weights)
    distance = distances.repeat(4)
    nearest = distance.new_full((height * width + 1,), torch.inf).scatter_reduce_(0, place, distance, "amin")
    weight = torch.where(distance <= nearest[place] * (1 + _SAME_DEPTH), weight + 1e-6, 0)
    total = weight.new_zeros(height * width + 1).index_add_(0, place, weight)[:-1]
    summed = colors.new_zeros(height * width + 1, 3).index_add_(0, place, weight[:, None] * colors.repeat(4, 1))[:-1]
    seen = total > 0
    drawn = torch.where(seen[:, None], summed / total.clamp(min=1e-12)[:, None], 0)
    filled = fill_from_beside(drawn.view(height, width, 3), seen.view(height, width))
    return filled.round().clamp(0, 255).byte()
