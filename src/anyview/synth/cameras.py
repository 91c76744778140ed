"""Camera rigs: where cameras may stand in a scene, and how much of each other's pictures they see."""

import math
from typing import get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from anyview.geometry.camera import project, unproject, unproject_to_world
from anyview.geometry.pose import camera_centers, rigid_transform
from anyview.synth.hashing import uniform
from anyview.synth.options import Rig
from anyview.synth.raytrace import clearance
from anyview.synth.renderer import TILE, probe
from anyview.synth.terrain import height as ground_height
from anyview.synth.world import World
from anyview.types import Cameras

RIGS: tuple[Rig, ...] = get_args(Rig)
FIELD_OF_VIEW = (35.0, 100.0)
"""Horizontal, degrees."""
LEAST_CLEARANCE = 0.2
"""Metres between a camera and anything."""
_PROPOSALS, _ROUNDS = 6, 10
_MOST_SKY, _LEAST_OBJECTS = 0.75, 0.04
"""Shares of a view."""


def place_cameras(
    world: World,
    rigs: Int[Tensor, " scenes"],
    seeds: Int[Tensor, " scenes"],
    *,
    views: int,
    height: int,
    width: int,
    least_overlap: float,
) -> tuple[Cameras, Bool[Tensor, " scenes"]]:
    """Choose cameras for every scene: the first proposal of the rig that is free, sees something, and overlaps enough.

    Later proposals have their views closer together and may see less of objects; the last are handheld whatever the
    rig. The overlap of a view is the share of its surface that views before it see (for the first view: that any other
    sees), measured by reprojecting a coarse depth map. Returned beside the cameras: which scenes have found some.
    """
    chosen = Cameras(
        torch.eye(4, device=seeds.device).repeat(len(seeds), views, 1, 1),
        torch.eye(3, device=seeds.device).repeat(len(seeds), views, 1, 1),
    )
    open_scenes = torch.arange(len(seeds), device=seeds.device)
    for attempt in range(_ROUNDS):
        rest, kept = world.take(open_scenes.tolist()), seeds[open_scenes]
        # A walk may pass by the little there is to see; hands always point at it.
        tried = rigs[open_scenes] if attempt < _ROUNDS // 2 else torch.full_like(kept, RIGS.index("handheld"))
        cameras = propose(rest, tried, kept + attempt, _PROPOSALS, views, height, width, 0.75**attempt)
        good = acceptable(rest, cameras, height, width, least_overlap, _LEAST_OBJECTS * 0.6**attempt)
        picked = cameras[torch.arange(len(kept), device=seeds.device), good.int().argmax(-1)]
        found = good.any(-1)
        chosen.world_to_camera[open_scenes[found]] = picked.world_to_camera[found]
        chosen.intrinsics[open_scenes[found]] = picked.intrinsics[found]
        open_scenes = open_scenes[~found]
        if not len(open_scenes):
            break
    placed = torch.ones(len(seeds), dtype=torch.bool, device=seeds.device)
    placed[open_scenes] = False
    return chosen, placed


