"""Lays out rooms: walls with doors and windows, furniture along the walls and in the middle, things on top of it."""

import math
from dataclasses import replace
from random import Random

from anyview.synth import materials
from anyview.synth.daylight import random_sky, sun
from anyview.synth.furniture import FREE, SMALL, WALL_SIDE, Thing, clutter, television
from anyview.synth.shapes import Matrix, Solid, Vector, box, cylinder, dome, ellipsoid, moved, turn_z
from anyview.synth.textures import Material
from anyview.synth.world import Layout, Light, Stand

THICKNESS = 0.2
Rectangle = tuple[float, float, float, float]
"""Low x, low y, high x, high y."""
Opening = tuple[float, float, float, float, bool]
"""Left, right, bottom, top, and whether it is a door: in a wall seen from inside, from its middle."""


def room(rng: Random) -> Layout:
    """Lay out a furnished room with its floor at z = 0."""
    width, depth, height = rng.uniform(3.0, 7.5), rng.uniform(3.0, 7.5), rng.uniform(2.3, 3.3)
    openings = [_openings(rng, length, height) for length in (width, depth, width, depth)]
    solids = _shell(rng, width, depth, height, openings)
    taken: list[Rectangle] = []
    for wall in range(4):
        _furnish_wall(rng, wall, (width, depth, height), openings[wall], solids, taken)
    for _ in range(rng.randint(1, 5)):
        _furnish_middle(rng, width, depth, solids, taken)
    if rng.random() < 0.5:
        x, y = width * rng.uniform(0.25, 0.6), depth * rng.uniform(0.25, 0.6)
        rug = box(materials.patterned(rng), (0, 0, 0.006), (x, y, 0.012))
        solids += moved(
            [rug], (rng.uniform(-0.1, 0.1) * width, rng.uniform(-0.1, 0.1) * depth, 0), turn_z(rng.uniform(-0.3, 0.3))
        )
    lights = _ceiling_lights(rng, width, depth, height, solids)
    level = rng.uniform(0.25, 0.7)
    margin = 0.35
    low, high = (margin - width / 2, margin - depth / 2, 0.7), (width / 2 - margin, depth / 2 - margin, height - 0.35)
    targets = tuple(
        (rng.uniform(-0.35, 0.35) * width, rng.uniform(-0.35, 0.35) * depth, rng.uniform(0.3, 1.2)) for _ in range(6)
    )
    return Layout(
        solids=tuple(solids),
        lights=lights,
        stand=Stand(low, high, targets, (1.0, 0.45 * min(width, depth) + 0.5), (0.15, 0.6)),
        ambient=((level, level, level), (0.7 * level, 0.68 * level, 0.65 * level)),
        sky=random_sky(rng),
        enclosure=((-width / 2, -depth / 2, 0.0), (width / 2, depth / 2, height)),
    )


def _shell(rng: Random, width: float, depth: float, height: float, openings: list[list[Opening]]) -> list[Solid]:
    floor = rng.choice((materials.planks, materials.tiles, materials.planks, materials.stone, materials.fabric))(rng)
    paper = rng.choice((materials.painted, materials.painted, materials.brick, materials.patterned, materials.tiles))(
        rng
    )
    ceiling = materials.painted(rng)
    outer_x, outer_y = width + 2 * THICKNESS, depth + 2 * THICKNESS
    solids = [
        _fixed(box(floor, (0, 0, -0.1), (outer_x, outer_y, 0.2))),
        _fixed(box(ceiling, (0, 0, height + 0.1), (outer_x, outer_y, 0.2))),
        _fixed(box(materials.soil(rng), (0, 0, -0.8), (300, 300, 0.4))),
    ]
    if rng.random() < 0.25:
        beam = materials.wood(rng)
        for number in range(3):
            x = (number - 1) * width / 3
            solids.append(_fixed(box(beam, (x, 0, height - 0.08), (0.14, depth, 0.16))))
    accent = rng.choice((paper, rng.choice((materials.brick, materials.patterned, materials.painted))(rng)))
    skirting = materials.painted(rng) if rng.random() < 0.6 else None
    for wall in range(4):
        length = width if wall % 2 == 0 else depth
        surface = accent if wall == 0 else paper
        # Walls are built along x with their inner face at y = 0, then turned into place.
        parts = _wall(surface, length + 2 * THICKNESS, height, openings[wall])
        for left, right, low, high, is_door in openings[wall]:
            parts += _door(rng, left, right, high) if is_door else _window(rng, left, right, low, high)
        if skirting is not None and not any(is_door for *_, is_door in openings[wall]):
            parts.append(box(skirting, (0, -0.008, 0.05), (length, 0.016, 0.1)))
        solids += [_fixed(part) for part in moved(parts, *_wall_pose(wall, width, depth))]
    return solids


