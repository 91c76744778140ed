"""Small readers on top of the pyramid: depth and confidence, rays, sky, Gaussian channels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from anyview.model.config import PATCH, GaussianConfig, NetworkConfig
from anyview.model.pyramid import Fusion, Pyramid, add_place_, upsample

FRAMES_AT_ONCE = 2
"""Dense heads work on this many views at a time: it bounds memory and changes no value.

Maps of more views leave a processor's caches, and outgrow the blocks that the allocator keeps.
"""


@dataclass(frozen=True)
class DenseMaps:
    """What a dense head reads from a batch of views. What it does not read is None."""

    depth: Float[Tensor, "batch views height width"]
    confidence: Float[Tensor, "batch views height width"] | None = None
    rays: Float[Tensor, "batch views rows columns 6"] | None = None
    ray_confidence: Float[Tensor, "batch views rows columns"] | None = None
    sky: Float[Tensor, "batch views height width"] | None = None


def in_chunks(
    read: Callable[..., tuple[Tensor, ...]], per_view: Sequence[Float[Tensor, "batch views ..."]], frames_at_once: int
) -> tuple[Float[Tensor, "batch views ..."], ...]:
    """Call ``read`` on a few frames at a time of everything ``per_view``, and join each of its results."""
    batch, views = per_view[0].shape[:2]
    chunks = zip(*(x.flatten(0, 1).split(frames_at_once) for x in per_view), strict=True)
    results = zip(*(read(*chunk) for chunk in chunks), strict=True)
    return tuple(torch.cat(parts).unflatten(0, (batch, views)) for parts in results)


class Reader(nn.Module):
    """Two convolutions from features to output channels: 3×3 to 32, ReLU, 1×1."""

    def __init__(self, features: int, channels: int, *, normalize: bool = False) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(features, 32, 3, padding=1)
        self.norm = nn.LayerNorm(32) if normalize else None
        self.output = nn.Conv2d(32, channels, 1)

    def forward(
        self, x: Float[Tensor, "frames features rows columns"]
    ) -> Float[Tensor, "frames rows columns channels"]:
        """Return the output channels, last."""
        x = self.hidden(x)
        if self.norm is not None:
            x = self.norm(x.movedim(1, -1)).movedim(-1, 1)
        with torch.autocast(x.device.type, enabled=False):  # exponentials amplify rounding
            return self.output(F.relu_(x).float()).movedim(1, -1)


class AnyViewHead(nn.Module):
    """Depth and rays from one pyramid: the dual DPT head (paper, section 3.1)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        features = config.pyramid.features
        self.pyramid = Pyramid(config.pyramid, config.backbone.tap_width, normalize=True, place=True)
        self.depth_fusion = Fusion(features)
        self.depth_neck = nn.Conv2d(features, features // 2, 3, padding=1)
        self.depth_reader = Reader(features // 2, 2)
        self.ray_fusion = Fusion(features)
        widths = [features, features // 2, features, features // 2, features, features // 2]
        self.ray_neck = nn.Sequential(*(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths)))
        self.ray_reader = Reader(features // 2, 7, normalize=True)

    def forward(
        self,
        taps: Sequence[Float[Tensor, "batch views patches tap_width"]],
        rows: int,
        columns: int,
        *,
        rays: bool,
        frames_at_once: int = FRAMES_AT_ONCE,
    ) -> DenseMaps:
        """Read depth at the image's resolution, and rays at 8/14 of it if asked for."""

        def read(*taps: Tensor) -> tuple[Tensor, ...]:
            levels = self.pyramid(taps, rows, columns)
            return (*self.read_depth(levels), *(self.read_rays(levels) if rays else ()))

        return DenseMaps(*in_chunks(read, taps, frames_at_once))

    def read_depth(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Depth = exp, confidence = 1 + exp."""
        rows, columns = levels[2].shape[-2:]
        x = upsample(self.depth_neck(self.depth_fusion(levels)), PATCH * rows, PATCH * columns)
        depth, confidence = self.depth_reader(add_place_(x, columns / rows)).exp().unbind(-1)
        return depth, confidence + 1

    def read_rays(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Rays as they are, confidence = 1 + exp."""
        rows, columns = levels[2].shape[-2:]
        channels = self.ray_reader(add_place_(self.ray_neck(self.ray_fusion(levels)), columns / rows))
        return channels[..., :6], channels[..., 6].exp() + 1


class MonocularHead(nn.Module):
    """Depth and sky of single images."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        features = config.pyramid.features
        self.pyramid = Pyramid(config.pyramid, config.backbone.tap_width, normalize=False, place=False)
        self.depth_fusion = Fusion(features)
        self.depth_neck = nn.Conv2d(features, features // 2, 3, padding=1)
        self.depth_reader = Reader(features // 2, 1)
        self.sky_reader = Reader(features // 2, 1)

    def forward(
        self,
        taps: Sequence[Float[Tensor, "batch views patches tap_width"]],
        rows: int,
        columns: int,
        *,
        frames_at_once: int = FRAMES_AT_ONCE,
    ) -> DenseMaps:
        """Depth = exp, sky = ReLU."""

        def read(*taps: Tensor) -> tuple[Tensor, Tensor]:
            x = self.depth_neck(self.depth_fusion(self.pyramid(taps, rows, columns)))
            x = upsample(x, PATCH * rows, PATCH * columns)
            return self.depth_reader(x)[..., 0].exp(), self.sky_reader(x)[..., 0].relu()

        depth, sky = in_chunks(read, taps, frames_at_once)
        return DenseMaps(depth, sky=sky)


class GaussianHead(nn.Module):
    """Raw Gaussian parameters per pixel, from tokens and the image itself."""

    def __init__(self, config: GaussianConfig, tap_width: int) -> None:
        super().__init__()
        features = config.pyramid.features
        self.pyramid = Pyramid(config.pyramid, tap_width, normalize=False, place=True)
        self.fusion = Fusion(features)
        self.neck = nn.Conv2d(features, features // 2, 3, padding=1)
        widths = [3, features // 8, features // 4, features // 2]
        self.image_layers = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths))
        self.reader = Reader(features // 2, config.channels)

    def forward(
        self,
        taps: Sequence[Float[Tensor, "batch views patches tap_width"]],
        images: Float[Tensor, "batch views 3 height width"],
        *,
        frames_at_once: int = FRAMES_AT_ONCE,
    ) -> Float[Tensor, "batch views height width channels"]:
        """Return the raw channels; `model.gaussians` gives them their meaning."""
        height, width = images.shape[-2:]

        def read(image: Tensor, *taps: Tensor) -> tuple[Tensor]:
            x = self.neck(self.fusion(self.pyramid(taps, height // PATCH, width // PATCH)))
            for layer in self.image_layers:
                image = F.gelu(layer(image))
            return (self.reader(add_place_(upsample(x, height, width) + image, width / height)),)

        return in_chunks(read, [images, *taps], frames_at_once)[0]
