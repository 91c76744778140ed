"""From a batch of true scenes to losses: what runs forward, and what it is compared with."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from anyview.geometry.pose import normalize_poses
from anyview.model.config import PATCH
from anyview.model.heads import AnyViewHead
from anyview.model.network import Network
from anyview.training.config import TrainOptions
from anyview.training.losses import camera_loss, depth_loss, gradient_loss, match_loss, point_loss, ray_loss
from anyview.training.matching import QueryWatch
from anyview.training.targets import Targets, at_ray_grid
from anyview.types import Cameras

Terms = Mapping[str, Float[Tensor, " batch"]]


class Reading(NamedTuple):
    """Everything that an any-view network says about a batch, in the first view's frame; a tuple, as hooks want it."""

    depth: Float[Tensor, "batch views height width"]
    confidence: Float[Tensor, "batch views height width"]
    rays: Float[Tensor, "batch views rows columns 6"]
    ray_confidence: Float[Tensor, "batch views rows columns"]
    encoding: Float[Tensor, "batch views 9"]
    similarity: Float[Tensor, "batch blocks heads views patches views patches"] | None = None
    """Of patches, as attention across views has it; None unless watched."""


class Reader(nn.Module):
    """A network as it runs in training: all outputs, and known cameras for some of the scenes of a batch.

    Every parameter takes part in every step, as training in several processes wants it.
    """

    def __init__(
        self, network: Network, head_dtype: torch.dtype = torch.float32, *, watches_matches: bool = False
    ) -> None:
        super().__init__()
        self.network = network
        self.watch = QueryWatch(network.backbone) if watches_matches else None
        self.head_dtype = head_dtype
        """Precision of the dense head's convolutions, but for the last ones."""

    def forward(
        self, images: Float[Tensor, "batch views 3 height width"], cameras: Cameras, known: Bool[Tensor, " batch"]
    ) -> Reading:
        """Read ImageNet-normalised pictures; ``known`` are the scenes whose cameras the network is told."""
        network = self.network
        assert network.camera_encoder is not None
        assert network.camera_decoder is not None
        assert isinstance(network.head, AnyViewHead)
        batch, views, _, height, width = images.shape
        normalized = Cameras(normalize_poses(cameras.world_to_camera), cameras.intrinsics)
        told = network.camera_encoder(normalized, height, width)
        camera_tokens = torch.where(known[:, None, None], told, network.backbone.unknown_cameras(batch, views))
        tokens = network.read_tokens(images, camera_tokens, reference_view="first")
        half = self.head_dtype != torch.float32
        with torch.autocast(images.device.type, self.head_dtype if half else None, enabled=half):
            maps = network.head(
                tokens.taps, height // PATCH, width // PATCH, rays=True, frames_at_once=network.frames_at_once
            )
        assert maps.confidence is not None
        assert maps.rays is not None
        assert maps.ray_confidence is not None
        assert tokens.camera is not None
        encoding = network.camera_decoder.encoding(tokens.camera)
        reading = [maps.depth, maps.confidence, maps.rays, maps.ray_confidence, encoding]
        if self.watch is not None:
            reading.append(self.watch.similarity(views))
        return Reading(*(value.clone() for value in reading))  # sharding's hooks must not sit on views


def compare(reading: Reading, targets: Targets, confidence_weight: float) -> dict[str, Float[Tensor, " batch"]]:
    """Compute every loss term of every scene."""
    rows, columns = reading.rays.shape[-3:-1]
    terms = {
        "depth": depth_loss(reading.depth, reading.confidence, targets.depth, targets.valid, confidence_weight),
        "rays": ray_loss(reading.rays, reading.ray_confidence, targets.rays, confidence_weight),
        "points": point_loss(
            at_ray_grid(reading.depth, rows, columns), reading.rays, targets.points, targets.valid_points
        ),
        "camera": camera_loss(reading.encoding, targets.encoding),
        "gradient": gradient_loss(reading.depth, targets.depth, targets.valid),
    }
    if reading.similarity is not None:
        terms["matches"] = match_loss(reading.similarity, targets.matches)
    return terms


def weigh(terms: Terms, options: TrainOptions) -> Float[Tensor, " batch"]:
    """Sum a scene's loss terms with the recipe's weights."""
    total = (
        options.depth_weight * terms["depth"]
        + options.ray_weight * terms["rays"]
        + options.point_weight * terms["points"]
        + options.camera_weight * terms["camera"]
        + options.gradient_weight * terms["gradient"]
    )
    return total + options.match_weight * terms["matches"] if "matches" in terms else total
