"""Rolling ground: a height field of smooth waves, and where rays meet it."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_STEPS_AT_ONCE, _HALVINGS, _SECANTS = 8, 4, 3
_LEAST_STEP = 0.008
"""In parts of t: a ray that grazes the ground moves on by at least this much."""

Wave = tuple[float, float, float, float]
"""Frequency along x and y in cycles per metre, phase in cycles, amplitude in metres."""


def height(
    waves: Float[Tensor, "waves 4 #points"], x: Float[Tensor, " points"], y: Float[Tensor, " points"]
) -> Float[Tensor, " points"]:
    """Compute the height of the ground in metres; each wave is a chain of parabolas, smooth like a sine."""
    total = torch.zeros_like(x)
    for along_x, along_y, phase, amplitude in waves.unbind(0):
        cycle = x * along_x + y * along_y + phase
        cycle = cycle - (cycle + 0.5).floor()
        total = total + amplitude * cycle * (8 - 16 * cycle.abs())
    return total


def slope(
    waves: Float[Tensor, "waves 4 #points"], x: Float[Tensor, " points"], y: Float[Tensor, " points"]
) -> tuple[Float[Tensor, " points"], Float[Tensor, " points"]]:
    """Compute the derivatives of the height along x and y."""
    slope_x, slope_y = torch.zeros_like(x), torch.zeros_like(x)
    for along_x, along_y, phase, amplitude in waves.unbind(0):
        cycle = x * along_x + y * along_y + phase
        cycle = cycle - (cycle + 0.5).floor()
        rise = amplitude * (8 - 32 * cycle.abs())
        slope_x, slope_y = slope_x + rise * along_x, slope_y + rise * along_y
    return slope_x, slope_y


def height_at(waves: Sequence[Wave], x: float, y: float) -> float:
    """Compute the height of the ground at one place of a layout."""
    total = 0.0
    for along_x, along_y, phase, amplitude in waves:
        cycle = x * along_x + y * along_y + phase
        cycle -= math.floor(cycle + 0.5)
        total += amplitude * cycle * (8 - 16 * abs(cycle))
    return total


def meet_ground(
    waves: Float[Tensor, "waves 4 1"],
    origin: Float[Tensor, "3 rays"],
    direction: Float[Tensor, "3 rays"],
    reach: Float[Tensor, " rays"],
) -> Float[Tensor, " rays"]:
    """Find t where rays first go below the ground before ``reach``; infinity where they do not.

    Steps are bounded by the steepest slope there can be, so nothing is jumped over but ripples under a grazing ray.
    """
    steepest = (8 * waves[:, 3].abs() * waves[:, :2].square().sum(1).sqrt()).sum(0)
    highest = waves[:, 3].abs().sum(0)
    sinking = steepest * direction[:2].square().sum(0).sqrt() - direction[2]
    # Above the highest crest a ray is sure to be free.
    above = ((highest - origin[2]) / direction[2]).where(direction[2] < 0, 0.0).clamp_(min=0)
    below = torch.full_like(reach, torch.inf)
    alive = ((sinking > 0) & (above < reach)).nonzero()[:, 0]
    while len(alive):
        near, far, is_below = _march(waves, origin[:, alive], direction[:, alive], sinking[alive], above[alive])
        above[alive] = near
        below[alive] = torch.where(is_below, far, torch.inf)
        alive = alive[~is_below & (near < reach[alive])]
    found = (below.isfinite() & (above < reach)).nonzero()[:, 0]
    crossing = torch.full_like(reach, torch.inf)
    crossing[found] = _refine(waves, origin[:, found], direction[:, found], above[found], below[found])
    return torch.where(crossing < reach, crossing, torch.inf)


def _gap(waves: Tensor, origin: Tensor, direction: Tensor, t: Tensor) -> Float[Tensor, " rays"]:
    x, y, z = torch.addcmul(origin, direction, t)
    return z - height(waves, x, y)


def _march(
    waves: Tensor, origin: Tensor, direction: Tensor, sinking: Tensor, start: Tensor
) -> tuple[Float[Tensor, " rays"], Float[Tensor, " rays"], Bool[Tensor, " rays"]]:
    """Go some steps on from above the ground; return the last t above it, the t after, and whether that is below."""
    above, after = start, start
    below = torch.zeros_like(start, dtype=torch.bool)
    for _ in range(_STEPS_AT_ONCE):
        space = _gap(waves, origin, direction, after)
        below = below | (space < 0)
        step = torch.maximum(space / sinking, _LEAST_STEP * after + 1e-3)
        above = torch.where(below, above, after)
        after = torch.where(below, after, after + step)
    return above, after, below


def _refine(waves: Tensor, origin: Tensor, direction: Tensor, above: Tensor, below: Tensor) -> Float[Tensor, " rays"]:
    """Close in on the crossing between a t above the ground and one below it: by halves, then along the secant."""
    for _ in range(_HALVINGS):
        middle = (above + below) / 2
        is_below = _gap(waves, origin, direction, middle) < 0
        above, below = torch.where(is_below, above, middle), torch.where(is_below, middle, below)
    over, under = _gap(waves, origin, direction, above), _gap(waves, origin, direction, below)
    for _ in range(_SECANTS):
        middle = above + (over / (over - under + 1e-20)).clamp(0, 1) * (below - above)
        value = _gap(waves, origin, direction, middle)
        is_below = value < 0
        above, over = torch.where(is_below, above, middle), torch.where(is_below, over, value)
        below, under = torch.where(is_below, middle, below), torch.where(is_below, value, under)
    return above + (over / (over - under + 1e-20)).clamp(0, 1) * (below - above)
