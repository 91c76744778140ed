"""Lays out open country: rolling ground with trees, rocks, fences and houses."""

import math
from dataclasses import replace
from functools import partial
from random import Random

from anyview.synth import materials
from anyview.synth.daylight import day_ambient, random_sky, sun
from anyview.synth.furniture import Thing, bench, rock, sign, tree
from anyview.synth.shapes import Solid, Vector, box, cone, moved, rolling_ground, turn_z
from anyview.synth.streets import house
from anyview.synth.terrain import Wave, height_at
from anyview.synth.world import Layout, Stand

_REACH = 22.0


def landscape(rng: Random) -> Layout:
    """Lay out a piece of country around the origin; ground heights are those of its waves."""
    waves = _waves(rng)
    solids: list[Solid] = [rolling_ground(materials.soil(rng))]
    spots: list[Vector] = []
    for build, count in (
        (tree, rng.randint(4, 14)),
        (rock, rng.randint(2, 9)),
        (partial(house, most_storeys=2), rng.randint(0, 3)),
        (sign, 1),
        (bench, 1),
    ):
        for _ in range(count):
            thing = build(rng)
            x, y = _spot(rng, thing, spots)
            spots.append((x, y, max(thing.width, thing.depth) / 2))
            solids += _planted(rng, waves, thing, x, y)
    if rng.random() < 0.5:
        solids += _fence(rng, waves)
    solids += _mountains(rng)
    targets = tuple((x, y, 1.0) for x, y, _ in spots[:8])
    return Layout(
        solids=tuple(solids),
        lights=(sun(rng, rng.uniform(0.8, 3.0)),),
        stand=Stand((-14.0, -14.0, 1.2), (14.0, 14.0, rng.uniform(2.2, 6.0)), targets, (3.0, 9.0), (0.3, 1.8)),
        ambient=day_ambient(rng),
        sky=random_sky(rng),
        ground=waves,
    )


def _waves(rng: Random) -> tuple[Wave, ...]:
    length, rough = rng.uniform(30.0, 70.0), rng.uniform(0.008, 0.03)
    waves = []
    for _ in range(7):
        angle = rng.uniform(0, math.pi)
        waves.append((math.cos(angle) / length, math.sin(angle) / length, rng.random(), rough * length))
        length *= 0.62
    return tuple(waves)


def _spot(rng: Random, thing: Thing, spots: list[Vector]) -> tuple[float, float]:
    """Find a free place; after many tries anything goes, as trees may touch."""
    radius = max(thing.width, thing.depth) / 2
    for _ in range(20):
        x, y = rng.gauss(0, 0.45) * _REACH, rng.gauss(0, 0.45) * _REACH
        if all(math.hypot(x - other_x, y - other_y) > radius + taken for other_x, other_y, taken in spots):
            break
    return x, y


def _planted(rng: Random, waves: tuple[Wave, ...], thing: Thing, x: float, y: float) -> list[Solid]:
    """Put a thing on the ground, as low as the lowest ground under it."""
    half = min(thing.width, thing.depth) * 0.35 if thing.width > 4.5 else 0.1
    lowest = min(height_at(waves, x + dx, y + dy) for dx in (-half, half) for dy in (-half, half))
    turn = turn_z(rng.uniform(0, 2 * math.pi))
    return moved(thing.solids, (x, y, lowest - 0.03), turn)


def _fence(rng: Random, waves: tuple[Wave, ...]) -> list[Solid]:
    wood, spacing = materials.wood(rng), rng.uniform(1.4, 2.2)
    angle, offset, high = rng.uniform(0, math.pi), rng.uniform(-8, 8), rng.uniform(0.8, 1.3)
    solids = []
    for number in range(-8, 9):
        along = number * spacing
        x = along * math.cos(angle) - offset * math.sin(angle)
        y = along * math.sin(angle) + offset * math.cos(angle)
        post = box(wood, (0, 0, high / 2 - 0.3), (0.1, 0.1, high + 0.6))
        rails = [box(wood, (spacing / 2, 0, z * high), (spacing, 0.03, 0.1)) for z in (0.45, 0.85)]
        solids += moved([post, *rails], (x, y, height_at(waves, x, y)), turn_z(angle))
    return solids


def _mountains(rng: Random) -> list[Solid]:
    surface = replace(materials.stone(rng), noise_scale=25.0)
    solids = []
    for _ in range(rng.randint(0, 5)):
        angle, far = rng.uniform(0, 2 * math.pi), rng.uniform(180, 300)
        base = (far * math.cos(angle), far * math.sin(angle), -15.0)
        mountain = cone(surface, base, rng.uniform(60, 120), 4.0, rng.uniform(30, 75))
        solids.append(replace(mountain, is_object=False))
    return solids
