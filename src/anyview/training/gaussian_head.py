"""A Gaussian head on a network that stays as it is: given to it, started, and run in training."""

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from anyview.geometry.pose import normalize_poses
from anyview.model.config import PATCH, GaussianConfig
from anyview.model.heads import AnyViewHead, GaussianHead
from anyview.model.network import Network, initialize
from anyview.types import Cameras

FIRST_SIZE = 0.35
"""Standard deviation of an untrained head's Gaussians in pixels, about what `render.pixels` has."""
FIRST_OPACITY = 0.9
FIRST_NOISE = 0.1
"""Part that is left of the last layer's random weights, so that the biases decide at first."""


class GaussianReading(NamedTuple):
    """What a network with a Gaussian head says about a batch; a tuple, as hooks want it."""

    depth: Float[Tensor, "batch views height width"]
    raw: Float[Tensor, "batch views height width channels"]
    world_to_camera: Float[Tensor, "batch views 4 4"]
    """As the network predicts them."""


class GaussianReader(nn.Module):
    """A network as it runs when its Gaussian head alone is trained: all else has no gradients."""

    def __init__(self, network: Network, head_dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.network = network
        self.head_dtype = head_dtype
        """Precision of the heads' convolutions, but for the last ones."""

    def forward(
        self, images: Float[Tensor, "batch views 3 height width"], cameras: Cameras, known: Bool[Tensor, " batch"]
    ) -> GaussianReading:
        """Read ImageNet-normalised pictures; ``known`` are the scenes whose cameras the network is told."""
        network = self.network
        assert network.camera_decoder is not None
        assert network.gaussian_head is not None
        assert isinstance(network.head, AnyViewHead)
        batch, views, _, height, width = images.shape
        with torch.no_grad():
            normalized = Cameras(normalize_poses(cameras.world_to_camera), cameras.intrinsics)
            told = network.known_camera_tokens(normalized, images)
            tokens = torch.where(known[:, None, None], told, network.backbone.unknown_cameras(batch, views))
            output = network.read_tokens(images, tokens, reference_view="first")
            taps = output.taps
            assert output.camera is not None
            predicted = network.camera_decoder(output.camera, height, width)
        half = self.head_dtype != torch.float32
        with torch.autocast(images.device.type, self.head_dtype if half else None, enabled=half):
            with torch.no_grad():
                depth = network.head(
                    taps, height // PATCH, width // PATCH, rays=False, frames_at_once=network.frames_at_once
                ).depth
            raw = network.gaussian_head(taps, images, frames_at_once=network.frames_at_once)
        return GaussianReading(depth, raw, predicted.world_to_camera)


def with_gaussian_head(network: Network, config: GaussianConfig, seed: int) -> Network:
    """Freeze a network but for its Gaussian head, which it is given, with random weights, if it has none.

    Raises:
        ValueError: it has another head.
    """
    network.requires_grad_(False)
    if network.gaussian_head is None:
        head = GaussianHead(config, network.config.backbone.tap_width)
        initialize(head, seed)
        ease_gaussians(head, config)
        network.gaussian_head, network.config = head, replace(network.config, gaussians=config)
    elif network.config.gaussians != config:
        raise ValueError(f"expected a Gaussian head as {config}, and the network has {network.config.gaussians}")
    assert network.gaussian_head is not None
    network.gaussian_head.requires_grad_(True)
    return network


@torch.no_grad()
def ease_gaussians(head: GaussianHead, config: GaussianConfig) -> None:
    """Let an untrained head begin with a small, round, rather opaque Gaussian at each pixel's depth."""
    output = head.reader.output
    output.weight.mul_(FIRST_NOISE)
    assert output.bias is not None
    output.bias.zero_()
    # A scale of 1 is a tenth of the sum of a pixel's width and height, see `model.gaussians`.
    size = 5 * FIRST_SIZE / config.largest_scale
    output.bias[2:5] = math.log(size / (1 - size))
    output.bias[5 if config.reading == "plain" else 8] = 1.0
    output.bias[-1] = math.log(FIRST_OPACITY / (1 - FIRST_OPACITY))
