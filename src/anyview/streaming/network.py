"""An any-view model as a predictor of windows."""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from anyview.devices import available_memory
from anyview.geometry.camera import place_intrinsics
from anyview.geometry.pose import check_intrinsics, normalize_poses
from anyview.images.preprocess import normalize, prepare_views
from anyview.model.config import NestedConfig
from anyview.model.footprint import estimate_bytes
from anyview.options import StreamOptions
from anyview.predictor import DepthAnything3
from anyview.predictor.result import take_scene
from anyview.streaming.frames import PosedViews, StreamFrame, WindowGeometry
from anyview.types import Cameras, Gaussians, Placement, Prediction

GIB = 2**30
DIGEST_NUMBERS = 256
"""Of each parameter, that identify it."""


class NetworkPredictor:
    """Runs a model on windows, and reads descriptors of places from its own tokens."""

    def __init__(
        self, model: DepthAnything3, options: StreamOptions, intrinsics: Float[Tensor, "3 3"] | None = None
    ) -> None:
        """Check that the model can do it.

        Args:
            model: An any-view model.
            options: How the stream is cut.
            intrinsics: Of all pictures, in their pixels, where they are known.

        Raises:
            ValueError: the model sees one picture at a time, or the intrinsics cannot be right.
        """
        if not model.abilities.any_view:
            raise ValueError(f"{model.name} sees one picture at a time and knows no cameras; choose an any-view model")
        if intrinsics is not None:
            check_intrinsics(intrinsics[None], 1)
        self.model, self.options, self.intrinsics = model, options, intrinsics
        self.resolution = options.resolution or model.network.config.resolution
        self._placed: Float[Tensor, "1 3 3"] | None = None
        config = model.network.config
        main = config.any_view if isinstance(config, NestedConfig) else config
        assert main.backbone.cross_view_from is not None
        self._place_block = main.backbone.cross_view_from - 1
        """The last block before views look at each other: its tokens describe a picture by itself."""

    def place_intrinsics(self, placement: Placement) -> None:
        """Learn how pictures come to the size of the maps; known intrinsics belong to the pictures as given."""
        if self.intrinsics is not None and self._placed is None:
            self._placed = place_intrinsics(self.intrinsics[None], [placement])

    @property
    def name(self) -> str:
        """The model's."""
        return self.model.name

    def weights_digest(self) -> str:
        """Identify the weights by some numbers of every parameter: training changes all, and giants are large."""
        said = hashlib.sha256()
        for name, values in sorted(self.model.network.state_dict().items()):
            flat = values.flatten()
            some = flat[:: max(1, len(flat) // DIGEST_NUMBERS)].float().cpu()
            said.update(f"{name} {tuple(values.shape)}".encode() + some.numpy().tobytes())
        return said.hexdigest()[:16]

    @torch.no_grad()
    def predict_window(
        self, frames: Sequence[StreamFrame], known: Cameras | None = None, known_views: Sequence[int] = ()
    ) -> WindowGeometry:
        """Predict a window; known cameras condition the network through its camera encoder.

        Raises:
            ValueError: the window does not fit into memory.
        """
        told: dict[str, Any] = {}
        if known is not None and self.options.conditioning == "overlap":
            device = self.model.device
            poses = normalize_poses(known.world_to_camera.float())
            told["cameras"] = Cameras(poses[None].to(device), known.intrinsics[None].float().to(device))
            told["known_views"] = tuple(known_views)
        geometry, _ = self._predict(frames, features=(self._place_block,), **told)
        return geometry

    @torch.no_grad()
    def predict_gaussians(self, frames: Sequence[StreamFrame]) -> tuple[PosedViews, Gaussians]:
        """Predict a window with the model's Gaussians, one per pixel, in the frame and unit of its views.

        Raises:
            ValueError: the window does not fit into memory.
        """
        assert self.model.abilities.gaussians, f"{self.name} has no Gaussian head"
        geometry, scene = self._predict(frames, features=(self._place_block,), gaussians=True)
        assert scene.gaussians is not None
        return geometry.views, scene.gaussians

    def _predict(self, frames: Sequence[StreamFrame], **arguments: Any) -> tuple[WindowGeometry, Prediction]:
        pictures = [frame.picture for frame in frames]
        views = prepare_views(pictures, resolution=self.resolution)
        self._check_memory(len(frames), *views.images.shape[1:3])
        if self.model.abilities.nested and self._placed is not None:
            arguments["intrinsics"] = self._placed.expand(1, len(frames), 3, 3).to(self.model.device)
        output = self.model.network(normalize(views.images[None].to(self.model.device)), **arguments)
        scene = take_scene(output, 0, self.name, pictures, views)
        assert scene.cameras is not None
        assert scene.confidence is not None
        cameras, confidence = scene.cameras, scene.confidence
        if self._placed is not None:
            cameras = Cameras(cameras.world_to_camera, self._placed.expand(len(frames), 3, 3))
        if scene.sky is not None:
            confidence = torch.where(scene.sky, 0.0, confidence)  # the sky's depth is made up
        descriptors = scene.features[self._place_block].mean((1, 2))
        metric = output.metric_scale is not None and bool(output.metric_scale.isfinite().all())
        posed = PosedViews(views.images, scene.depth, confidence, cameras)
        return WindowGeometry(posed, descriptors, "metres" if metric else "arbitrary"), scene

    def _check_memory(self, count: int, height: int, width: int) -> None:
        limit = self.options.memory_limit
        allowed = available_memory(self.model.device) if limit is None else int(limit * GIB)
        needed = estimate_bytes(self.model.network.config, count, height, width)
        if allowed is not None and needed > allowed:
            raise ValueError(
                f"a window of {count} frames of {width}×{height} pixels with {self.name} needs about "
                f"{needed / GIB:.1f} GiB beside the weights, and {allowed / GIB:.1f} GiB are available; "
                "try a smaller --window or a lower --resolution"
            )
