"""View synthesis: which pictures are shown and which are to be rendered, at what size, and how close it came (3.1)."""

from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import torch
from jaxtyping import UInt8

from anyview.bench.datasets.scene import BenchFrame, BenchScene
from anyview.bench.metrics.images import lpips, lpips_lacks, ssim
from anyview.bench.results import Stored
from anyview.bench.sampling import choose_context, choose_targets
from anyview.geometry.camera import place_intrinsics
from anyview.render.psnr import psnr
from anyview.types import Placement

LONGEST_SIDE = 480
"""Pixels of pictures whose data set prescribes no size."""
LARGEST_LOSS = 0.35
"""Pictures that lose more of their area than this when they are cut to the common size are left out."""


def split_views(scene: BenchScene, context_views: int) -> BenchScene:
    """Choose the views that a model sees and those that it has to render, all cut to one size.

    Every eighth picture by name is a target, and ``context_views`` of the others are shown, chosen far from each other.
    The frames become the context and then the targets, with intrinsics in our convention.

    Raises:
        ValueError: fewer than two pictures are of a fitting aspect, or all are targets.
    """
    size = scene.cut_to or _common_size(scene)
    frames = sorted(scene.frames, key=lambda frame: frame.name)
    kept = [frame for frame in frames if lost_area(frame.read_size(), size) <= LARGEST_LOSS]
    targets = choose_targets(len(kept))
    others = [index for index in range(len(kept)) if index not in set(targets)]
    if not others:
        raise ValueError(
            f"{scene.dataset} {scene.name}: expected pictures to show and pictures to render, got {len(kept)} of "
            f"{len(frames)} that can be cut to {size[1]}×{size[0]} pixels"
        )
    poses = replace(scene, frames=tuple(kept[index] for index in others)).world_to_camera()
    context = [others[index] for index in choose_context(poses, context_views)]
    shift = 0.5 if scene.pixel_origin == "centre" else 0.0
    left_out = len(frames) - len(kept)
    return replace(
        scene,
        frames=tuple(_cut(kept[index], size, shift) for index in (*context, *targets)),
        pixel_origin="corner",
        targets=tuple(range(len(context), len(context) + len(targets))),
        notes=(
            *scene.notes,
            *([f"{left_out} of {len(frames)} pictures of another aspect left out"] if left_out else []),
        ),
    )


def _common_size(scene: BenchScene) -> tuple[int, int]:
    """Return the size that most pictures have, reduced to `LONGEST_SIDE`; the first of several such sizes."""
    ((height, width), _) = Counter(frame.read_size() for frame in scene.frames).most_common(1)[0]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    return round(height * scale), round(width * scale)


def lost_area(size: tuple[int, int], wanted: tuple[int, int]) -> float:
    """Part of a picture's area that cutting it to another (height, width) takes away."""
    aspect, other = size[1] / size[0], wanted[1] / wanted[0]
    return 1 - min(aspect / other, other / aspect)


def _cut(frame: BenchFrame, size: tuple[int, int], shift: float) -> BenchFrame:
    """Scale a picture until it covers ``size``, and keep its middle."""
    (height, width), (rows, columns) = frame.read_size(), size
    scale = max(rows / height, columns / width)
    scaled = max(rows, round(height * scale)), max(columns, round(width * scale))
    top, left = (scaled[0] - rows) // 2, (scaled[1] - columns) // 2
    placement = Placement(height, width, scaled[1] / width, scaled[0] / height, float(-left), float(-top))
    assert frame.intrinsics is not None, "views that are to be rendered have cameras"
    matrix = torch.from_numpy(np.asarray(frame.intrinsics, np.float64).copy())
    matrix[:2, 2] += shift

    def read_picture() -> UInt8[np.ndarray, "rows columns 3"]:
        rule = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        pixels = frame.read_picture()
        resized = pixels if scaled == (height, width) else cv2.resize(pixels, scaled[::-1], interpolation=rule)
        return np.ascontiguousarray(resized[top : top + rows, left : left + columns])

    return replace(
        frame,
        read_picture=read_picture,
        read_size=lambda: size,
        intrinsics=place_intrinsics(matrix[None], [placement])[0].numpy().astype(np.float32),
        camera_size=None,
        read_valid=lambda: None,
        read_depth=None,
    )


def score_renderings(scene: BenchScene, stored: Stored) -> tuple[dict[str, float], tuple[str, ...]]:
    """Compare rendered targets with the pictures: means over targets, and what could not be measured.

    Raises:
        ValueError: the results hold no rendered pictures.
    """
    if stored.rendered is None:
        raise ValueError("the results hold no rendered pictures")
    lacks = lpips_lacks()
    measures = {"psnr": psnr, "ssim": ssim} | ({} if lacks else {"lpips": lpips})
    values: dict[str, list[float]] = {name: [] for name in measures}
    for target, seen in zip(scene.targets, stored.rendered, strict=True):
        truth = scene.frames[target].read_picture()
        pair = [torch.tensor(pixels).permute(2, 0, 1).float() / 255 for pixels in (seen, truth)]
        for name, measure in measures.items():
            values[name].append(measure(*pair))
    return {name: float(np.mean(of_targets)) for name, of_targets in values.items()}, (lacks,) if lacks else ()
