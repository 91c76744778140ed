"""Skies and suns."""

import math
from random import Random

from anyview.synth.textures import Color
from anyview.synth.world import Light, Sky

SUN_DISTANCE = 1000.0


def random_sky(rng: Random) -> Sky:
    """Draw a sky from clear to overcast."""
    grey, bright = rng.random(), rng.uniform(0.6, 1.1)
    zenith = tuple(bright * (part + (0.75 - part) * grey * 0.9) for part in (0.2, 0.4, 0.85))
    horizon = tuple(bright * (part + (0.85 - part) * grey) for part in (0.75, 0.85, 0.95))
    return Sky(zenith, horizon, clouds=rng.uniform(0.0, 1.0), seed=float(rng.randrange(1 << 24)))  # type: ignore[arg-type]


def sun(rng: Random, strength: float) -> Light:
    """Draw a sun between 20 and 65 degrees above the horizon."""
    angle, elevation = rng.uniform(0, 2 * math.pi), math.radians(rng.uniform(20, 65))
    level = SUN_DISTANCE * math.cos(elevation)
    position = (level * math.cos(angle), level * math.sin(angle), SUN_DISTANCE * math.sin(elevation))
    warm = rng.uniform(0.75, 1.0)
    return Light(position, (strength, strength * (0.5 + 0.5 * warm), strength * warm**2), is_sun=True)


def day_ambient(rng: Random) -> tuple[Color, Color]:
    """Draw the light of the sky from above, and of the ground from below."""
    above, below = rng.uniform(0.4, 0.8), rng.uniform(0.15, 0.35)
    return (0.88 * above, 0.95 * above, 1.05 * above), (below, 0.95 * below, 0.85 * below)
