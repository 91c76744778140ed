"""A stream's folder: what a killed run goes on from, and the depth of every frame.

run.json                       what runs here: source, model, options
windows/00000012.npz           what window 12 added to the scene; the file that commits it
windows/00000012.overlap.npz   what window 13 needs of it, and where all windows are; removed once 13 is committed
frames/00000345.npz            picture, depth, confidence of frame 345 of the source

Every file is written whole or not at all. Depth is stored in half precision in parts of its window's unit (relative
error 5e-4), confidence c as 1 + 254 (1 − 1/c) in 8 bits, 0 where there is no prediction, the picture as JPEG.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from anyview.files import atomic_path

Arrays = Mapping[str, Shaped[np.ndarray, "..."]]
FORMAT = "anyview-stream-2"
JPEG_QUALITY = 92


class StreamStore:
    """Reads and writes the folder of a stream."""

    def __init__(self, folder: Path, disk_limit_bytes: int | None = None) -> None:
        self.folder = folder
        self.disk_limit_bytes = disk_limit_bytes
        self._description = folder / "run.json"
        self._windows = folder / "windows"
        self._frames = folder / "frames"
        self._sizes: dict[int, int] = {}
        """Bytes of every stored frame."""
        self._window_bytes = 0

    @property
    def disk_bytes(self) -> int:
        """Size of all that is stored."""
        return sum(self._sizes.values()) + self._window_bytes

    @property
    def journal_bytes(self) -> int:
        """Of these, what is never let go of."""
        return self._window_bytes

    def open(self, description: Mapping[str, Any], *, resume: bool) -> int:
        """Make the folder ready; return how many windows are there already.

        Raises:
            ValueError: the folder holds a run and ``resume`` was not said, or it is to be resumed with other settings.
        """
        wanted = json.loads(json.dumps({"format": FORMAT, **description}))
        done = len(self._committed())
        if self._description.exists() and done:
            if not resume:
                raise ValueError(f"{self.folder} holds a stream of {done} windows; pass --resume to go on with it")
            there = json.loads(self._description.read_text())
            changed = [name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name)]
            if changed:
                was = ", ".join(f"{name} was {there.get(name)!r}, now {wanted.get(name)!r}" for name in sorted(changed))
                raise ValueError(f"{self.folder} holds another stream and cannot be resumed: {was}")
        for folder in (self._windows, self._frames):
            folder.mkdir(parents=True, exist_ok=True)
            for leftover in folder.glob(".*-*"):  # of a killed process
                shutil.rmtree(leftover)
        for path in self._windows.glob("*.overlap.npz"):  # of a window that was not committed, or is superseded
            if path != self._overlap_path(done - 1):
                path.unlink()
        with atomic_path(self._description) as temporary:
            temporary.write_text(json.dumps(wanted, indent=2) + "\n")
        for path in self._frames.glob("*.npz"):
            self._sizes[int(path.stem)] = path.stat().st_size
        self._window_bytes = sum(path.stat().st_size for path in self._windows.glob("*.npz"))
        return done

    def commit_window(self, index: int, record: Arrays, overlap: Arrays) -> None:
        """Add a window: from then on a resumed run starts after it."""
        _save(self._overlap_path(index), overlap, compressed=True)
        _save(self._window_path(index), record)
        self._window_bytes += self._overlap_path(index).stat().st_size + self._window_path(index).stat().st_size
        previous = self._overlap_path(index - 1)
        if previous.exists():
            self._window_bytes -= previous.stat().st_size
            previous.unlink()

    def read_window(self, index: int) -> Arrays:
        """Return what window ``index`` added."""
        return _load(self._window_path(index))

    def read_overlap(self, index: int) -> Arrays:
        """Return what the next window needs of window ``index``, the last one."""
        return _load(self._overlap_path(index))

    def write_frame(
        self,
        index: int,
        image: UInt8[Tensor, "height width 3"],
        depth: Float[Tensor, "height width"],
        confidence: Float[Tensor, "height width"],
    ) -> None:
        """Store a frame, and let go of others where the disk's limit is passed."""
        jpeg = cv2.imencode(".jpg", image.numpy()[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        path = self._frame_path(index)
        arrays: dict[str, np.ndarray] = {
            "image": np.asarray(jpeg),
            "depth": depth.numpy().astype(np.float16),
            "confidence": _confidence_levels(confidence).numpy(),
        }
        _save(path, arrays, compressed=True)
        self._sizes[index] = path.stat().st_size
        if self.disk_limit_bytes is not None and self.disk_bytes > self.disk_limit_bytes:
            self._thin_out()

    def read_frame(
        self, index: int
    ) -> tuple[UInt8[Tensor, "height width 3"], Float[Tensor, "height width"], Float[Tensor, "height width"]]:
        """Return picture, depth and confidence of a frame as stored."""
        arrays = _load(self._frame_path(index))
        image = cv2.imdecode(arrays["image"], cv2.IMREAD_COLOR)
        assert image is not None
        levels = torch.from_numpy(arrays["confidence"].astype(np.float32))
        confidence = torch.where(levels == 0, 0.0, 1 / (1 - (levels - 1) / 254))
        depth = torch.from_numpy(arrays["depth"].astype(np.float32))
        return torch.from_numpy(np.ascontiguousarray(image[..., ::-1])), depth, confidence

    def has_frame(self, index: int) -> bool:
        """Whether a frame's depth is stored."""
        return index in self._sizes

    def frames(self) -> list[int]:
        """Return which frames are stored, in order."""
        return sorted(self._sizes)

    def _thin_out(self) -> None:
        """Remove every second frame of the older half, and of all where that is not enough."""
        assert self.disk_limit_bytes is not None
        older = self.frames()[: max(2, len(self._sizes) // 2)]
        for index in older[1::2]:
            self._frame_path(index).unlink(missing_ok=True)
            del self._sizes[index]
        if self.disk_bytes > self.disk_limit_bytes and len(self._sizes) > 2:
            self._thin_out()

    def _committed(self) -> list[int]:
        return sorted(int(path.stem) for path in self._windows.glob("*.npz") if "." not in path.stem)

    def _window_path(self, index: int) -> Path:
        return self._windows / f"{index:08d}.npz"

    def _overlap_path(self, index: int) -> Path:
        return self._windows / f"{index:08d}.overlap.npz"

    def _frame_path(self, index: int) -> Path:
        return self._frames / f"{index:08d}.npz"


def _confidence_levels(confidence: Float[Tensor, "height width"]) -> UInt8[Tensor, "height width"]:
    levels = 1 + (254 * (1 - 1 / confidence.double().clamp(min=1))).round().clamp(max=253)
    return torch.where(confidence >= 1, levels, 0).to(torch.uint8)


def _save(path: Path, arrays: Arrays, *, compressed: bool = False) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        save: Callable[..., None] = np.savez_compressed if compressed else np.savez
        save(file, **arrays)


def _load(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
