"""Which patches of different views show the same surface, and what attention across views makes of them.

Networks that start from nothing find out only late that patches can be compared: poses alone are a faint hint. Here two
heads of every block that looks at all views are told where to look [ours; docs/training.md has what it brings]: one
at what shows the same in each view, one at what shows the same in the first.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from anyview.geometry.camera import project, unproject_pixels
from anyview.geometry.pose import rigid_inverse
from anyview.model.backbone import Backbone
from anyview.model.config import PATCH
from anyview.types import Cameras

TOLERANCE = 0.05
"""A patch's centre is seen by another view if that has something this near to it there, in parts of the depth."""


class Matches(NamedTuple):
    """Where views show the middle of each patch of each other."""

    patch: Int[Tensor, "batch views patches views"]
    """The patch of every view that shows it; −1 where it is hidden, outside or unknown. A patch matches itself."""
    shift: Float[Tensor, "batch views patches 2"]
    """How far down and to the right of its own place the first view shows it, in parts of the picture's height and
    width; 0 where ``patch`` has none."""


def true_matches(depth: Float[Tensor, "batch views height width"], cameras: Cameras) -> Matches:
    """Find what matches by depth, of which 0 is unknown, and cameras."""
    views, height, width = depth.shape[1:]
    rows, columns = height // PATCH, width // PATCH
    middle = PATCH // 2
    y = torch.arange(rows, device=depth.device)[:, None].expand(rows, columns) * PATCH + middle + 0.5
    x = torch.arange(columns, device=depth.device).expand(rows, columns) * PATCH + middle + 0.5
    pixels = torch.stack([x, y], -1).flatten(0, 1)
    distance = depth[:, :, middle::PATCH, middle::PATCH].flatten(2)
    points = unproject_pixels(pixels, cameras.intrinsics) * distance[..., None]
    to_world = rigid_inverse(cameras.world_to_camera)
    points = points @ to_world[..., :3, :3].mT + to_world[..., None, :3, 3]

    others = Cameras(cameras.world_to_camera[:, None], cameras.intrinsics[:, None])
    places, far = project(points[:, :, None], others)
    column, row = places.floor().unbind(-1)
    inside = (far > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    row, column = (value.where(inside, 0).long() for value in (row, column))
    there = depth.flatten(2)[:, None].expand(-1, views, -1, -1).gather(-1, row * width + column)
    seen = inside & (distance > 0)[:, :, None] & ((there - far).abs() < TOLERANCE * far)
    patch = (row // PATCH) * columns + column // PATCH
    shift = (places[:, :, 0] - pixels).flip(-1) / depth.new_tensor([height, width])
    shift = torch.where(seen[:, :, 0, :, None], shift, 0.0)
    return Matches(patch.where(seen, -1).transpose(2, 3), shift)


WATCHED = 2
"""Heads that are told where to look."""


HINTED = 8
"""Channels of tokens that are told what to hold: for patches 2, where the first view shows the same; for the camera's
token the next 6, its centre and the vector part of its quaternion."""
CENTER_GAIN, TURN_GAIN, SHIFT_GAIN = 4.0, 4.0, 2.0
"""They bring what the channels hold to the size of what other channels hold."""


def true_hints(
    matches: Matches, encoding: Float[Tensor, "batch views 9"]
) -> tuple[Float[Tensor, "batch views patches 2"], Float[Tensor, "batch views 6"]]:
    """Say what hinted channels should hold: shifts from each patch to its match in the first view, and the cameras."""
    center, turn, real = encoding[..., :3], encoding[..., 3:6], encoding[..., 6:7]
    turn = torch.where(real < 0, -turn, turn)
    return SHIFT_GAIN * matches.shift, torch.cat([CENTER_GAIN * center, TURN_GAIN * turn], -1)


class ToldShifts(NamedTuple):
    """Shifts that are put where the network's own would be, for patches of which they are known."""

    shift: Float[Tensor, "batch views patches 2"]
    """As `true_hints` has it."""
    told: Bool[Tensor, "batch views patches"]
    """Which patches are told."""


class QueryWatch:
    """Keeps what the blocks that look at all views made of the last forward pass: queries, keys, tokens."""

    def __init__(self, backbone: Backbone) -> None:
        self._seen: dict[tuple[int, str], Tensor] = {}
        self._told: ToldShifts | None = None
        self._blocks = [index for index in range(len(backbone.blocks)) if backbone.config.sees_all_views(index)]
        for index in self._blocks:
            self._keep(backbone.blocks[index], (index, "tokens"))
            attention = backbone.blocks[index].get_submodule("attention")
            self._keep(attention.get_submodule("query_norm"), (index, "query"))
            self._keep(attention.get_submodule("key_norm"), (index, "key"))
        # After the hook that keeps what this block found by itself.
        backbone.blocks[self._blocks[0]].register_forward_hook(self._tell)

    def _keep(self, norm: nn.Module, name: tuple[int, str]) -> None:
        def keep(module: nn.Module, inputs: object, output: Tensor) -> None:
            self._seen[name] = output

        norm.register_forward_hook(keep)

    def _tell(self, module: nn.Module, inputs: object, tokens: Tensor) -> Tensor:
        if self._told is None:
            return tokens
        shift, told = self._told
        shift, told = (F.pad(value, (0, 0, 1, 0)).flatten(1, 2) for value in (shift, told[..., None]))
        channels = shift.shape[-1]
        hinted = torch.where(told, shift.to(tokens.dtype), tokens[..., :channels])
        return torch.cat([hinted, tokens[..., channels:]], -1)

    def tell(self, told: ToldShifts | None) -> None:
        """Put shifts into the channels of the tokens after the first block that looks at all views, until `clear`."""
        self._told = told

    def similarity(self, views: int) -> Float[Tensor, "batch blocks heads views patches views patches"]:
        """Return the attention logits of the first `WATCHED` heads between patches.

        Rotary positions are left out: attention across views turns all patches alike.
        """
        logits = []
        for index in self._blocks:
            query, key = (
                self._seen[index, name][:, :WATCHED].unflatten(2, (views, -1))[:, :, :, 1:].float()
                for name in ("query", "key")
            )
            logits.append(torch.einsum("bhvpc,bhwqc->bhvpwq", query, key) / query.shape[-1] ** 0.5)
        return torch.stack(logits, 1)

    def hints(self, views: int) -> Float[Tensor, "batch blocks views tokens channels"]:
        """Return the first `HINTED` channels of the tokens after each block, the camera's token first."""
        tokens = [self._seen[index, "tokens"][..., :HINTED].unflatten(1, (views, -1)) for index in self._blocks]
        return torch.stack(tokens, 1).float()

    def clear(self) -> None:
        """Forget the last forward pass, and what was told."""
        self._seen.clear()
        self._told = None
