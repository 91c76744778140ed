"""Maps of the network's resolution -> the resolution of the input pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from torch import Tensor

from anyview.types import Picture, Placement, Views

_DISCONTINUITY = 0.04
"""Relative difference of neighbouring depths from which on they may belong to two surfaces."""
_BEND = 2.0
"""They do if the step between them is this many times larger than the one before or after it: on a slanted plane
inverse depth changes in equal steps, however steep it is."""
_COLOUR_DEVIATION = 25.0
"""Differences of 8-bit colours that count as large, in the choice between the sides of a discontinuity."""


def stack_pictures(pictures: Sequence[Picture]) -> UInt8[Tensor, "views height width 3"]:
    """Stack pictures at their own resolution; smaller ones lie top left, over black."""
    height = max(picture.pixels.shape[0] for picture in pictures)
    width = max(picture.pixels.shape[1] for picture in pictures)
    stack = torch.zeros((len(pictures), height, width, 3), dtype=torch.uint8)
    for canvas, picture in zip(stack, pictures, strict=True):
        canvas[: picture.pixels.shape[0], : picture.pixels.shape[1]] = torch.from_numpy(np.array(picture.pixels))
    return stack


def restored_placements(placements: Sequence[Placement]) -> tuple[Placement, ...]:
    """Where the pixels of restored maps lie in the input pictures: at the same place."""
    return tuple(Placement(placement.input_height, placement.input_width) for placement in placements)


def restore_mask(views: Views) -> Bool[Tensor, "views input_height input_width"]:
    """Say which pixels of the pictures, stacked by `stack_pictures`, have their centre in what the network saw."""
    return _stack([_Grid.of(placement, views).seen for placement in views.placements])


def restore_linear(
    maps: Float[Tensor, "views height width"], views: Views
) -> Float[Tensor, "views input_height input_width"]:
    """Bring maps without edges worth keeping (confidence, scores) to the pictures' resolution, bilinearly.

    0 where `restore_mask` is False.
    """
    restored = []
    for one_map, placement in zip(maps, views.placements, strict=True):
        grid = _Grid.of(placement, views)
        restored.append(torch.where(grid.seen, grid.interpolate(grid.cut(one_map)), 0.0))
    return _stack(restored)


def restore_depth(
    depth: Float[Tensor, "views height width"], views: Views, pictures: Sequence[Picture]
) -> Float[Tensor, "views input_height input_width"]:
    """Bring positive depth to the pictures' resolution without inventing surfaces between others.

    Within a surface inverse depth is interpolated linearly, which is exact on planes. Across a discontinuity each pixel
    takes the value of one of its four neighbours: the one that is closest in distance and colour (a joint bilateral
    weight). 0 where `restore_mask` is False.
    """
    restored = []
    for one_depth, image, placement, picture in zip(depth, views.images, views.placements, pictures, strict=True):
        grid = _Grid.of(placement, views)
        known = grid.cut(one_depth)
        inverse = 1 / known
        # at the border it is extrapolated by up to half a pixel of the view, which must not reach infinity
        full = 1 / grid.interpolate(inverse).clamp(min=inverse.min() / 2)
        torn = _torn_cells(inverse)[grid.rows.lower][:, grid.columns.lower]
        full[torn] = grid.choose(known, grid.cut(image), torch.from_numpy(np.array(picture.pixels)), torn)
        restored.append(torch.where(grid.seen, full, 0.0))
    return _stack(restored)


@dataclass(frozen=True)
class _Axis:
    """Where the pixels of one side of a picture lie between the pixels of a view that show the picture."""

    first: int
    count: int
    """The view's pixels from `first` on that show the picture."""
    lower: Int[Tensor, " side"]
    """The neighbour before each picture pixel, counted from `first`; the other one is next to it."""
    fraction: Float[Tensor, " side"]
    """0 at the lower neighbour, 1 at the upper one; at the picture's border up to half a view pixel outside of them."""
    seen: Bool[Tensor, " side"]

    @classmethod
    def of(cls, input_side: int, scale: float, offset: float, side: int) -> "_Axis":
        first = max(0, round(offset))
        count = min(side, round(offset + scale * input_side)) - first
        position = (torch.arange(input_side, dtype=torch.float64) + 0.5) * scale + offset
        index = position - 0.5 - first
        lower = index.floor().clamp(0, count - 2)
        fraction = (index - lower).clamp(-0.5, 1.5).float()
        return cls(first, count, lower.long(), fraction, (position >= 0) & (position <= side))


