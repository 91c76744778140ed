"""Where rays meet solids. Rays come in bundles (the tiles of a picture) so that most solids are ruled out at once."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from anyview.synth.shapes import BOX, PRISM, ROUND, Solids

_RAYS_AT_ONCE = {"cpu": 1 << 16, "cuda": 1 << 24}
"""Small enough for a processor's cache, large enough to keep a GPU busy."""
_TINY = 1e-20


@dataclass(frozen=True)
class Rays:
    """Points origin + t · direction, 0 < t < reach; either may be the same for all rays of a bundle."""

    origin: Float[Tensor, "3 scenes bundles #rays"]
    direction: Float[Tensor, "3 scenes bundles #rays"]
    reach: float = torch.inf


def cast(solids: Solids, rays: Rays) -> tuple[Float[Tensor, "scenes bundles rays"], Int[Tensor, "scenes bundles rays"]]:
    """Find t and the number of the first solid that each ray enters; infinity and −1 where it enters none."""
    shape = torch.broadcast_shapes(rays.origin.shape, rays.direction.shape)[1:]
    nearest = torch.full(shape, torch.inf, device=rays.origin.device).flatten(0, 1)
    solid = torch.full_like(nearest, -1, dtype=torch.int32)
    for bundle, number, enter, leave in _crossings(solids, rays):
        best = nearest[bundle]
        closer = (enter > 0) & (enter <= leave) & (enter < best)
        nearest[bundle] = torch.where(closer, enter, best)
        solid[bundle] = torch.where(closer, number[:, None], solid[bundle])
    return nearest.view(shape), solid.view(shape)


def blocked(solids: Solids, rays: Rays) -> Bool[Tensor, "scenes bundles rays"]:
    """Tell which rays meet a solid before their reach."""
    shape = torch.broadcast_shapes(rays.origin.shape, rays.direction.shape)[1:]
    dark = torch.zeros(shape, dtype=torch.bool, device=rays.origin.device).flatten(0, 1)
    for bundle, _, enter, leave in _crossings(solids, rays):
        dark[bundle] |= (enter < leave) & (leave > 0) & (enter < rays.reach)
    return dark.view(shape)


def clearance(solids: Solids, points: Float[Tensor, "scenes points 3"]) -> Float[Tensor, "scenes points"]:
    """Compute a lower bound of the distance from points to the nearest solid's box; negative inside of one."""
    local = torch.einsum("sbji,spbj->spbi", solids.rotation, points[:, :, None] - solids.center[:, None])
    distance = (local.abs() - solids.half_size[:, None]).amax(-1)
    exists = (solids.kind == BOX) | (solids.kind == ROUND) | (solids.kind == PRISM)
    return torch.where(exists[:, None], distance, torch.inf).amin(-1)


def _crossings(
    solids: Solids, rays: Rays
) -> Iterator[
    tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"], Float[Tensor, "pairs rays"], Float[Tensor, "pairs rays"]]
]:
    """Yield (bundle, solid, t of entering, t of leaving) for what may meet; no bundle is twice in one batch of pairs.

    The ray misses where it would leave before it enters.
    """
    possible = _may_meet(solids, rays)
    bundles, count = possible.shape[1:]
    origin, direction = rays.origin.flatten(1, 2), rays.direction.flatten(1, 2)
    width = max(origin.shape[-1], direction.shape[-1])
    at_once = max(1, _RAYS_AT_ONCE.get(origin.device.type, 1 << 16) // width)
    center, rotation = solids.center.flatten(0, 1), solids.rotation.flatten(0, 1)
    half_size, quadric, cuts = solids.half_size.flatten(0, 1), solids.quadric.flatten(0, 1), solids.cuts.flatten(0, 1)
    for kind in (BOX, ROUND, PRISM):
        chosen = (possible & (solids.kind == kind)[:, None]).flatten(0, 1)
        for bundle, number in _rounds(chosen):
            for some, numbers in zip(bundle.split(at_once), number.split(at_once), strict=True):
                row = some // bundles * count + numbers
                turn = rotation[row]
                start = _local(turn, origin[:, some] - center[row].T[..., None])
                step = _local(turn, direction[:, some])
                enter, leave = _cross_box(start, step, half_size[row])
                if kind == ROUND:
                    enter, leave = _cross_quadric(start, step, quadric[row], enter, leave)
                if kind == PRISM:
                    for cut in cuts[row].unbind(1):
                        enter, leave = _cross_cut(start, step, cut, enter, leave)
                yield some, numbers.int(), enter, leave


def _rounds(chosen: Bool[Tensor, "bundles solids"]) -> Iterator[tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]]:
    """Deal out the chosen pairs: the first solid of every bundle, then the second of those that have two, ..."""
    bundle, number = chosen.nonzero(as_tuple=True)
    counts = chosen.sum(1)
    turn = torch.arange(len(bundle), device=chosen.device) - (counts.cumsum(0) - counts)[bundle]
    order = turn.argsort(stable=True)
    sizes = turn.bincount().tolist()
    yield from zip(bundle[order].split(sizes), number[order].split(sizes), strict=True)


