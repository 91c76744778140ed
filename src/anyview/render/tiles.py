"""Compositing of splats tile by tile: equal to `reference.py`, fast, and with a backward pass that keeps no images.

A tile looks only at the splats that reach it. Tiles with about as many splats are worked on together, some splats at a
time, so that the numbers in work fit into a cache and memory does not grow with the scene. The backward pass computes
them once more.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from anyview.geometry.camera import pixel_centers
from anyview.render.reference import DARKEST, MOST_OPAQUE
from anyview.render.splats import FAINTEST, Splats

_SIDES = (4, 8)
"""Sides of tiles in pixels: small ones look at fewer pixels that a splat does not reach, large ones at fewer tiles."""
_LARGE_REACH = 6.0
"""Tiles are large where splats reach this far on average, in pixels."""
_SPLATS_AT_ONCE = 128
_VALUES_AT_ONCE = {"cpu": 1 << 18, "cuda": 1 << 25}
_PAIRS_AT_ONCE = 1 << 22
"""Pairs of tile and splat that are sorted together; larger pictures are done in parts."""


def composite(
    splats: Splats, height: int, width: int
) -> tuple[Float[Tensor, "height width 3"], Float[Tensor, "height width"], Float[Tensor, "height width"]]:
    """Return colour on black, the sum of weight times depth, and alpha of every pixel; see `composite_reference`."""
    features = torch.cat([splats.colors, splats.depths[:, None], torch.ones_like(splats.depths)[:, None]], -1)
    result = _Composite.apply(
        splats.centers, _whitening(splats.covariances), splats.opacities.log(), features, splats.reach(), height, width
    )
    return result[..., :3], result[..., 3], result[..., 4]


def _whitening(covariances: Float[Tensor, "splats 2 2"]) -> Float[Tensor, "splats 3"]:
    """Find (a, b, c) so that (a x + b y)² + (c y)² is an offset's squared distance in standard deviations.

    The square root of the inverse covariance: its squares lose no digits where splats are thin.
    """
    xx, xy, yy = covariances[:, 0, 0], covariances[:, 0, 1], covariances[:, 1, 1]
    determinant = (xx * yy - xy * xy).clamp(min=1e-10)
    return torch.stack([(yy / determinant).sqrt(), -xy / (yy * determinant).sqrt(), yy.rsqrt()], -1)


class _Composite(torch.autograd.Function):
    """Features of the splats, composited: [height, width, features]."""

    @staticmethod
    def forward(
        ctx: Any,
        centers: Float[Tensor, "splats 2"],
        whitening: Float[Tensor, "splats 3"],
        log_opacities: Float[Tensor, " splats"],
        features: Float[Tensor, "splats features"],
        reach: Float[Tensor, "splats 2"],
        height: int,
        width: int,
    ) -> Float[Tensor, "height width features"]:
        canvas = _Canvas.blank(height, width, features, _side(reach))
        for work in _plan(centers, reach, canvas):
            light = canvas.new_light(work)
            for part in work.parts():
                shown = _Shown.of(part, centers, whitening, log_opacities, light)
                canvas.tiles[work.tiles] += shown.weights @ features[part.splats]
                light = shown.light
                if not light.any():
                    break
        result = canvas.picture()
        ctx.save_for_backward(centers, whitening, log_opacities, features, reach, result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, "height width features"]) -> tuple[Tensor | None, ...]:
        centers, whitening, log_opacities, features, reach, result = ctx.saved_tensors
        canvas = _Canvas.of(gradient, _side(reach))
        # How much the result would change with what still lies behind the splats seen so far.
        behind_all = _Canvas.of((gradient * result).sum(-1, keepdim=True), canvas.side).tiles[..., 0]
        gradients = [torch.zeros_like(value) for value in (centers, whitening, log_opacities, features)]
        for work in _plan(centers, reach, canvas):
            light, behind = canvas.new_light(work), behind_all[work.tiles]
            for part in work.parts():
                shown = _Shown.of(part, centers, whitening, log_opacities, light)
                behind = shown.add_gradients(
                    gradients, part, canvas.tiles[work.tiles], behind, centers, whitening, features
                )
                light = shown.light
                if not light.any():
                    break
        return (*gradients, None, None, None)


@dataclass(frozen=True)
class _Canvas:
    """A picture cut into tiles; those at the lower and right border reach beyond it."""

    tiles: Float[Tensor, "tiles pixels features"]
    rows: int
    columns: int
    height: int
    width: int
    side: int

    @classmethod
    def blank(cls, height: int, width: int, features: Float[Tensor, "splats features"], side: int) -> "_Canvas":
        rows, columns = math.ceil(height / side), math.ceil(width / side)
        tiles = features.new_zeros(rows * columns, side * side, features.shape[1])
        return cls(tiles, rows, columns, height, width, side)

    @classmethod
    def of(cls, picture: Float[Tensor, "height width features"], side: int) -> "_Canvas":
        height, width, channels = picture.shape
        rows, columns = math.ceil(height / side), math.ceil(width / side)
        padded = torch.nn.functional.pad(picture, (0, 0, 0, columns * side - width, 0, rows * side - height))
        tiles = padded.unflatten(1, (columns, side)).unflatten(0, (rows, side)).transpose(1, 2)
        return cls(tiles.reshape(rows * columns, side * side, channels), rows, columns, height, width, side)

    def picture(self) -> Float[Tensor, "height width features"]:
        blocks = self.tiles.unflatten(1, (self.side, self.side)).unflatten(0, (self.rows, self.columns))
        whole = blocks.transpose(1, 2).flatten(2, 3).flatten(0, 1)
        return whole[: self.height, : self.width].contiguous()

    def new_light(self, work: "_Work") -> Float[Tensor, "group pixels"]:
        return self.tiles.new_ones(len(work.tiles), self.side**2)


@dataclass(frozen=True)
class _Part:
    """The next splats of a group of tiles, nearest first."""

    splats: Int[Tensor, "group part"]
    there: Bool[Tensor, "group part"]
    """False where a tile has no more of them."""
    origins: Float[Tensor, "group 2"]
    """Centres of the tiles in pixels."""
    side: int


@dataclass(frozen=True)
class _Work:
    """Tiles that are worked on together, each with its run in a list of splats."""

    tiles: Int[Tensor, " group"]
    starts: Int[Tensor, " group"]
    counts: Int[Tensor, " group"]
    order: Int[Tensor, " pairs"]
    columns: int
    most: int
    """The largest of the counts."""
    side: int
    dtype: torch.dtype

    def parts(self) -> Iterator[_Part]:
        corners = torch.stack([self.tiles % self.columns, self.tiles // self.columns], -1)
        origins = (corners.to(self.dtype) + 0.5) * self.side
        for first in range(0, self.most, _SPLATS_AT_ONCE):
            index = torch.arange(first, min(first + _SPLATS_AT_ONCE, self.most), device=self.tiles.device)
            there = index < self.counts[:, None]
            places = torch.where(there, self.starts[:, None] + index, 0)
            yield _Part(self.order[places], there, origins, self.side)


def _plan(centers: Float[Tensor, "splats 2"], reach: Float[Tensor, "splats 2"], canvas: _Canvas) -> Iterator[_Work]:
    """Find out which splats reach which tiles, and put together tiles with about as many of them."""
    last = torch.tensor([canvas.columns, canvas.rows], device=centers.device)
    first_tile = ((centers - reach) / canvas.side).floor().long().clamp(min=0).minimum(last)
    end_tile = (((centers + reach) / canvas.side).floor().long() + 1).clamp(min=0).minimum(last)
    at_once = _VALUES_AT_ONCE.get(centers.device.type, 1 << 18) // canvas.side**2
    pending = [(0, 0, canvas.columns, canvas.rows)]
    while pending:
        left, top, right, bottom = pending.pop()
        begin = first_tile.maximum(first_tile.new_tensor([left, top]))
        spans = (end_tile.minimum(end_tile.new_tensor([right, bottom])) - begin).clamp(min=0)
        pairs = spans.prod(-1)
        if int(pairs.sum()) > _PAIRS_AT_ONCE and (right - left) * (bottom - top) > 1:
            middle_x, middle_y = (left + right) // 2, (top + bottom) // 2
            if right - left > bottom - top:
                pending += [(left, top, middle_x, bottom), (middle_x, top, right, bottom)]
            else:
                pending += [(left, top, right, middle_y), (left, middle_y, right, bottom)]
            continue
        splats = torch.arange(len(centers), device=centers.device).repeat_interleave(pairs)
        number = torch.arange(len(splats), device=centers.device) - (pairs.cumsum(0) - pairs)[splats]
        wide = spans[splats, 0]
        tile = (begin[splats, 1] + number // wide) * canvas.columns + begin[splats, 0] + number % wide
        tile, order = tile.sort(stable=True)  # splats come nearest first, and so they stay within a tile
        tiles, counts = tile.unique_consecutive(return_counts=True)
        yield from _groups(tiles, counts, splats[order], canvas, at_once, centers.dtype)


def _groups(
    tiles: Int[Tensor, " tiles"],
    counts: Int[Tensor, " tiles"],
    order: Int[Tensor, " pairs"],
    canvas: _Canvas,
    at_once: int,
    dtype: torch.dtype,
) -> Iterator[_Work]:
    starts = counts.cumsum(0) - counts
    counts, by_count = counts.sort(descending=True, stable=True)
    tiles, starts = tiles[by_count], starts[by_count]
    sizes = counts.tolist()
    first = 0
    while first < len(sizes):
        group = max(at_once // min(sizes[first], _SPLATS_AT_ONCE), 1)
        chosen = slice(first, first + group)
        runs = tiles[chosen], starts[chosen], counts[chosen], order
        yield _Work(*runs, canvas.columns, sizes[first], canvas.side, dtype)
        first += group


@dataclass(frozen=True)
class _Shown:
    """What some splats of a group of tiles contribute to its pixels."""

    across: Float[Tensor, "group pixels part"]
    along: Float[Tensor, "group pixels part"]
    """Whitened offsets: their squares sum to the squared distance in standard deviations."""
    alphas: Float[Tensor, "group pixels part"]
    before: Float[Tensor, "group pixels part"]
    """Light that reaches a splat from the camera's side."""
    weights: Float[Tensor, "group pixels part"]
    offsets: Float[Tensor, "group part 2"]
    """Centres of the splats, seen from those of the tiles."""
    light: Float[Tensor, "group pixels"]
    """Light that is left for what lies behind; 0 where a pixel takes no more."""

    @classmethod
    def of(
        cls,
        part: _Part,
        centers: Float[Tensor, "splats 2"],
        whitening: Float[Tensor, "splats 3"],
        log_opacities: Float[Tensor, " splats"],
        light: Float[Tensor, "group pixels"],
    ) -> "_Shown":
        offsets = centers[part.splats] - part.origins[:, None]
        a, b, c = whitening[part.splats].unbind(-1)
        pixels = _tile_pixels(centers, part.side)
        across = pixels @ torch.stack([a, b, -(a * offsets[..., 0] + b * offsets[..., 1])], 1)
        along = pixels[:, 1:] @ torch.stack([c, -c * offsets[..., 1]], 1)
        strength = torch.where(part.there, log_opacities[part.splats], -torch.inf)[:, None]
        alphas = torch.addcmul(strength, across, across, value=-0.5).addcmul_(along, along, value=-0.5).exp_()
        alphas = torch.where(alphas >= FAINTEST, alphas, 0)
        shown = alphas.clamp(max=MOST_OPAQUE)
        after = torch.cumprod(1 - shown, -1).mul_(light[..., None])
        before = torch.cat([light[..., None], after[..., :-1]], -1)
        weights = torch.where(after > DARKEST, shown.mul_(before), 0)
        left = after[..., -1]
        return cls(across, along, alphas, before, weights, offsets, torch.where(left > DARKEST, left, 0))

    def add_gradients(
        self,
        gradients: list[Tensor],
        part: _Part,
        gradient: Float[Tensor, "group pixels features"],
        behind: Float[Tensor, "group pixels"],
        centers: Float[Tensor, "splats 2"],
        whitening: Float[Tensor, "splats 3"],
        features: Float[Tensor, "splats features"],
    ) -> Float[Tensor, "group pixels"]:
        """Add to the gradients of centres, whitening, log opacities, features; return what lies behind these splats."""
        of_weights = gradient @ features[part.splats].mT
        behind_each = behind[..., None] - torch.cumsum(of_weights * self.weights, -1)
        # A splat adds its own weight, and takes light from all that lie behind it.
        of_alphas = of_weights * self.before - behind_each / (1 - self.alphas.clamp(max=MOST_OPAQUE))
        counts = (self.weights > 0) & (self.alphas <= MOST_OPAQUE)
        of_logarithm = torch.where(counts, of_alphas * self.alphas, 0)
        pixels = _tile_pixels(centers, part.side)
        of_across = pixels.mT @ (of_logarithm * -self.across)
        of_along = pixels[:, 1:].mT @ (of_logarithm * -self.along)
        a, b, c = whitening[part.splats].unbind(-1)
        x, y = self.offsets.unbind(-1)
        of_centers = torch.stack([-a * of_across[:, 2], -b * of_across[:, 2] - c * of_along[:, 1]], -1)
        of_whitening = torch.stack(
            [
                of_across[:, 0] - x * of_across[:, 2],
                of_across[:, 1] - y * of_across[:, 2],
                of_along[:, 0] - y * of_along[:, 1],
            ],
            -1,
        )
        found = (of_centers, of_whitening, of_logarithm.sum(1), self.weights.mT @ gradient)
        for total, addition in zip(gradients, found, strict=True):
            total.index_add_(0, part.splats.flatten(), addition.flatten(0, 1))
        return behind_each[..., -1]


def _side(reach: Float[Tensor, "splats 2"]) -> int:
    """Choose the side of tiles by the size of the splats."""
    large = len(reach) > 0 and reach.mean().item() > _LARGE_REACH
    return _SIDES[large]


def _tile_pixels(like: Tensor, side: int) -> Float[Tensor, "pixels 3"]:
    """Return (x, y, 1) of a tile's pixels, seen from its centre."""
    pixels = pixel_centers(side, side, like.device, like.dtype).flatten(0, 1) - side / 2
    return torch.cat([pixels, torch.ones_like(pixels[:, :1])], -1)
