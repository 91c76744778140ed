"""From a batch of true scenes to losses: what runs forward, and what it is compared with."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from anyview.geometry.pose import normalize_poses
from anyview.model.config import PATCH
from anyview.model.heads import AnyViewHead
from anyview.model.network import Network
from anyview.training.config import TrainOptions
from anyview.training.losses import camera_loss, depth_loss, gradient_loss, hint_loss, match_loss, point_loss, ray_loss
from anyview.training.matching import QueryWatch, ToldShifts, true_hints
from anyview.training.targets import Targets, at_ray_grid
from anyview.types import Cameras

Terms = Mapping[str, Float[Tensor, " batch"]]


class Reading(NamedTuple):
    """Everything that an any-view network says about a batch, in the first view's frame; a tuple, as hooks want it."""

    depth: Float[Tensor, "batch views height width"] | None
    """This and the next three: None in a step without them."""
    confidence: Float[Tensor, "batch views height width"] | None
    rays: Float[Tensor, "batch views rows columns 6"] | None
    ray_confidence: Float[Tensor, "batch views rows columns"] | None
    encoding: Float[Tensor, "batch views 9"]
    similarity: Float[Tensor, "batch blocks heads views patches views patches"] | None = None
    """Of patches, as attention across views has it; None unless watched."""
    hints: Float[Tensor, "batch blocks views tokens channels"] | None = None
    """First channels of the tokens after each block that looks at all views; None unless watched."""


class Reader(nn.Module):
    """A network as it runs in training: all outputs, and known cameras for some of the scenes of a batch.

    Every parameter takes part in every dense step, as training in several processes wants it.
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
        self,
        images: Float[Tensor, "batch views 3 height width"],
        cameras: Cameras,
        known: Bool[Tensor, " batch"],
        *,
        known_views: Sequence[int] | None = None,
        told: ToldShifts | None = None,
        dense: bool = True,
    ) -> Reading:
        """Read ImageNet-normalised pictures; ``known`` are the scenes whose cameras the network is told.

        Args:
            images: Pictures.
            cameras: Their cameras.
            known: Scenes whose cameras the network is told.
            known_views: The views whose cameras these are; None: all.
            told: Matches that it is told, if it is watched.
            dense: Whether to read depth and rays.
        """
        network = self.network
        assert network.camera_decoder is not None
        assert isinstance(network.head, AnyViewHead)
        batch, views, _, height, width = images.shape
        told_cameras = cameras if known_views is None else cameras[:, list(known_views)]
        normalized = Cameras(normalize_poses(told_cameras.world_to_camera), told_cameras.intrinsics)
        known_tokens = network.known_camera_tokens(normalized, images, known_views)
        camera_tokens = torch.where(known[:, None, None], known_tokens, network.backbone.unknown_cameras(batch, views))
        if self.watch is not None:
            self.watch.tell(told)
        tokens = network.read_tokens(images, camera_tokens, reference_view="first")
        reading: list[Tensor | None] = [None] * 4
        if dense:
            half = self.head_dtype != torch.float32
            with torch.autocast(images.device.type, self.head_dtype if half else None, enabled=half):
                maps = network.head(
                    tokens.taps, height // PATCH, width // PATCH, rays=True, frames_at_once=network.frames_at_once
                )
            reading = [maps.depth, maps.confidence, maps.rays, maps.ray_confidence]
        assert tokens.camera is not None
        reading.append(network.camera_decoder.encoding(tokens.camera))
        if self.watch is not None:
            reading += [self.watch.similarity(views), self.watch.hints(views)]
            self.watch.clear()
        # Sharding's hooks must not sit on views.
        return Reading(*(None if value is None else value.clone() for value in reading))  # type: ignore[arg-type]


def compare(reading: Reading, targets: Targets, confidence_weight: float) -> dict[str, Float[Tensor, " batch"]]:
    """Compute every loss term of every scene, of what was read."""
    terms = {}
    if reading.depth is not None:
        assert reading.confidence is not None
        assert reading.rays is not None
        assert reading.ray_confidence is not None
        rows, columns = reading.rays.shape[-3:-1]
        terms = {
            "depth": depth_loss(reading.depth, reading.confidence, targets.depth, targets.valid, confidence_weight),
            "rays": ray_loss(reading.rays, reading.ray_confidence, targets.rays, confidence_weight),
            "points": point_loss(
                at_ray_grid(reading.depth, rows, columns), reading.rays, targets.points, targets.valid_points
            ),
            "gradient": gradient_loss(reading.depth, targets.depth, targets.valid),
        }
    terms["camera"] = camera_loss(reading.encoding, targets.encoding)
    if reading.similarity is not None:
        terms["matches"] = match_loss(reading.similarity, targets.matches.patch)
    if reading.hints is not None:
        hinted = true_hints(targets.matches, targets.encoding)
        terms["hints"] = hint_loss(reading.hints, targets.matches.patch, *hinted)
    return terms


def told_shifts(targets: Targets, scenes: Bool[Tensor, " batch"]) -> ToldShifts:
    """Return what some scenes of a batch are told: where the first view shows what each of their patches shows."""
    shift, _ = true_hints(targets.matches, targets.encoding)
    return ToldShifts(shift, (targets.matches.patch[..., 0] >= 0) & scenes[:, None, None])


def weigh(terms: Terms, options: TrainOptions) -> Float[Tensor, " batch"]:
    """Sum a scene's loss terms with the recipe's weights."""
    weights = {
        "depth": options.depth_weight,
        "rays": options.ray_weight,
        "points": options.point_weight,
        "camera": options.camera_weight,
        "gradient": options.gradient_weight,
        "matches": options.match_weight,
        "hints": options.hint_weight,
    }
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum(0)
