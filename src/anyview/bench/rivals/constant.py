"""What any model must beat: everything is one metre away, and no camera has moved."""

import numpy as np

from anyview.bench.options import TASKS, Task
from anyview.bench.rivals.rival import Answer, Question

FIELD_OF_VIEW = 60.0
"""Degrees from side to side."""
MAP_PIXELS = 112
"""Longer side of the maps."""


class Constant:
    """Depth 1 everywhere and identity poses; with given cameras, those."""

    name = "constant"
    tasks: tuple[Task, ...] = tuple(task for task in TASKS if task != "view_syn")

    def __init__(self) -> None:
        self.identity: dict[str, str | int | float | bool] = {
            "model": "constant",
            "field_of_view": FIELD_OF_VIEW,
            "map_pixels": MAP_PIXELS,
        }

    def answer(self, question: Question) -> Answer:
        """Say the same of every scene."""
        sizes = [picture.pixels.shape[:2] for picture in question.pictures]
        scales = [MAP_PIXELS / max(size) for size in sizes]
        maps = [tuple(max(1, round(side * scale)) for side in size) for size, scale in zip(sizes, scales, strict=True)]
        if question.cameras is None:
            poses = np.tile(np.eye(4, dtype=np.float32), (len(sizes), 1, 1))
        else:
            poses = question.cameras.world_to_camera.numpy()
        return Answer(
            depth=tuple(np.ones(size, np.float32) for size in maps),
            world_to_camera=poses,
            intrinsics=np.stack([guessed_intrinsics(*size) for size in maps]),
        )


def guessed_intrinsics(height: int, width: int) -> np.ndarray:
    """Return K of a camera that sees `FIELD_OF_VIEW` from side to side."""
    focal = width / 2 / np.tan(np.radians(FIELD_OF_VIEW) / 2)
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], np.float32)