def _may_meet(solids: Solids, rays: Rays) -> Bool[Tensor, "scenes bundles solids"]:
    """Rule out solids whose box no ray of a bundle can reach, by interval arithmetic in the box's frame."""
    low_origin, high_origin = rays.origin.aminmax(dim=-1)
    low_step, high_step = rays.direction.aminmax(dim=-1)
    turn = solids.rotation

    def to_local(vector: Float[Tensor, "3 scenes bundles"], matrix: Tensor) -> Float[Tensor, "3 scenes bundles solids"]:
        return torch.einsum("wsb,snwl->lsbn", vector, matrix)

    center = torch.einsum("snw,snwl->lsn", solids.center, turn)[:, :, None]
    start = to_local((low_origin + high_origin) / 2, turn) - center
    step = to_local((low_step + high_step) / 2, turn)
    start_spread = to_local((high_origin - low_origin) / 2, turn.abs())
    step_spread = to_local((high_step - low_step) / 2, turn.abs())
    half_size = solids.half_size.permute(2, 0, 1)[:, :, None]
    room = half_size + start_spread + 1e-4
    soonest = torch.zeros_like(start[0])
    latest = torch.full_like(start[0], rays.reach)
    for sign in (1, -1):
        # Some ray may be below the upper face at t if (step − spread) t ≤ room − start; likewise for the lower face.
        slope, rest = sign * step - step_spread + _TINY, room - sign * start
        bound = rest / slope
        soonest = torch.maximum(soonest, torch.where(slope < 0, bound, 0).amax(0))
        latest = torch.minimum(latest, torch.where(slope > 0, bound, torch.inf).amin(0))
    return soonest <= latest


def _local(
    turn: Float[Tensor, "pairs 3 3"], vector: Float[Tensor, "3 pairs #rays"]
) -> list[Float[Tensor, "pairs rays"]]:
    """Turn world vectors into the solids' frames."""
    x, y, z = vector
    return [
        (x * turn[:, 0, axis, None]).addcmul_(y, turn[:, 1, axis, None]).addcmul_(z, turn[:, 2, axis, None])
        for axis in range(3)
    ]


def _cross_box(
    start: list[Tensor], step: list[Tensor], half_size: Float[Tensor, "pairs 3"]
) -> tuple[Float[Tensor, "pairs rays"], Float[Tensor, "pairs rays"]]:
    enter, leave = _cross_slab(start[0], step[0], half_size[:, 0, None])
    for axis in (1, 2):
        first, last = _cross_slab(start[axis], step[axis], half_size[:, axis, None])
        enter, leave = torch.maximum(enter, first), torch.minimum(leave, last)
    return enter, leave


def _cross_slab(start: Tensor, step: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    inverse = (step + _TINY).reciprocal_()  # a ray along the slab must give an empty or an endless interval, not NaN
    middle = start * inverse
    reach = inverse.abs_() * half
    return -reach - middle, reach.sub_(middle)


def _cross_cut(
    start: list[Tensor], step: list[Tensor], cut: Float[Tensor, "pairs 5"], enter: Tensor, leave: Tensor
) -> tuple[Tensor, Tensor]:
    normal_x, normal_y, normal_z, offset, half = cut.T[..., None]
    height = start[0] * normal_x + start[1] * normal_y + start[2] * normal_z - offset
    first, last = _cross_slab(height, step[0] * normal_x + step[1] * normal_y + step[2] * normal_z, half)
    return torch.maximum(enter, first), torch.minimum(leave, last)


def _cross_quadric(
    start: list[Tensor], step: list[Tensor], quadric: Float[Tensor, "pairs 5"], enter: Tensor, leave: Tensor
) -> tuple[Tensor, Tensor]:
    """Cut by A t² + 2 B t + C ≤ 0; A < 0 (steep rays in a cone) means outside of the roots, on the side of the cone."""
    a, b, c, d, e = quadric.T[..., None]
    # Seen from far away the terms below would cancel, so t counts from the point next to the solid's centre.
    near = -(start[0] * step[0] + start[1] * step[1] + start[2] * step[2])
    near = near / (step[0] * step[0] + step[1] * step[1] + step[2] * step[2])
    x, y, z = (origin + near * way for origin, way in zip(start, step, strict=True))
    scaled = [a * step[0], b * step[1], c * step[2]]
    square = scaled[0] * step[0] + scaled[1] * step[1] + scaled[2] * step[2]
    mixed = scaled[0] * x + scaled[1] * y + scaled[2] * z + d * step[2]
    constant = a * x.square() + b * y.square() + (c * z + 2 * d) * z + e
    square = torch.where(square.abs() < _TINY, _TINY, square)
    inside = mixed * mixed - square * constant
    root = inside.clamp(min=0).sqrt_()
    # The numerically stable pair of roots: no difference of nearly equal numbers.
    pivot = -(mixed + torch.copysign(root, mixed))
    one, other = pivot / square, constant / torch.where(pivot == 0, _TINY, pivot)
    first, last = torch.minimum(one, other), torch.maximum(one, other)
    hollow = square < 0
    widening = step[2] * d < 0  # the radius grows where d z falls
    first, last = (
        torch.where(hollow, torch.where(widening, last, -torch.inf), first),
        torch.where(hollow, torch.where(widening, torch.inf, first), last),
    )
    missed = (inside < 0) & ~hollow
    first = torch.where(missed, torch.inf, first + near)
    return torch.maximum(enter, first), torch.minimum(leave, last + near)
