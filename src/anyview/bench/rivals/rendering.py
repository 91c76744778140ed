"""A prediction's Gaussians -> the pictures of target cameras."""

from dataclasses import fields

import numpy as np
import torch
from jaxtyping import UInt8

from anyview.bench.rivals.rival import Question
from anyview.options import GaussianOptions
from anyview.render.rasterize import rasterize
from anyview.render.refine import refine
from anyview.render.scene import scene_gaussians
from anyview.types import Cameras, Gaussians, Prediction


def render_targets(
    prediction: Prediction, question: Question, refine_steps: int, device: torch.device
) -> UInt8[np.ndarray, "targets height width 3"]:
    """Render what the target cameras see: predicted Gaussians, or else those of depth and colour, on black.

    ``refine_steps`` fit them to the shown pictures first.

    Raises:
        ValueError: nothing is left to render.
    """
    assert question.cameras is not None
    assert question.targets is not None
    gaussians = scene_gaussians(prediction, GaussianOptions(pixel_gaussians=True))
    gaussians = Gaussians(**{field.name: getattr(gaussians, field.name).to(device) for field in fields(Gaussians)})
    height, width = question.pictures[0].pixels.shape[:2]
    if refine_steps:
        images = torch.stack([torch.tensor(picture.pixels) for picture in question.pictures])
        gaussians = refine(gaussians, images.to(device), _to(question.cameras, device), refine_steps)
    seen = []
    for target in range(len(question.targets)):
        camera = _to(question.targets[target : target + 1], device)
        with torch.inference_mode():
            color = rasterize(gaussians, camera, height, width).color[0]
        seen.append((color.clamp(0, 1) * 255).round().byte().cpu().numpy())
    return np.stack(seen)


def _to(cameras: Cameras, device: torch.device) -> Cameras:
    return Cameras(cameras.world_to_camera.to(device), cameras.intrinsics.to(device))
