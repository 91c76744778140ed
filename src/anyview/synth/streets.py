"""Lays out streets: a road along x between pavements and rows of houses, cars, trees and what stands around."""

import math
from dataclasses import replace
from random import Random

from anyview.synth import materials
from anyview.synth.daylight import day_ambient, random_sky, sun
from anyview.synth.furniture import ROADSIDE, Thing, car
from anyview.synth.shapes import Solid, box, cylinder, gable, moved, turn_z
from anyview.synth.textures import Material
from anyview.synth.world import FAR, Layout, Stand

_HALF_LENGTH = 32.0
_KERB = 0.14


def street(rng: Random) -> Layout:
    """Lay out a street with its road at z = 0."""
    road, pavement = rng.uniform(2.8, 5.0), rng.uniform(2.0, 4.0)
    solids = _ground(rng, road, pavement)
    for side in (-1, 1):
        turn = turn_z(0.0 if side > 0 else math.pi)
        solids += moved(_houses(rng), (0, side * (road + pavement), 0), turn)
        solids += moved(_roadside(rng, road, pavement), (0, 0, 0), turn)
        solids += moved(_parked(rng, road), (0, 0, 0), turn)
    targets = tuple(
        (rng.uniform(-0.5, 0.5) * _HALF_LENGTH, rng.uniform(-1.1, 1.1) * (road + pavement), rng.uniform(0.8, 3.0))
        for _ in range(6)
    )
    reach = road + pavement - 0.7
    return Layout(
        solids=tuple(solids),
        lights=(sun(rng, rng.uniform(0.8, 3.0)),),
        stand=Stand(
            (-0.6 * _HALF_LENGTH, -reach, 1.2),
            (0.6 * _HALF_LENGTH, reach, rng.uniform(2.0, 4.0)),
            targets,
            (3.0, 9.0),
            (0.3, 1.5),
        ),
        ambient=day_ambient(rng),
        sky=random_sky(rng),
        enclosure=((-FAR, -road - pavement, 0.0), (FAR, road + pavement, FAR)),
    )


def house(rng: Random, most_storeys: int = 5) -> Thing:
    """Build a house along x, its front at y = 0 and the rest behind it."""
    width, depth = rng.uniform(5.0, 13.0), rng.uniform(6.0, 10.0)
    storeys, storey = rng.randint(1, most_storeys), rng.uniform(2.7, 3.3)
    height = storeys * storey
    wall = rng.choice((materials.brick, materials.painted, materials.stone, materials.brick))(rng)
    has_painted_windows = rng.random() < 0.5
    surface = materials.facade(rng, storey) if has_painted_windows else wall
    solids = [box(surface, (0, depth / 2, height / 2), (width, depth, height))]
    solids[0] = replace(solids[0], texture_origin=(0.0, 0.0, 0.0))
    solids.append(box(wall, (0, depth / 2, 0.3), (width + 0.08, depth + 0.08, 0.6)))
    if not has_painted_windows:
        solids += _windows(rng, width, storeys, storey)
    solids += _door(rng, rng.uniform(-0.35, 0.35) * width)
    if rng.random() < 0.6:
        roof = rng.choice((materials.tiles, materials.brick, materials.stone))(rng)
        if rng.random() < 0.5:
            top = gable(roof, (0, 0, 0), (depth + 0.8, width + 0.3, rng.uniform(1.5, 3.5)))
            solids += moved([top], (0, depth / 2, height), turn_z(math.pi / 2))
        else:
            solids.append(gable(roof, (0, depth / 2, height), (width + 0.6, depth + 0.3, rng.uniform(1.5, 3.5))))
        chimney = box(wall, (rng.uniform(-0.3, 0.3) * width, depth / 2, height + 2.0), (0.6, 0.6, 4.0))
        solids.append(chimney)
    else:
        solids.append(box(materials.painted(rng), (0, depth / 2, height + 0.12), (width + 0.3, depth + 0.3, 0.24)))
    return Thing(solids, width, depth, height)


