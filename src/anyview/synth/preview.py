"""A sheet of pictures that shows what the stream makes."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from anyview.synth.dataset import batch_at
from anyview.synth.options import Split, SynthOptions

_SCENES_AT_ONCE = 4


def contact_sheet(
    options: SynthOptions, split: Split, indices: Sequence[int], device: torch.device | str = "cpu"
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw scenes below each other: its views from left to right, as pictures, depth (near is bright), normals."""
    strips = []
    for start in range(0, len(indices), _SCENES_AT_ONCE):
        batch = batch_at(options, split, indices[start : start + _SCENES_AT_ONCE], device)
        assert batch.normals is not None
        rows = [batch.images, _depth_picture(batch.depth), _normal_picture(batch.normals)]
        # One scene: (3 rows · height, views · width, 3)
        strips.append(torch.stack(rows, 1).permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2))
    sheet = torch.cat(strips)
    return sheet.flatten(0, 1).cpu().numpy()


def _depth_picture(depth: Float[Tensor, "*batch height width"]) -> UInt8[Tensor, "*batch height width 3"]:
    near = torch.where(depth > 0, depth, torch.inf).flatten(-3).amin(-1)[..., None, None, None]
    shown = torch.where(depth > 0, (near / depth.clamp(min=1e-6)).sqrt(), 0)
    return (shown * 255).byte()[..., None].expand(*depth.shape, 3)


def _normal_picture(normals: Float[Tensor, "*batch height width 3"]) -> UInt8[Tensor, "*batch height width 3"]:
    shown = torch.where((normals != 0).any(-1, keepdim=True), 0.5 - 0.5 * normals, 0)
    return (shown * 255).byte()
