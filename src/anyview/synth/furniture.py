"""Things, built around the origin of the ground they stand on, front towards −y; sizes in metres."""

import math
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from anyview.synth import materials
from anyview.synth.shapes import (
    Solid,
    Vector,
    box,
    cone,
    cylinder,
    dome,
    ellipsoid,
    gable,
    lathe,
    moved,
    multiply,
    polygonal_prism,
    ramp,
    turn_x,
    turn_z,
)
from anyview.synth.textures import Material


class Thing(NamedTuple):
    """Solids with their extent on the ground."""

    solids: list[Solid]
    width: float
    depth: float
    height: float
    top: float | None = None
    """Height of a free level surface of that extent, where there is one."""


def table(rng: Random) -> Thing:
    """Build a table with four legs, or one."""
    width, depth, height = rng.uniform(0.7, 1.9), rng.uniform(0.6, 1.0), rng.uniform(0.4, 0.78)
    board, leg = rng.choice((materials.wood, materials.painted, materials.marble))(rng), materials.body(rng)
    thickness = rng.uniform(0.02, 0.06)
    solids = [box(board, (0, 0, height - thickness / 2), (width, depth, thickness))]
    if rng.random() < 0.25:
        profile = [(0, 0.25), (0.03, 0.22), (0.06, 0.05), (height / 2, 0.08), (height - thickness, 0.04)]
        solids += lathe(leg, (0, 0, 0), profile)
    else:
        solids += _legs(rng, leg, width - 0.1, depth - 0.1, height - thickness)
    return Thing(solids, width, depth, height, height)


def chair(rng: Random) -> Thing:
    """Build a chair with a back."""
    width, depth, seat = rng.uniform(0.4, 0.5), rng.uniform(0.4, 0.5), rng.uniform(0.42, 0.48)
    frame, cover = materials.wood(rng), rng.choice((materials.wood, materials.fabric))(rng)
    back = rng.uniform(0.35, 0.55)
    solids = [box(cover, (0, 0, seat), (width, depth, 0.05))]
    solids += _legs(rng, frame, width - 0.06, depth - 0.06, seat)
    for x in (-width / 2 + 0.03, width / 2 - 0.03):
        solids.append(box(frame, (x, depth / 2 - 0.02, seat + back / 2), (0.035, 0.035, back)))
    solids.append(box(cover, (0, depth / 2 - 0.02, seat + back * 0.7), (width - 0.05, 0.03, back * 0.5)))
    return Thing(solids, width, depth, seat + back)


def sofa(rng: Random) -> Thing:
    """Build a sofa or armchair with cushions."""
    width, depth, seat = rng.uniform(0.9, 2.3), rng.uniform(0.8, 1.0), rng.uniform(0.36, 0.45)
    cover, cushion = materials.fabric(rng), materials.patterned(rng)
    arm = rng.uniform(0.12, 0.22)
    solids = [
        box(cover, (0, 0, seat / 2), (width, depth, seat)),
        box(cover, (0, depth / 2 - 0.1, seat + 0.2), (width, 0.2, 0.45)),
    ]
    for x in (-width / 2 + arm / 2, width / 2 - arm / 2):
        solids.append(box(cover, (x, 0, seat + 0.1), (arm, depth, 0.25)))
    count = rng.randint(1, 3)
    for number in range(count):
        x = (number + 0.5) / count * (width - 2 * arm) - width / 2 + arm
        pillow = box(cushion, (0, 0, 0), (0.4, 0.14, 0.36))
        solids += moved(
            [pillow], (x, depth / 2 - 0.28, seat + 0.19), multiply(turn_z(rng.uniform(-0.2, 0.2)), turn_x(-0.25))
        )
    return Thing(solids, width, depth, seat + 0.43)


def bed(rng: Random) -> Thing:
    """Build a bed with pillows."""
    width, depth = rng.choice((0.9, 1.4, 1.6, 1.8)), rng.uniform(1.95, 2.1)
    frame, sheet, pillow = materials.wood(rng), materials.fabric(rng), materials.fabric(rng)
    solids = [
        box(frame, (0, 0, 0.15), (width, depth, 0.3)),
        box(sheet, (0, -0.02, 0.4), (width - 0.04, depth - 0.06, 0.2)),
        box(frame, (0, depth / 2 - 0.03, 0.5), (width, 0.06, 1.0)),
    ]
    for number in range(1 if width < 1.2 else 2):
        x = 0.0 if width < 1.2 else (number - 0.5) * width / 2
        solids.append(ellipsoid(pillow, (x, depth / 2 - 0.35, 0.55), (0.3, 0.2, 0.09)))
    return Thing(solids, width, depth, 1.0, 0.5)