@dataclass(frozen=True)
class _Grid:
    """Where the pixels of a picture lie between the pixels of its view."""

    rows: _Axis
    columns: _Axis

    @classmethod
    def of(cls, placement: Placement, views: Views) -> "_Grid":
        height, width = views.images.shape[1:3]
        return cls(
            _Axis.of(placement.input_height, placement.scale_y, placement.offset_y, height),
            _Axis.of(placement.input_width, placement.scale_x, placement.offset_x, width),
        )

    @property
    def seen(self) -> Bool[Tensor, "input_height input_width"]:
        return self.rows.seen[:, None] & self.columns.seen

    def cut(self, view: Shaped[Tensor, "height width ..."]) -> Shaped[Tensor, "rows columns ..."]:
        """Cut the padding off a view."""
        rows, columns = self.rows, self.columns
        return view[rows.first : rows.first + rows.count, columns.first : columns.first + columns.count]

    def interpolate(self, known: Float[Tensor, "rows columns"]) -> Float[Tensor, "input_height input_width"]:
        along_rows = torch.lerp(known[self.rows.lower], known[self.rows.lower + 1], self.rows.fraction[:, None])
        lower = self.columns.lower
        return torch.lerp(along_rows[:, lower], along_rows[:, lower + 1], self.columns.fraction)

    def choose(
        self,
        known: Float[Tensor, "rows columns"],
        image: UInt8[Tensor, "rows columns 3"],
        guide: UInt8[Tensor, "input_height input_width 3"],
        where: Bool[Tensor, "input_height input_width"],
    ) -> Float[Tensor, " chosen"]:
        """Return, for the pixels ``where``, the value of the neighbour that is closest in distance and colour."""
        row, column = where.nonzero(as_tuple=True)
        down, right = torch.tensor([0, 0, 1, 1])[:, None], torch.tensor([0, 1, 0, 1])[:, None]
        rows, columns = self.rows.lower[row] + down, self.columns.lower[column] + right
        closeness = _closeness(self.rows.fraction[row], down) * _closeness(self.columns.fraction[column], right)
        difference = (image[rows, columns].float() - guide[row, column].float()).square().sum(-1)
        best = (closeness.log() - difference / (2 * _COLOUR_DEVIATION**2)).argmax(0)
        return known[rows, columns].gather(0, best[None])[0]


def _closeness(
    fraction: Float[Tensor, " pixels"], upper: Int[Tensor, "neighbours 1"]
) -> Float[Tensor, "neighbours pixels"]:
    """Bilinear weight of the lower and upper neighbours."""
    fraction = fraction.clamp(0, 1)
    return torch.where(upper == 1, fraction, 1 - fraction)


def _torn_cells(inverse: Float[Tensor, "rows columns"]) -> Bool[Tensor, "rows-1 columns-1"]:
    """Find the cells between four pixels that a discontinuity of depth passes through."""
    across, down = _torn(inverse), _torn(inverse.mT).mT
    return across[:-1] | across[1:] | down[:, :-1] | down[:, 1:]


def _torn(inverse: Float[Tensor, "lines pixels"]) -> Bool[Tensor, "lines pixels-1"]:
    """Find discontinuities between neighbours along each line."""
    step = inverse.diff(dim=-1)
    relative = step.abs() / torch.minimum(inverse[:, :-1], inverse[:, 1:])
    edge = torch.full_like(step[:, :1], torch.inf)
    before = torch.cat([edge, step[:, :-1] * step[:, 1:].sign()], -1)
    after = torch.cat([step[:, 1:] * step[:, :-1].sign(), edge], -1)
    evenness = torch.minimum(before, after)
    return (relative > _DISCONTINUITY) & (step.abs() > _BEND * evenness)


def _stack(maps: Sequence[Shaped[Tensor, "_ _"]]) -> Shaped[Tensor, "views input_height input_width"]:
    """Stack maps of different sizes, top left, over zeros."""
    height, width = (max(one.shape[axis] for one in maps) for axis in (0, 1))
    return torch.stack(
        [torch.nn.functional.pad(one, (0, width - one.shape[1], 0, height - one.shape[0])) for one in maps]
    )
