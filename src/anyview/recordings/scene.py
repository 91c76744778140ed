"""Real scenes: pictures with depth and cameras, read one by one when they are needed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from anyview.geometry.pose import check_cameras
from anyview.types import Cameras


@dataclass(frozen=True)
class SparseDepth:
    """Depth at single points of a picture, as structure from motion knows it."""

    pixels: Float[np.ndarray, "points 2"]
    """(x, y); the top left pixel's centre is (0.5, 0.5)."""
    depth: Float[np.ndarray, " points"]


@dataclass(frozen=True)
class Frame:
    """One picture and its depth."""

    pixels: UInt8[np.ndarray, "height width 3"]
    intrinsics: Float[np.ndarray, "3 3"]
    """In pixels of the picture."""
    depth: Float[np.ndarray, "rows columns"] | SparseDepth
    """z-depth in the unit of the scene's poses, 0 where there is none; a map may have another resolution than the
    picture."""


@dataclass(frozen=True)
class RealScene:
    """Frames in order."""

    name: str
    world_to_camera: Float[Tensor, "frames 4 4"]
    read: Callable[[int], Frame]
    """Reads a frame; raises a ValueError that names the file if it is missing, misshapen or not finite."""

    def __len__(self) -> int:
        return len(self.world_to_camera)


@runtime_checkable
class Library(Protocol):
    """Many scenes, of which few are at hand at a time."""

    @property
    def frames(self) -> Sequence[int]:
        """Number of frames of every scene."""

    @property
    def blocks(self) -> Sequence[Sequence[int]]:
        """Scenes that are quick to read one after the other."""

    def scene(self, number: int) -> RealScene:
        """Return a scene."""


class SceneList:
    """Scenes at hand."""

    def __init__(self, scenes: Sequence[RealScene]) -> None:
        self.scenes = tuple(scenes)
        self.frames = tuple(map(len, self.scenes))
        self.blocks = tuple((number,) for number in range(len(self.scenes)))

    def scene(self, number: int) -> RealScene:
        """Return a scene."""
        return self.scenes[number]


def check_poses(path: Path, cameras: Cameras) -> None:
    """Refuse cameras that cannot be right.

    Raises:
        ValueError: naming the file they come from.
    """
    try:
        check_cameras(cameras)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def check_depth(
    path: Path, depth: Float[np.ndarray, "..."], size: tuple[int, int] | None = None
) -> Float[np.ndarray, "rows columns"]:
    """Return a map of depth; ``size`` is the (height, width) that it must have.

    Raises:
        ValueError: naming its file, if it is no map, of another size, or holds what is not finite or negative.
    """
    if depth.ndim != 2 or (size is not None and depth.shape != size):
        wanted = "a map [height, width]" if size is None else f"{size[0]}x{size[1]} values, as its picture has"
        raise ValueError(f"{path}: expected depth of {wanted}; got the shape {list(depth.shape)}")
    if not np.isfinite(depth).all():
        raise ValueError(f"{path}: depth holds NaN or infinite values; 0 is for pixels without depth")
    if (depth < 0).any():
        raise ValueError(f"{path}: depth holds negative values; 0 is for pixels without depth")
    return depth.astype(np.float32)


def read_depth(path: Path, png_unit: float) -> Float[np.ndarray, "..."]:
    """Read depth from an .npy file, or from a 16-bit .png whose steps are ``png_unit``.

    Raises:
        ValueError: naming the file that is missing or cannot be read.
    """
    import cv2

    if not path.is_file():
        raise ValueError(f"no such depth file: {path}")
    if path.suffix == ".npy":
        try:
            array = np.load(path, allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise ValueError(f"{path} is not a readable .npy file ({error})") from error
        if array.dtype.kind not in "fiu":
            raise ValueError(f"{path}: expected numbers, got values of type {array.dtype}")
        return array.astype(np.float32)
    array = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED) if path.stat().st_size else None
    if array is None or array.dtype != np.uint16:
        raise ValueError(f"{path}: expected a PNG of 16 bits, got {'no picture' if array is None else array.dtype}")
    return array.astype(np.float32) * np.float32(png_unit)