def _wall_pose(wall: int, width: float, depth: float) -> tuple[Vector, Matrix]:
    places: tuple[Vector, ...] = ((0, depth / 2, 0), (-width / 2, 0, 0), (0, -depth / 2, 0), (width / 2, 0, 0))
    return places[wall], turn_z(wall * math.pi / 2)


def _openings(rng: Random, length: float, height: float) -> list[Opening]:
    """Draw doors and windows as (left, right, bottom, top, is a door) that do not overlap."""
    openings: list[Opening] = []
    x = -length / 2 + rng.uniform(0.3, 1.0)
    while x < length / 2 - 1.0 and len(openings) < 3:
        if rng.random() < 0.45:
            x += rng.uniform(0.5, 1.5)
            continue
        if rng.random() < 0.4:
            width, low, high, is_door = rng.uniform(0.75, 1.0), 0.0, min(2.1, height - 0.15), True
        else:
            width, low, is_door = rng.uniform(0.6, 1.6), rng.uniform(0.5, 1.0), False
            high = min(low + rng.uniform(0.8, 1.5), height - 0.15)
        if x + width > length / 2 - 0.2:
            break
        openings.append((x, x + width, low, high, is_door))
        x += width + rng.uniform(0.4, 1.5)
    return openings


def _wall(surface: Material, length: float, height: float, openings: list[Opening]) -> list[Solid]:
    """Build a wall of boxes around rectangular openings, from left to right."""

    def piece(left: float, right: float, low: float, high: float) -> Solid:
        solid = box(
            surface, ((left + right) / 2, THICKNESS / 2, (low + high) / 2), (right - left, THICKNESS, high - low)
        )
        return replace(solid, texture_origin=(0.0, 0.0, 0.0))

    solids, x = [], -length / 2
    for left, right, low, high, _ in openings:
        solids.append(piece(x, left, 0.0, height))
        solids.append(piece(left, right, high, height))
        if low > 0:
            solids.append(piece(left, right, 0.0, low))
        x = right
    return [*solids, piece(x, length / 2, 0.0, height)]


def _door(rng: Random, left: float, right: float, high: float) -> list[Solid]:
    leaf, frame, metal = (
        rng.choice((materials.wood, materials.painted))(rng),
        materials.painted(rng),
        materials.metal(rng),
    )
    middle, width = (left + right) / 2, right - left
    solids = [box(leaf, (middle, THICKNESS * 0.6, high / 2), (width, 0.05, high))]
    for x in (left - 0.03, right + 0.03):
        solids.append(box(frame, (x, -0.01, high / 2), (0.07, 0.04, high)))
    solids.append(box(frame, (middle, -0.01, high + 0.03), (width + 0.13, 0.04, 0.07)))
    for z in (0.25, 0.72):
        solids.append(box(leaf, (middle, THICKNESS * 0.6 - 0.025, z * high), (width * 0.65, 0.025, high * 0.32)))
    solids.append(ellipsoid(metal, (right - 0.08, THICKNESS * 0.6 - 0.07, 1.0), (0.03, 0.05, 0.03)))
    return solids


def _window(rng: Random, left: float, right: float, low: float, high: float) -> list[Solid]:
    frame = rng.choice((materials.painted, materials.wood))(rng)
    middle, width, level, tall = (left + right) / 2, right - left, (low + high) / 2, high - low
    solids = [box(frame, (middle, -0.03, low - 0.015), (width + 0.1, 0.12, 0.03))]
    for z in (low + 0.025, high - 0.025):
        solids.append(box(frame, (middle, 0.1, z), (width, 0.05, 0.05)))
    for part in range(3):
        solids.append(box(frame, (left + 0.025 + part * (width - 0.05) / 2, 0.1, level), (0.05, 0.05, tall)))
    if rng.random() < 0.5:
        cloth = materials.fabric(rng)
        for x in (left - 0.1, right + 0.1):
            for fold in range(3):
                solids.append(cylinder(cloth, (x + (fold - 1) * 0.09, -0.1, 0.1), 0.055, high + 0.05))
        solids.append(box(frame, (middle, -0.1, high + 0.17), (width + 0.7, 0.03, 0.03)))
    return solids