def shelf(rng: Random) -> Thing:
    """Build shelves with books and boxes."""
    width, depth, height = rng.uniform(0.7, 1.6), rng.uniform(0.25, 0.4), rng.uniform(0.9, 2.1)
    wood = rng.choice((materials.wood, materials.painted))(rng)
    solids = [box(wood, (x, 0, height / 2), (0.025, depth, height)) for x in (-width / 2, width / 2)]
    solids.append(box(wood, (0, depth / 2, height / 2), (width, 0.015, height)))
    boards = max(2, round(height / 0.4))
    spacing = height / boards
    for level in range(boards + 1):
        solids.append(box(wood, (0, 0, level * spacing), (width, depth, 0.025)))
    for level in range(boards):
        solids += _books(rng, width - 0.06, depth, spacing, level * spacing + 0.013)
    return Thing(solids, width + 0.03, depth, height, height)


def cabinet(rng: Random) -> Thing:
    """Build a chest of drawers or a wardrobe."""
    width, depth, height = rng.uniform(0.5, 1.5), rng.uniform(0.4, 0.6), rng.uniform(0.6, 2.0)
    case, knob = rng.choice((materials.wood, materials.painted, materials.patterned))(rng), materials.metal(rng)
    front = rng.choice((materials.wood, materials.painted))(rng)
    solids = [box(case, (0, 0, height / 2), (width, depth, height))]
    columns, rows = (2, 1) if height > 1.3 else (rng.randint(1, 2), rng.randint(2, 4))
    for column in range(columns):
        for row in range(rows):
            wide, high = width / columns, height / rows
            x, z = (column + 0.5) * wide - width / 2, (row + 0.5) * high
            solids.append(box(front, (x, -depth / 2, z), (wide - 0.03, 0.03, high - 0.03)))
            solids.append(ellipsoid(knob, (x, -depth / 2 - 0.025, z), (0.015, 0.02, 0.015)))
    return Thing(solids, width, depth + 0.08, height, height)


def floor_lamp(rng: Random) -> Thing:
    """Build a standing lamp."""
    height, metal = rng.uniform(1.2, 1.8), materials.metal(rng)
    shade = rng.choice((materials.glowing, materials.patterned))(rng)
    solids = lathe(metal, (0, 0, 0), [(0, 0.16), (0.03, 0.14), (0.04, 0.015), (height - 0.2, 0.015)])
    solids.append(cone(shade, (0, 0, height - 0.25), 0.2, rng.uniform(0.1, 0.2), 0.28))
    return Thing(solids, 0.4, 0.4, height)


def plant(rng: Random) -> Thing:
    """Build a potted plant."""
    pot, green, stem = materials.body(rng), materials.leaves(rng), materials.wood(rng)
    height, wide = rng.uniform(0.4, 1.3), rng.uniform(0.12, 0.22)
    solids = lathe(pot, (0, 0, 0), [(0, wide * 0.7), (wide * 1.4, wide), (wide * 1.6, wide * 1.08)])
    solids.append(cylinder(stem, (0, 0, wide), 0.02, height - wide))
    for number in range(rng.randint(4, 8)):
        angle, reach = number * 2.4, rng.uniform(0.05, 0.2)
        leaf = ellipsoid(green, (0, 0, 0), (rng.uniform(0.04, 0.09), rng.uniform(0.12, 0.25), rng.uniform(0.02, 0.06)))
        place = (reach * math.cos(angle), reach * math.sin(angle), height * rng.uniform(0.6, 1.0))
        solids += moved([leaf], place, multiply(turn_z(angle - math.pi / 2), turn_x(rng.uniform(-0.3, 0.9))))
    return Thing(solids, 0.5, 0.5, height + 0.1)


def vase(rng: Random) -> Thing:
    """Build a lathed vessel: vase, bottle, bowl or jug."""
    height, wide = rng.uniform(0.12, 0.4), rng.uniform(0.04, 0.12)
    levels = rng.randint(3, 6)
    profile = [(0.0, wide * rng.uniform(0.4, 0.9))]
    for level in range(1, levels):
        profile.append((height * level / (levels - 1), wide * rng.uniform(0.3, 1.3)))
    solids = lathe(materials.body(rng), (0, 0, 0), profile)
    if rng.random() < 0.5:
        solids.append(cylinder(materials.plain(rng), (0, 0, height), profile[-1][1] * 0.8, 0.02))
    return Thing(solids, 2.6 * wide, 2.6 * wide, height)


