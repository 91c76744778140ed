"""What a run tells about itself: JSON lines, TensorBoard, a line of progress."""

import json
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from anyview.files import atomic_path
from anyview.training.config import TrainOptions
from anyview.training.folder import RunFolder

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Journal:
    """Writes numbers and pictures of one run; only the team's first process has one that `writes`."""

    def __init__(
        self, folder: RunFolder, options: TrainOptions, start: int, say: Callable[[str], None], *, writes: bool
    ) -> None:
        self.folder, self.options, self.say, self.writes = folder, options, say, writes
        self.start, self.started = start, time.monotonic()
        self.views, self.last_views, self.last_time = 0, 0, self.started
        self.board = _open_board(folder) if options.tensorboard and writes else None

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.board is not None:
            self.board.close()

    def saw(self, views: int) -> None:
        """Count the pictures of a step."""
        self.views += views

    def write_step(self, step: int, values: Mapping[str, float]) -> None:
        """Log a training step, and say how fast it goes and how long it will take."""
        now = time.monotonic()
        speed = (self.views - self.last_views) / max(now - self.last_time, 1e-9)
        self.last_views, self.last_time = self.views, now
        self.write(step, {**values, "views_per_second": round(speed, 2)})
        left = (now - self.started) / (step - self.start) * (self.options.steps - step)
        if self.writes:
            self.say(
                f"step {step}/{self.options.steps}  loss {values['loss']:.4f}  {speed:.0f} views/s  {_clock(left)} left"
            )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log numbers."""
        if not self.writes:
            return
        with self.folder.log.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(name, value, step)

    def write_picture(self, step: int, name: str, picture: UInt8[np.ndarray, "height width 3"]) -> None:
        """Keep a picture."""
        from PIL import Image

        if not self.writes:
            return
        with atomic_path(self.folder.validation / f"{step:08d}_{name}.png") as temporary:
            Image.fromarray(picture).save(temporary)
        if self.board is not None:
            self.board.add_image(name, picture, step, dataformats="HWC")


def _open_board(folder: RunFolder) -> "SummaryWriter":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError('TensorBoard\'s logs need `pip install "anyview[train]"`') from error
    return SummaryWriter(str(folder.tensorboard))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
