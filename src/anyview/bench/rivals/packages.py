"""Other groups' models, where their packages are installed. Each adapter only converts conventions."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

from anyview.bench.options import Task
from anyview.bench.rivals.rival import Answer, Question
from anyview.devices import resolve_device
from anyview.types import Picture

PATCH = 14
SIDE = 518
"""Pixels of the longer (VGGT, MapAnything) or shorter (Depth Anything 2) side that these models were trained at."""
ANY_VIEW: tuple[Task, ...] = ("pose", "recon_unposed", "depth")


def _package(module: str, package: str, source: str) -> tuple[Any, str]:
    """Import a rival's package.

    Raises:
        ImportError: it is not installed.
    """
    try:
        imported = import_module(module)
    except ImportError as error:
        raise ImportError(f"this rival needs the package {package}, which is not installed: {source}") from error
    try:
        return imported, version(package)
    except PackageNotFoundError:
        return imported, "unknown"


def _batch(pictures: Sequence[Picture], side: int) -> torch.Tensor:
    """Resize pictures to one size with sides in multiples of a patch; [views, 3, height, width], 0 to 1."""
    import cv2

    height, width = pictures[0].pixels.shape[:2]
    scale = side / max(height, width)
    rows, columns = (max(PATCH, round(length * scale / PATCH) * PATCH) for length in (height, width))
    resized = [cv2.resize(picture.pixels, (columns, rows), interpolation=cv2.INTER_AREA) for picture in pictures]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float() / 255


class _Installed:
    """What every adapter holds: a model on its device, and what its results depend on."""

    name: str

    def __init__(
        self, model: Any, release: str, checkpoint: str, device: str, **settings: str | int | float | bool
    ) -> None:
        self._device = resolve_device(device)
        self._model = model.to(self._device).eval()
        self.identity: Mapping[str, str | int | float | bool] = {
            "model": self.name,
            "version": release,
            "checkpoint": checkpoint,
            **settings,
        }


class Vggt(_Installed):
    """VGGT (Wang et al., 2025), package ``vggt``."""

    name = "vggt"
    tasks = ANY_VIEW

    def __init__(self, checkpoint: str = "facebook/VGGT-1B", device: str = "auto") -> None:
        module, release = _package(
            "vggt.models.vggt", "vggt", "pip install git+https://github.com/facebookresearch/vggt"
        )
        self._decode: Callable[..., Any] = import_module("vggt.utils.pose_enc").pose_encoding_to_extri_intri
        super().__init__(module.VGGT.from_pretrained(checkpoint), release, checkpoint, device, side=SIDE)

    def answer(self, question: Question) -> Answer:
        """Predict a scene."""
        images = _batch(question.pictures, SIDE).to(self._device)
        with torch.inference_mode():
            said = self._model(images[None])
            poses, matrices = self._decode(said["pose_enc"], images.shape[-2:])
        world_to_camera = np.tile(np.eye(4, dtype=np.float32), (len(images), 1, 1))
        world_to_camera[:, :3] = poses[0].float().cpu().numpy()
        return Answer(
            depth=tuple(said["depth"][0, ..., 0].float().cpu().numpy()),
            world_to_camera=world_to_camera,
            intrinsics=matrices[0].float().cpu().numpy(),
            confidence=tuple(said["depth_conf"][0].float().cpu().numpy()),
        )


class MapAnything(_Installed):
    """MapAnything (Keetha et al., 2025), package ``mapanything``."""

    name = "mapanything"
    tasks = ANY_VIEW

    def __init__(self, checkpoint: str = "facebook/map-anything", device: str = "auto") -> None:
        module, release = _package(
            "mapanything.models", "mapanything", "pip install git+https://github.com/facebookresearch/map-anything"
        )
        super().__init__(module.MapAnything.from_pretrained(checkpoint), release, checkpoint, device, side=SIDE)

    def answer(self, question: Question) -> Answer:
        """Predict a scene."""
        images = _batch(question.pictures, SIDE).to(self._device)
        mean, deviation = (
            torch.tensor(values, device=self._device)[:, None, None]
            for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        )
        views = [{"img": ((image - mean) / deviation)[None], "data_norm_type": ["dinov2"]} for image in images]
        said = self._model.infer(views)
        camera_to_world = np.concatenate([view["camera_poses"].float().cpu().numpy() for view in said])
        return Answer(
            depth=tuple(view["depth_z"][0, ..., 0].float().cpu().numpy() for view in said),
            world_to_camera=np.linalg.inv(camera_to_world.astype(np.float64)).astype(np.float32),
            intrinsics=np.concatenate([view["intrinsics"].float().cpu().numpy() for view in said]),
        )


class MoGe(_Installed):
    """MoGe (Wang et al., 2024) on single pictures, package ``moge``."""

    name = "moge"
    tasks: tuple[Task, ...] = ("depth",)

    def __init__(self, checkpoint: str = "Ruicheng/moge-2-vitl-normal", device: str = "auto") -> None:
        module, release = _package("moge.model.v2", "moge", "pip install git+https://github.com/microsoft/MoGe")
        super().__init__(module.MoGeModel.from_pretrained(checkpoint), release, checkpoint, device)

    def answer(self, question: Question) -> Answer:
        """Predict pictures one by one."""
        maps = []
        for picture in question.pictures:
            image = torch.tensor(picture.pixels).permute(2, 0, 1).float().to(self._device) / 255
            depth = self._model.infer(image)["depth"].float().cpu().numpy()
            maps.append(np.where(np.isfinite(depth), depth, 0).astype(np.float32))
        return Answer(depth=tuple(maps))


class DepthAnything2(_Installed):
    """Depth Anything 2 (Yang et al., 2024) through ``transformers``; it predicts disparity."""

    name = "depth-anything-2"
    tasks: tuple[Task, ...] = ("depth",)

    def __init__(self, checkpoint: str = "depth-anything/Depth-Anything-V2-Large-hf", device: str = "auto") -> None:
        module, release = _package("transformers", "transformers", "pip install transformers")
        self._processor = module.AutoImageProcessor.from_pretrained(checkpoint)
        model = module.AutoModelForDepthEstimation.from_pretrained(checkpoint)
        super().__init__(model, release, checkpoint, device)

    def answer(self, question: Question) -> Answer:
        """Predict pictures one by one."""
        maps = []
        for picture in question.pictures:
            inputs = self._processor(images=picture.pixels, return_tensors="pt").to(self._device)
            with torch.inference_mode():
                maps.append(self._model(**inputs).predicted_depth[0].float().cpu().numpy())
        return Answer(depth=tuple(maps), disparity=True)
