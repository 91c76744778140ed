"""What the benchmark asks of a model: one small class."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from anyview.bench.options import Task
from anyview.types import Cameras, Picture, Placement


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a model is given of a scene."""

    pictures: tuple[Picture, ...]
    """As stored, EXIF orientation ignored. The first is the reference view."""
    cameras: Cameras | None = None
    """True cameras, in the posed pass only."""
    intrinsics: Float[np.ndarray, "views 3 3"] | None = None
    """True intrinsics, for single pictures whose data set knows them: metric models need a focal length."""
    raw_scale: bool = False
    """Posed pass: leave depth and cameras as the model says them ("sane"), instead of depth in the scale of the known
    cameras beside those ("compat", quirk 5)."""
    targets: Cameras | None = None
    """View synthesis: the cameras whose pictures are to be rendered, of the size of `pictures`."""
    black_holes: bool = False
    """View synthesis: leave black what no Gaussian shows ("compat"), instead of filling it from beside, as where
    colours are warped."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What it says. What it cannot say is None."""

    depth: tuple[Float[np.ndarray, "rows columns"], ...] | None = None
    """One map for each picture: z-depth in any unit that the scene shares, 0 where there is none."""
    disparity: bool = False
    """`depth` holds disparity instead, larger where things are nearer."""
    world_to_camera: Float[np.ndarray, "views 4 4"] | None = None
    """NaN for views that could not be placed."""
    intrinsics: Float[np.ndarray, "views 3 3"] | None = None
    """In pixels of the maps; the first pixel's centre is (0.5, 0.5)."""
    confidence: tuple[Float[np.ndarray, "rows columns"], ...] | None = None
    placements: tuple[Placement, ...] | None = None
    """Where the maps lie in the pictures; None: each covers all of its picture."""
    rendered: UInt8[np.ndarray, "targets height width 3"] | None = None
    """View synthesis: what the target cameras see."""


@runtime_checkable
class Rival(Protocol):
    """A model in the benchmark's harness."""

    @property
    def name(self) -> str:
        """What tables call it."""

    @property
    def identity(self) -> Mapping[str, str | int | float | bool]:
        """Everything that its results depend on, weights included: results of another identity are not mixed in."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What it can be scored at."""

    def answer(self, question: Question) -> Answer:
        """Answer for one scene, or for one picture.

        Raises:
            ValueError: it cannot, and why, in one line.
        """
