"""Frames out of video files, and into them."""

import bisect
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import UInt8

from anyview.files import atomic_path
from anyview.images.pool import Progress
from anyview.images.read import missing_path

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".wmv", ".flv", ".mpg", ".mpeg", ".ts", ".mts", ".3gp", ".ogv"}
)


class Frame(NamedTuple):
    """One frame of a video, turned as it is meant to be seen."""

    time_s: float
    """Since the first frame."""
    pixels: UInt8[np.ndarray, "height width 3"]
    """RGB."""


def read_frames(
    path: str | Path,
    *,
    frames_per_second: float | None = None,
    count: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Frame]:
    """Decode all frames of a video, or an even choice of them, one at a time.

    ``frames_per_second`` takes the first frame at or after each multiple of its inverse, by the frames' own times, so
    that videos of variable rate are sampled evenly; ``count`` takes at most so many, spread evenly over those.

    Raises:
        ValueError: the file does not exist, cannot be decoded, or has no video stream or no frames in it.
    """
    if frames_per_second is not None and not (math.isfinite(frames_per_second) and frames_per_second > 0):
        raise ValueError(f"expected frames per second above 0, got {frames_per_second}")
    if count is not None and count < 1:
        raise ValueError(f"expected at least 1 frame, got {count}")
    path = Path(path).expanduser()
    if not path.is_file():
        raise ValueError(missing_path(path))
    times = _frame_times(path)
    chosen = [times[index] for index in choose_frames([float(time) for time in times], frames_per_second, count)]
    return _decode_frames(path, times, chosen, progress)


def frame_times(path: str | Path, *, frames_per_second: float | None = None) -> list[float]:
    """Return the times in seconds, since the first, of the frames that `read_frames` decodes, without decoding them.

    Raises:
        ValueError: the file cannot be read, or has no video stream or no frames in it.
    """
    times = [float(time) for time in _frame_times(Path(path).expanduser())]
    return [times[index] - times[0] for index in choose_frames(times, frames_per_second, None)]


def declared_seconds(path: str | Path) -> float | None:
    """Return how long a video says it is, which may be longer than it is if it was cut off; None if it does not say."""
    with _video_stream(Path(path).expanduser()) as (container, stream):
        by_time = [container.duration / 1e6] if container.duration else []
        by_count = [float(stream.frames / stream.average_rate)] if stream.frames and stream.average_rate else []
    return max(by_time + by_count, default=None)


def choose_frames(times_s: Sequence[float], frames_per_second: float | None, count: int | None) -> list[int]:
    """Return the positions of the chosen among frames at ascending times; see `read_frames`."""
    chosen = list(range(len(times_s)))
    if frames_per_second is not None:
        # the number of the sampling instant that each frame has reached; a frame is taken when it reaches a new one
        reached = [math.floor((time - times_s[0]) * frames_per_second + 1e-6) for time in times_s]
        chosen = [index for index in chosen if index == 0 or reached[index] > reached[index - 1]]
    if count is not None and count < len(chosen):
        last = len(chosen) - 1
        chosen = [chosen[round(step * last / max(count - 1, 1))] for step in range(count)]
    return chosen


def write_video(path: str | Path, frames: Iterable[UInt8[np.ndarray, "height width 3"]], fps: float) -> Path:
    """Write RGB frames of one size as H.264 (yuv420p), which every player opens.

    That format wants even sides: the last row or column of frames with an odd one is doubled.
    """
    import av

    path = Path(path)
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"expected frames per second above 0, got {fps}")
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError(f"{path}: no frames to write")
    height, width = first.shape[:2]
    with atomic_path(path) as temporary, av.open(str(temporary), "w") as container:
        # x264's macroblock tree makes files differ from run to run, and a video is to be the same bytes each time.
        options = {"x264-params": "mbtree=0"}
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1_000_000), options=options)
        stream.height, stream.width, stream.pix_fmt = height + height % 2, width + width % 2, "yuv420p"
        for pixels in itertools.chain([first], frames):
            if pixels.shape != first.shape:
                raise ValueError(f"{path}: expected frames of shape {first.shape}, got {pixels.shape}")
            even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode())
    return path


@contextmanager
def _video_stream(path: Path) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{path} has no video stream")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield container, stream
    except av.error.FFmpegError as error:
        raise ValueError(f"{path} cannot be decoded as video: {error.strerror}") from error


def _frame_times(path: Path) -> list[Fraction]:
    """Read the times in seconds of all frames, in the order they are shown, without decoding them."""
    with _video_stream(path) as (container, stream):
        times = {_time(packet) for packet in container.demux(stream) if packet.size and not packet.is_discard}
    if not times:
        raise ValueError(f"{path} has no frames in its video stream")
    return sorted(times)


def _decode_frames(
    path: Path, times: Sequence[Fraction], chosen: Sequence[Fraction], progress: Progress | None
) -> Iterator[Frame]:
    done = 0
    with _video_stream(path) as (container, stream):
        # AVI stores when to decode a frame, not when to show it; but frames come in the order they are shown.
        times_shown = iter(times) if container.format.name == "avi" else None
        for frame in container.decode(stream):
            time = _time(frame) if times_shown is None else next(times_shown, times[-1])
            if time < chosen[done]:
                continue
            yield Frame(float(time - times[0]), _upright_pixels(frame))
            done = bisect.bisect_right(chosen, time)
            if progress is not None:
                progress(done, len(chosen))
            if done == len(chosen):
                return
    if not done:
        raise ValueError(f"{path}: no frame can be decoded")


def _time(timed: "Packet | VideoFrame") -> Fraction:
    """Presentation time in seconds; files of old formats have decoding times only."""
    ticks = timed.pts if timed.pts is not None else timed.dts
    if ticks is None or timed.time_base is None:
        raise ValueError("the frames of the video carry no times")
    return ticks * timed.time_base


def _upright_pixels(frame: "VideoFrame") -> UInt8[np.ndarray, "height width 3"]:
    quarter_turns = round(frame.rotation / 90)
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), quarter_turns))