def propose(
    world: World,
    rigs: Int[Tensor, " scenes"],
    seeds: Int[Tensor, " scenes"],
    proposals: int,
    views: int,
    height: int,
    width: int,
    spread: float,
) -> Cameras:
    """Draw cameras of shape (scenes, proposals, views); a ``spread`` below 1 moves the views of a rig together."""
    scenes = len(seeds)
    which, x, y, z, azimuth, arc, elevation, distance, pace, course, shake, gaze, pitch, forward, tilt = (
        uniform(seeds, proposals * 15).view(scenes, proposals, 1, 15).unbind(-1)
    )
    own = uniform(seeds ^ 0x5BD1E995, proposals * views * 10).view(scenes, proposals, views, 10)
    low, high, radius, stride = world.stand[:, None, None].split([3, 3, 2, 2], -1)
    spreads = spread * torch.linspace(1, 0.6, proposals, device=seeds.device)[:, None]
    along = torch.linspace(-0.5, 0.5, views, device=seeds.device) * spreads if views > 1 else 0 * spreads

    number = (which * world.targets.shape[1]).long().clamp(max=world.targets.shape[1] - 1)
    target = world.targets[torch.arange(scenes, device=seeds.device)[:, None, None], number]
    start = low + (high - low) * torch.stack([x, y, z], -1)

    turn = 2 * math.pi * azimuth + along * torch.deg2rad(20 + 110 * arc) + 0.1 * spreads * own[..., 0]
    rise = torch.deg2rad(-5 + 45 * elevation) + 0.15 * spreads * (own[..., 1] - 0.5)
    away = torch.lerp(radius[..., 0], radius[..., 1], distance) * (1 + 0.3 * spreads * (own[..., 2] - 0.5))
    circle = torch.stack([turn.cos() * rise.cos(), turn.sin() * rise.cos(), rise.sin()], -1)
    orbiting = target + away[..., None] * circle

    heading = torch.stack([(2 * math.pi * course).cos(), (2 * math.pi * course).sin(), 0 * course], -1)
    length = torch.lerp(stride[..., 0], stride[..., 1], pace) * max(views - 1, 1)
    sway = stride[..., :1] * spreads[..., None] * (own[..., 3:6] - 0.5)
    walking = start + heading * (along * length)[..., None] + 0.3 * sway
    held = start + (1 + 2 * shake[..., None]) * sway
    scattered = torch.lerp(start, low + (high - low) * own[..., 6:9], 0.75 * spreads[..., None])

    rig = rigs[:, None, None, None]
    position = scattered
    for number_of_rig, places in enumerate((orbiting, walking, held)):
        position = torch.where(rig == number_of_rig, places, position)
    position = torch.maximum(torch.minimum(position, high), low)
    position = position + _ground_below(world, position)
    target = target + _ground_below(world, target)
    off = 0.24 * (position - target).norm(dim=-1, keepdim=True) * (own[..., 3:6].roll(1, -1) - 0.5)
    looks_ahead = (rig == RIGS.index("walk")) & (forward < 0.6)[..., None]
    look = torch.where(looks_ahead, position + _sideways(heading, gaze, pitch, along), target + off)
    roll = torch.deg2rad(8 * (own[..., 9] - 0.5) + 10 * (tilt - 0.5))
    pose = look_at(position.double(), look.double(), roll.double()).float()
    return Cameras(pose, _lenses(seeds, proposals, views, height, width))


def look_at(
    position: Float[Tensor, "*batch 3"], target: Float[Tensor, "*batch 3"], roll: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch 4 4"]:
    """Compute world_to_camera of cameras that look at a target, the world's z upwards, turned by ``roll`` radians."""
    forward = torch.nn.functional.normalize(target - position, dim=-1)
    up = torch.zeros_like(forward)
    up[..., 2] = 1
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=-1)
    down = torch.linalg.cross(forward, right)
    c, s = roll.cos()[..., None], roll.sin()[..., None]
    rotation = torch.stack([c * right + s * down, c * down - s * right, forward], -2)
    return rigid_transform(rotation, -(rotation @ position[..., None])[..., 0])


def acceptable(
    world: World, cameras: Cameras, height: int, width: int, least_overlap: float, least_objects: float
) -> Bool[Tensor, "scenes proposals"]:
    """Tell which sets of cameras are free of solids, see enough of the scene and its objects, and overlap enough."""
    proposals, views = cameras.intrinsics.shape[1:3]
    centers = camera_centers(cameras.world_to_camera).flatten(1, 2)
    free = clearance(world.solids, centers) >= LEAST_CLEARANCE
    free &= centers[..., 2] - _ground_below(world, centers)[..., 2] >= LEAST_CLEARANCE * 1.5
    scale = torch.tensor([[TILE / width], [TILE / height], [1.0]], device=centers.device)
    coarse = Cameras(cameras.world_to_camera.flatten(1, 2), (cameras.intrinsics * scale).flatten(1, 2))
    look = probe(world, coarse)
    enough = ((look.depth == 0).float().mean((-2, -1)) <= _MOST_SKY) | world.is_void[:, None]
    enough &= look.objects.float().mean((-2, -1)) >= least_objects
    shape = (proposals, views)
    good = (free & enough).unflatten(1, shape).all(-1)
    if views == 1:
        return good
    depth, normals = look.depth.unflatten(1, shape), look.normals.unflatten(1, shape)
    coarse = Cameras(cameras.world_to_camera, cameras.intrinsics * scale)
    return good & (overlap(sees(depth, normals, coarse), depth > 0) >= least_overlap).all(-1)


