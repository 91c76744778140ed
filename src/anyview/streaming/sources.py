"""Anything that frames come from, one at a time: folders, videos, cameras, network streams, iterables.

A source that stalls, drops frames, changes size or breaks off is survived, and what happened is noted in its faults.
"""

import os
import re
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Set
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urlsplit

import cv2
import numpy as np
from jaxtyping import UInt8

from anyview.images.decode import decode_file, to_rgb8
from anyview.images.read import PICTURE_SUFFIXES, missing_path, natural_key, picture_files, readable_name
from anyview.images.video import VIDEO_SUFFIXES, declared_seconds, frame_times, read_frames
from anyview.options import StreamOptions
from anyview.streaming.frames import StreamFrame
from anyview.streaming.latest import LatestFrames
from anyview.streaming.report import Faults
from anyview.types import Picture

POLL_S = 0.05
WATCH_POLL_S = 0.5
"""Between looks at a watched folder, and at whether a source was told to stop."""
CUT_OFF_S = 1.0
"""A video whose frames end so long before its own end was cut off: sound may go on for a little."""
DROP_FACTOR = 2.5
"""A gap between two frames that is so many times the usual one means that frames are missing."""
USUAL_OF = 30
FEWEST_GAPS = 5
"""Gaps between frames, the latest ones, whose median is the usual one; and how many it takes."""


@runtime_checkable
class FrameSource(Protocol):
    """Frames in order, once. `live` ones cannot be read again: what is not taken is lost."""

    live: bool
    description: str
    """What identifies the source, for reports and for resuming."""

    def expected(self) -> list[tuple[int, str, float]]:
        """Return position, name and time of frames that are known to come, as far as that is known beforehand."""
        ...

    def read(self, faults: Faults) -> Iterator[StreamFrame]:
        """Yield the frames, and note what is wrong with them."""
        ...

    def stop(self) -> None:
        """Have `read` wait for nothing more; called by signal handlers and other threads."""
        ...


def open_source(
    source: Any, options: StreamOptions, *, frames_per_second: float | None = None, watch: bool = False
) -> FrameSource:
    """Find out what a source is, and see that it can be read.

    Args:
        source: A folder of pictures, a pattern, a video file, the number of a camera, an address (rtsp://, http://, …),
            or an iterable of pictures: arrays, `Picture`, or pairs of time in seconds and one of these. Or a
            `FrameSource` of your own.
        options: How long to wait for frames.
        frames_per_second: Of videos, how many to take; of folders, how many there are, where file names are no times.
        watch: Wait for more pictures in a folder.

    Raises:
        ValueError: there is no such thing, or it is nothing that frames could come from.
    """
    if isinstance(source, FrameSource):
        return source
    if isinstance(source, int) or (isinstance(source, str) and source.isdigit() and not Path(source).exists()):
        return CameraSource(int(source), options)
    if isinstance(source, str) and re.match(r"^[a-z][a-z0-9+]+://", source):
        return NetworkSource(source, options)
    if isinstance(source, (str, Path)):
        path = Path(source).expanduser()
        if path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir():
            return VideoSource(path, frames_per_second)
        return FolderSource(path, options, frames_per_second, watch=watch)
    if isinstance(source, Iterable):
        return IterableSource(source, frames_per_second or 30.0)
    raise ValueError(
        f"a stream's source is a folder, a video, a camera's number, an address or an iterable; "
        f"got {type(source).__name__}"
    )


class FolderSource:
    """The pictures of a folder in natural order, and those that are put there while it is watched.

    File names that are numbers with a point, as the TUM data sets have, are times in seconds.
    """

    live = False

    def __init__(
        self, path: Path, options: StreamOptions, frames_per_second: float | None = None, *, watch: bool = False
    ) -> None:
        self.path, self.options, self.watch = path, options, watch
        self._stopped = threading.Event()
        self.rate = frames_per_second or 30.0
        self.description = f"folder {path}{_rate(frames_per_second)}"
        if watch and not path.is_dir():
            raise ValueError(f"only a folder can be watched: {path}" if path.exists() else missing_path(path))
        self._files = self._list(set()) if watch else picture_files(path)

    def expected(self) -> list[tuple[int, str, float]]:
        """Return what is there already."""
        return [(index, path.name, self._time(index, path)) for index, path in enumerate(self._files)]

    def read(self, faults: Faults) -> Iterator[StreamFrame]:
        """Yield the pictures; with ``watch`` in the order in which they come, until none has come for long enough."""
        for index, path in enumerate(self._paths()):
            picture = self._decode(path, faults)
            if picture is not None:
                yield StreamFrame(index, self._time(index, path), picture)

    def _paths(self) -> Iterator[Path]:
        yield from self._files
        if not self.watch:
            return
        seen, last = {path.name for path in self._files}, time.monotonic()
        while time.monotonic() - last < self.options.give_up_s and not self._stopped.is_set():
            fresh = self._list(seen)
            if not fresh:
                self._stopped.wait(WATCH_POLL_S)
                continue
            for path in fresh:
                seen.add(path.name)
                yield path
            last = time.monotonic()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()

    def _decode(self, path: Path, faults: Faults) -> Picture | None:
        """Read a picture; one that is still being written gets the time to become whole."""
        until = time.monotonic() + (self.options.stall_s if self.watch else 0.0)
        while True:
            try:
                return decode_file(path, readable_name(path.name))
            except ValueError as error:
                if time.monotonic() >= until or self._stopped.is_set():
                    faults.add("unreadable", str(error))
                    return None
                time.sleep(POLL_S)

    def _list(self, seen: Set[str]) -> list[Path]:
        """List the pictures whose names are not among those seen, in natural order."""
        names = [name for name in os.listdir(self.path) if name not in seen and not name.startswith(".")]
        files = [self.path / name for name in names if Path(name).suffix.lower() in PICTURE_SUFFIXES]
        return sorted(files, key=lambda path: natural_key(str(path)))

    def _time(self, index: int, path: Path) -> float:
        return float(path.stem) if re.fullmatch(r"\d+\.\d+", path.stem) else index / self.rate


