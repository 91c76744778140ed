"""The vision transformer whose later blocks alternate between one view and all views (paper, section 3.1)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from anyview.model.config import PATCH, BackboneConfig
from anyview.model.layers import Block, Rotation, cached_table, rotation_for
from anyview.model.reference_view import FEWEST_VIEWS, reference_first, select_reference_view, take_views
from anyview.options import ReferenceView

POSITION_GRID = 37
"""Side of the learned position table, in patches (518 pixels)."""


@dataclass(frozen=True)
class BackboneOutput:
    """Tokens in the order of the input views."""

    taps: tuple[Float[Tensor, "batch views patches tap_width"], ...]
    camera: Float[Tensor, "batch views tap_width"] | None
    """The camera tokens after the last block; None in a monocular network."""
    features: dict[int, Float[Tensor, "batch views patches channels"]]


@cached_table
def resampling_matrix(patches: int, device: torch.device) -> Float[Tensor, "patches grid"]:
    """Bicubic weights that stretch one axis of the position table to ``patches`` entries.

    Published networks were trained with the scale (patches + 0.1) / 37, which reaches slightly past the table's end.
    """
    axis = torch.eye(POSITION_GRID, device=device)[None, None]
    scale = ((patches + 0.1) / POSITION_GRID, 1.0)
    return F.interpolate(axis, scale_factor=scale, mode="bicubic", align_corners=False)[0, 0]


class Backbone(nn.Module):
    """DINOv2's architecture, with camera tokens and attention across views from block ``cross_view_from`` on."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.patch_embedding = nn.Conv2d(3, width, PATCH, stride=PATCH)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position_embedding = nn.Parameter(torch.zeros(1, 1 + POSITION_GRID**2, width))
        if config.cross_view_from is not None:
            # One for the reference view, one for all others.
            self.camera_token = nn.Parameter(torch.zeros(1, 2, width))
        self.blocks = nn.ModuleList(
            Block(
                width,
                config.heads,
                gated_mlp=config.gated_mlp,
                normalize_queries=self.knows_other_views(index),
                norm_epsilon=1e-6,
            )
            for index in range(config.depth)
        )
        self.norm = nn.LayerNorm(width)
        self.recompute = False
        """Whether training forgets what happens inside of blocks, and computes it again on the way back."""

    def knows_other_views(self, block: int) -> bool:
        """Whether a block lies in the cross-view part of the network."""
        return self.config.cross_view_from is not None and block >= self.config.cross_view_from

    def forward(
        self,
        images: Float[Tensor, "batch views 3 height width"],
        camera_tokens: Float[Tensor, "batch views channels"] | None = None,
        *,
        reference_view: ReferenceView = "saddle_balanced",
        features: Sequence[int] = (),
    ) -> BackboneOutput:
        """Turn ImageNet-normalised images into tokens.

        Camera tokens stand for known poses; without them a reference view is chosen, and learned tokens tell it from
        the others. ``features`` names blocks whose normalised patch tokens are returned as well.
        """
        views = images.shape[1]
        rows, columns = images.shape[-2] // PATCH, images.shape[-1] // PATCH
        head_width = self.config.width // self.config.heads
        within = rotation_for(rows, columns, head_width, same_place=False, device=images.device)
        across = rotation_for(rows, columns, head_width, same_place=True, device=images.device)
        chooses = camera_tokens is None and views >= FEWEST_VIEWS and reference_view != "first"

        x = self.embed(images)
        one_view, order = x, None
        taps, kept = [], {}

        def in_input_order(tokens: Tensor) -> Tensor:
            return tokens if order is None else take_views(tokens, order.argsort(dim=1))

        for index, block in enumerate(self.blocks):
            if chooses and index + 1 == self.config.cross_view_from:
                order = reference_first(select_reference_view(x[:, :, 0], reference_view), views)
                x, one_view = take_views(x, order), take_views(one_view, order)
            if index == self.config.cross_view_from:
                x = self.with_camera_tokens(x, camera_tokens)
            if self.config.sees_all_views(index):
                x = self.run(block, x.flatten(1, 2), across).unflatten(1, (views, -1))
            else:
                rotation = within if self.knows_other_views(index) else None
                x = one_view = self.run(block, x.flatten(0, 1), rotation).unflatten(0, (-1, views))
            if index in self.config.taps:
                taps.append((one_view, x))
            if index in features:
                kept[index] = in_input_order(self.norm(x)[:, :, 1:])  # blocks before the reordering have kept it

        camera = None if self.config.cross_view_from is None else torch.cat([t[:, :, 0] for t in taps[-1]], dim=-1)
        return BackboneOutput(
            taps=tuple(in_input_order(self.join(*tap)[:, :, 1:]) for tap in taps),
            camera=None if camera is None else in_input_order(camera),
            features=kept,
        )

    def run(
        self, block: nn.Module, x: Float[Tensor, "batch sequence channels"], rotation: Rotation | None
    ) -> Float[Tensor, "batch sequence channels"]:
        """Call a block, within the memory that `recompute` leaves it."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(block, x, rotation, use_reentrant=False)
        return block(x, rotation)

    def embed(
        self, images: Float[Tensor, "batch views 3 height width"]
    ) -> Float[Tensor, "batch views tokens channels"]:
        """Cut images into patches; add the class token and the learned positions."""
        patches = self.patch_embedding(images.flatten(0, 1))
        rows, columns = patches.shape[-2:]
        table = self.position_embedding[0, 1:].unflatten(0, (POSITION_GRID, POSITION_GRID)).float()
        if (rows, columns) != (POSITION_GRID, POSITION_GRID):
            down = resampling_matrix(rows, images.device)
            right = resampling_matrix(columns, images.device)
            table = torch.einsum("rg,ghw,ch->rcw", down, table, right)
        tokens = patches.flatten(2).transpose(1, 2) + table.flatten(0, 1)
        first = (self.class_token + self.position_embedding[:, :1]).expand(len(tokens), -1, -1)
        return torch.cat([first, tokens], dim=1).unflatten(0, images.shape[:2])

    def with_camera_tokens(
        self,
        x: Float[Tensor, "batch views tokens channels"],
        camera_tokens: Float[Tensor, "batch views channels"] | None,
    ) -> Float[Tensor, "batch views tokens channels"]:
        """Put camera tokens in the place of the class tokens."""
        if camera_tokens is None:
            camera_tokens = self.unknown_cameras(*x.shape[:2])
        return torch.cat([camera_tokens[:, :, None].to(x.dtype), x[:, :, 1:]], dim=2)

    def unknown_cameras(self, batch: int, views: int) -> Float[Tensor, "batch views channels"]:
        """Learned tokens in the place of camera tokens: the first view is the reference."""
        reference, other = self.camera_token.split(1, dim=1)
        return torch.cat([reference, other.expand(-1, views - 1, -1)], dim=1).expand(batch, -1, -1)

    def join(
        self, one_view: Float[Tensor, "batch views tokens channels"], x: Float[Tensor, "batch views tokens channels"]
    ) -> Float[Tensor, "batch views tokens tap_width"]:
        """A tap: the last one-view block's tokens as they are, beside the tapped block's, normalised."""
        if self.config.cross_view_from is None:
            return self.norm(x)
        return torch.cat([one_view, self.norm(x)], dim=-1)
