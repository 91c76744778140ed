"""How good the averaged network is on scenes that training never shows."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from anyview.exporters.colors import spectral
from anyview.exporters.depth_vis import NO_DEPTH, depth_range
from anyview.geometry.pose import decode_pose
from anyview.geometry.rays import cameras_from_rays
from anyview.images.preprocess import normalize
from anyview.training.config import TrainOptions
from anyview.training.samples import Source
from anyview.training.step import Reading, compare, weigh
from anyview.training.targets import make_targets
from anyview.types import Cameras, TrueViews

LARGEST_ERROR = 0.5
"""Relative error of depth that is drawn in the last colour."""


@dataclass(frozen=True)
class Answer:
    """What the network says about one scene, on the CPU, in a frame and unit of its own."""

    depth: Float[Tensor, "views height width"]
    confidence: Float[Tensor, "views height width"]
    head_cameras: Cameras
    ray_cameras: Cameras
    """Solved from the rays; NaN where they determine no camera."""


Evaluator = Callable[[Answer, TrueViews], Mapping[str, float]]
"""Scores an answer against the truth of its scene, which has no batch dimension; leaves out what makes no sense."""


@dataclass(frozen=True)
class Validation:
    """Numbers by name, and pictures by name."""

    scores: Mapping[str, float]
    pictures: Mapping[str, UInt8[np.ndarray, "height width 3"]]


@torch.no_grad()
def validate(
    reader: nn.Module, source: Source, evaluators: Sequence[Evaluator], options: TrainOptions, device: torch.device
) -> Validation:
    """Run the network on validation scenes; scores are means over scenes, for each number of views on its own."""
    scores: dict[str, list[float]] = defaultdict(list)
    pictures = {}
    for views in options.validation_views:
        for index in range(options.validation_scenes):
            truth = source.batch((index,), views, *options.validation_size, options.validation_spread)
            answer, losses = _read_scene(reader, to_device(truth, device), options)
            scene = first_scene(truth)
            found = dict(losses)
            for evaluate in evaluators:
                found.update(evaluate(answer, scene))
            for name, value in found.items():
                scores[f"{views}views/{name}"].append(value)
            if index == 0:
                pictures[f"{views}views"] = draw_answer(answer, scene)
    return Validation({name: float(np.mean(values)) for name, values in scores.items()}, pictures)


def _read_scene(reader: nn.Module, truth: TrueViews, options: TrainOptions) -> tuple[Answer, Mapping[str, float]]:
    targets = make_targets(truth)
    unknown = torch.zeros(1, dtype=torch.bool, device=truth.depth.device)
    reading: Reading = reader(normalize(truth.images), truth.cameras, unknown)
    terms = compare(reading, targets, options.confidence_weight)
    losses = {"loss": weigh(terms, options).item(), **{name: value.item() for name, value in terms.items()}}
    depth, confidence, rays, ray_confidence, encoding = (_first(value) for value in reading[:5])
    height, width = truth.depth.shape[-2:]
    answer = Answer(
        depth=depth,
        confidence=confidence,
        head_cameras=decode_pose(encoding, height, width),
        ray_cameras=cameras_from_rays(rays, ray_confidence, height, width),
    )
    return answer, losses


def _first(values: Tensor | None) -> Tensor:
    assert values is not None, "validation reads everything"
    return values[0].float().cpu()


def to_device(truth: TrueViews, device: torch.device) -> TrueViews:
    """Move what training reads of true scenes to a device."""
    cameras = Cameras(truth.cameras.world_to_camera.to(device), truth.cameras.intrinsics.to(device))
    return TrueViews(truth.images.to(device), truth.depth.to(device), cameras)


def first_scene(truth: TrueViews) -> TrueViews:
    """Take the first scene out of a batch, to the CPU."""

    def take(values: Tensor | None) -> Tensor | None:
        return None if values is None else values[0].cpu()

    return TrueViews(
        images=truth.images[0].cpu(),
        depth=truth.depth[0].cpu(),
        cameras=Cameras(truth.cameras.world_to_camera[0].cpu(), truth.cameras.intrinsics[0].cpu()),
        sky=take(truth.sky),
        objects=take(truth.objects),
        normals=take(truth.normals),
        metric=truth.metric,
    )


def draw_answer(answer: Answer, truth: TrueViews) -> UInt8[np.ndarray, "total_height total_width 3"]:
    """Draw a row for each view: the picture, its depth, the true depth, and the relative error (violet: none).

    Depth is brought to the truth's unit by one factor for all views.
    """
    depth, true = answer.depth.numpy(), truth.depth.numpy()
    valid = np.isfinite(true) & (true > 0)
    unit = np.median(true[valid] / depth[valid]) if valid.any() else 1.0
    return np.concatenate(list(_rows(truth.images.numpy(), (depth * unit).astype(np.float32), true, valid)))


def _rows(
    images: np.ndarray, depth: np.ndarray, true: np.ndarray, valid: np.ndarray
) -> Iterator[UInt8[np.ndarray, "height total_width 3"]]:
    for picture, guessed, exact, good in zip(images, depth, true, valid, strict=True):
        shown = depth_range(exact, good)
        known = np.where(good, exact, np.float32(1.0))
        error = np.abs(guessed - known) / known
        panels = [spectral(shown.place(values)) for values in (guessed, known)]
        panels.append(spectral(1 - error / LARGEST_ERROR))
        for panel in panels[1:]:
            panel[~good] = NO_DEPTH
        yield np.concatenate([picture, *panels], axis=1)
