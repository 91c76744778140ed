"""What the caller knows of the cameras: poses of all frames, of some, with gaps, and the scale of a rig."""

import bisect
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from anyview.geometry.alignment import Similarity
from anyview.geometry.pose import camera_centers, orthonormalize
from anyview.streaming.frames import StreamFrame

TIME_TOLERANCE_S = 0.02
"""How far a pose's time may be from its frame's, as in the TUM benchmark."""
ROUGHEST = 0.05
"""Largest part of the usual step between known poses that float32 may round away."""
LEAST_BASELINE = 0.01
"""Cameras nearer together than this part of the typical depth (root mean square) say nothing about scale."""


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

    def digest(self) -> str | None:
        """Identify what is known; None where nothing is."""
        if not len(self):
            return None
        said = hashlib.sha256(repr((sorted(self.by_index), sorted(self.by_name), list(self.times_s))).encode())
        said.update(repr(self.tolerance_s).encode())
        for pose in self._poses():
            said.update(pose.double().numpy().tobytes())
        return said.hexdigest()[:16]

    def _poses(self) -> list[Float[Tensor, "4 4"]]:
        by_index = [self.by_index[index] for index in sorted(self.by_index)]
        return [*by_index, *(self.by_name[name] for name in sorted(self.by_name)), *self.timed]

    def check_distances(self) -> None:
        """See that the world's origin is near enough for float32, in which windows hold cameras and points.

        Raises:
            ValueError: a step from pose to pose is hardly more than the distance between two numbers.
        """
        centers = camera_centers(torch.stack([pose.double() for pose in self._poses()]))
        farthest = float(centers.norm(dim=-1).max())
        steps = (centers[1:] - centers[:-1]).norm(dim=-1)
        steps = steps[steps > 0]
        if len(steps) and farthest * torch.finfo(torch.float32).eps > ROUGHEST * float(steps.median()):
            raise ValueError(
                f"known poses are up to {farthest:.6g} from the origin at steps of {float(steps.median()):.3g}, where "
                f"single precision tells no more than {farthest * torch.finfo(torch.float32).eps:.2g} apart; "
                "subtract a place near them from all"
            )

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
    """Where a window's known cameras lie: in its frame, and in the world that they are known in."""

    rotation: Float[Tensor, "3 3"]
    """From the window's frame to the known world."""
    source: Float[Tensor, "3"]
    """Their mean place in the window's frame."""
    target: Float[Tensor, "3"]
    """The same in the known world."""
    unit: float
    """The window's typical depth."""
    spread: float
    """Their root mean square distance from the mean, in the window's unit."""
    scale: float | None
    """From the window's unit to the known world's; None where they have no baseline to tell it from."""

    def similarity(self, scale: Float[Tensor, ""]) -> Similarity:
        """Return what brings the window into the known world, at ``scale`` if its own is not known."""
        own = scale.double() if self.scale is None else torch.tensor(self.scale, dtype=torch.float64)
        return Similarity(own, self.rotation, self.target - own * (self.rotation @ self.source))


def anchor_window(
    predicted: Float[Tensor, "views 4 4"], known: Sequence[Float[Tensor, "4 4"] | None], unit: float
) -> Anchor | None:
    """Fit a window's cameras to the known ones among them; None where there are none.

    Rotation is the mean of the cameras' relative rotations, for places on a straight way leave the turn about it open;
    scale is the ratio of the spreads of their places. ``unit`` is the window's typical depth.
    """
    views = [view for view, pose in enumerate(known) if pose is not None]
    if not views:
        return None
    source, target = predicted[views].double(), torch.stack([pose for pose in known if pose is not None]).double()
    centers, known_centers = camera_centers(source), camera_centers(target)
    spread = float(root_mean_square(centers))
    return Anchor(
        rotation=orthonormalize((target[:, :3, :3].mT @ source[:, :3, :3]).sum(0)),
        source=centers.mean(0),
        target=known_centers.mean(0),
        unit=unit,
        spread=spread,
        scale=scale_of(centers, known_centers, unit),
    )


def join_anchors(anchors: Sequence[Anchor], nodes: Sequence[Similarity]) -> Similarity | None:
    """Find what brings the world that windows lie in, at ``nodes``, to where their anchors say, all of it at once.

    None where the anchors have no baseline between them.
    """
    places = torch.stack([node.apply(anchor.source[None])[0] for anchor, node in zip(anchors, nodes, strict=True)])
    targets = torch.stack([anchor.target for anchor in anchors])
    unit = sum(anchor.unit * float(node.scale) for anchor, node in zip(anchors, nodes, strict=True)) / len(anchors)
    scale = scale_of(places, targets, unit)
    if scale is None:
        return None
    turns = [anchor.rotation @ node.rotation.mT for anchor, node in zip(anchors, nodes, strict=True)]
    rotation = orthonormalize(torch.stack(turns).sum(0))
    translation = targets.mean(0) - scale * (rotation @ places.mean(0))
    return Similarity(torch.tensor(scale, dtype=torch.float64), rotation, translation)


def scale_of(source: Float[Tensor, "views 3"], target: Float[Tensor, "views 3"], unit: float) -> float | None:
    """Return the ratio of two spreads; None where either has no baseline, ``unit`` being the source's typical depth."""
    before, after = root_mean_square(source), root_mean_square(target)
    rounding = torch.finfo(torch.float32).eps * target.norm(dim=-1).max()
    return float(after / before) if before > LEAST_BASELINE * unit and after > rounding else None


def root_mean_square(places: Float[Tensor, "views 3"]) -> Float[Tensor, ""]:
    """Return the distance of places from their mean."""
    return (places - places.mean(0)).square().sum(-1).mean().sqrt()


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
