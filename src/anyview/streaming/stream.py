"""The stream: frames in, aligned windows out, in bounded memory, from a journal that survives being killed."""

import shutil
import tempfile
import time
import weakref
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from anyview.files import check_folder
from anyview.geometry.alignment import Similarity
from anyview.images.preprocess import prepare_views
from anyview.options import StreamOptions
from anyview.streaming.frames import PosedViews, StreamFrame, WindowGeometry, WindowPredictor
from anyview.streaming.joining import (
    Overlap,
    join_window,
    known_to_predictor,
    make_rows,
    overlap_from_arrays,
    overlap_to_arrays,
    scaled_by_rig,
)
from anyview.streaming.keyframes import change, thumbnail
from anyview.streaming.known import KnownPoses, anchor_window
from anyview.streaming.loops import look_for_loops
from anyview.streaming.network import NetworkPredictor
from anyview.streaming.report import Faults, StreamReport, peak_memory
from anyview.streaming.scene_map import (
    FrameRows,
    SceneMap,
    WindowRecord,
    join_rows,
    record_from_arrays,
    record_to_arrays,
)
from anyview.streaming.seams import align_views, typical_depth
from anyview.streaming.sources import FrameSource, live_frame, steady
from anyview.streaming.store import StreamStore
from anyview.streaming.windows import cut_windows
from anyview.types import Cameras, Picture, Units

GIB = 2**30
MIB = 2**20


@dataclass(frozen=True)
class StreamWindow:
    """The frames that are finished with one more window, in the world as it is now. Each frame comes once."""

    index: int
    """Of the window, from 0; the last frames of a stream come with its last window's once more."""
    frames: Int[Tensor, " views"]
    """Positions in the source."""
    times_s: Float[Tensor, " views"]
    names: tuple[str, ...]
    images: UInt8[Tensor, "views height width 3"]
    depth: Float[Tensor, "views height width"]
    """z-depth in the world's unit."""
    confidence: Float[Tensor, "views height width"]
    """1 and above; below there is no prediction."""
    cameras: Cameras
    """In pixels of the maps."""
    owners: Int[Tensor, " views"]
    """The window that each frame moves with, where later windows bring corrections."""
    units: Units
    corrections: Mapping[int, Similarity]
    """By window: what moves its frames from where they were to where they are now. Empty as long as nothing moved."""
    report: StreamReport

    def __len__(self) -> int:
        return len(self.frames)


