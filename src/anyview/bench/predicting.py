"""The first loop: what a model says of every scene, to disk."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from anyview.bench.datasets.scene import BenchFrame, BenchScene
from anyview.bench.measure import Measurement
from anyview.bench.options import Pass
from anyview.bench.results import Record, RunFolder
from anyview.bench.rivals.rival import Answer, Question, Rival
from anyview.exporters.colors import spectral
from anyview.files import atomic_path
from anyview.options import Protocol
from anyview.types import Cameras, Picture

PREVIEW_HEIGHT = 160
"""Pixels."""


def predict_scene(rival: Rival, scene: BenchScene, part: Pass, protocol: Protocol, folder: RunFolder) -> None:
    """Ask a model for a scene and write what it says.

    Raises:
        ValueError: the model cannot answer, or its answer is none.
    """
    with Measurement() as measured:
        answer = _one_by_one(rival, scene) if part == "single" else rival.answer(question_of(scene, part, protocol))
    _check(answer, scene, part)
    record = Record(seconds=measured.seconds, peak_bytes=measured.peak_bytes, device=measured.device, frames=len(scene))
    with atomic_path(folder.preview(scene.dataset, scene.name, part)) as temporary:
        shown = scene.frames[scene.targets[0] if part == "context" else 0].read_picture()
        Image.fromarray(preview_of(shown, answer)).save(temporary, quality=88)
    folder.write_answer(scene, part, answer, record)


def preview_of(pixels: UInt8[np.ndarray, "height width 3"], answer: Answer) -> UInt8[np.ndarray, "rows columns 3"]:
    """Show a picture beside what was rendered in its place, or its depth, near red and far violet; or alone."""
    scale = PREVIEW_HEIGHT / pixels.shape[0]
    size = (max(1, round(scale * pixels.shape[1])), PREVIEW_HEIGHT)
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    if answer.rendered is not None:
        return np.concatenate([small, cv2.resize(answer.rendered[0], size, interpolation=cv2.INTER_AREA)], axis=1)
    if answer.depth is None:
        return small
    depth = answer.depth[0]
    known = np.isfinite(depth) & (depth > 0)
    place = np.zeros(depth.shape, np.float32)
    if known.any():
        nearness = depth[known] if answer.disparity else 1 / depth[known]
        low, high = np.percentile(nearness, (2, 98))
        place[known] = 1 - np.clip((nearness - low) / max(high - low, 1e-12), 0, 1)
    colors = np.where(known[..., None], spectral(place), np.uint8(64))
    return np.concatenate([small, cv2.resize(colors, size, interpolation=cv2.INTER_NEAREST)], axis=1)


def question_of(scene: BenchScene, part: Pass, protocol: Protocol) -> Question:
    """Return what a model is given of a scene. "compat" passes intrinsics on as they are published (quirk 17)."""
    if part == "context":
        return _view_question(scene, protocol)
    pictures = _pictures(scene.frames)
    if part != "posed":
        return Question(pictures=pictures)
    matrices = scene.intrinsics() if protocol == "compat" else scene.corner_intrinsics()
    cameras = Cameras(torch.from_numpy(scene.world_to_camera()), torch.from_numpy(matrices))
    return Question(pictures=pictures, cameras=cameras, raw_scale=protocol == "sane")


def _view_question(scene: BenchScene, protocol: Protocol) -> Question:
    shown = [index for index in range(len(scene)) if index not in set(scene.targets)]
    cameras = Cameras(torch.from_numpy(scene.world_to_camera()), torch.from_numpy(scene.corner_intrinsics()))
    pictures = _pictures([scene.frames[index] for index in shown])
    return Question(
        pictures=pictures,
        cameras=cameras[shown],
        targets=cameras[list(scene.targets)],
        black_holes=protocol == "compat",
    )


def _pictures(frames: Sequence[BenchFrame]) -> tuple[Picture, ...]:
    return tuple(Picture(frame.read_picture(), frame.name) for frame in frames)


def _one_by_one(rival: Rival, scene: BenchScene) -> Answer:
    ask = _ask_twice if scene.mirrored else _ask
    answers = [ask(rival, frame) for frame in scene.frames]
    maps = [answer.depth[0] for answer in answers if answer.depth is not None]
    placements = [answer.placements[0] for answer in answers if answer.placements is not None]
    return replace(
        answers[0],
        depth=tuple(maps),
        world_to_camera=None,
        intrinsics=None,
        confidence=None,
        placements=tuple(placements) if len(placements) == len(answers) else None,
    )


def _ask(rival: Rival, frame: BenchFrame) -> Answer:
    matrix = None if frame.intrinsics is None else np.asarray(frame.intrinsics, np.float32)[None]
    return rival.answer(Question(pictures=_pictures([frame]), intrinsics=matrix))


def _ask_twice(rival: Rival, frame: BenchFrame) -> Answer:
    """Average what a model says of a picture and of its mirror image, as ZoeDepth's evaluation does."""
    matrix = None
    if frame.intrinsics is not None:
        matrix = np.array(frame.intrinsics, np.float32)
        matrix[0, 2] = frame.read_size()[1] - matrix[0, 2]
    mirrored = replace(
        frame, read_picture=lambda: np.ascontiguousarray(frame.read_picture()[:, ::-1]), intrinsics=matrix
    )
    answer, other = _ask(rival, frame), _ask(rival, mirrored)
    if answer.depth is None or other.depth is None:
        return answer
    return replace(answer, depth=((answer.depth[0] + other.depth[0][:, ::-1]) / 2,))


def _check(answer: Answer, scene: BenchScene, part: Pass) -> None:
    views = len(scene)
    if part == "single" and (answer.depth is None or len(answer.depth) != views):
        raise ValueError(f"the model gave {len(answer.depth or ())} maps of depth for {views} pictures")
    if part == "unposed" and (answer.world_to_camera is None or answer.world_to_camera.shape != (views, 4, 4)):
        raise ValueError(f"the model gave no poses of the {views} views")
    if part == "context":
        expected = (len(scene.targets), *scene.frames[0].read_size(), 3)
        given = None if answer.rendered is None else answer.rendered.shape
        if given != expected:
            raise ValueError(f"expected rendered pictures of the shape {expected}, the model gave {given or 'none'}")
