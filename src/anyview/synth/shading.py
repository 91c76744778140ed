"""What a surface point or the sky looks like: normal, texture, light, shadow."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from anyview.synth.raytrace import Rays, blocked
from anyview.synth.shapes import GROUND, PRISM, ROUND, Solids
from anyview.synth.terrain import slope
from anyview.synth.textures import albedo, octave_noise
from anyview.synth.world import World

_SHADOW_GAP = 4e-3
"""Metres that shadow rays stop short of the surface."""


@dataclass(frozen=True)
class Surface:
    """The points that rays hit, in the world; meaningless where ``hit`` is false."""

    hit: Bool[Tensor, " points"]
    position: Float[Tensor, "3 points"]
    normal: Float[Tensor, "3 points"]
    """Unit length, towards where the ray came from."""
    texture_position: Float[Tensor, "3 points"]
    texture_normal: Float[Tensor, "3 points"]
    material: Float[Tensor, "columns points"]
    is_object: Bool[Tensor, " points"]


def surface_at(
    world: World, scene: Int[Tensor, " points"], solid: Int[Tensor, " points"], position: Float[Tensor, "3 points"]
) -> Surface:
    """Look up what lies at points on the given solids (−1: nothing): the face is the one the point is closest to."""
    solids = world.solids
    hit = solid >= 0
    row = scene * solids.kind.shape[1] + solid.clamp(min=0)
    kind, center, rotation, half_size, quadric, cuts, origin, is_object, material = (
        _numbers(solids).index_select(1, row).split([1, 3, 9, 3, 5, 10, 3, 1, solids.material.shape[-1]])
    )
    local = _rotate(rotation, position - center, inverse=True)
    normal = _box_normal(local, half_size)
    normal = torch.where(kind == ROUND, _quadric_normal(local, half_size, quadric, normal), normal)
    normal = torch.where(kind == PRISM, _cut_normal(local, half_size, cuts, normal), normal)
    world_normal = _rotate(rotation, normal)
    if world.rolling:
        slope_x, slope_y = slope(world.ground[scene].permute(1, 2, 0), position[0], position[1])
        up = _normalized(torch.stack([-slope_x, -slope_y, torch.ones_like(slope_x)]))
        world_normal = torch.where(kind == GROUND, up, world_normal)
        normal = torch.where(kind == GROUND, up, normal)
    return Surface(
        hit=hit,
        position=position,
        normal=world_normal,
        texture_position=local + _rotate(rotation, center - origin, inverse=True),
        texture_normal=normal,
        material=material,
        is_object=(is_object[0] > 0) & hit,
    )


def surface_light(
    world: World,
    scene: Int[Tensor, " points"],
    surface: Surface,
    footprint: Float[Tensor, " points"],
    lit: Bool[Tensor, "lights points"],
) -> Float[Tensor, "3 points"]:
    """Compute the light that surface points send back; ``lit`` says which lights reach them."""
    color, glow = albedo(surface.material, surface.texture_position, surface.texture_normal, footprint)
    above, below = world.ambient[scene].permute(1, 2, 0)
    received = torch.lerp(below, above, 0.5 + 0.5 * surface.normal[2])
    received = received * _openness(world.enclosure[scene], surface.position)
    for light, bright in zip(world.lights[scene].permute(1, 2, 0), lit, strict=True):
        towards = light[:3] - surface.position
        squared = towards.square().sum(0)
        facing = (surface.normal * towards).sum(0).clamp_(min=0) * squared.rsqrt()
        strength = torch.where(light[3] > 0, 1.0, 1 / (squared + 0.05))
        received = received + light[4:] * (facing * strength * bright)
    return color * (received + glow)


def lit_by(
    world: World, position: Float[Tensor, "3 scenes bundles rays"], normal: Float[Tensor, "3 scenes bundles rays"]
) -> Bool[Tensor, "lights scenes bundles rays"]:
    """Tell which lights reach which surface points; the ground's waves throw no shadow."""
    lit = []
    for light in world.lights.unbind(1):
        lamp = light.T[:3, :, None, None].expand(-1, -1, position.shape[2], -1)
        way = lamp - position
        lifted = position + _SHADOW_GAP * (normal + way * way.square().sum(0).rsqrt())
        lit.append(~blocked(world.solids, Rays(lamp, lifted - lamp, reach=1.0)))
    return torch.stack(lit)


