"""Solids, all convex: a box in its own frame, cut by a quadric (round things) or by two oblique slabs (prisms).

Layouts are drawn with plain numbers (`Solid`), and rendered from arrays (`Solids`). The world's z axis points up.
"""

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from anyview.synth.textures import Material

Number = float | int
Vector = tuple[Number, Number, Number]
Matrix = tuple[Vector, Vector, Vector]
Cut = tuple[Number, Number, Number, Number, Number]
"""Slab |n·p − offset| ≤ half in the solid's frame: unit normal (3), offset, half."""

ABSENT, BOX, ROUND, PRISM, GROUND = range(5)
UPRIGHT: Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
NO_CUT: Cut = (0.0, 0.0, 1.0, 0.0, 1e6)
_NO_QUADRIC = (0.0, 0.0, 0.0, 0.0, -1.0)


@dataclass(frozen=True)
class Solid:
    """One convex solid; lengths in metres."""

    material: Material
    center: Vector
    half_size: Vector
    rotation: Matrix = UPRIGHT
    """Local axes to world axes."""
    kind: int = BOX
    quadric: tuple[Number, Number, Number, Number, Number] = _NO_QUADRIC
    """(a, b, c, d, e): inside is a x² + b y² + c z² + 2 d z + e ≤ 0 in the solid's frame."""
    cuts: tuple[Cut, Cut] = (NO_CUT, NO_CUT)
    texture_origin: Vector = (0.0, 0.0, 0.0)
    """Where the texture's frame, which turns with the solid, has its origin: parts of one thing share it."""
    is_object: bool = True


@dataclass(frozen=True)
class Solids:
    """The solids of scenes; where a scene has fewer than the others, the kind is ABSENT."""

    kind: Int[Tensor, "scenes solids"]
    center: Float[Tensor, "scenes solids 3"]
    rotation: Float[Tensor, "scenes solids 3 3"]
    half_size: Float[Tensor, "scenes solids 3"]
    quadric: Float[Tensor, "scenes solids 5"]
    cuts: Float[Tensor, "scenes solids 2 5"]
    texture_origin: Float[Tensor, "scenes solids 3"]
    is_object: Float[Tensor, "scenes solids"]
    material: Float[Tensor, "scenes solids columns"]


def rolling_ground(material: Material) -> Solid:
    """Give the layout's waves a material."""
    return Solid(material, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), kind=GROUND, is_object=False)


def box(material: Material, center: Vector, size: Vector) -> Solid:
    """Build an upright box."""
    return Solid(material, center, (size[0] / 2, size[1] / 2, size[2] / 2), texture_origin=center)


def ellipsoid(material: Material, center: Vector, radii: Vector) -> Solid:
    """Build an ellipsoid; a sphere where the radii are equal."""
    x, y, z = radii
    quadric = (1 / x**2, 1 / y**2, 1 / z**2, 0.0, -1.0)
    return Solid(material, center, radii, kind=ROUND, quadric=quadric, texture_origin=center)


def dome(material: Material, base: Vector, radius: Number) -> Solid:
    """Build the upper half of a sphere over the centre of its base."""
    x, y, z = base
    half = radius / 2
    quadric = (1.0, 1.0, 1.0, half, half**2 - radius**2)
    center = (x, y, z + half)
    return Solid(material, center, (radius, radius, half), kind=ROUND, quadric=quadric, texture_origin=center)


def cone(material: Material, base: Vector, bottom_radius: Number, top_radius: Number, height: Number) -> Solid:
    """Build an upright truncated cone over the centre of its base; a cylinder where the radii are equal."""
    x, y, z = base
    slope, middle = (top_radius - bottom_radius) / height, (top_radius + bottom_radius) / 2
    widest = max(bottom_radius, top_radius)
    quadric = (1.0, 1.0, -(slope**2), -middle * slope, -(middle**2))
    center = (x, y, z + height / 2)
    return Solid(material, center, (widest, widest, height / 2), kind=ROUND, quadric=quadric, texture_origin=center)


def cylinder(material: Material, base: Vector, radius: Number, height: Number) -> Solid:
    """Build an upright cylinder over the centre of its base."""
    return cone(material, base, radius, radius, height)


def lathe(material: Material, base: Vector, profile: Sequence[tuple[Number, Number]]) -> list[Solid]:
    """Turn a profile of (height, radius) pairs, from the bottom up, around the vertical: a stack of truncated cones."""
    x, y, z = base
    return [
        replace(cone(material, (x, y, z + low), wide, wider, high - low), texture_origin=base)
        for (low, wide), (high, wider) in pairwise(profile)
    ]


def gable(material: Material, base: Vector, size: Vector) -> Solid:
    """Build a prism under a ridge along y: a roof."""
    width, depth, height = size
    length = math.hypot(width / 2, height)
    normal_x, normal_z = height / length, width / 2 / length
    # Both slopes pass through the ridge at (0, 0, height / 2); the slabs' other sides lie below the box.
    thickness = 2 * length
    offset = normal_z * height / 2 - thickness
    cuts = (
        (normal_x, 0.0, normal_z, offset, thickness),
        (-normal_x, 0.0, normal_z, offset, thickness),
    )
    center = (base[0], base[1], base[2] + height / 2)
    half = (width / 2, depth / 2, height / 2)
    return Solid(material, center, half, kind=PRISM, cuts=cuts, texture_origin=center)


