"""A papered box room as an analytic scene: exact pictures and depth for tests, independent of `anyview.synth`."""

import math

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from anyview.geometry.camera import intrinsics_from_field_of_view
from anyview.geometry.pose import rigid_inverse, rigid_transform
from anyview.geometry.rays import rays_from_cameras
from anyview.types import Cameras

ROOM = (2.5, 1.4, 3.0)
"""Half the room's width, height and length in metres; the world's origin is its middle."""


def room_cameras(views: int, height: int, width: int) -> Cameras:
    """Cameras on an arc through the room, all looking at a spot near its far wall."""
    angles = torch.linspace(-0.45, 0.45, views)
    centers = torch.stack([2.2 * angles.sin(), 0.3 * angles, 1.2 - 2.2 * angles.cos()], dim=-1)
    forward = torch.nn.functional.normalize(torch.tensor([0.0, 0.1, 1.6]) - centers, dim=-1)
    right = torch.nn.functional.normalize(
        torch.linalg.cross(torch.tensor([[0.0, 1.0, 0.0]]).expand_as(forward), forward), dim=-1
    )
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward], dim=-1)
    field_of_view = torch.tensor([2 * math.atan(math.tan(0.6) * height / width), 1.2]).expand(views, 2)
    intrinsics = intrinsics_from_field_of_view(field_of_view, height, width)
    return Cameras(rigid_inverse(rigid_transform(rotation, centers)), intrinsics)


def render_room(
    cameras: Cameras, height: int, width: int
) -> tuple[UInt8[Tensor, "views height width 3"], Float[Tensor, "views height width"]]:
    """Pictures and exact depth of a papered room, seen from within."""
    rays = rays_from_cameras(cameras, height, width, height, width)
    direction, origin = rays.split(3, dim=-1)
    # The wall that a ray leaves the box through is the nearest of those it heads for.
    distance = (torch.tensor(ROOM) * direction.sign() - origin) / direction
    depth, axis = distance.min(dim=-1)
    points = origin + depth[..., None] * direction
    side = (torch.take_along_dim(direction, axis[..., None], -1)[..., 0] > 0).long()
    wall = 2 * axis + side
    return (255 * wallpaper(points, axis, wall)).round().byte(), depth


def wallpaper(
    points: Float[Tensor, "views height width 3"], axis: Tensor, wall: Tensor
) -> Float[Tensor, "views height width 3"]:
    """Colour of the walls: boards on the floor, bricks or waves elsewhere, each wall in its own colour."""
    colours = torch.tensor(
        [[0.75, 0.45, 0.35], [0.35, 0.6, 0.5], [0.85, 0.85, 0.8], [0.55, 0.4, 0.25], [0.8, 0.7, 0.4], [0.4, 0.5, 0.75]]
    )
    across = torch.where(axis == 0, points[..., 2], points[..., 0])
    along = torch.where(axis == 1, points[..., 2], points[..., 1])
    row = torch.floor(along / 0.25)
    brick = torch.floor(across / 0.5 + 0.5 * (row % 2))
    shade = 0.75 + 0.25 * torch.sin(12.9898 * row + 78.233 * brick + 3.0 * wall)
    waves = 0.9 + 0.1 * torch.sin(9 * across + 4 * torch.sin(5 * along)) * torch.sin(14 * along)
    joint = ((along / 0.25) % 1 < 0.06) | ((across / 0.5 + 0.5 * (row % 2)) % 1 < 0.03)
    return (colours[wall] * (shade * waves)[..., None]).where(~joint[..., None], torch.tensor(0.25)).clamp(0, 1)
