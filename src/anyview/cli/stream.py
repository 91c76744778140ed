import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from anyview.cli.fields import FLAT
from anyview.cli.loading import load_model
from anyview.cli.stages import Stages
from anyview.options import StreamOptions

if TYPE_CHECKING:
    from anyview.streaming.report import StreamReport


@dataclass(frozen=True)
class Stream:
    """Turn a long video, a camera or a growing folder into one trajectory and point cloud, in bounded memory."""

    source: tyro.conf.Positional[str]
    """A folder, a pattern, a video, the number of a camera (0), an address (rtsp://, http://, …)."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the run: intermediate results, and what is written."""
    model: Annotated[str, tyro.conf.arg(aliases=["-m"])] = "da3-base"
    """A preset (`anyview models`), a hub repository, a model folder or file; any-view ones."""
    formats: Annotated[str, tyro.conf.arg(aliases=["-f"])] = "tum,cloud"
    """What to write, separated by commas: tum, kitti, colmap, transforms, cloud, mesh, gaussians, depth
    (docs/streaming.md)."""
    resume: bool = False
    """Go on with the run in the output folder."""
    watch: bool = False
    """Wait for more pictures in the folder."""
    known_poses: Path | None = None
    """Poses that are known, of all frames or some: a TUM or KITTI file, or a COLMAP project."""
    intrinsics: str | None = None
    """Known intrinsics as FX,FY,CX,CY in pixels of the source's pictures."""
    frames_per_second: float | None = None
    """Of a video, how many frames to take; of a folder, how many there are. Default: all; 30."""
    write_every_s: float = 10.0
    """Seconds between updates of the trajectory file while the stream runs."""
    live: bool = False
    """Serve a page on this machine that shows cameras and points as they come (extra view)."""
    live_port: int = 8080
    """Of that page; the next free one where it is taken."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the backbone."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    offline: bool = False
    """Never download."""
    stream: Annotated[StreamOptions, FLAT] = field(default_factory=StreamOptions)

    def run(self) -> None:
        """Run a stream to its end, and write its results while it runs and then."""
        from anyview.devices import keep_freed_memory, resolve_device
        from anyview.model.checkpoint import find
        from anyview.streaming import stream as start
        from anyview.streaming import write_outputs
        from anyview.streaming.live import LiveViewer, check_viser
        from anyview.streaming.outputs import check_formats
        from anyview.streaming.sources import open_source
        from anyview.streaming.trajectory import read_known_poses

        formats = [name.strip() for name in self.formats.split(",") if name.strip()]
        check_formats(self.output, formats)
        self.stream.check()
        if self.live:
            check_viser()
        intrinsics = None if self.intrinsics is None else _intrinsics(self.intrinsics)
        known = None if self.known_poses is None else read_known_poses(self.known_poses)
        resolve_device(self.device)
        find(self.model)
        source = open_source(self.source, self.stream, frames_per_second=self.frames_per_second, watch=self.watch)
        keep_freed_memory()
        with Stages() as stages, ExitStack() as opened:
            run = start(
                load_model(self, stages),
                source,
                self.stream,
                folder=self.output,
                resume=self.resume,
                known_poses=known,
                intrinsics=intrinsics,
            )
            viewer = None
            if self.live:
                viewer = opened.enter_context(closing(LiveViewer(self.live_port)))
                stages.pause()
                print(f"live at {viewer.address}", file=sys.stderr)
            written_at = time.monotonic()

            def stop() -> None:
                stages.pause()
                print(
                    f"stopping after this window; once more Ctrl-C leaves without writing, and "
                    f"anyview stream … -o {self.output} --resume goes on",
                    file=sys.stderr,
                )
                run.cancel()

            with run:
                with interrupted_by(stop):
                    for window in run:
                        if viewer is not None:
                            viewer.show(window)
                        stages.note("streaming", window.report.frames_read, _state(window.report))
                        if "tum" in formats and time.monotonic() - written_at > self.write_every_s:
                            write_outputs(run, self.output, ["tum"])
                            written_at = time.monotonic()
                written = write_outputs(run, self.output, formats, stages.of("writing"))
                stages.pause()
                _summarise_stream(run.report, written)
            if viewer is not None and sys.stdin.isatty():
                input(f"{viewer.address} stays until you press Enter ")


@contextmanager
def interrupted_by(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at the first Ctrl-C; the second interrupts as usual."""
    usual = signal.getsignal(signal.SIGINT)

    def handle(*_: object) -> None:
        signal.signal(signal.SIGINT, usual)
        stop()

    if threading.current_thread() is not threading.main_thread():  # which is the only one that may handle signals
        yield
        return
    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


def _state(report: "StreamReport") -> str:
    loops = f"{report.loops_believed} of {report.loops_found} loops"
    return f"{report.frames_per_second:.2f} kept frames/s, scale ±{report.scale_drift:.1%}, {loops}"


def _summarise_stream(report: "StreamReport", written: Mapping[str, Path]) -> None:
    print(
        f"{report.frames_read} frames read, {report.frames_kept} kept, {report.frames_passed_over} passed over "
        f"(nothing had moved), in {report.windows} windows"
    )
    print(f"{_state(report)} found and believed; worst seam: {report.least_inliers:.0%} of the points agree")
    gpu = f", {report.gpu_bytes / 2**30:.1f} GiB on the GPU" if report.gpu_bytes else ""
    print(f"memory {report.memory_bytes / 2**30:.1f} GiB{gpu}, disk {report.disk_bytes / 2**20:.1f} MiB")
    for fault in report.faults:
        print(f"source: {fault}")
    for path in written.values():
        print(f"wrote {path}")


def _intrinsics(text: str) -> list[list[float]]:
    """Read FX,FY,CX,CY."""
    try:
        focal_x, focal_y, center_x, center_y = (float(word) for word in text.split(","))
    except ValueError as error:
        raise ValueError(f"expected intrinsics as FX,FY,CX,CY, got {text!r}") from error
    return [[focal_x, 0.0, center_x], [0.0, focal_y, center_y], [0.0, 0.0, 1.0]]
