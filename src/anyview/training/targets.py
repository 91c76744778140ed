"""What the network should say about a scene: the truth in the first view's frame, in the scene's own unit."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from anyview.geometry.camera import unproject_to_world
from anyview.geometry.pose import encode_pose, rigid_inverse, rigid_transform
from anyview.geometry.rays import rays_from_cameras
from anyview.model.config import PATCH
from anyview.training.losses import mean_over
from anyview.training.matching import Matches, true_matches
from anyview.types import Cameras, TrueViews

RAYS_PER_PATCH = 8
"""Rays per patch and axis: the ray map has 8/14 of the image's resolution."""


@dataclass(frozen=True)
class Targets:
    """The truth as the losses compare it."""

    depth: Float[Tensor, "batch views height width"]
    valid: Bool[Tensor, "batch views height width"]
    """Where there is a true depth."""
    rays: Float[Tensor, "batch views rows columns 6"]
    points: Float[Tensor, "batch views rows columns 3"]
    valid_points: Bool[Tensor, "batch views rows columns"]
    encoding: Float[Tensor, "batch views 9"]
    matches: Matches
    cameras: Cameras
    unit: Float[Tensor, " batch"]
    """Length of the targets' unit in that of the truth; NaN, as are all targets, in a scene without any depth."""


def make_targets(truth: TrueViews) -> Targets:
    """Move the truth into the first camera's frame and divide it by the mean distance of its points from there.

    That mean goes over the points of all views (training spec 3.1); directions and fields of view have no unit.
    """
    height, width = truth.depth.shape[-2:]
    rows, columns = height // PATCH * RAYS_PER_PATCH, width // PATCH * RAYS_PER_PATCH
    valid = truth.depth.isfinite() & (truth.depth > 0)
    depth = torch.where(valid, truth.depth, 0.0)
    poses = truth.cameras.world_to_camera @ rigid_inverse(truth.cameras.world_to_camera[:, :1])
    distance = unproject_to_world(depth, Cameras(poses, truth.cameras.intrinsics)).norm(dim=-1)
    unit = mean_over(valid, distance)
    unit = torch.where(unit > 0, unit, torch.nan)

    depth = depth / unit[:, None, None, None]
    poses = rigid_transform(poses[..., :3, :3], poses[..., :3, 3] / unit[:, None, None])
    cameras = Cameras(poses, truth.cameras.intrinsics)
    rays = rays_from_cameras(cameras, rows, columns, height, width)
    return Targets(
        depth=depth,
        valid=valid,
        rays=rays,
        points=rays[..., 3:] + at_ray_grid(depth, rows, columns)[..., None] * rays[..., :3],
        valid_points=at_ray_grid(valid.float(), rows, columns) > 0.999,
        encoding=encode_pose(cameras, height, width),
        matches=true_matches(depth, cameras),
        cameras=cameras,
        unit=unit,
    )


def at_ray_grid(
    depth: Float[Tensor, "batch views height width"], rows: int, columns: int
) -> Float[Tensor, "batch views rows columns"]:
    """Resample maps at the centres of the ray grid, between the four pixels around each."""
    return F.interpolate(depth, (rows, columns), mode="bilinear", align_corners=False)