def ramp(material: Material, base: Vector, size: Vector) -> Solid:
    """Build a wedge that rises along x."""
    width, depth, height = size
    length = math.hypot(width, height)
    cut: Cut = (-height / length, 0.0, width / length, -2 * length, 2 * length)
    center = (base[0], base[1], base[2] + height / 2)
    half = (width / 2, depth / 2, height / 2)
    return Solid(material, center, half, kind=PRISM, cuts=(cut, NO_CUT), texture_origin=center)


def polygonal_prism(material: Material, base: Vector, radius: Number, height: Number, sides: int) -> Solid:
    """Build an upright regular prism of 6 or 8 sides; ``radius`` is that of the inscribed circle."""
    assert sides in (6, 8), sides
    angles = (math.pi / 3, 2 * math.pi / 3) if sides == 6 else (math.pi / 4, 3 * math.pi / 4)
    first, second = ((math.cos(angle), math.sin(angle), 0.0, 0.0, radius) for angle in angles)
    center = (base[0], base[1], base[2] + height / 2)
    half = (radius, radius / math.cos(math.pi / 6) if sides == 6 else radius, height / 2)
    return Solid(material, center, half, kind=PRISM, cuts=(first, second), texture_origin=center)


def turn_z(angle: Number) -> Matrix:
    """Build the rotation about the vertical by ``angle`` radians, counter-clockwise from above."""
    c, s = math.cos(angle), math.sin(angle)
    return ((c, -s, 0.0), (s, c, 0.0), (0.0, 0.0, 1.0))


def turn_x(angle: Number) -> Matrix:
    """Build the rotation about the x axis by ``angle`` radians."""
    c, s = math.cos(angle), math.sin(angle)
    return ((1.0, 0.0, 0.0), (0.0, c, -s), (0.0, s, c))


def multiply(left: Matrix, right: Matrix) -> Matrix:
    """Multiply rotations: first ``right``, then ``left``."""
    columns = tuple(zip(*right, strict=True))
    first, second, third = (
        tuple(row[0] * column[0] + row[1] * column[1] + row[2] * column[2] for column in columns) for row in left
    )
    return (first, second, third)  # type: ignore[return-value]


def moved(solids: Iterable[Solid], offset: Vector, rotation: Matrix = UPRIGHT, *, scale: Number = 1.0) -> list[Solid]:
    """Scale solids about the origin, rotate them, then shift them."""

    def place(point: Vector) -> Vector:
        x, y, z = (
            scale * (row[0] * point[0] + row[1] * point[1] + row[2] * point[2]) + shift
            for row, shift in zip(rotation, offset, strict=True)
        )
        return (x, y, z)

    return [_placed(solid, place(solid.center), place(solid.texture_origin), rotation, scale) for solid in solids]


def _placed(solid: Solid, center: Vector, texture_origin: Vector, rotation: Matrix, scale: Number) -> Solid:
    x, y, z = solid.half_size
    a, b, c, d, e = solid.quadric
    first, second = ((*cut[:3], scale * cut[3], scale * cut[4]) for cut in solid.cuts)
    return replace(
        solid,
        center=center,
        texture_origin=texture_origin,
        rotation=multiply(rotation, solid.rotation),
        half_size=(scale * x, scale * y, scale * z),
        quadric=(a, b, c, scale * d, scale**2 * e),
        cuts=(first, second),
    )


def stack_solids(scenes: Sequence[Sequence[Solid]], device: torch.device | str = "cpu") -> Solids:
    """Turn the solids of scenes into arrays on ``device``."""
    most = max(map(len, scenes))
    rows = torch.zeros(len(scenes), most, len(_row(scenes[0][0])))
    for scene, solids in enumerate(scenes):
        numbers = array("f", chain.from_iterable(map(_row, solids)))
        rows[scene, : len(solids)] = torch.frombuffer(numbers, dtype=torch.float32).view(len(solids), -1)
    kind, center, rotation, half_size, quadric, cuts, origin, is_object, material = rows.to(device).split(
        [1, 3, 9, 3, 5, 10, 3, 1, rows.shape[-1] - 35], -1
    )
    return Solids(
        kind=kind[..., 0].int(),
        center=center,
        rotation=rotation.unflatten(-1, (3, 3)),
        half_size=half_size,
        quadric=quadric,
        cuts=cuts.unflatten(-1, (2, 5)),
        texture_origin=origin,
        is_object=is_object[..., 0],
        material=material,
    )


def _row(solid: Solid) -> tuple[Number, ...]:
    return (
        solid.kind,
        *solid.center,
        *solid.rotation[0],
        *solid.rotation[1],
        *solid.rotation[2],
        *solid.half_size,
        *solid.quadric,
        *solid.cuts[0],
        *solid.cuts[1],
        *solid.texture_origin,
        float(solid.is_object),
        *solid.material.columns(),
    )
