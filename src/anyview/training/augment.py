"""More pictures out of few: colours that change, and scenes in a mirror."""

import math
import random
from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from anyview.types import Cameras, TrueViews

CHANGED = 0.9
"""Share of the views whose colours are changed [inferred: VGGT]."""
CHANGED_ALIKE = 0.3
"""Share of the scenes all of whose views are changed alike [inferred: VGGT]."""
LARGEST_FACTOR, LARGEST_TURN = 0.5, 0.1
"""Largest relative change of brightness, contrast and saturation, and turn of the hue, at strength 1 [VGGT]."""
LUMINANCE = (0.299, 0.587, 0.114)


def jitter_colors(
    images: UInt8[Tensor, "batch views height width 3"], indices: Sequence[int], strength: float, seed: int
) -> UInt8[Tensor, "batch views height width 3"]:
    """Change brightness, contrast, saturation and hue; by how much follows from the numbers of the scenes.

    All four are one affine map of colours for each view.
    """
    if strength == 0:
        return images
    draws = [_draw_changes(images.shape[1], random.Random(f"colour {seed} {index}")) for index in indices]
    maps = color_maps(strength * torch.tensor(draws, device=images.device))
    changed = torch.einsum("bvoi,bvhwi->bvhwo", maps[..., :3], images.float()) + 255 * maps[..., None, None, :, 3]
    return changed.round().clamp(0, 255).byte()


def mirror_scenes(truth: TrueViews, indices: Sequence[int], probability: float, seed: int) -> TrueViews:
    """Show some scenes as a mirror at x = 0 does, left and right exchanged; which follows from the scenes' numbers."""
    if probability == 0:
        return truth
    draws = [random.Random(f"mirror {seed} {index}").random() < probability for index in indices]
    mirrored = torch.tensor(draws, device=truth.depth.device)[:, None, None, None]
    sign = torch.tensor([-1.0, 1, 1, 1], device=truth.depth.device)
    poses, intrinsics = truth.cameras.world_to_camera, truth.cameras.intrinsics
    lenses = intrinsics * (sign[:3, None] * sign[:3])
    lenses[..., 0, 2] += truth.depth.shape[-1]
    return TrueViews(
        images=torch.where(mirrored[..., None], truth.images.flip(-2), truth.images),
        depth=torch.where(mirrored, truth.depth.flip(-1), truth.depth),
        cameras=Cameras(
            torch.where(mirrored, poses * (sign[:, None] * sign), poses), torch.where(mirrored, lenses, intrinsics)
        ),
    )


def color_maps(changes: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 4"]:
    """Build [A b] of colour → A colour + b from changes of brightness, contrast, saturation and hue, from −1 to 1."""
    brightness, contrast, saturation = (1 + LARGEST_FACTOR * changes[..., :3, None, None]).unbind(-3)
    angle = 2 * math.pi * LARGEST_TURN * changes[..., 3, None, None]
    identity = torch.eye(3, device=changes.device)
    grey = torch.tensor(LUMINANCE, device=changes.device).expand(3, 3)
    # A turn about the axis of greys, by Rodrigues' formula.
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=changes.device) / math.sqrt(3)
    turn = identity + angle.sin() * cross + (1 - angle.cos()) * cross @ cross
    linear = brightness * contrast * (grey + saturation * (identity - grey)) @ turn
    return torch.cat([linear, (0.5 * (1 - contrast)).expand(*changes.shape[:-1], 3, 1)], dim=-1)


def _draw_changes(views: int, draw: random.Random) -> list[list[float]]:
    def one() -> list[float]:
        changes = [draw.uniform(-1, 1) for _ in range(4)]
        return changes if draw.random() < CHANGED else [0.0] * 4

    return [one()] * views if draw.random() < CHANGED_ALIKE else [one() for _ in range(views)]