class VideoSource:
    """The frames of a video file."""

    live = False

    def __init__(self, path: Path, frames_per_second: float | None = None) -> None:
        self.path, self.frames_per_second = path, frames_per_second
        self.description = f"video {path}{_rate(frames_per_second)}"
        self._frames = read_frames(path, frames_per_second=frames_per_second)

    def expected(self) -> list[tuple[int, str, float]]:
        """Return its frames, by the times that the file gives them."""
        times_s = frame_times(self.path, frames_per_second=self.frames_per_second)
        return [(index, self._name(index), time_s) for index, time_s in enumerate(times_s)]

    def stop(self) -> None:
        """Nothing: a file is not waited for."""

    def _name(self, index: int) -> str:
        return f"{readable_name(self.path.stem)}_{index:05d}"

    def read(self, faults: Faults) -> Iterator[StreamFrame]:
        """Yield the frames; a video that breaks off ends there."""
        index = -1
        try:
            for index, frame in enumerate(self._frames):
                yield StreamFrame(index, frame.time_s, Picture(frame.pixels, self._name(index)))
        except ValueError as error:
            if index < 0:
                raise
            faults.add("truncated", f"after {index + 1} frames: {error}")
            return
        declared, last = declared_seconds(self.path), frame_times(self.path)[-1]
        if declared is not None and declared > last + CUT_OFF_S:
            faults.add("truncated", f"{self.path} says it is {declared:.1f} s long, and its frames end at {last:.1f} s")


class IterableSource:
    """Pictures from a Python iterable."""

    live = False

    def __init__(self, pictures: Iterable[Any], rate: float) -> None:
        self.pictures, self.rate = pictures, rate
        self.description = "iterable"

    def expected(self) -> list[tuple[int, str, float]]:
        """Nothing: it has not been asked yet."""
        return []

    def read(self, faults: Faults) -> Iterator[StreamFrame]:
        """Yield its pictures; what is none is noted."""
        for index, item in enumerate(self.pictures):
            time_s, content = item if isinstance(item, tuple) else (index / self.rate, item)
            try:
                picture = content if isinstance(content, Picture) else _as_picture(content, index)
            except ValueError as error:
                faults.add("unreadable", str(error))
                continue
            yield StreamFrame(index, float(time_s), picture)

    def stop(self) -> None:
        """Nothing: it cannot be told."""


class CameraSource:
    """A camera of this machine; frames that come while the network works are dropped, but for the latest."""

    live = True

    def __init__(self, number: int, options: StreamOptions) -> None:
        self.options = options
        self._stopped = threading.Event()
        self.description = f"camera {number}"
        devices = Path("/dev")
        if sys.platform == "linux" and not (devices / f"video{number}").exists():  # OpenCV would write to stderr
            there = sorted(path.name.removeprefix("video") for path in devices.glob("video[0-9]*"))
            raise ValueError(f"camera {number} does not exist; this machine has {', '.join(there) or 'none'}")
        self._capture = cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise ValueError(f"camera {number} cannot be opened")

    def expected(self) -> list[tuple[int, str, float]]:
        """Nothing: the future is not known."""
        return []

    def read(self, faults: Faults) -> Iterator[StreamFrame]:
        """Yield frames until the camera gives none for long enough."""

        def grab() -> Generator[UInt8[np.ndarray, "height width 3"] | None, None, None]:
            try:
                while True:
                    good, pixels = self._capture.read()
                    if not good:
                        time.sleep(POLL_S)
                    yield np.ascontiguousarray(pixels[..., ::-1]) if good else None
            finally:
                self._capture.release()  # by the thread that reads: not while it does

        return _live_frames(grab(), self.options, faults, self.description, self._stopped)

    def stop(self) -> None:
        """Wait for no further frame."""
        self._stopped.set()


