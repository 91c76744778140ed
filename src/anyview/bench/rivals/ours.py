"""Depth Anything 3: any preset, hub repository, folder or file."""

import hashlib
from dataclasses import replace
from pathlib import Path

import torch

from anyview.bench.options import Task
from anyview.bench.rivals.rendering import render_targets
from anyview.bench.rivals.rival import Answer, Question
from anyview.devices import Precision
from anyview.model.checkpoint import locate
from anyview.options import PredictOptions
from anyview.predictor import DepthAnything3
from anyview.types import Prediction, Scene

WEIGHTS = "model.safetensors"


class Ours:
    """Depth Anything 3 with the benchmark's settings: the first view is the reference, cameras come from the head."""

    def __init__(
        self,
        model: str,
        *,
        device: str = "auto",
        dtype: Precision = "auto",
        options: PredictOptions = PredictOptions(reference_view="first"),
        offline: bool = False,
        refine_steps: int = 0,
    ) -> None:
        path = locate(model, offline=offline)
        self._model = DepthAnything3.from_pretrained(path, device=device, dtype=dtype)
        resolution = self._model.network.config.resolution if options.resolution is None else options.resolution
        self._options = replace(options, resolution=resolution)
        self._refine_steps = refine_steps
        self.name = f"{self._model.name}, {refine_steps} steps" if refine_steps else self._model.name
        self.identity: dict[str, str | int | float | bool] = {
            "model": self._model.name,
            "weights": _digest(path / WEIGHTS if path.is_dir() else path),
            "resolution": resolution,
            "resize": options.resize,
            "reference_view": options.reference_view,
            "camera_source": options.camera_source,
            "dtype": str(dtype),
            "gaussians": "predicted" if self._model.abilities.gaussians else "of depth and colour",
        }
        single: tuple[Task, ...] = ("depth",)
        self.tasks: tuple[Task, ...] = (
            ("pose", "recon_unposed", "recon_posed", "depth", "view_syn") if self._model.abilities.any_view else single
        )

    def see(self, question: Question, *, gaussians: bool = False) -> Prediction:
        """Predict the shown views of a question, in the frame of its cameras; maps have the size of the pictures."""
        options = replace(self._options, output_resolution="input", gaussians=gaussians)
        return self._model.predict(Scene(question.pictures, question.cameras), options=options)

    def answer(self, question: Question) -> Answer:
        """Predict a scene, or render views of it."""
        if question.targets is not None:
            prediction = self.see(question, gaussians=self._model.abilities.gaussians)
            return Answer(rendered=render_targets(prediction, question, self._refine_steps, self._model.device))
        options = replace(self._options, pose_frame="network") if question.raw_scale else self._options
        intrinsics = None if question.intrinsics is None else torch.from_numpy(question.intrinsics)
        prediction = self._model.predict(
            Scene(question.pictures, question.cameras), intrinsics=intrinsics, options=options
        )
        cameras = prediction.cameras
        depth = prediction.depth if prediction.mask is None else prediction.depth.where(prediction.mask, 0)
        return Answer(
            depth=tuple(depth.numpy()),
            world_to_camera=None if cameras is None else cameras.world_to_camera.numpy(),
            intrinsics=None if cameras is None else cameras.intrinsics.numpy(),
            confidence=None if prediction.confidence is None else tuple(prediction.confidence.numpy()),
            placements=prediction.placements,
        )


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file of weights."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