def books(rng: Random) -> Thing:
    """Build a pile of books."""
    solids, z = [], 0.0
    for _ in range(rng.randint(2, 6)):
        thickness = rng.uniform(0.015, 0.05)
        book = box(materials.patterned(rng), (0, 0, 0), (rng.uniform(0.14, 0.24), rng.uniform(0.18, 0.3), thickness))
        solids += moved([book], (0, 0, z + thickness / 2), turn_z(rng.uniform(-0.4, 0.4)))
        z += thickness
    return Thing(solids, 0.32, 0.36, z)


def ball(rng: Random) -> Thing:
    """Build a ball."""
    radius = rng.uniform(0.05, 0.2)
    surface = rng.choice((materials.body, materials.blotches, materials.stone))(rng)
    return Thing([ellipsoid(surface, (0, 0, radius), (radius,) * 3)], 2 * radius, 2 * radius, 2 * radius)


def crate(rng: Random) -> Thing:
    """Build a box, often with writing."""
    width, depth, height = (rng.uniform(0.1, 0.45) for _ in range(3))
    surface = rng.choice((materials.glyphs, materials.wood, materials.anything))(rng)
    return Thing([box(surface, (0, 0, height / 2), (width, depth, height))], width, depth, height, height)


def block(rng: Random) -> Thing:
    """Build one shape out of the toy box."""
    size, height, surface = rng.uniform(0.06, 0.25), rng.uniform(0.08, 0.4), materials.anything(rng)
    kind = rng.randrange(7)
    if kind == 0:
        solid = cylinder(materials.body(rng), (0, 0, 0), size, height)
    elif kind == 1:
        solid = cone(materials.body(rng), (0, 0, 0), size, size * rng.uniform(0.02, 0.8), height)
    elif kind == 2:
        solid = polygonal_prism(surface, (0, 0, 0), size * 0.85, height, rng.choice((6, 8)))
    elif kind == 3:
        solid = gable(surface, (0, 0, 0), (2 * size, 2 * size, height))
    elif kind == 4:
        solid = ramp(surface, (0, 0, 0), (2 * size, 2 * size, height))
    elif kind == 5:
        solid = dome(materials.body(rng), (0, 0, 0), size)
    else:
        solid = ellipsoid(materials.body(rng), (0, 0, height / 2), (size, size * rng.uniform(0.4, 1.0), height / 2))
    return Thing([solid], 2 * size, 2 * size, height)


def letter(rng: Random) -> Thing:
    """Build an upright letter, extruded from strokes."""
    size, thick, surface = rng.uniform(0.15, 0.4), rng.uniform(0.04, 0.1), materials.anything(rng)
    bar = size * 0.2

    def level(z: float, part: float) -> Solid:
        return box(surface, ((part - 1) * size * 0.3, 0, z), (size * 0.6 * part, thick, bar))

    def upright(x: float) -> Solid:
        return box(surface, (x, 0, size / 2), (bar, thick, size))

    left, right = -size * 0.3 + bar / 2, size * 0.3 - bar / 2
    strokes = {
        "L": [upright(left), level(bar / 2, 1.0)],
        "T": [upright(0.0), level(size - bar / 2, 1.0)],
        "H": [upright(left), upright(right), level(size / 2, 1.0)],
        "E": [upright(left), level(bar / 2, 1.0), level(size / 2, 0.8), level(size - bar / 2, 1.0)],
        "F": [upright(left), level(size / 2, 0.8), level(size - bar / 2, 1.0)],
        "U": [upright(left), upright(right), level(bar / 2, 1.0)],
    }
    return Thing(rng.choice(list(strokes.values())), size * 0.6, thick, size)


def television(rng: Random) -> Thing:
    """Build a screen on a stand."""
    width = rng.uniform(0.5, 1.3)
    height, dark = width * 0.58, Material(color=(0.02, 0.02, 0.02))
    screen = rng.choice((Material(color=(0.03, 0.03, 0.04)), materials.patchwork(rng), materials.glyphs(rng)))
    solids = [
        box(dark, (0, 0, 0.01), (width * 0.4, 0.2, 0.02)),
        box(dark, (0, 0, 0.05), (0.06, 0.04, 0.1)),
        box(dark, (0, 0, 0.08 + height / 2), (width, 0.04, height)),
        box(screen, (0, -0.021, 0.08 + height / 2), (width - 0.03, 0.006, height - 0.03)),
    ]
    return Thing(solids, width, 0.25, 0.1 + height)


