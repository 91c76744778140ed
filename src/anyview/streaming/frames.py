"""What streams consist of: frames as they come, and what a network says about a few of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from anyview.geometry.alignment import Similarity
from anyview.types import Cameras, Picture, Units


@dataclass(frozen=True)
class StreamFrame:
    """A frame of a source."""

    index: int
    """Position in the source, from 0; positions of unreadable frames are left out."""
    time_s: float
    picture: Picture


@dataclass(frozen=True)
class PosedViews:
    """Pictures with depth and cameras that fit together, in a frame and unit of their own."""

    images: UInt8[Tensor, "views height width 3"]
    depth: Float[Tensor, "views height width"]
    confidence: Float[Tensor, "views height width"]
    """1 and above; below means that a pixel has no prediction."""
    cameras: Cameras
    """In pixels of the maps."""

    def __len__(self) -> int:
        return len(self.depth)

    def __getitem__(self, index: Any) -> "PosedViews":
        """Select views by a slice or a list."""
        return PosedViews(self.images[index], self.depth[index], self.confidence[index], self.cameras[index])

    def moved(self, similarity: Similarity) -> "PosedViews":
        """Bring them into another frame and unit."""
        scale = similarity.scale.to(self.depth)
        moves = Similarity(*(part.double() for part in (similarity.scale, similarity.rotation, similarity.translation)))
        poses = moves.apply_to_poses(self.cameras.world_to_camera.double())
        moved_cameras = Cameras(poses.to(self.cameras.world_to_camera), self.cameras.intrinsics)
        return replace(self, depth=scale * self.depth, cameras=moved_cameras)


def join_views(parts: Sequence[PosedViews]) -> PosedViews:
    """Put views of one frame and unit one after the other."""
    return PosedViews(
        torch.cat([part.images for part in parts]),
        torch.cat([part.depth for part in parts]),
        torch.cat([part.confidence for part in parts]),
        Cameras(
            torch.cat([part.cameras.world_to_camera for part in parts]),
            torch.cat([part.cameras.intrinsics for part in parts]),
        ),
    )


@dataclass(frozen=True)
class WindowGeometry:
    """What a network says about the frames of a window."""

    views: PosedViews
    descriptors: Float[Tensor, "views channels"]
    """One vector per view, similar for pictures of one place, independent of the window's other views."""
    units: Units = "arbitrary"


@runtime_checkable
class WindowPredictor(Protocol):
    """Whatever turns a few frames into geometry; networks do (`network.NetworkPredictor`)."""

    @property
    def name(self) -> str:
        """What to call it in reports."""
        ...

    def predict_window(
        self, frames: Sequence[StreamFrame], known: Cameras | None = None, known_views: Sequence[int] = ()
    ) -> WindowGeometry:
        """Predict the geometry of frames together.

        Args:
            frames: At least one, all pictures of one size.
            known: Cameras that are known beforehand, in pixels of the maps, in any frame: to be used where that helps.
            known_views: Which of the frames they belong to.
        """
        ...
