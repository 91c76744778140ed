"""Lays out single things and groups of things, on a ground or on nothing."""

import math
from dataclasses import replace
from random import Random

from anyview.synth import materials
from anyview.synth.daylight import random_sky, sun
from anyview.synth.furniture import (
    FREE,
    SMALL,
    WALL_SIDE,
    Thing,
    bench,
    bin_,
    car,
    clutter,
    television,
    tree,
    tumbled,
)
from anyview.synth.shapes import Solid, box, moved, turn_z
from anyview.synth.world import Layout, Light, Sky, Stand

_LARGE = (*WALL_SIDE, *FREE, car, tree, bench, bin_, television)


def still_life(rng: Random) -> Layout:
    """Lay out things around the origin; about a third hangs in a void."""
    floats = rng.random() < 0.35
    things = _heap(rng) if floats else _arrangement(rng)
    radius = max(0.15, *(math.dist(solid.center, (0, 0, 0)) + 0.8 * max(solid.half_size) for solid in things))
    height = max(solid.center[2] for solid in things)
    solids = list(things)
    if not floats:
        ground = rng.choice((materials.planks, materials.tiles, materials.patterned, materials.stone, materials.wood))(
            rng
        )
        plate = box(ground, (0, 0, -0.05), (rng.choice((60.0, 4 * radius + 1)),) * 2 + (0.1,))
        solids.append(replace(plate, is_object=False))
    backdrop = materials.any_color(rng) if rng.random() < 0.6 else rng.choice(((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)))
    is_outdoors = not floats and rng.random() < 0.5
    level = rng.uniform(0.3, 0.7)
    nearest = radius + 0.25
    middle = 0.0 if floats else height / 2
    return Layout(
        solids=tuple(solids),
        lights=(sun(rng, rng.uniform(0.8, 2.5)), *_lamps(rng, radius)),
        stand=Stand(
            (-1.7 * nearest, -1.7 * nearest, middle - 1.2 * nearest if floats else 0.25),
            (1.7 * nearest, 1.7 * nearest, middle + 1.5 * nearest),
            ((0.0, 0.0, middle),),
            (nearest, 1.7 * nearest),
            (0.05 * nearest, 0.3 * nearest),
        ),
        ambient=((level, level, level), (0.6 * level, 0.6 * level, 0.6 * level)),
        sky=random_sky(rng) if is_outdoors else Sky(backdrop, backdrop, is_void=True),
    )


def _arrangement(rng: Random) -> list[Solid]:
    """Put one large thing with clutter on it, or several small ones, on the ground."""
    if rng.random() < 0.5:
        thing: Thing = rng.choice(_LARGE)(rng)
        return moved(thing.solids + clutter(rng, thing, 5), (0, 0, 0), turn_z(rng.uniform(0, 6.3)))
    solids: list[Solid] = []
    spread = rng.uniform(0.15, 0.5)
    for _ in range(rng.randint(2, 8)):
        thing = rng.choice(SMALL)(rng)
        place = (rng.gauss(0, spread), rng.gauss(0, spread), 0.0)
        solids += moved(thing.solids, place, turn_z(rng.uniform(0, 6.3)), scale=rng.uniform(0.6, 1.8))
    return solids


def _heap(rng: Random) -> list[Solid]:
    """Hang one to five things in the air, turned any way round."""
    if rng.random() < 0.4:
        return tumbled(rng, rng.choice(_LARGE)(rng), (0, 0, 0))
    solids: list[Solid] = []
    for _ in range(rng.randint(2, 6)):
        thing = rng.choice((*SMALL, *FREE))(rng)
        place = (rng.gauss(0, 0.22), rng.gauss(0, 0.22), rng.gauss(0, 0.22))
        solids += tumbled(rng, thing, place)
    return solids


def _lamps(rng: Random, radius: float) -> tuple[Light, ...]:
    if rng.random() < 0.5:
        return ()
    angle, far, power = rng.uniform(0, 6.3), 2 * radius + 1, rng.uniform(0.5, 1.5)
    strength = power * far**2
    return (Light((far * math.cos(angle), far * math.sin(angle), far), (strength, strength * 0.95, strength * 0.85)),)