def sees(
    depth: Float[Tensor, "*batch views height width"],
    normals: Float[Tensor, "*batch views height width 3"],
    cameras: Cameras,
    tolerance: float = 0.03,
) -> Bool[Tensor, "*batch views views height width"]:
    """Tell which pixels of one view (first) another one (second) sees, by reprojection.

    A pixel is seen where its point lies within ``tolerance`` (in parts of the depth) of the plane through what the
    other view has at the nearest pixel. Normals are in camera space, as `anyview.types.TrueViews` has them.
    """
    height, width = depth.shape[-2:]
    views = depth.shape[-3]
    points = unproject_to_world(depth, cameras).flatten(-3, -2)
    other = Cameras(cameras.world_to_camera.unsqueeze(-4), cameras.intrinsics.unsqueeze(-4))
    pixels, distance = project(points.unsqueeze(-3), other)
    column, row = pixels.floor().unbind(-1)
    inside = (distance > 1e-3) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    index = (row * width + column).where(inside, 0).long()
    rotation, translation = other.world_to_camera[..., :3, :3], other.world_to_camera[..., None, :3, 3]
    there = points.unsqueeze(-3) @ rotation.mT + translation
    surface = unproject(depth, cameras.intrinsics).flatten(-3, -2).unsqueeze(-4).expand(*there.shape)
    facing = normals.flatten(-3, -2).unsqueeze(-4).expand(*there.shape)
    gap = there - surface.gather(-2, index[..., None].expand(*there.shape))
    gap = (gap * facing.gather(-2, index[..., None].expand(*there.shape))).sum(-1)
    known = depth.flatten(-2).unsqueeze(-3).expand(*index.shape).gather(-1, index)
    close = (gap.abs() < tolerance * distance) & ((known - distance).abs() < 0.5 * distance)
    seen = inside & close & (known > 0) & (depth.flatten(-2) > 0).unsqueeze(-2)
    return seen.unflatten(-1, (height, width)).view(*depth.shape[:-3], views, views, height, width)


def overlap(
    seen: Bool[Tensor, "*batch views views height width"], surface: Bool[Tensor, "*batch views height width"]
) -> Float[Tensor, "*batch views"]:
    """Compute the share of each view's surface that some view before it sees; for the first view: some other view."""
    views = seen.shape[-3]
    before = torch.ones(views, views, dtype=torch.bool, device=seen.device).tril(-1)
    before[0, 1:] = True
    found = (seen & before[..., None, None]).any(-3)
    return found.sum((-2, -1)) / surface.sum((-2, -1)).clamp(min=1)


def _ground_below(world: World, points: Float[Tensor, "scenes *points 3"]) -> Float[Tensor, "scenes *points 3"]:
    """The ground under points, as a vector along z."""
    flat = points.reshape(len(points), -1, 3)
    waves = world.ground.repeat_interleave(flat.shape[1], 0).permute(1, 2, 0)
    rise = ground_height(waves, flat[..., 0].flatten(), flat[..., 1].flatten()).view(*points.shape[:-1], 1)
    return torch.cat([torch.zeros_like(rise), torch.zeros_like(rise), rise], -1)


def _sideways(heading: Tensor, turn: Tensor, pitch: Tensor, along: Tensor) -> Float[Tensor, "scenes proposals views 3"]:
    """Where a walker looks: ahead or to a side, turning slowly."""
    angle = torch.deg2rad(220 * (turn - 0.5) + 40 * along)
    x, y, _ = heading.unbind(-1)
    c, s = angle.cos(), angle.sin()
    return torch.stack([c * x - s * y, s * x + c * y, (0.35 * pitch - 0.25).expand_as(c)], -1)


def _lenses(
    seeds: Int[Tensor, " scenes"], proposals: int, views: int, height: int, width: int
) -> Float[Tensor, "scenes proposals views 3 3"]:
    """Draw intrinsics: one lens for all views of a set in two of three sets, else lenses that differ a little."""
    shared = uniform(seeds ^ 0x2C1B3C6D, proposals * 5).view(-1, proposals, 1, 5).unbind(-1)
    single = uniform(seeds ^ 0x165667B1, proposals * views).view(-1, proposals, views)
    zoom = torch.where(shared[4] < 0.67, 0.5, single)
    least, most = FIELD_OF_VIEW
    angle = least + 5 + (most - least - 10) * shared[0] + 10 * (zoom - 0.5)
    focal = width / 2 / torch.deg2rad(angle / 2).tan()
    one, zero = torch.ones_like(focal), torch.zeros_like(focal)
    rows = [
        torch.stack([focal, zero, width * (0.5 + 0.06 * (shared[1] - 0.5)) * one], -1),
        torch.stack([zero, focal * (0.985 + 0.03 * shared[3]), height * (0.5 + 0.06 * (shared[2] - 0.5)) * one], -1),
        torch.stack([zero, zero, one], -1),
    ]
    return torch.stack(rows, -2)