def sky_light(sky: Float[Tensor, "8 points"], direction: Float[Tensor, "3 points"]) -> Float[Tensor, "3 points"]:
    """Compute the light of the sky along rays: a gradient with clouds."""
    x, y, z = _normalized(direction)
    color = torch.lerp(sky[3:6], sky[:3], z.clamp(min=0).sqrt())
    ceiling = 1 / z.clamp(min=0.06)
    place = torch.stack([x * ceiling, y * ceiling, torch.zeros_like(z)])
    cover = octave_noise(1.3 * place, 0.02 * ceiling, sky[7].int(), 4)
    cloud = sky[6] * ((cover + 0.1) * 2).clamp_(0, 1) * (z * 6).clamp_(0, 1)
    return torch.lerp(color, color.new_full((), 0.95), cloud)


def _normalized(vector: Float[Tensor, "3 points"]) -> Float[Tensor, "3 points"]:
    return vector * vector.square().sum(0).rsqrt()


def _numbers(solids: Solids) -> Float[Tensor, "columns solids"]:
    columns = (
        solids.kind[..., None].float(),
        solids.center,
        solids.rotation.flatten(-2),
        solids.half_size,
        solids.quadric,
        solids.cuts.flatten(-2),
        solids.texture_origin,
        solids.is_object[..., None],
        solids.material,
    )
    return torch.cat(columns, -1).flatten(0, 1).T.contiguous()


def _rotate(
    rotation: Float[Tensor, "9 points"], vector: Float[Tensor, "3 points"], *, inverse: bool = False
) -> Float[Tensor, "3 points"]:
    rows = rotation.unflatten(0, (3, 3))
    if inverse:
        rows = rows.transpose(0, 1)
    return (rows * vector).sum(1)


def _box_normal(local: Float[Tensor, "3 points"], half_size: Float[Tensor, "3 points"]) -> Float[Tensor, "3 points"]:
    depth = local.abs() - half_size
    return (depth == depth.amax(0)).float() * local.sign()


def _quadric_normal(
    local: Float[Tensor, "3 points"],
    half_size: Float[Tensor, "3 points"],
    quadric: Float[Tensor, "5 points"],
    box_normal: Float[Tensor, "3 points"],
) -> Float[Tensor, "3 points"]:
    """The quadric's normal, or that of the box where the point lies on a flat end."""
    slopes = quadric[:3] * local
    value = (slopes * local).sum(0) + 2 * quadric[3] * local[2] + quadric[4]
    slopes = torch.stack([slopes[0], slopes[1], slopes[2] + quadric[3]])
    length = slopes.square().sum(0).sqrt().clamp_(min=1e-12)
    distance = value / (2 * length)  # to first order
    on_end = local[2].abs() - half_size[2] > distance
    return torch.where(on_end, box_normal * (box_normal[2] != 0), slopes / length)


def _cut_normal(
    local: Float[Tensor, "3 points"],
    half_size: Float[Tensor, "3 points"],
    cuts: Float[Tensor, "10 points"],
    box_normal: Float[Tensor, "3 points"],
) -> Float[Tensor, "3 points"]:
    normal, nearest = box_normal, (local.abs() - half_size).amax(0)
    for cut in cuts.split(5):
        height = (cut[:3] * local).sum(0) - cut[3]
        distance = height.abs() - cut[4]
        normal = torch.where(distance > nearest, cut[:3] * height.sign(), normal)
        nearest = torch.maximum(nearest, distance)
    return normal


def _openness(enclosure: Float[Tensor, "points 2 3"], position: Float[Tensor, "3 points"]) -> Float[Tensor, " points"]:
    """Share of the ambient light that corners let in: each wall takes some from what is close to it."""
    low, high = enclosure.permute(1, 2, 0)
    near_low, near_high = (1 - 0.3 * torch.exp(-3 * side.clamp_(min=0)) for side in (position - low, high - position))
    return (near_low * near_high).prod(0)