def _furnish_wall(
    rng: Random, wall: int, size: Vector, openings: list[Opening], solids: list[Solid], taken: list[Rectangle]
) -> None:
    """Add furniture with its back to a wall, and pictures above it, to ``solids`` and ``taken``."""
    width, depth, height = size
    length = width if wall % 2 == 0 else depth
    place, turn = _wall_pose(wall, width, depth)
    for _ in range(rng.randint(3, 6)):
        thing = rng.choice(WALL_SIDE)(rng)
        if thing.width > length - 0.3 or thing.height > height - 0.05:
            continue
        x = rng.uniform(-0.5, 0.5) * (length - thing.width - 0.1)
        rectangle = _rectangle(wall, x, thing, width, depth)
        if _overlaps(rectangle, taken) or _covers(openings, x, thing.width, 0.0, thing.height):
            continue
        taken.append(rectangle)
        parts = thing.solids + _on_top(rng, thing)
        solids += moved(moved(parts, (x, -thing.depth / 2 - 0.04, 0)), place, turn)
        if thing.height < height - 1.2 and rng.random() < 0.8:
            solids += moved(_picture(rng, x, thing.height + 0.25, height, openings), place, turn)


def _covers(openings: list[Opening], x: float, width: float, low: float, high: float) -> bool:
    return any(
        x - width / 2 < right and left < x + width / 2 and low < top and bottom < high
        for left, right, bottom, top, _ in openings
    )


def _on_top(rng: Random, thing: Thing) -> list[Solid]:
    if thing.top is not None and thing.width > 1.0 and thing.top < 1.1 and rng.random() < 0.3:
        return moved(television(rng).solids, (0, 0, thing.top))
    return clutter(rng, thing, 4)


def _picture(rng: Random, x: float, low: float, height: float, openings: list[Opening]) -> list[Solid]:
    tall = min(rng.uniform(0.3, 0.9), height - low - 0.15)
    wide, middle = tall * rng.uniform(0.6, 1.6), low + tall / 2
    if _covers(openings, x, wide + 0.3, low, low + tall):
        return []
    paper = rng.choice((materials.patchwork, materials.blotches, materials.patterned, materials.glyphs))(rng)
    frame = rng.choice((materials.wood, materials.plain))(rng)
    return [
        box(frame, (x, -0.012, middle), (wide, 0.024, tall)),
        box(paper, (x, -0.014, middle), (wide * 0.86, 0.03, tall * 0.84)),
    ]


def _rectangle(wall: int, x: float, thing: Thing, width: float, depth: float) -> Rectangle:
    """Ground that a thing takes whose back is at a wall, with a margin."""
    half, near = thing.width / 2 + 0.05, thing.depth + 0.15
    return (
        (x - half, depth / 2 - near, x + half, depth / 2),
        (-width / 2, x - half, near - width / 2, x + half),
        (-x - half, -depth / 2, half - x, near - depth / 2),
        (width / 2 - near, -x - half, width / 2, half - x),
    )[wall]


def _overlaps(one: Rectangle, others: list[Rectangle]) -> bool:
    return any(one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3] for other in others)


def _furnish_middle(rng: Random, width: float, depth: float, solids: list[Solid], taken: list[Rectangle]) -> None:
    thing = rng.choice((*FREE, *SMALL))(rng)
    reach = math.hypot(thing.width, thing.depth) / 2
    x, y = rng.uniform(-0.5, 0.5) * (width - 2 * reach), rng.uniform(-0.5, 0.5) * (depth - 2 * reach)
    rectangle = (x - reach, y - reach, x + reach, y + reach)
    if width < 2 * reach or depth < 2 * reach or _overlaps(rectangle, taken):
        return
    taken.append(rectangle)
    solids += moved(thing.solids + clutter(rng, thing, 5), (x, y, 0), turn_z(rng.uniform(0, 2 * math.pi)))


def _ceiling_lights(rng: Random, width: float, depth: float, height: float, solids: list[Solid]) -> tuple[Light, ...]:
    lights: list[Light] = []
    for _ in range(rng.randint(1, 2)):
        x, y = rng.uniform(-0.25, 0.25) * width, rng.uniform(-0.25, 0.25) * depth
        warm = rng.uniform(0.7, 1.0)
        power = rng.uniform(1.5, 4.0)
        lights.append(Light((x, y, height - 0.25), (power, power * (0.6 + 0.4 * warm), power * warm**2)))
        lamp = dome(materials.glowing(rng), (0, 0, 0), rng.uniform(0.1, 0.2))
        solids += [_fixed(part) for part in moved([lamp], (x, y, height), ((1, 0, 0), (0, -1, 0), (0, 0, -1)))]
    if rng.random() < 0.4:
        lights[-1] = sun(rng, rng.uniform(1.5, 4.0))
    return tuple(lights)


def _fixed(solid: Solid) -> Solid:
    """Make a solid a part of the building."""
    return replace(solid, is_object=False)
