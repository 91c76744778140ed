"""A prediction's Gaussians -> the pictures of target cameras."""

import numpy as np
import torch
from jaxtyping import UInt8

from anyview.bench.rivals.rival import Question
from anyview.options import GaussianOptions
from anyview.render.holes import fill_behind
from anyview.render.paths import find_focus
from anyview.render.rasterize import rasterize
from anyview.render.refine import refine
from anyview.render.scene import scene_gaussians
from anyview.types import Cameras, Prediction, map_tensors


def render_targets(
    prediction: Prediction, question: Question, refine_steps: int, device: torch.device
) -> UInt8[np.ndarray, "targets height width 3"]:
    """Render what the target cameras see: predicted Gaussians, or else those of depth and colour.

    Holes are filled from beside, unless the question wants them black. ``refine_steps`` fit them to the
    shown pictures first.

    Raises:
        ValueError: nothing is left to render.
    """
    assert question.cameras is not None
    assert question.targets is not None
    gaussians = scene_gaussians(prediction, GaussianOptions(pixel_gaussians=True))
    cameras, targets = _to(question.cameras, device), _to(question.targets, device)
    gaussians = map_tensors(gaussians, lambda tensor: tensor.to(device))
    height, width = question.pictures[0].pixels.shape[:2]
    if refine_steps:
        images = torch.stack([torch.tensor(picture.pixels) for picture in question.pictures])
        gaussians = refine(gaussians, images.to(device), cameras, refine_steps)
    near = find_focus(cameras, gaussians.means).near
    seen = []
    for target in range(len(targets)):
        with torch.inference_mode():
            view = rasterize(gaussians, targets[target : target + 1], height, width, near=near)
            color = view.color[0] if question.black_holes else fill_behind(view.color[0], view.alpha[0])
        seen.append((color.clamp(0, 1) * 255).round().byte().cpu().numpy())
    return np.stack(seen)


def _to(cameras: Cameras, device: torch.device) -> Cameras:
    return map_tensors(cameras, lambda tensor: tensor.to(device))
