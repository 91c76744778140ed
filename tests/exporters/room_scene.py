"""A room with a box and a ball, seen by exact cameras with exact depth: closed forms, nothing rasterised."""

import math

import torch

from anyview.geometry.camera import pixel_centers, unproject_pixels
from anyview.types import Cameras, Placement, Prediction

ROOM = (torch.tensor([-2.0, -1.5, -1.0]), torch.tensor([2.0, 1.0, 4.0]))
BOX = (torch.tensor([-1.3, 0.1, 1.8]), torch.tensor([-0.4, 1.0, 2.6]))
BALL_CENTER, BALL_RADIUS = torch.tensor([0.6, 0.3, 2.0]), 0.5


def room_prediction(views: int = 5, height: int = 72, width: int = 96) -> Prediction:
    """The exact prediction; pictures were twice the size of the maps."""
    cameras = _cameras(views, height, width)
    depth, images = zip(*(_look(cameras[view], height, width) for view in range(views)), strict=True)
    generator = torch.Generator().manual_seed(3)
    return Prediction(
        images=torch.stack(images),
        depth=torch.stack(depth),
        units="metres",
        model="exact",
        names=tuple(f"room/{view}.jpg" for view in range(views)),
        placements=(Placement(2 * height, 2 * width, 0.5, 0.5),) * views,
        confidence=1 + 9 * torch.rand(views, height, width, generator=generator),
        cameras=cameras,
    )


def distance_to_surface(points: torch.Tensor) -> torch.Tensor:
    """How far points are from the nearest surface of the scene."""
    points = points.double()
    ball = ((points - BALL_CENTER).norm(dim=-1) - BALL_RADIUS).abs()
    return torch.stack([_distance_to_hull(points, *ROOM), _distance_to_hull(points, *BOX), ball]).amin(0)


def _distance_to_hull(points: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Distance to the six sides of an axis-parallel box, from inside and outside."""
    beyond = torch.maximum(low - points, points - high)
    return torch.where(beyond.amax(-1) > 0, beyond.clamp(min=0).norm(dim=-1), beyond.amax(-1).abs())


def _cameras(views: int, height: int, width: int) -> Cameras:
    poses, lenses = [], []
    for view in range(views):
        angle = 0.9 * (view / max(views - 1, 1) - 0.5)
        center = torch.tensor([1.5 * math.sin(angle), -0.3 + 0.1 * view, 0.4 - math.cos(angle)], dtype=torch.float64)
        forward = torch.tensor([0.1, 0.2, 2.4], dtype=torch.float64) - center
        forward = forward / forward.norm()
        down = torch.tensor([0.05 * view - 0.1, 1, 0], dtype=torch.float64)
        right = torch.linalg.cross(down, forward)
        right = right / right.norm()
        rotation = torch.stack([right, torch.linalg.cross(forward, right), forward])
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, :3], pose[:3, 3] = rotation, -rotation @ center
        poses.append(pose)
        focal = (0.9 + 0.02 * view) * width
        lenses.append([[focal, 0, 0.52 * width], [0, 1.01 * focal, 0.47 * height], [0, 0, 1]])
    return Cameras(torch.stack(poses).float(), torch.tensor(lenses))


def _look(camera: Cameras, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    pose = camera.world_to_camera.double()
    pixels = pixel_centers(height, width, dtype=torch.float64).flatten(0, 1)
    rays = unproject_pixels(pixels, camera.intrinsics.double()) @ pose[:3, :3]  # as long as their depth is 1
    origin = -pose[:3, :3].T @ pose[:3, 3]
    _, wall = _slabs(*ROOM, origin, rays)
    near, far = _slabs(*BOX, origin, rays)
    box = torch.where((near < far) & (near > 0), near, torch.inf)
    half = (rays * (BALL_CENTER - origin)).sum(-1) / rays.square().sum(-1)
    gap = half**2 - ((BALL_CENTER - origin).square().sum() - BALL_RADIUS**2) / rays.square().sum(-1)
    ball = torch.where(gap > 0, half - gap.clamp(min=0).sqrt(), torch.inf)
    depth, surface = torch.stack([wall, box, ball]).min(0)
    points = origin + rays * depth[:, None]
    checks = torch.floor(points * 3 + 1e-3).sum(-1) % 2
    tints = torch.tensor([[90.0, 140, 200], [220, 160, 60], [200, 70, 70]])[surface]
    colors = tints * (0.6 + 0.3 * checks[:, None]) + 15 * torch.sin(5 * points)
    return depth.float().view(height, width), colors.clamp(20, 235).byte().view(height, width, 3)


def _slabs(
    low: torch.Tensor, high: torch.Tensor, origin: torch.Tensor, rays: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Depths at which rays enter and leave an axis-parallel box."""
    first, second = (low - origin) / rays, (high - origin) / rays
    return torch.minimum(first, second).amax(-1), torch.maximum(first, second).amin(-1)
