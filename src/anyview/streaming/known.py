"""What the caller knows of the cameras: poses of all frames, of some, with gaps, and the scale of a rig."""

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from anyview.geometry.alignment import Similarity, align_trajectories
from anyview.geometry.pose import camera_centers
from anyview.streaming.frames import StreamFrame

TIME_TOLERANCE_S = 0.02
"""How far a pose's time may be from its frame's, as in the TUM benchmark."""


@dataclass(frozen=True)
class KnownPoses:
    """Camera poses (world to camera) of frames, by the frames' position in the source, name, or time."""

    by_index: Mapping[int, Float[Tensor, "4 4"]] = field(default_factory=dict)
    by_name: Mapping[str, Float[Tensor, "4 4"]] = field(default_factory=dict)
    times_s: Sequence[float] = ()
    """Ascending."""
    timed: Sequence[Float[Tensor, "4 4"]] = ()
    """One pose for each time."""
    tolerance_s: float = TIME_TOLERANCE_S

    def __len__(self) -> int:
        return len(self.by_index) + len(self.by_name) + len(self.timed)

    def find(self, frame: StreamFrame) -> Float[Tensor, "4 4"] | None:
        """Return the pose of a frame, if it is known."""
        return self.look_up(frame.index, frame.picture.name, frame.time_s)

    def look_up(self, index: int, name: str, time_s: float) -> Float[Tensor, "4 4"] | None:
        """Return the pose of the frame at a position, of a name, or nearest to a time."""
        if index in self.by_index:
            return self.by_index[index].double()
        if name in self.by_name:
            return self.by_name[name].double()
        after = bisect.bisect_left(self.times_s, time_s)
        near = [i for i in (after - 1, after) if 0 <= i < len(self.times_s)]
        nearest = min(near, key=lambda i: abs(self.times_s[i] - time_s), default=None)
        if nearest is None or abs(self.times_s[nearest] - time_s) > self.tolerance_s:
            return None
        return self.timed[nearest].double()

    def check_matches(self, frames: Sequence[tuple[int, str, float]]) -> None:
        """Refuse poses that belong to none of the frames (position, name, time) that a source is known to have.

        Raises:
            ValueError: none does.
        """
        if any(self.look_up(*frame) is not None for frame in frames):
            return
        first, last = frames[0], frames[-1]
        ours = f"frames {first[0]} to {last[0]}, {first[1]!r} to {last[1]!r}, {first[2]:.2f} to {last[2]:.2f} s"
        theirs = "names" if self.by_name else "positions"
        if self.times_s:
            theirs = f"times {self.times_s[0]:.2f} to {self.times_s[-1]:.2f} s (within {self.tolerance_s:g} s)"
        raise ValueError(
            f"none of the {len(self)} known poses belongs to a frame: they have {theirs}, the source {ours}"
        )


@dataclass(frozen=True)
class Anchor:
    """Where a window lies in the world of the known poses."""

    similarity: Similarity
    scale_known: bool
    """Whether the known poses say how large the window is."""


def anchor_window(predicted: Float[Tensor, "views 4 4"], known: Sequence[Float[Tensor, "4 4"] | None]) -> Anchor | None:
    """Fit a window's cameras to the known ones among them; None where there are none."""
    views = [view for view, pose in enumerate(known) if pose is not None]
    if not views:
        return None
    target = torch.stack([pose for pose in known if pose is not None]).double()
    found = align_trajectories(predicted[views].double(), target)
    return Anchor(found.similarity, found.scale_known)


def rig_scale(world_to_camera: Float[Tensor, "views 4 4"], indices: Sequence[int], baseline: float) -> float | None:
    """Return the factor that gives the pairs of a stereo rig, frames 2k and 2k + 1, their distance (the median's).

    None where a window holds no whole pair.
    """
    centers = camera_centers(world_to_camera.double())
    place = {index: view for view, index in enumerate(indices)}
    pairs = [(view, place[index + 1]) for index, view in place.items() if index % 2 == 0 and index + 1 in place]
    if not pairs:
        return None
    distances = torch.stack([(centers[left] - centers[right]).norm() for left, right in pairs])
    typical = float(distances.median())
    return baseline / typical if typical > 0 else None