def pedestal(rng: Random) -> Thing:
    """Build a plinth to put something on."""
    size, height = rng.uniform(0.3, 0.5), rng.uniform(0.5, 1.1)
    surface = rng.choice((materials.marble, materials.stone, materials.painted))(rng)
    solids = [
        box(surface, (0, 0, 0.04), (size, size, 0.08)),
        polygonal_prism(surface, (0, 0, 0.08), size * 0.4, height - 0.14, 8),
        box(surface, (0, 0, height - 0.03), (size, size, 0.06)),
    ]
    return Thing(solids, size, size, height, height)


def tree(rng: Random) -> Thing:
    """Build a tree of any age: fir or broad-leaved."""
    height, trunk, crown = rng.uniform(2.5, 9.0), materials.stone(rng), materials.leaves(rng)
    wide = height * rng.uniform(0.15, 0.3)
    solids: list[Solid]
    if rng.random() < 0.4:
        solids = [cylinder(trunk, (0, 0, 0), height * 0.02 + 0.03, height * 0.3)]
        for level in range(3):
            radius = wide * (1 - 0.27 * level)
            solids.append(cone(crown, (0, 0, height * (0.2 + 0.24 * level)), radius, radius * 0.15, height * 0.32))
    else:
        solids = [cone(trunk, (0, 0, 0), height * 0.03 + 0.04, height * 0.02, height * 0.6)]
        for _ in range(rng.randint(3, 6)):
            x, y = rng.uniform(-0.6, 0.6) * wide, rng.uniform(-0.6, 0.6) * wide
            size = wide * rng.uniform(0.5, 0.9)
            solids.append(ellipsoid(crown, (x, y, height * rng.uniform(0.55, 0.85)), (size, size, size * 0.8)))
    return Thing(solids, 2 * wide, 2 * wide, height)


def rock(rng: Random) -> Thing:
    """Build a boulder of overlapping lumps."""
    size, surface = rng.uniform(0.2, 1.2), materials.stone(rng)
    solids = []
    for _ in range(rng.randint(1, 3)):
        lump = ellipsoid(surface, (0, 0, 0), (size, size * rng.uniform(0.5, 1.0), size * rng.uniform(0.4, 0.8)))
        place = (rng.uniform(-0.5, 0.5) * size, rng.uniform(-0.5, 0.5) * size, size * 0.2)
        solids += moved([lump], place, multiply(turn_z(rng.uniform(0, 6.3)), turn_x(rng.uniform(-0.3, 0.3))))
    return Thing(solids, 2.5 * size, 2.5 * size, size)


def car(rng: Random) -> Thing:
    """Build a car along x."""
    length, width = rng.uniform(3.6, 4.8), rng.uniform(1.65, 1.9)
    paint, glass = materials.plain(rng), Material(color=(0.03, 0.04, 0.05))
    tyre, rim, lamp = (
        Material(color=(0.015, 0.015, 0.015)),
        materials.metal(rng),
        Material(color=(0.9, 0.85, 0.7), glow=0.3),
    )
    solids = [
        box(paint, (0, 0, 0.55), (length, width, 0.55)),
        box(glass, (-0.1, 0, 1.02), (length * 0.5, width * 0.86, 0.45)),
        box(paint, (-0.1, 0, 1.27), (length * 0.44, width * 0.84, 0.06)),
    ]
    solids += moved([ramp(glass, (0, 0, 0), (0.5, width * 0.86, 0.45))], (-0.1 - length * 0.25 - 0.25, 0, 0.8))
    solids += moved(
        [ramp(glass, (0, 0, 0), (0.5, width * 0.86, 0.45))], (-0.1 + length * 0.25 + 0.25, 0, 0.8), turn_z(math.pi)
    )
    for x in (-length * 0.31, length * 0.31):
        for side in (-1, 1):
            wheel = [cylinder(tyre, (0, 0, -0.1), 0.32, 0.2), cylinder(rim, (0, 0, -0.11), 0.18, 0.22)]
            solids += moved(wheel, (x, side * (width / 2 - 0.07), 0.32), turn_x(math.pi / 2))
    for y in (-width * 0.35, width * 0.35):
        solids.append(box(lamp, (length / 2, y, 0.62), (0.04, 0.25, 0.12)))
    return Thing(solids, length, width, 1.3)


def street_lamp(rng: Random) -> Thing:
    """Build a lamp post."""
    height, metal = rng.uniform(3.5, 6.0), materials.metal(rng)
    solids = lathe(metal, (0, 0, 0), [(0, 0.14), (0.4, 0.09), (0.45, 0.05), (height, 0.04)])
    solids.append(ellipsoid(materials.glowing(rng), (0, 0, height + 0.15), (0.2, 0.2, 0.2)))
    return Thing(solids, 0.4, 0.4, height + 0.35)


