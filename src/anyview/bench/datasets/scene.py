"""What readers of data sets hand over: scenes with their truth, read piece by piece when it is needed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, UInt8

from anyview.bench.options import Task

PixelOrigin = Literal["centre", "corner"]
"""Where intrinsics put the coordinates (0, 0): at the centre of the first pixel, or at its corner (ours)."""


@dataclass(frozen=True, kw_only=True)
class BenchFrame:
    """One picture of a scene, and what is known of it."""

    name: str
    """Path relative to the scene."""
    read_picture: Callable[[], UInt8[np.ndarray, "height width 3"]]
    """The pixels that models see."""
    read_size: Callable[[], tuple[int, int]]
    """(height, width) of the picture."""
    world_to_camera: Float[np.ndarray, "4 4"] | None = None
    intrinsics: Float[np.ndarray, "3 3"] | None = None
    """In pixels of the picture."""
    camera_size: tuple[int, int] | None = None
    """(height, width) that `intrinsics` belong to, where they are not the picture's."""
    read_valid: Callable[[], Bool[np.ndarray, "rows columns"] | None] = lambda: None
    """Where predicted depth counts, at the resolution of fusion; None: everywhere."""
    read_depth: Callable[[], Float[np.ndarray, "rows columns"]] | None = None
    """True z-depth in metres, 0 where there is none."""
    valid_files: tuple[Path, ...] = ()
    """What `read_valid` needs, to be looked for before any work."""


@dataclass(frozen=True)
class MeshTruth:
    """A surface, of which points are sampled."""

    path: Path


@dataclass(frozen=True)
class CloudTruth:
    """Points as they are, in a file or in memory."""

    path: Path | None = None
    read: Callable[[], Float[np.ndarray, "points 3"]] | None = None


@dataclass(frozen=True)
class DtuTruth:
    """A scan with the volume that was observed and the table it stands on."""

    points: Path
    observed: Path
    """ObsMask, BB and Res."""
    plane: Path


@dataclass(frozen=True, kw_only=True)
class TsdfRecipe:
    """How depth becomes a surface and how it is compared (benchmark 2.0); lengths in the unit of the scene."""

    voxel_size: float
    truncation: float
    largest_depth: float
    threshold: float
    """Of precision, recall and F-score."""
    evaluation_voxel: float
    """Both clouds are thinned to voxels of this size."""
    samples: int = 1_000_000
    """Points on a surface."""
    fusion_size: tuple[int, int] | None = None
    """(height, width) that depth is fused at; None: that of the pictures."""
    crop_margin: float | None = None
    """Predicted points further than this outside of the truth's box do not count; None: all count."""


@dataclass(frozen=True, kw_only=True)
class BenchScene:
    """Frames in order; the first is the reference view."""

    dataset: str
    name: str
    """May contain slashes."""
    frames: tuple[BenchFrame, ...]
    pixel_origin: PixelOrigin = "centre"
    truth: MeshTruth | CloudTruth | DtuTruth | None = None
    read_recipe: Callable[[], TsdfRecipe] | None = None
    """How its geometry is scored; DTU has rules of its own."""
    notes: tuple[str, ...] = ()
    """What is worth knowing of what was found, one sentence each."""
    mirrored: bool = False
    """Single pictures: average what a model says of a picture and of its mirror image."""
    targets: tuple[int, ...] = ()
    """View synthesis: frames that are to be rendered."""
    cut_to: tuple[int, int] | None = None
    """View synthesis: (height, width) that the data set's protocol cuts pictures to; None: it has no such rule."""

    def __len__(self) -> int:
        return len(self.frames)

    def select(self, indices: Sequence[int]) -> "BenchScene":
        """Keep some of the frames."""
        return replace(self, frames=tuple(self.frames[index] for index in indices))

    def world_to_camera(self) -> Float[np.ndarray, "frames 4 4"]:
        """Return the true poses, float32."""
        return np.stack([_known(frame.world_to_camera) for frame in self.frames]).astype(np.float32)

    def intrinsics(self) -> Float[np.ndarray, "frames 3 3"]:
        """Return the true intrinsics as published, float32."""
        return np.stack([_known(frame.intrinsics) for frame in self.frames]).astype(np.float32)

    def corner_intrinsics(self) -> Float[np.ndarray, "frames 3 3"]:
        """Return the true intrinsics in our convention: the first pixel's centre is (0.5, 0.5)."""
        matrices = self.intrinsics()
        if self.pixel_origin == "centre":
            matrices[:, :2, 2] += 0.5
        return matrices


def _known(value: Float[np.ndarray, "rows columns"] | None) -> Float[np.ndarray, "rows columns"]:
    assert value is not None, "a scene of this task has cameras"
    return value


@runtime_checkable
class Reader(Protocol):
    """One data set at one place on disk."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What it has the truth for."""

    def scenes(self) -> tuple[str, ...]:
        """Name the scenes that are there.

        Raises:
            ValueError: there are none; the expected layout is named.
        """

    def load(self, name: str) -> BenchScene:
        """Find a scene's files; pictures and truth are read later.

        Raises:
            ValueError: there is no such scene, or files of it are missing.
        """
