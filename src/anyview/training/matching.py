"""Which patches of different views show the same surface, and what attention across views makes of them.

Networks that start from nothing find out only late that patches can be compared: poses alone are a faint hint. Here two
heads of every block that looks at all views are told where to look [ours; docs/training.md has what it brings]: one
at what shows the same in each view, one at what shows the same in the first.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from anyview.geometry.camera import project, unproject_pixels
from anyview.geometry.pose import rigid_inverse
from anyview.model.backbone import Backbone
from anyview.model.config import PATCH
from anyview.types import Cameras

TOLERANCE = 0.05
"""A patch's centre is seen by another view if that has something this near to it there, in parts of the depth."""


def true_matches(
    depth: Float[Tensor, "batch views height width"], cameras: Cameras
) -> Int[Tensor, "batch views patches views"]:
    """Find the patch of every view that shows the middle of each patch; −1 where it is hidden, outside or unknown.

    Depth 0 is unknown. A view's patch matches itself.
    """
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
    return patch.where(seen, -1).transpose(2, 3)


WATCHED = 2
"""Heads that are told where to look."""


class QueryWatch:
    """Keeps the queries and keys of the blocks that look at all views, as the last forward pass had them."""

    def __init__(self, backbone: Backbone) -> None:
        self._seen: dict[tuple[int, str], Tensor] = {}
        self._blocks = [index for index in range(len(backbone.blocks)) if backbone.config.sees_all_views(index)]
        for index in self._blocks:
            attention = backbone.blocks[index].get_submodule("attention")
            self._keep(attention.get_submodule("query_norm"), (index, "query"))
            self._keep(attention.get_submodule("key_norm"), (index, "key"))

    def _keep(self, norm: nn.Module, name: tuple[int, str]) -> None:
        def keep(module: nn.Module, inputs: object, output: Tensor) -> None:
            self._seen[name] = output

        norm.register_forward_hook(keep)

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
        self._seen.clear()
        return torch.stack(logits, 1)
