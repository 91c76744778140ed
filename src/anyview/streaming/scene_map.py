"""What a stream has found so far: windows as nodes of a graph, and every frame's camera within its window.

It is made of records, one per window, each added once; so a resumed run adds those on disk and stands where the killed
one stood. It grows by some kilobytes per frame, and holds no pictures and no depth.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from anyview.geometry.alignment import Similarity
from anyview.streaming.known import Anchor
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
    corrected: Similarity | None = None
    """All windows after the correction, if there was one."""
    loop_weights: tuple[float, ...] = ()
    """How far each loop until now is believed after it, 0 to 1."""


class SceneMap:
    """All windows and frames until now."""

    def __init__(self) -> None:
        self.nodes: list[Similarity] = []
        """From each window's frame to the world."""
        self.seams: list[Edge] = []
        self.seam_fits: list[Seam] = []
        """What the edges of `seams` were made of."""
        self.loops: list[Edge] = []
        self.anchors: dict[int, tuple[Anchor, float]] = {}
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
        """Add a window, without its loops and correction."""
        window = len(self.nodes)
        if record.seam is not None:
            deviation = edge_deviation(record.seam, record.seam_frames)
            self.seams.append(Edge(window - 1, window, record.seam.similarity, record.unit, deviation))
            self.seam_fits.append(record.seam)
        if record.anchor is not None:
            self._enter_known_world(record.anchor, record.node)
            self.anchors[window] = (record.anchor, record.unit)
            self.units = "caller" if self._scale_is_known() else record.units
        elif not self.anchors:
            self.units = record.units
        self.nodes.append(record.node)
        if len(record.frames):
            self._rows.append(record.frames)

    def close_loops(self, record: WindowRecord) -> None:
        """Take over a record's loops and correction."""
        self.loops += record.loops
        if record.corrected is None:
            return
        parts = zip(record.corrected.scale, record.corrected.rotation, record.corrected.translation, strict=True)
        self.nodes = [Similarity(*part) for part in parts]
        self.loop_weights = list(record.loop_weights)

    def moves_since(self, before: Sequence[Similarity]) -> dict[int, Similarity]:
        """Return how each window that moved did, from where it was to where it is."""
        moves = {window: self.nodes[window].compose(old.inverse()) for window, old in enumerate(before)}
        return {window: move for window, move in moves.items() if _is_noticeable(move, before[window])}

    def corrected(self, loops: Sequence[Edge]) -> tuple[Similarity, list[float]]:
        """Optimise the graph with further loops; return the windows' new places and how far each loop is believed."""
        world = len(self.nodes)
        identity = Similarity(torch.ones(()).double(), torch.eye(3).double(), torch.zeros(3).double())
        edges = [*self.seams, *self.loops, *loops]
        first_loop = len(self.seams)
        if self.anchors:
            for window, (anchor, unit) in self.anchors.items():
                # Without a baseline only the place is known, and scale is left to the seams.
                similarity = anchor.similarity
                if not anchor.scale_known:
                    similarity = replace(similarity, scale=self.nodes[window].scale)
                edges.append(Edge(world, window, similarity, unit, ANCHOR_DEVIATION))
        else:
            edges.append(Edge(world, 0, self.nodes[0], 1.0, GAUGE_DEVIATION))
        solution = optimize(stack_similarities([*self.nodes, identity]), edges, fixed=world)
        nodes = Similarity(*(getattr(solution.nodes, field.name)[:world] for field in fields(Similarity)))
        return nodes, solution.weights[first_loop : first_loop + len(self.loops) + len(loops)].tolist()

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
        """Where a new window lies in the world: as its known cameras say, else where its seam puts it."""
        if seam is None:
            node = Similarity(torch.ones(()).double(), torch.eye(3).double(), torch.zeros(3).double())
        else:
            node = self.nodes[-1].compose(seam.similarity)
        if anchor is None:
            return node
        if anchor.scale_known:
            return anchor.similarity
        return replace(anchor.similarity, scale=node.scale)

    def _scale_is_known(self) -> bool:
        return any(anchor.scale_known for anchor, _ in self.anchors.values())

    def _enter_known_world(self, anchor: Anchor, node: Similarity) -> None:
        """Move what was there before the first known pose into the known world."""
        if self.anchors or not self.nodes:
            return
        assert self.seams
        by_seam = self.nodes[-1].compose(self.seams[-1].second_to_first)
        move = node.compose(by_seam.inverse())
        self.nodes = [move.compose(old) for old in self.nodes]


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
        arrays["anchor"] = np.append(_to_numbers(record.anchor.similarity), record.anchor.scale_known)
    if record.loops:
        arrays["loops"] = np.stack(
            [
                np.concatenate([_to_numbers(e.second_to_first), [e.first, e.second, e.unit, e.deviation]])
                for e in record.loops
            ]
        )
    if record.corrected is not None:
        arrays["corrected"] = _to_numbers(record.corrected)
        arrays["loop_weights"] = np.array(record.loop_weights)
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
        anchor = Anchor(_from_numbers(arrays["anchor"][:13]), bool(arrays["anchor"][13]))
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
        corrected=_from_numbers(arrays["corrected"]) if "corrected" in arrays else None,
        loop_weights=tuple(arrays["loop_weights"].tolist()) if "corrected" in arrays else (),
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


def _to_numbers(similarity: Similarity) -> Float[np.ndarray, "*batch 13"]:
    parts = (similarity.scale[..., None], similarity.rotation.flatten(-2), similarity.translation)
    return torch.cat(parts, -1).numpy()


def _from_numbers(numbers: Float[np.ndarray, "*batch 13"]) -> Similarity:
    values = torch.from_numpy(np.ascontiguousarray(numbers))
    return Similarity(values[..., 0], values[..., 1:10].unflatten(-1, (3, 3)), values[..., 10:])
