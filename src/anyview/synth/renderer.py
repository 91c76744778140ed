"""Pictures and exact maps of scenes as cameras see them."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from anyview.geometry.camera import unproject_pixels
from anyview.geometry.pose import camera_centers
from anyview.synth.raytrace import Rays, cast
from anyview.synth.shading import lit_by, sky_light, surface_at, surface_light
from anyview.synth.shapes import GROUND
from anyview.synth.terrain import meet_ground
from anyview.synth.world import World
from anyview.types import Cameras

TILE = 16
FARTHEST = 500.0
"""Metres; the ground ends there."""
_POINTS_AT_ONCE = {"cpu": 1 << 15, "cuda": 1 << 24}


@dataclass(frozen=True)
class Rendering:
    """What cameras see; colours are linear light, not limited to 1."""

    color: Float[Tensor, "scenes views height width 3"]
    depth: Float[Tensor, "scenes views height width"]
    """z-depth in metres, 0 where nothing is hit."""
    normals: Float[Tensor, "scenes views height width 3"]
    """Camera space."""
    objects: Bool[Tensor, "scenes views height width"]
    solid: Int[Tensor, "scenes views height width"]
    """Number of the solid, −1 where there is none."""


def render(world: World, cameras: Cameras, height: int, width: int, *, shadows: bool = True) -> Rendering:
    """Render every camera of every scene; ``shadows`` costs about as much again as everything else."""
    rays = _camera_rays(cameras, height, width)
    depth, solid = first_hit(world, rays)
    reached = depth.isfinite()
    # Rays into the sky take the place of a neighbour: far away they would spoil the bounds of the shadow rays.
    filled = torch.where(reached, depth, torch.where(reached, depth, FARTHEST).amin(-1, keepdim=True))
    position = rays.origin + filled * rays.direction
    scene = torch.arange(len(depth), device=depth.device)[:, None, None].expand_as(depth)
    blocks = torch.arange(depth.numel(), device=depth.device).split(_POINTS_AT_ONCE.get(depth.device.type, 1 << 15))
    surfaces = [
        surface_at(world, scene.flatten()[block], solid.flatten()[block], position.flatten(1)[:, block])
        for block in blocks
    ]
    normal = torch.cat([surface.normal for surface in surfaces], 1).unflatten(1, depth.shape)
    lit = (
        lit_by(world, position, normal)
        if shadows
        else torch.ones(world.lights.shape[1], *depth.shape, dtype=torch.bool, device=depth.device)
    )
    footprint = _footprint(cameras, rays, filled, normal, height, width)
    color = torch.cat(
        [
            surface_light(world, scene.flatten()[block], surface, footprint.flatten()[block], lit.flatten(1)[:, block])
            for block, surface in zip(blocks, surfaces, strict=True)
        ],
        1,
    )
    missed = (~reached).flatten().nonzero()[:, 0]
    place = scene.flatten()[missed]
    color[:, missed] = sky_light(world.sky[place].T, rays.direction.flatten(1)[:, missed])
    is_object = torch.cat([surface.is_object for surface in surfaces]).view(depth.shape)

    def picture(values: Tensor) -> Tensor:
        return _from_tiles(values, cameras.intrinsics.shape[1], height, width)

    solid = picture(solid)
    normal = torch.einsum("svcw,wsvhx->svhxc", cameras.world_to_camera[..., :3, :3], picture(normal * reached))
    return Rendering(
        color=_soften_edges(picture(color.unflatten(1, depth.shape)), solid).movedim(0, -1),
        depth=picture(torch.where(reached, depth, 0)),
        normals=normal,
        objects=picture(is_object),
        solid=solid,
    )


@dataclass(frozen=True)
class Probe:
    """A coarse look of one tile per view: depth and normals as in `Rendering`."""

    depth: Float[Tensor, "scenes views rows columns"]
    normals: Float[Tensor, "scenes views rows columns 3"]
    objects: Bool[Tensor, "scenes views rows columns"]


def probe(world: World, cameras: Cameras) -> Probe:
    """Look without light, through cameras whose pictures are one tile."""
    rays = _camera_rays(cameras, TILE, TILE)
    depth, solid = first_hit(world, rays)
    reached = depth.isfinite()
    depth = torch.where(reached, depth, 0)
    scene = torch.arange(len(depth), device=depth.device)[:, None, None].expand_as(depth)
    position = rays.origin + depth * rays.direction
    surface = surface_at(world, scene.flatten(), solid.flatten(), position.flatten(1))
    normals = surface.normal.unflatten(1, depth.shape) * reached
    normals = torch.einsum("svcw,wsvp->svpc", cameras.world_to_camera[..., :3, :3], normals)
    tile = (TILE, TILE)
    return Probe(
        depth.unflatten(-1, tile), normals.unflatten(-2, tile), surface.is_object.view(depth.shape).unflatten(-1, tile)
    )


def first_hit(
    world: World, rays: Rays
) -> tuple[Float[Tensor, "scenes bundles rays"], Int[Tensor, "scenes bundles rays"]]:
    """Find t and the number of the first solid or ground that each ray meets; infinity and −1 where it meets none."""
    depth, solid = cast(world.solids, rays)
    origin = rays.origin.expand(-1, -1, -1, depth.shape[-1])
    for scene in world.rolling:
        before = depth[scene].flatten()
        ground = meet_ground(
            world.ground[scene, ..., None],
            origin[:, scene].flatten(1),
            rays.direction[:, scene].flatten(1),
            before.clamp(max=FARTHEST),
        ).view_as(depth[scene])
        is_ground = ground < depth[scene]
        number = (world.solids.kind[scene] == GROUND).int().argmax().int()
        solid[scene] = torch.where(is_ground, number, solid[scene])
        depth[scene] = torch.where(is_ground, ground, depth[scene])
    return depth, solid


def _camera_rays(cameras: Cameras, height: int, width: int) -> Rays:
    """One ray per pixel, as long as its z-depth is 1, in bundles of square tiles; tiles may reach over the edges."""
    device = cameras.intrinsics.device
    inside = torch.arange(TILE, device=device) + 0.5
    top = torch.arange(0, height, TILE, device=device)
    left = torch.arange(0, width, TILE, device=device)
    y = (top[:, None, None, None] + inside[:, None]).expand(-1, len(left), -1, TILE)
    x = (left[:, None, None] + inside).expand(len(top), -1, TILE, -1)
    pixels = torch.stack([x, y], -1).reshape(-1, 2)
    rotation = cameras.world_to_camera[..., :3, :3]
    direction = unproject_pixels(pixels, cameras.intrinsics) @ rotation
    scenes, views = rotation.shape[:2]
    direction = direction.permute(3, 0, 1, 2).reshape(3, scenes, -1, TILE * TILE)
    bundles = direction.shape[2] // views
    origin = camera_centers(cameras.world_to_camera).permute(2, 0, 1)
    return Rays(origin.repeat_interleave(bundles, 2)[..., None], direction)


def _from_tiles(values: Tensor, views: int, height: int, width: int) -> Tensor:
    """Turn (..., scenes, bundles, rays) into (..., scenes, views, height, width)."""
    rows, columns = -(-height // TILE), -(-width // TILE)
    tiles = values.unflatten(-1, (TILE, TILE)).unflatten(-3, (views, rows, columns))
    return tiles.transpose(-3, -2).flatten(-4, -3).flatten(-2, -1)[..., :height, :width]


def _footprint(
    cameras: Cameras, rays: Rays, depth: Tensor, normal: Tensor, height: int, width: int
) -> Float[Tensor, "scenes bundles rays"]:
    """Size in metres of what a pixel covers on its surface."""
    length = rays.direction.square().sum(0).sqrt()
    facing = (rays.direction * normal).sum(0).abs() / length
    per_view = rays.direction.shape[2] // cameras.intrinsics.shape[1]
    focal = cameras.intrinsics[..., 0, 0].repeat_interleave(per_view, 1)[..., None]
    return depth / focal / facing.clamp_(min=0.15)


def _soften_edges(
    color: Float[Tensor, "3 scenes views height width"], solid: Int[Tensor, "scenes views height width"]
) -> Float[Tensor, "3 scenes views height width"]:
    """Blend pixels at the edges of solids with their neighbours: one ray a pixel would leave stairs."""
    edge = torch.zeros_like(solid, dtype=torch.bool)
    beside, above = solid[..., 1:] != solid[..., :-1], solid[..., 1:, :] != solid[..., :-1, :]
    edge[..., 1:] |= beside
    edge[..., :-1] |= beside
    edge[..., 1:, :] |= above
    edge[..., :-1, :] |= above
    blurred = color
    for axis in (-1, -2):
        size = blurred.shape[axis]
        before = torch.cat([blurred.narrow(axis, 0, 1), blurred.narrow(axis, 0, size - 1)], axis)
        after = torch.cat([blurred.narrow(axis, 1, size - 1), blurred.narrow(axis, size - 1, 1)], axis)
        blurred = 0.56 * blurred + 0.22 * (before + after)
    return torch.where(edge, blurred, color)
