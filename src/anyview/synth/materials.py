"""Random materials by what they are for; every function draws from the given source of random numbers."""

import colorsys
from random import Random

from anyview.synth.textures import Color, Material


def _color(rng: Random, saturation: tuple[float, float], value: tuple[float, float], hue: float | None = None) -> Color:
    hue = rng.random() if hue is None else hue + rng.uniform(-0.03, 0.03)
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, rng.uniform(*saturation), rng.uniform(*value))
    return (red**2.2, green**2.2, blue**2.2)


def _seed(rng: Random) -> float:
    return float(rng.randrange(1 << 24))


def any_color(rng: Random) -> Color:
    """Draw a colour of any hue, from pale to strong."""
    return _color(rng, (0.05, 0.85), (0.25, 0.95))


def painted(rng: Random) -> Material:
    """Draw paint or plaster: nearly plain."""
    color = _color(rng, (0.0, 0.35), (0.6, 0.95))
    return Material(color=color, grain=rng.uniform(0.03, 0.25), noise_scale=rng.uniform(0.1, 0.8), seed=_seed(rng))


def plain(rng: Random) -> Material:
    """Draw one colour, with or without fine grain."""
    grain = rng.choice((0.0, 0.05, 0.15))
    return Material(color=any_color(rng), grain=grain, noise_scale=0.03, seed=_seed(rng))


def metal(rng: Random) -> Material:
    """Draw dark or bright grey."""
    color = _color(rng, (0.0, 0.15), (0.15, 0.8))
    return Material(color=color, grain=0.1, noise_scale=0.05, seed=_seed(rng))


def wood(rng: Random) -> Material:
    """Draw grained wood."""
    hue = rng.uniform(0.05, 0.1)
    color = _color(rng, (0.35, 0.7), (0.35, 0.85), hue)
    return Material(
        color=color,
        second=_darker(color, rng.uniform(0.4, 0.75)),
        waves=rng.uniform(0.5, 1.0),
        wave_length=rng.uniform(0.02, 0.08),
        rings=rng.choice((0.0, 1.0)),
        distortion=rng.uniform(0.5, 2.5),
        noise_scale=rng.uniform(0.15, 0.5),
        grain=0.2,
        seed=_seed(rng),
    )


def planks(rng: Random) -> Material:
    """Draw boards or parquet."""
    color = _color(rng, (0.3, 0.65), (0.4, 0.85), rng.uniform(0.05, 0.1))
    width = rng.uniform(0.08, 0.2)
    return Material(
        color=color,
        second=_darker(color, rng.uniform(0.35, 0.7)),
        joint=_darker(color, 0.2),
        cell_width=rng.uniform(0.5, 1.6),
        cell_height=width,
        bond=rng.uniform(0.3, 0.5),
        joint_width=rng.uniform(0.003, 0.01),
        patches=rng.uniform(0.4, 0.9),
        noise=0.3,
        noise_scale=0.1,
        grain=0.3,
        seed=_seed(rng),
    )


def brick(rng: Random) -> Material:
    """Draw bricks with mortar."""
    color = _color(rng, (0.25, 0.7), (0.35, 0.8), rng.choice((0.02, 0.04, 0.1)))
    scale = rng.uniform(0.8, 2.0)
    return Material(
        color=color,
        second=_darker(color, rng.uniform(0.3, 0.7)),
        joint=_color(rng, (0.0, 0.15), (0.45, 0.85)),
        cell_width=0.23 * scale,
        cell_height=0.08 * scale,
        bond=0.5,
        joint_width=0.012 * scale,
        patches=rng.uniform(0.4, 0.9),
        noise=0.2,
        noise_scale=0.2,
        grain=0.35,
        seed=_seed(rng),
    )


def tiles(rng: Random) -> Material:
    """Draw square tiles with grout, chequered or mixed."""
    size = rng.choice((0.1, 0.2, 0.3, 0.45, 0.6))
    color = _color(rng, (0.0, 0.4), (0.5, 0.95))
    is_checked = rng.random() < 0.35
    return Material(
        color=color,
        second=any_color(rng) if is_checked else _darker(color, rng.uniform(0.5, 0.8)),
        joint=_color(rng, (0.0, 0.1), (0.2, 0.7)),
        cell_width=size,
        cell_height=size,
        joint_width=rng.uniform(0.004, 0.015),
        checks=1.0 if is_checked else 0.0,
        patches=0.0 if is_checked else rng.uniform(0.2, 0.8),
        grain=rng.uniform(0.05, 0.3),
        noise_scale=rng.uniform(0.1, 0.4),
        seed=_seed(rng),
    )


def marble(rng: Random) -> Material:
    """Draw veined stone."""
    return Material(
        color=_color(rng, (0.0, 0.2), (0.7, 0.95)),
        second=_color(rng, (0.0, 0.4), (0.2, 0.6)),
        waves=rng.uniform(0.4, 0.9),
        wave_length=rng.uniform(0.15, 0.6),
        distortion=rng.uniform(1.0, 3.0),
        noise=0.3,
        noise_scale=rng.uniform(0.2, 0.8),
        seed=_seed(rng),
    )


def stone(rng: Random) -> Material:
    """Draw rough stone, concrete or asphalt."""
    color = _color(rng, (0.0, 0.2), (0.3, 0.7), rng.uniform(0.05, 0.12))
    return Material(
        color=color,
        second=_darker(color, rng.uniform(0.4, 0.8)),
        noise=rng.uniform(0.4, 0.9),
        noise_scale=rng.uniform(0.1, 1.5),
        grain=rng.uniform(0.3, 0.6),
        seed=_seed(rng),
    )