def sign(rng: Random) -> Thing:
    """Build a sign or poster on a post."""
    height, width = rng.uniform(1.8, 2.8), rng.uniform(0.5, 1.2)
    face = rng.choice((materials.glyphs, materials.patterned))(rng)
    solids = [
        cylinder(materials.metal(rng), (0, 0.05, 0), 0.035, height),
        box(face, (0, 0, height - width * 0.4), (width, 0.04, width * 0.8)),
    ]
    return Thing(solids, width, 0.2, height)


def bench(rng: Random) -> Thing:
    """Build a park bench."""
    width, wood, foot = rng.uniform(1.2, 1.9), materials.wood(rng), materials.stone(rng)
    solids = [box(wood, (0, y, 0.45), (width, 0.11, 0.03)) for y in (-0.18, -0.05, 0.08)]
    solids += [box(wood, (0, 0.2, z), (width, 0.03, 0.1)) for z in (0.62, 0.78)]
    for x in (-width * 0.35, width * 0.35):
        solids.append(box(foot, (x, -0.05, 0.22), (0.07, 0.38, 0.44)))
        solids.append(box(foot, (x, 0.22, 0.42), (0.05, 0.03, 0.84)))
    return Thing(solids, width, 0.5, 0.85)


def bin_(rng: Random) -> Thing:
    """Build a litter bin."""
    height, wide, surface = rng.uniform(0.6, 1.0), rng.uniform(0.2, 0.32), materials.body(rng)
    solids = [cone(surface, (0, 0, 0), wide * 0.85, wide, height), dome(materials.metal(rng), (0, 0, height), wide)]
    return Thing(solids, 2 * wide, 2 * wide, height)


SMALL: tuple[Callable[[Random], Thing], ...] = (vase, books, ball, crate, block, block, letter, vase)
WALL_SIDE: tuple[Callable[[Random], Thing], ...] = (sofa, bed, shelf, shelf, cabinet, cabinet, table, floor_lamp, plant)
FREE: tuple[Callable[[Random], Thing], ...] = (table, table, chair, chair, crate, plant, ball, pedestal, block)
ROADSIDE: tuple[Callable[[Random], Thing], ...] = (tree, street_lamp, sign, bench, bin_, plant, crate)


def clutter(rng: Random, thing: Thing, most: int) -> list[Solid]:
    """Put up to ``most`` small things on top of a thing."""
    if thing.top is None:
        return []
    solids: list[Solid] = []
    for _ in range(rng.randint(0, most)):
        small = rng.choice(SMALL)(rng)
        x = rng.uniform(-0.5, 0.5) * max(thing.width - small.width, 0)
        y = rng.uniform(-0.5, 0.5) * max(thing.depth - small.depth, 0)
        solids += moved(small.solids, (x, y, thing.top), turn_z(rng.uniform(0, 2 * math.pi)))
    return solids


def tumbled(rng: Random, thing: Thing, place: Vector) -> list[Solid]:
    """Turn a thing any way round and hold it at a place."""
    turn = multiply(turn_z(rng.uniform(0, 6.3)), multiply(turn_x(rng.uniform(0, 6.3)), turn_z(rng.uniform(0, 6.3))))
    centred = moved(thing.solids, (0, 0, -thing.height / 2))
    return moved(centred, place, turn)


def _legs(rng: Random, material: Material, width: float, depth: float, height: float) -> list[Solid]:
    thick, is_round = rng.uniform(0.03, 0.07), rng.random() < 0.5
    solids = []
    for x in (-width / 2, width / 2):
        for y in (-depth / 2, depth / 2):
            if is_round:
                solids.append(cone(material, (x, y, 0), thick * 0.35, thick * 0.6, height))
            else:
                solids.append(box(material, (x, y, height / 2), (thick, thick, height)))
    return solids


def _books(rng: Random, width: float, depth: float, spacing: float, z: float) -> list[Solid]:
    solids, x = [], -width / 2
    surfaces = [rng.choice((materials.plain, materials.patterned, materials.stripes))(rng) for _ in range(3)]
    while x < width / 2 - 0.12:
        wide = rng.choice((rng.uniform(0.02, 0.06), rng.uniform(0.08, 0.3), rng.uniform(0.1, 0.3)))
        wide = min(wide, width / 2 - x)
        if rng.random() < 0.65:
            high = spacing * rng.uniform(0.4, 0.85)
            deep = depth * rng.uniform(0.5, 0.85)
            solids.append(box(rng.choice(surfaces), (x + wide / 2, 0.0, z + high / 2), (wide * 0.94, deep, high)))
        x += wide + 0.01
    return solids
