"""What a stream has found so far: windows as nodes of a graph, and every frame's camera within its window.

It is made of records, one per window, each added once; so a resumed run adds those on disk and stands where the killed
one stood. It grows by some kilobytes per frame, and holds no pictures and no depth.
"""

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from anyview.geometry.alignment import Similarity
from anyview.streaming.known import Anchor, join_anchors
from anyview.streaming.pose_graph import Edge, optimize, stack_similarities
from anyview.streaming.seams import Seam, edge_deviation
from anyview.streaming.store import Arrays
from anyview.types import Cameras, Units

ANCHOR_DEVIATION = 0.002
GAUGE_DEVIATION = 1e-4
"""Of edges of the graph; seams and loops have measured ones (`seams.edge_deviation`). A lone loop is believed if it
asks for no more than 4 deviations of the chain that it closes: over n seams of exact predictions 0.08 √n of scale, for
example. Several loops that agree may ask for more.
"""
SMALL_MOVE = 1e-7
"""Relative change of a window's place in the world below which it counts as unmoved."""


@dataclass(frozen=True)
class FrameRows:
    """Frames with their place in a window."""

    index: Int[Tensor, " frames"]
    """In the source."""
    time_s: Float[Tensor, " frames"]
    names: tuple[str, ...]
    owner: Int[Tensor, " frames"]
    """The window in whose frame and unit the camera and the stored depth are."""
    world_to_camera: Float[Tensor, "frames 4 4"]
    intrinsics: Float[Tensor, "frames 3 3"]
    """Pixels of the maps."""
    descriptors: Float[Tensor, "frames channels"]
    known: Float[Tensor, "frames 4 4"]
    """World to camera as the caller knows it; NaN where it is not known."""

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: slice) -> "FrameRows":
        return FrameRows(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def join_rows(parts: Sequence[FrameRows]) -> FrameRows:
    """Put rows one after the other."""
    joined = {
        field.name: torch.cat([getattr(part, field.name) for part in parts])
        for field in fields(FrameRows)
        if field.name != "names"
    }
    return FrameRows(names=tuple(name for part in parts for name in part.names), **joined)


@dataclass(frozen=True)
class WindowRecord:
    """What one window adds."""

    frames: FrameRows
    """Those that are finished with it."""
    node: Similarity
    """From the window's frame to the world, before any correction that it led to."""
    unit: float
    """Its typical depth."""
    units: Units
    frames_read: int
    """Of the source until here."""
    passed_over: int
    """Of these, too much like the one before."""
    seam: Seam | None = None
    """Onto the window before; None for the first."""
    seam_frames: int = 0
    """How many measurements of their own the overlap's frames are."""
    anchor: Anchor | None = None
    loops: tuple[Edge, ...] = ()
    candidates: int = 0
    """Loops looked into."""


class SceneMap:
    """All windows and frames until now."""

    def __init__(self) -> None:
        self.nodes: list[Similarity] = []
        """From each window's frame to the world."""
        self.seams: list[Edge] = []
        self.seam_fits: list[Seam] = []
        """What the edges of `seams` were made of."""
        self.loops: list[Edge] = []
        self.anchors: dict[int, Anchor] = {}
        self.scale_known = False
        """Whether the anchors have told the world's unit."""
        self.loop_weights: list[float] = []
        self.units: Units = "arbitrary"
        self._rows: list[FrameRows] = []

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def frames(self) -> FrameRows:
        """All finished frames, in the order of the source."""
        if len(self._rows) > 1:
            self._rows = [join_rows(self._rows)]
        return self._rows[0]

    def count_frames(self) -> int:
        """Return how many frames are finished."""
        return sum(len(rows) for rows in self._rows)

    def add(self, record: WindowRecord) -> None:
        """Add a window, without its loops."""
        window = len(self.nodes)
        if record.seam is not None:
            deviation = edge_deviation(record.seam, record.seam_frames)
            self.seams.append(Edge(window - 1, window, record.seam.similarity, record.unit, deviation))
            self.seam_fits.append(record.seam)
        if record.anchor is not None:
            self._enter_known_world(record)
            self.anchors[window] = record.anchor
        if self.scale_known:
            self.units = "caller"
        elif not self.nodes:  # later windows come in the first one's unit
            self.units = record.units
        self.nodes.append(record.node)
        if len(record.frames):
            self._rows.append(record.frames)

    def with_frames(self, rows: FrameRows) -> "SceneMap":
        """Return the same windows with further frames; whatever is added to either is not added to the other."""
        other = copy.copy(self)
        other.nodes, other.seams, other.loops = list(self.nodes), list(self.seams), list(self.loops)
        other.anchors, other.loop_weights = dict(self.anchors), list(self.loop_weights)
        other._rows = [*self._rows, rows]
        return other

    def state_to_arrays(self) -> Arrays:
        """Flatten where everything is now, which later windows may change again."""
        return {
            "scene_nodes": _to_numbers(stack_similarities(self.nodes)),
            "scene_loop_weights": np.array(self.loop_weights, np.float64),
            "scene_scale_known": np.array(self.scale_known),
            "scene_units": np.array(self.units),
        }

    def restore(self, records: Iterable[WindowRecord], state: Arrays) -> None:
        """Stand where the scene stood that has made ``records`` and the last state; equal to the bit."""
        for record in records:
            self.add(record)
            self.loops += record.loops
        self.nodes = _split(_from_numbers(state["scene_nodes"]))
        self.loop_weights = state["scene_loop_weights"].tolist()
        self.scale_known = bool(state["scene_scale_known"])
        self.units = state["scene_units"].item()

    def moves_since(self, before: Sequence[Similarity]) -> dict[int, Similarity]:
        """Return how each window that moved did, from where it was to where it is."""
        moves = {window: self.nodes[window].compose(old.inverse()) for window, old in enumerate(before)}
        return {window: move for window, move in moves.items() if _is_noticeable(move, before[window])}

    def adjust(self, loops: Sequence[Edge] = ()) -> None:
        """Optimise the graph with further loops: windows move, and all loops are believed anew."""
        self.loops += loops
        world = len(self.nodes)
        identity = Similarity(torch.ones(()).double(), torch.eye(3).double(), torch.zeros(3).double())
        edges = [*self.seams, *self.loops]
        first_loop = len(self.seams)
        if self.anchors:
            edges += [
                _anchor_edge(world, window, anchor, self.nodes[window]) for window, anchor in self.anchors.items()
            ]
        else:
            edges.append(Edge(world, 0, self.nodes[0], 1.0, GAUGE_DEVIATION))
        solution = optimize(stack_similarities([*self.nodes, identity]), edges, fixed=world)
        self.nodes = _split(solution.nodes)[:world]
        self.loop_weights = solution.weights[first_loop : first_loop + len(self.loops)].tolist()

    def world_cameras(self, rows: FrameRows | None = None) -> Cameras:
        """Return the cameras of frames (all) in the world as it is now, float64; known ones as they are known."""
        rows = self.frames if rows is None else rows
        nodes = stack_similarities(self.nodes)
        owners = Similarity(nodes.scale[rows.owner], nodes.rotation[rows.owner], nodes.translation[rows.owner])
        poses = owners.apply_to_poses(rows.world_to_camera[:, None])[:, 0]
        is_known = rows.known.isfinite().flatten(1).all(1)[:, None, None]
        return Cameras(torch.where(is_known, rows.known, poses), rows.intrinsics)

    def world_scales(self, rows: FrameRows | None = None) -> Float[Tensor, " frames"]:
        """Return what brings the stored depth of frames (all) to the world's unit."""
        rows = self.frames if rows is None else rows
        return torch.stack([node.scale for node in self.nodes])[rows.owner]

    def place(self, seam: Seam | None, anchor: Anchor | None) -> Similarity:
        """Where a new window lies in the world: as its known cameras say, else where its seam puts it.

        Where no window alone could tell the known world's unit, and with this one all of them together can, it lies
        where its seam puts it once all windows have been brought there.
        """
        if seam is None:
            node = Similarity(torch.ones(()).double(), torch.eye(3).double(), torch.zeros(3).double())
        else:
            node = self.nodes[-1].compose(seam.similarity)
        if anchor is None:
            return node
        move = self._joint_move(anchor, node)
        return anchor.similarity(node.scale) if move is None else move.compose(node)

    def _joint_move(self, anchor: Anchor, by_seam: Similarity) -> Similarity | None:
        if self.scale_known or not self.anchors:
            return None
        windows = list(self.anchors)
        return join_anchors([*self.anchors.values(), anchor], [*(self.nodes[window] for window in windows), by_seam])

    def _enter_known_world(self, record: WindowRecord) -> None:
        """Move what is there into the known world with the first known pose, and into its unit once that is told."""
        assert record.anchor is not None
        first, unit_told = not self.anchors, False
        if not self.scale_known:
            by_seam = record.node if record.seam is None else self.nodes[-1].compose(record.seam.similarity)
            unit_told = record.anchor.scale is not None or self._joint_move(record.anchor, by_seam) is not None
            if first or unit_told:
                move = record.node.compose(by_seam.inverse())
                self.nodes = [move.compose(old) for old in self.nodes]
        self.scale_known |= unit_told


def _anchor_edge(world: int, window: int, anchor: Anchor, node: Similarity) -> Edge:
    """Measure a window's place where its known cameras are; its scale as well as their spread can tell it."""
    scale_deviation = math.inf if anchor.scale is None else ANCHOR_DEVIATION * max(1.0, anchor.unit / anchor.spread)
    similarity = anchor.similarity(node.scale)
    return Edge(
        world,
        window,
        similarity,
        anchor.unit,
        ANCHOR_DEVIATION,
        scale_deviation=scale_deviation,
        origin=anchor.source,
    )


def _is_noticeable(move: Similarity, node: Similarity) -> bool:
    shift = (move.apply(node.translation[None])[0] - node.translation).norm()
    turn = (move.rotation - torch.eye(3).double()).norm()
    return bool(max(shift / node.scale, turn, abs(math.log(move.scale))) > SMALL_MOVE)


def record_to_arrays(record: WindowRecord) -> Arrays:
    """Flatten a record for its file."""
    arrays = {f"frame_{name}": value for name, value in rows_to_arrays(record.frames).items()}
    arrays["node"] = _to_numbers(record.node)
    arrays["numbers"] = np.array([record.unit, record.frames_read, record.passed_over, record.candidates])
    arrays["units"] = np.array(record.units)
    if record.seam is not None:
        seam = record.seam
        arrays["seam"] = np.concatenate(
            [_to_numbers(seam.similarity), [seam.inliers, seam.error, seam.scale_deviation, record.seam_frames]]
        )
    if record.anchor is not None:
        arrays["anchor"] = _anchor_to_numbers(record.anchor)
    if record.loops:
        arrays["loops"] = np.stack(
            [
                np.concatenate([_to_numbers(e.second_to_first), [e.first, e.second, e.unit, e.deviation]])
                for e in record.loops
            ]
        )
    return arrays


def record_from_arrays(arrays: Arrays) -> WindowRecord:
    """Read back what `record_to_arrays` made; equal to the bit."""
    unit, frames_read, passed_over, candidates = arrays["numbers"].tolist()
    seam = anchor = None
    seam_frames = 0
    if "seam" in arrays:
        numbers = arrays["seam"]
        seam = Seam(_from_numbers(numbers[:13]), *numbers[13:16].tolist())
        seam_frames = int(numbers[16])
    if "anchor" in arrays:
        anchor = _anchor_from_numbers(arrays["anchor"])
    loops = tuple(
        Edge(int(row[13]), int(row[14]), _from_numbers(row[:13]), float(row[15]), float(row[16]), robust=True)
        for row in arrays.get("loops", ())
    )
    frames = {name.removeprefix("frame_"): value for name, value in arrays.items() if name.startswith("frame_")}
    return WindowRecord(
        frames=rows_from_arrays(frames),
        node=_from_numbers(arrays["node"]),
        unit=unit,
        units=arrays["units"].item(),
        frames_read=int(frames_read),
        passed_over=int(passed_over),
        seam=seam,
        seam_frames=seam_frames,
        anchor=anchor,
        loops=loops,
        candidates=int(candidates),
    )


def rows_to_arrays(rows: FrameRows) -> Arrays:
    """Flatten rows for a file."""
    arrays = {field.name: getattr(rows, field.name) for field in fields(FrameRows)}
    return {name: np.array(value, str) if isinstance(value, tuple) else value.numpy() for name, value in arrays.items()}


def rows_from_arrays(arrays: Mapping[str, np.ndarray]) -> FrameRows:
    """Read back what `rows_to_arrays` made."""
    return FrameRows(
        names=tuple(arrays["names"].tolist()),
        **{field.name: torch.from_numpy(arrays[field.name]) for field in fields(FrameRows) if field.name != "names"},
    )


def _anchor_to_numbers(anchor: Anchor) -> Float[np.ndarray, "18"]:
    scale = math.nan if anchor.scale is None else anchor.scale
    places = torch.cat([anchor.rotation.flatten(), anchor.source, anchor.target])
    return np.append(places.numpy(), [anchor.unit, anchor.spread, scale])


def _anchor_from_numbers(numbers: Float[np.ndarray, "18"]) -> Anchor:
    rotation, source, target = (part.clone() for part in torch.from_numpy(numbers[:15]).split([9, 3, 3]))
    unit, spread, scale = numbers[15:].tolist()
    return Anchor(rotation.view(3, 3), source, target, unit, spread, None if math.isnan(scale) else scale)


def _to_numbers(similarity: Similarity) -> Float[np.ndarray, "*batch 13"]:
    parts = (similarity.scale[..., None], similarity.rotation.flatten(-2), similarity.translation)
    return torch.cat(parts, -1).numpy()


def _split(similarities: Similarity) -> list[Similarity]:
    parts = zip(similarities.scale, similarities.rotation, similarities.translation, strict=True)
    return [Similarity(*part) for part in parts]


def _from_numbers(numbers: Float[np.ndarray, "*batch 13"]) -> Similarity:
    values = torch.from_numpy(np.ascontiguousarray(numbers))
    return Similarity(values[..., 0], values[..., 1:10].unflatten(-1, (3, 3)), values[..., 10:])