class NetworkSource:
    """A video stream from an address."""

    live = True

    def __init__(self, address: str, options: StreamOptions) -> None:
        import av

        self.options = options
        self._stopped = threading.Event()
        parts = urlsplit(address)
        # Who may see the report need not know the password.
        self.description = f"stream {parts._replace(netloc=parts.netloc.rpartition('@')[2]).geturl()}"
        try:
            self._container = av.open(address, timeout=options.give_up_s)
        except (av.error.FFmpegError, OSError) as error:
            raise ValueError(f"{self.description} cannot be read: {error.strerror or error}") from error
        if not self._container.streams.video:
            self._container.close()
            raise ValueError(f"{self.description} has no video")

    def expected(self) -> list[tuple[int, str, float]]:
        """Nothing: the future is not known."""
        return []

    def read(self, faults: Faults) -> Iterator[StreamFrame]:
        """Yield frames until the stream ends, breaks off, or gives none for long enough."""
        import av

        def decode() -> Generator[UInt8[np.ndarray, "height width 3"] | None, None, None]:
            with closing(self._container):  # by the thread that reads: not while it does
                try:
                    for frame in self._container.decode(video=0):
                        yield frame.to_ndarray(format="rgb24")
                except (av.error.FFmpegError, OSError) as error:
                    faults.add("truncated", f"{self.description}: {error.strerror or error}")

        return _live_frames(decode(), self.options, faults, self.description, self._stopped)

    def stop(self) -> None:
        """Wait for no further frame."""
        self._stopped.set()


def live_frame(index: int, time_s: float, pixels: UInt8[np.ndarray, "height width 3"]) -> StreamFrame:
    """Name a frame of a live source by its number."""
    return StreamFrame(index, time_s, Picture(pixels, f"{index:08d}"))


def _live_frames(
    pictures: Generator[UInt8[np.ndarray, "height width 3"] | None, None, None],
    options: StreamOptions,
    faults: Faults,
    name: str,
    stopped: threading.Event,
) -> Iterator[StreamFrame]:
    with LatestFrames(pictures) as latest:
        last = time.monotonic()
        while (item := latest.take(min(WATCH_POLL_S, options.give_up_s))) is not latest.END and not stopped.is_set():
            if item is not None:
                yield live_frame(*item)
                last = time.monotonic()
            elif time.monotonic() - last >= options.give_up_s:
                faults.add("gave up", f"{name}: no frame for {options.give_up_s:g} s")
                return


def steady(frames: Iterator[StreamFrame], options: StreamOptions, faults: Faults) -> Iterator[StreamFrame]:
    """Bring frames to the size of the first one, filled and cropped around the centre; note gaps and long waits."""
    size: tuple[int, int] | None = None
    gaps: deque[float] = deque(maxlen=USUAL_OF)
    last: StreamFrame | None = None
    waiting_since = time.monotonic()
    for frame in frames:
        waited = time.monotonic() - waiting_since
        if last is not None and waited > options.stall_s:
            faults.add("stalled", f"{waited:.0f} s without a frame before {frame.picture.name}")
        if last is not None:
            gap = frame.time_s - last.time_s
            if len(gaps) >= FEWEST_GAPS and gap > DROP_FACTOR * (usual := statistics.median(gaps)) > 0:
                faults.add("frames dropped", f"about {round(gap / usual) - 1} before {frame.picture.name}")
            gaps.append(gap)
        last = frame
        height, width = frame.picture.pixels.shape[:2]
        size = size or (height, width)
        if (height, width) != size:
            faults.add("size changed", f"{frame.picture.name}: {width}×{height} instead of {size[1]}×{size[0]}")
            yield replace(frame, picture=replace(frame.picture, pixels=_fill(frame.picture.pixels, *size)))
        else:
            yield frame
        waiting_since = time.monotonic()


def _fill(pixels: UInt8[np.ndarray, "h w 3"], height: int, width: int) -> UInt8[np.ndarray, "height width 3"]:
    scale = max(height / pixels.shape[0], width / pixels.shape[1])
    new_height, new_width = max(height, round(scale * pixels.shape[0])), max(width, round(scale * pixels.shape[1]))
    large = cv2.resize(pixels, (new_width, new_height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    top, left = (new_height - height) // 2, (new_width - width) // 2
    return np.ascontiguousarray(large[top : top + height, left : left + width])


def _rate(frames_per_second: float | None) -> str:
    return "" if frames_per_second is None else f" at {frames_per_second:g} frames a second"


def _as_picture(content: object, index: int) -> Picture:
    name = f"{index:06d}"
    if not isinstance(content, np.ndarray):
        raise ValueError(f"frame {index}: expected an array or a Picture, got {type(content).__name__}")
    return Picture(to_rgb8(content, f"frame {index}"), name)