def _ground(rng: Random, road: float, pavement: float) -> list[Solid]:
    asphalt, kerb, paving = (
        materials.stone(rng),
        materials.stone(rng),
        rng.choice((materials.tiles, materials.brick))(rng),
    )
    paint = Material(color=(0.7, 0.7, 0.66), grain=0.3, noise_scale=0.1)
    solids = [box(asphalt, (0, 0, -0.25), (400, 400, 0.5))]
    for side in (-1, 1):
        solids.append(box(paving, (0, side * (road + pavement / 2 + 6), _KERB / 2), (120, pavement + 12, _KERB)))
        solids.append(box(kerb, (0, side * (road - 0.02), _KERB / 2 + 0.005), (120, 0.16, _KERB + 0.01)))
    length, gap = rng.uniform(1.5, 3.0), rng.uniform(1.5, 4.0)
    for number in range(int(2 * _HALF_LENGTH / (length + gap))):
        x = (number + 0.5) * (length + gap) - _HALF_LENGTH
        solids.append(box(paint, (x, 0, 0.003), (length, 0.13, 0.006)))
    return [replace(solid, is_object=False) for solid in solids]


def _houses(rng: Random) -> list[Solid]:
    solids: list[Solid] = []
    x = -_HALF_LENGTH - rng.uniform(0, 8)
    while x < _HALF_LENGTH:
        thing = house(rng)
        solids += moved(thing.solids, (x + thing.width / 2, rng.uniform(0.0, 1.0), 0))
        x += thing.width + rng.choice((0.0, 0.0, rng.uniform(0.8, 5.0)))
    return solids


def _windows(rng: Random, width: float, storeys: int, storey: float) -> list[Solid]:
    glass = Material(color=(0.06, 0.08, 0.1), second=(0.3, 0.36, 0.42), patches=0.8, seed=float(rng.randrange(1 << 24)))
    frame, high, wide = materials.painted(rng), storey * rng.uniform(0.45, 0.6), rng.uniform(0.8, 1.3)
    count = max(1, int(width / rng.uniform(2.0, 3.5)))
    has_balcony, rail = rng.random() < 0.3, materials.metal(rng)
    solids = []
    for level in range(storeys):
        z = (level + 0.5) * storey + 0.1
        for number in range(count):
            x = ((number + 0.5) / count - 0.5) * width
            solids.append(box(frame, (x, -0.01, z), (wide + 0.16, 0.1, high + 0.16)))
            solids.append(box(glass, (x, -0.02, z), (wide, 0.1, high)))
            if level > 0 and has_balcony and number % 2 == 0:
                solids.append(box(frame, (x, -0.5, z - high / 2 - 0.15), (wide + 0.8, 1.0, 0.12)))
                solids.append(box(rail, (x, -0.98, z - high / 2 + 0.35), (wide + 0.8, 0.05, 0.9)))
            else:
                solids.append(box(frame, (x, -0.08, z - high / 2 - 0.1), (wide + 0.3, 0.26, 0.06)))
    return solids


def _door(rng: Random, x: float) -> list[Solid]:
    leaf, frame = rng.choice((materials.wood, materials.painted, materials.plain))(rng), materials.stone(rng)
    solids = [
        box(frame, (x, 0, 1.2), (1.35, 0.24, 2.4)),
        box(leaf, (x, -0.06, 1.15), (1.0, 0.16, 2.1)),
        box(frame, (x, -0.3, 0.2), (1.5, 0.7, 0.2)),
    ]
    if rng.random() < 0.4:
        solids.append(box(frame, (x, -0.5, 2.6), (2.0, 1.2, 0.12)))
        solids += [cylinder(frame, (x + side, -0.95, 0.1), 0.09, 2.45) for side in (-0.85, 0.85)]
    return solids


def _roadside(rng: Random, road: float, pavement: float) -> list[Solid]:
    solids: list[Solid] = []
    x = -_HALF_LENGTH + rng.uniform(0, 5)
    while x < _HALF_LENGTH:
        thing = rng.choice(ROADSIDE)(rng)
        y = road + rng.uniform(0.4, 0.9)
        turn = turn_z(rng.choice((0.0, math.pi / 2, rng.uniform(0, 6.3))))
        solids += moved(thing.solids, (x, min(y, road + pavement - 0.5), _KERB), turn)
        x += rng.uniform(2.5, 9.0)
    return solids


def _parked(rng: Random, road: float) -> list[Solid]:
    solids: list[Solid] = []
    x = -_HALF_LENGTH + rng.uniform(0, 10)
    while x < _HALF_LENGTH:
        thing = car(rng)
        solids += moved(thing.solids, (x, road - thing.depth / 2 - rng.uniform(0.25, 0.4), 0))
        x += thing.width + rng.choice((0.8, 1.5, rng.uniform(4, 25)))
    return solids
