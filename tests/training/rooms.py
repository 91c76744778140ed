"""Scenes of the demonstration's room with exact depth, seen from places that the scene's number decides."""

import math
import random
from collections.abc import Sequence

import torch

from anyview.geometry.camera import intrinsics_from_field_of_view
from anyview.geometry.pose import rigid_inverse, rigid_transform
from anyview.training.config import TrainOptions
from anyview.training.recipes import find_recipe
from anyview.types import Cameras, TrueViews
from box_room import render_room


def room_cameras(index: int, views: int, height: int, width: int, spread: float) -> Cameras:
    draw = random.Random(index)
    start, turn = draw.uniform(-0.4, 0.4), 0.1 + 0.3 * spread
    angles = start + turn * torch.arange(views)
    centers = torch.stack([1.5 * angles.sin(), 0.2 * angles, 0.8 - 1.5 * angles.cos()], dim=-1)
    forward = torch.nn.functional.normalize(torch.tensor([0.0, 0.1, 1.6]) - centers, dim=-1)
    down = torch.tensor([[0.0, 1.0, 0.0]]).expand_as(forward)
    right = torch.nn.functional.normalize(torch.linalg.cross(down, forward), dim=-1)
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward], dim=-1)
    fov = torch.tensor([2 * math.atan(math.tan(0.6) * height / width), 1.2]).expand(views, 2)
    return Cameras(rigid_inverse(rigid_transform(rotation, centers)), intrinsics_from_field_of_view(fov, height, width))


class Rooms:
    """A source of rooms; ``only`` makes every scene the same one."""

    most_views: int | None = None

    def __init__(self, only: int | None = None, scale: float = 1.0) -> None:
        self.only, self.scale = only, scale
        self.seen: list[int] = []

    def batch(self, indices: Sequence[int], views: int, height: int, width: int, spread: float) -> TrueViews:
        self.seen.extend(indices)
        numbers = [index if self.only is None else self.only for index in indices]
        cameras = [room_cameras(number, views, height, width, spread) for number in numbers]
        rendered = [render_room(one, height, width) for one in cameras]
        poses = torch.stack([one.world_to_camera for one in cameras])
        poses[..., :3, 3] *= self.scale
        return TrueViews(
            images=torch.stack([pictures for pictures, _ in rendered]),
            depth=torch.stack([depth for _, depth in rendered]) * self.scale,
            cameras=Cameras(poses, torch.stack([one.intrinsics for one in cameras])),
        )


def tiny(**changes: object) -> TrainOptions:
    """The recipe `tiny`, for a few steps."""
    return find_recipe("tiny", **{"steps": 4, "warm_up_steps": 1, "log_every": 1, "tokens_per_step": 68, **changes})