class Stream:
    """A stream as it runs: an iterator over its windows, and what is known so far."""

    def __init__(
        self,
        predictor: WindowPredictor,
        source: FrameSource,
        options: StreamOptions,
        folder: str | Path | None,
        *,
        resume: bool = False,
        known_poses: KnownPoses | None = None,
    ) -> None:
        self.predictor, self.source, self.options = predictor, source, options
        self.known_poses = known_poses or KnownPoses()
        self.scene = SceneMap()
        self.faults = Faults()
        path = Path(tempfile.mkdtemp(prefix="anyview-stream-") if folder is None else folder)
        # A loop over an unnamed stream leaves nothing behind either.
        self._remove = None if folder is not None else weakref.finalize(self, shutil.rmtree, path, ignore_errors=True)
        check_folder(path)
        limit = options.disk_limit
        self.store = StreamStore(path, None if limit is None else int(limit * GIB))
        self._report = StreamReport()
        self._cancelled = False
        self.positions = 0
        """Of the source until now, passed-over and unreadable frames included."""
        self._overlap: Overlap | None = None
        self._started = time.monotonic()
        self._ended: float | None = None
        self._kept_before = 0
        done = self.store.open(self._describe(), resume=resume)
        if done:
            self._replay(done)
        self._windows = self._run()

    def __iter__(self) -> Iterator[StreamWindow]:
        return self._windows

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def report(self) -> StreamReport:
        """What has happened until now."""
        kept = self.scene.count_frames() + (len(self._overlap.frames) if self._overlap else 0)
        return replace(
            self._report,
            frames_kept=kept,
            frames_this_run=kept - self._kept_before,
            windows=len(self.scene),
            loops_found=len(self.scene.loops),
            loops_believed=sum(weight > 0.5 for weight in self.scene.loop_weights),
            anchors=len(self.scene.anchors),
            seconds=(time.monotonic() if self._ended is None else self._ended) - self._started,
            memory_bytes=peak_memory(),
            gpu_bytes=torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0,
            disk_bytes=self.store.disk_bytes,
            faults=self.faults.lines(),
        )

    def cancel(self) -> None:
        """Have the stream end after the window in work; the folder can be resumed."""
        self._cancelled = True
        self.source.stop()

    def close(self) -> None:
        """Let go of the source, and of the temporary folder if there is one."""
        self._windows.close()
        if self._remove is not None:
            self._remove()

    def all_frames(self) -> FrameRows:
        """Return all frames until now, those that a further window may still change included."""
        rows = [self.scene.frames] if self.scene.count_frames() else []
        if self._overlap is not None:
            rows.append(self._overlap.rows)
        if not rows:
            raise ValueError(f"{self.source.description} gave no frame that can be read")
        return join_rows(rows)

    @property
    def map_size(self) -> tuple[int, int]:
        """Height and width of pictures and maps."""
        assert self._overlap is not None
        height, width = self._overlap.views.depth.shape[1:]
        return height, width

    def _describe(self) -> dict[str, Any]:
        """What must be the same when a stream is resumed; waiting and limits may change."""
        free = ("stall_s", "give_up_s", "disk_limit", "memory_limit", "cloud_points")
        options = {name: value for name, value in asdict(self.options).items() if name not in free}
        network = self.predictor if isinstance(self.predictor, NetworkPredictor) else None
        return {
            "source": self.source.description,
            "model": self.predictor.name,
            "weights": None if network is None else network.weights_digest(),
            "intrinsics": None if network is None or network.intrinsics is None else network.intrinsics.tolist(),
            "known poses": self.known_poses.digest(),
            "options": options,
        }

    def _run(self) -> Generator[StreamWindow, None, None]:
        start = [] if self._overlap is None else self._overlap.frames
        try:
            for window in cut_windows(self._kept_frames(), self.options.window, self.options.overlap, start):
                yield self._add_window(window)
                if self._cancelled:
                    break
            if self._overlap is not None:
                yield self._last_frames(self._overlap)
            elif not self._cancelled:
                raise ValueError(f"{self.source.description} gave no frame that can be read")
        finally:
            self._ended = time.monotonic()
            if self.known_poses and not self.scene.anchors:
                self.faults.add("known poses", "none of them belongs to a frame that came")

    def _kept_frames(self) -> Iterator[StreamFrame]:
        """Read the source from where the last window ended, at the network's resolution, without standing still."""
        last = self._overlap.frames[-1] if self._overlap else None
        shown = None if last is None else thumbnail(last.picture.pixels)
        threshold = -1.0 if self.options.rig_baseline else self.options.keyframe_change  # a rig's pairs stay whole
        for frame in steady(self.source.read(self.faults), self.options, self.faults):
            if self._cancelled:
                return
            if last is not None and self.source.live:
                then, pixels = last.time_s + frame.time_s, frame.picture.pixels
                frame = live_frame(last.index + 1 + frame.index, then, pixels)  # noqa: PLW2901
            elif last is not None and frame.index <= last.index:
                continue
            self.positions = frame.index + 1
            self._report = replace(self._report, frames_read=self._report.frames_read + 1)
            small = self._shrink(frame)
            now = thumbnail(small.picture.pixels)
            if shown is not None and change(shown, now) <= threshold:
                self._report = replace(self._report, frames_passed_over=self._report.frames_passed_over + 1)
                continue
            shown = now
            yield small

    def _shrink(self, frame: StreamFrame) -> StreamFrame:
        assert self.options.resolution is not None
        views = prepare_views([frame.picture], resolution=self.options.resolution)
        if isinstance(self.predictor, NetworkPredictor):
            self.predictor.place_intrinsics(views.placements[0])
        return replace(frame, picture=Picture(views.images[0].numpy(), frame.picture.name))

    def _add_window(self, frames: list[StreamFrame]) -> StreamWindow:
        """Predict a window, tie it to what is there, look for loops, and commit it."""
        overlap, known = self._overlap, [self.known_poses.find(frame) for frame in frames]
        shared = 0 if overlap is None else len(overlap.frames)
        geometry = self._predict(frames, known)
        seam = None
        if overlap is not None:
            rigid = self.options.rig_baseline is not None
            seam = align_views(geometry.views[:shared], overlap.views, with_scale=not rigid)
            self._report = self._report.with_seam(seam.inliers, seam.scale_deviation)
        unit = typical_depth(geometry.views)
        anchor = anchor_window(geometry.views.cameras.world_to_camera, known, unit)
        node = self.scene.place(seam, anchor)
        similarity = None if seam is None else seam.similarity
        views, owners = join_window(overlap, geometry.views, similarity, len(self.scene), blend=self.options.blend)
        rows = make_rows(frames, views, owners, geometry.descriptors, known)
        if overlap is not None:
            rows = replace(rows, descriptors=torch.cat([overlap.rows.descriptors, rows.descriptors[shared:]]))
        kept = len(frames) - min(self.options.overlap, len(frames))
        new_overlap = Overlap(frames[kept:], geometry.views[kept:], views[kept:], rows[kept:])
        for row in range(kept):
            self.store.write_frame(frames[row].index, views.images[row], views.depth[row], views.confidence[row])
        record = WindowRecord(
            frames=rows[:kept],
            node=node,
            unit=unit,
            units="metres" if self.options.rig_baseline else geometry.units,
            frames_read=self._report.frames_read,
            passed_over=self._report.frames_passed_over,
            seam=seam,
            # Told where the overlap's cameras are, a network agrees with that: its frames are no measurements each.
            seam_frames=shared if self.options.conditioning == "none" else min(shared, 1),
            anchor=anchor,
        )
        first_new = self.scene.count_frames()
        before = list(self.scene.nodes)
        # Known cameras that tell no scale, or that follow a gap, leave the windows before them to be adjusted.
        after_gap = len(self.scene) > 0 and len(self.scene) - 1 not in self.scene.anchors
        unsettled = anchor is not None and (after_gap or (anchor.scale is None and bool(self.scene.anchors)))
        self.scene.add(record)
        loops, candidates = look_for_loops(first_new, self.predictor, self.scene, self.store, self.options)
        record = replace(record, loops=loops, candidates=candidates)
        if loops or unsettled:
            self.scene.adjust(loops)
        self._report = replace(self._report, loop_candidates=self._report.loop_candidates + candidates)
        resume_from = {**overlap_to_arrays(new_overlap), **self.scene.state_to_arrays()}
        self.store.commit_window(len(self.scene) - 1, record_to_arrays(record), resume_from)
        self._overlap = new_overlap
        self._check_disk()
        return self._window(record.frames, views[:kept], self.scene.moves_since(before))

    def _check_disk(self) -> None:
        limit, kind = self.store.disk_limit_bytes, "disk limit passed"
        if limit is not None and self.store.journal_bytes > limit and kind not in self.faults.counts:
            said = f"what resuming needs takes {self.store.journal_bytes / MIB:.2f} MiB after {len(self.scene)} windows"
            self.faults.add(kind, said)

    def _predict(self, frames: list[StreamFrame], known: Sequence[Float[Tensor, "4 4"] | None]) -> WindowGeometry:
        started = time.monotonic()
        if self._overlap is None or self.options.conditioning == "none":
            geometry = self.predictor.predict_window(frames)
        else:
            geometry = self.predictor.predict_window(frames, *known_to_predictor(self._overlap, self.scene, known))
        spent = self._report.predicting_s + time.monotonic() - started
        self._report = replace(self._report, predicting_s=spent)
        baseline = self.options.rig_baseline
        return geometry if baseline is None else scaled_by_rig(geometry, frames, baseline)

    def _last_frames(self, overlap: Overlap) -> StreamWindow:
        """Finish the frames that no window will see again, and look for their loops.

        A resumed stream would see them, so nothing of this is committed.
        """
        for row, frame in enumerate(overlap.frames):
            finished = overlap.finished
            self.store.write_frame(frame.index, finished.images[row], finished.depth[row], finished.confidence[row])
        first_new, before = self.scene.count_frames(), list(self.scene.nodes)
        ended = self.scene.with_frames(overlap.rows)
        loops, candidates = look_for_loops(first_new, self.predictor, ended, self.store, self.options)
        if loops:
            self.scene.adjust(loops)
        self._report = replace(self._report, loop_candidates=self._report.loop_candidates + candidates)
        return self._window(overlap.rows, overlap.finished, self.scene.moves_since(before))

    def _window(self, rows: FrameRows, views: PosedViews, moves: Mapping[int, Similarity]) -> StreamWindow:
        cameras = self.scene.world_cameras(rows)
        scales = self.scene.world_scales(rows).to(views.depth)
        return StreamWindow(
            index=len(self.scene) - 1,
            frames=rows.index,
            times_s=rows.time_s,
            names=rows.names,
            images=views.images,
            depth=views.depth * scales[:, None, None],
            confidence=views.confidence,
            cameras=Cameras(cameras.world_to_camera.float(), cameras.intrinsics.float()),
            owners=rows.owner,
            units=self.scene.units,
            corrections=moves,
            report=self.report,
        )

    def _replay(self, windows: int) -> None:
        """Stand where the killed run stood after its last committed window."""
        records = [record_from_arrays(self.store.read_window(index)) for index in range(windows)]
        last = self.store.read_overlap(windows - 1)
        self.scene.restore(records, last)
        for record in records:
            if record.seam is not None:
                self._report = self._report.with_seam(record.seam.inliers, record.seam.scale_deviation)
            self._report = replace(
                self._report,
                frames_read=record.frames_read,
                frames_passed_over=record.passed_over,
                loop_candidates=self._report.loop_candidates + record.candidates,
            )
        self._overlap = overlap_from_arrays(last)
        self.positions = self._overlap.frames[-1].index + 1
        self._kept_before = self.scene.count_frames() + len(self._overlap.frames)