def stripes(rng: Random) -> Material:
    """Draw stripes of two colours."""
    width = rng.uniform(0.02, 0.15)
    is_level = rng.random() < 0.5
    return Material(
        color=any_color(rng),
        second=any_color(rng),
        cell_width=1e4 if is_level else width,
        cell_height=width if is_level else 1e4,
        checks=1.0,
        grain=0.15,
        noise_scale=0.1,
        seed=_seed(rng),
    )


def checks(rng: Random) -> Material:
    """Draw a chequered cloth or board."""
    size = rng.uniform(0.03, 0.2)
    return Material(
        color=any_color(rng),
        second=any_color(rng),
        cell_width=size,
        cell_height=size,
        checks=1.0,
        patches=rng.choice((0.0, 0.4)),
        grain=0.15,
        noise_scale=0.1,
        seed=_seed(rng),
    )


def dots(rng: Random) -> Material:
    """Draw polka dots."""
    size = rng.uniform(0.04, 0.25)
    return Material(
        color=any_color(rng),
        second=any_color(rng),
        cell_width=size,
        cell_height=size,
        bond=0.5,
        dots=1.0,
        seed=_seed(rng),
    )


def glyphs(rng: Random) -> Material:
    """Draw rows of marks that look like writing."""
    size = rng.uniform(0.03, 0.2)
    ink, paper = _color(rng, (0.0, 0.8), (0.0, 0.35)), _color(rng, (0.0, 0.3), (0.75, 1.0))
    first, second = rng.choice(((ink, paper), (paper, ink)))
    return Material(
        color=first, second=second, cell_width=0.8 * size, cell_height=size, glyphs=1.0, grain=0.1, seed=_seed(rng)
    )


def blotches(rng: Random) -> Material:
    """Draw two colours mixed by noise."""
    return Material(
        color=any_color(rng),
        second=any_color(rng),
        noise=rng.uniform(0.8, 2.0),
        noise_scale=rng.uniform(0.04, 0.5),
        grain=0.2,
        seed=_seed(rng),
    )


def patchwork(rng: Random) -> Material:
    """Draw cells of mixed colours, with noise over them: paintings, rugs, quilts."""
    return Material(
        color=any_color(rng),
        second=any_color(rng),
        joint=any_color(rng),
        cell_width=rng.uniform(0.04, 0.3),
        cell_height=rng.uniform(0.04, 0.3),
        bond=rng.choice((0.0, 0.5)),
        joint_width=rng.choice((0.0, 0.005, 0.02)),
        patches=rng.uniform(0.5, 1.0),
        noise=rng.uniform(0.0, 1.2),
        noise_scale=rng.uniform(0.1, 0.5),
        grain=0.2,
        seed=_seed(rng),
    )


def leaves(rng: Random) -> Material:
    """Draw foliage or grass."""
    color = _color(rng, (0.4, 0.8), (0.25, 0.65), rng.uniform(0.2, 0.36))
    return Material(
        color=color,
        second=_darker(color, rng.uniform(0.2, 0.5)),
        noise=1.2,
        noise_scale=rng.uniform(0.15, 0.6),
        grain=0.6,
        seed=_seed(rng),
    )


def soil(rng: Random) -> Material:
    """Draw open ground: grass, earth or sand in large and small patches."""
    return Material(
        color=_color(rng, (0.3, 0.7), (0.3, 0.65), rng.uniform(0.18, 0.33)),
        second=_color(rng, (0.2, 0.5), (0.35, 0.75), rng.uniform(0.07, 0.14)),
        noise=rng.uniform(0.7, 1.3),
        noise_scale=rng.uniform(0.7, 4.0),
        grain=0.5,
        seed=_seed(rng),
    )


def facade(rng: Random, storey: float) -> Material:
    """Draw rows of windows in a wall, one row per ``storey`` metres."""
    width = rng.uniform(1.6, 3.2)
    return Material(
        color=_color(rng, (0.1, 0.4), (0.1, 0.35), 0.6),
        second=_color(rng, (0.0, 0.3), (0.4, 0.85), 0.58),
        joint=_color(rng, (0.0, 0.45), (0.4, 0.9), rng.uniform(0.02, 0.14)),
        cell_width=width,
        cell_height=storey,
        joint_width=width * rng.uniform(0.4, 0.6),
        patches=0.9,
        grain=0.2,
        noise_scale=0.8,
        seed=_seed(rng),
    )


def glowing(rng: Random) -> Material:
    """Draw a lamp shade that is lit from within."""
    return Material(color=_color(rng, (0.0, 0.3), (0.9, 1.0), 0.12), glow=rng.uniform(0.8, 2.0))


_PATTERNS = (stripes, checks, dots, glyphs, blotches, patchwork, marble, tiles)
_FABRICS = (plain, stripes, checks, blotches, patchwork, dots)
_BODIES = (plain, plain, wood, metal, blotches, marble, stone)


def patterned(rng: Random) -> Material:
    """Draw something lively."""
    return rng.choice(_PATTERNS)(rng)


def fabric(rng: Random) -> Material:
    """Draw cloth."""
    return rng.choice(_FABRICS)(rng)


def body(rng: Random) -> Material:
    """Draw what round and odd things are made of: nothing that needs flat faces."""
    return rng.choice(_BODIES)(rng)


def anything(rng: Random) -> Material:
    """Draw any material that things are made of."""
    return rng.choice((*_PATTERNS, *_BODIES, wood, brick))(rng)


def _darker(color: Color, factor: float) -> Color:
    return (color[0] * factor, color[1] * factor, color[2] * factor)
