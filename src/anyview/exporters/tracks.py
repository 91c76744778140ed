"""Correspondences between views, from depth and cameras: what bundle adjustment needs."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from anyview.exporters.points import thin
from anyview.geometry.camera import project, unproject_pixels
from anyview.geometry.pose import rigid_inverse
from anyview.types import Cameras, Prediction

AGREEMENT = 0.01
"""Two views see the same point if their depths of it differ by no more than this part."""
SMOOTHNESS = 0.003
"""Second difference of inverse depth, as a part of it, up to which a pixel lies inside of a surface. Zero on planes."""


@dataclass(frozen=True)
class Tracks:
    """3D points and where they are seen. The three observation fields belong together, in the order of tracks."""

    positions: Float[Tensor, "tracks 3"]
    """World space."""
    colors: UInt8[Tensor, "tracks 3"]
    track: Int[Tensor, " observations"]
    view: Int[Tensor, " observations"]
    pixels: Float[Tensor, "observations 2"]
    """In pixels of the maps."""


def find_tracks(prediction: Prediction, chosen: Bool[Tensor, "views height width"], count: int, seed: int) -> Tracks:
    """Follow up to ``count`` chosen pixels into all other views and keep those that one other view confirms.

    A pixel is lifted to its 3D point, which is projected into the other views. A view confirms it where its own depth
    there agrees, whether or not its pixel was chosen. Pixels at depth edges take no part. The track's point is the
    mean, weighted by confidence, of the points that its views place there; a view that differs by no more than
    interpolation between its pixels may be wrong by has nothing to add to it. A pixel that a track reached starts none.
    """
    surfaces = _surfaces(prediction)
    free = chosen & surfaces[:, 0].isfinite()
    found: list[Tracks] = []
    total = 0
    for view in range(len(prediction)):
        seeds = thin(free[view], (count - total) // (len(prediction) - view), seed + view)
        tracks = _follow(prediction, surfaces, view, seeds)
        columns, rows = tracks.pixels.long().unbind(-1)
        free[tracks.view, rows, columns] = False
        found.append(Tracks(tracks.positions, tracks.colors, tracks.track + total, tracks.view, tracks.pixels))
        total += len(tracks.positions)
    return Tracks(*(torch.cat([getattr(part, name) for part in found]) for name in Tracks.__dataclass_fields__))


def _follow(
    prediction: Prediction,
    surfaces: Float[Tensor, "views 3 height width"],
    view: int,
    seeds: Bool[Tensor, "height width"],
) -> Tracks:
    """Find the tracks that start at the given pixels of one view."""
    assert prediction.cameras is not None
    cameras = prediction.cameras
    start = seeds.nonzero().flip(-1) + 0.5
    depth = prediction.depth[view][seeds]
    points = _lift(start[None], depth[None], cameras[view : view + 1])
    pixels, expected = project(points, cameras)
    inverse, bend = _interpolate(surfaces, pixels)
    depths, doubt = 1 / inverse, bend / inverse
    pixels[view], depths[view], doubt[view] = start, depth, -1.0
    # A point outside of a view, behind it, hidden from it, or on its unusable pixels fails this test (NaN, infinity).
    difference = (depths / expected - 1).abs()
    seen = difference <= AGREEMENT
    seen[view] = True
    tracks = seen.sum(0) >= 2
    telling = (seen & (difference > doubt))[:, tracks]
    seen, pixels, depths = seen[:, tracks], pixels[:, tracks], depths[:, tracks]
    weights = torch.ones_like(depths)
    if prediction.confidence is not None:
        weights = _sample(prediction.confidence[:, None], pixels)[:, 0]
    weights = torch.where(telling, weights, 0)[..., None]
    lifted = torch.where(telling[..., None], _lift(pixels, depths, cameras), 0)
    positions = (lifted * weights).sum(0) / weights.sum(0)
    track, observer = seen.mT.nonzero().unbind(-1)
    return Tracks(positions, prediction.images[view][seeds][tracks], track, observer, pixels[observer, track])


def _lift(
    pixels: Float[Tensor, "views points 2"], depth: Float[Tensor, "views points"], cameras: Cameras
) -> Float[Tensor, "views points 3"]:
    to_world = rigid_inverse(cameras.world_to_camera)
    points = unproject_pixels(pixels, cameras.intrinsics) * depth[..., None]
    return points @ to_world[:, :3, :3].mT + to_world[:, None, :3, 3]


def _surfaces(prediction: Prediction) -> Float[Tensor, "views 3 height width"]:
    """Stack inverse depth and its second differences across and down; NaN at depth edges and where there is no depth.

    Inverse depth is linear in the pixel on every plane, however slanted, so second differences tell edges from slopes.
    """
    inverse = torch.where(prediction.valid(), 1 / prediction.depth, torch.nan)
    padded = torch.nn.functional.pad(inverse, (1, 1, 1, 1), value=torch.nan)
    across = padded[:, 1:-1, 2:] - 2 * inverse + padded[:, 1:-1, :-2]
    down = padded[:, 2:, 1:-1] - 2 * inverse + padded[:, :-2, 1:-1]
    even = torch.maximum(across.abs(), down.abs()) <= SMOOTHNESS * inverse
    return torch.where(even[:, None], torch.stack([inverse, across, down], 1), torch.nan)


def _interpolate(
    surfaces: Float[Tensor, "views 3 height width"], pixels: Float[Tensor, "views points 2"]
) -> tuple[Float[Tensor, "views points"], Float[Tensor, "views points"]]:
    """Interpolate inverse depth to second order: bilinear, less what that is too high by on a curved surface.

    NaN unless all four neighbours lie inside of the surface. Also returns twice the size of that correction, which
    no error exceeds, not even on a crease, which is no curve.
    """
    inverse, across, down = _sample(surfaces, pixels).unbind(1)
    x, y = (pixels - 0.5).remainder(1).unbind(-1)
    across, down = x * (1 - x) * across / 2, y * (1 - y) * down / 2
    return inverse - across - down, 2 * (across.abs() + down.abs())


def _sample(
    maps: Float[Tensor, "views channels height width"], pixels: Float[Tensor, "views points 2"]
) -> Float[Tensor, "views channels points"]:
    """Interpolate between the four nearest pixel centres; outside of the map is 0."""
    grid = pixels / pixels.new_tensor([maps.shape[3], maps.shape[2]]) * 2 - 1
    return torch.nn.functional.grid_sample(maps, grid[:, None], align_corners=False)[:, :, 0]
