"""Sources that are as they should be, and sources that are not: all is survived, and reported."""

import functools
import http.server
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from anyview.images.video import write_video
from anyview.options import StreamOptions
from anyview.streaming import latest, stream
from anyview.streaming.injected import box_pictures
from anyview.streaming.report import EXAMPLES, Faults
from anyview.streaming.sources import CameraSource, FolderSource, live_frame, open_source, steady

FAST = StreamOptions(stall_s=0.2, give_up_s=0.6)


def picture(value: int, height: int = 28, width: int = 42) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def save(path: Path, value: int) -> None:
    Image.fromarray(picture(value)).save(path)


def read(source, options: StreamOptions = FAST, **arguments):
    """Frames of a source, and what was wrong with it."""
    faults = Faults()
    frames = list(steady(open_source(source, options, **arguments).read(faults), options, faults))
    return frames, faults


def shades(frames) -> list[int]:
    return [int(frame.picture.pixels[0, 0, 0]) for frame in frames]


def test_a_folder_comes_in_natural_order(tmp_path):
    for name in ("10.png", "2.png", "1.png"):
        save(tmp_path / name, int(name[:-4]))
    (tmp_path / "notes.txt").write_text("not a picture")
    frames, faults = read(tmp_path, frames_per_second=10.0)
    assert shades(frames) == [1, 2, 10]
    assert [frame.time_s for frame in frames] == [0.0, 0.1, 0.2]
    assert not faults.counts


def test_file_names_that_are_times_are_times(tmp_path):
    for name in ("1305031102.175304.png", "1305031102.211214.png"):
        save(tmp_path / name, 1)
    assert [frame.time_s for frame in read(tmp_path)[0]] == [1305031102.175304, 1305031102.211214]


def test_a_broken_picture_is_passed_by(tmp_path):
    for index in range(3):
        save(tmp_path / f"{index}.png", index)
    whole = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(whole[: len(whole) // 2])
    frames, faults = read(tmp_path)
    assert [frame.index for frame in frames] == [0, 2]
    assert faults.counts == {"unreadable": 1}
    assert "1.png is a broken or truncated picture" in faults.lines()[0]


def test_a_watched_folder_grows_until_nothing_comes(tmp_path):
    """The last picture is written in two halves, as by a slow copy."""
    save(tmp_path / "00.png", 0)

    def grow() -> None:
        for index in range(1, 4):
            time.sleep(0.1)
            save(tmp_path / f".{index:02d}.png", index)
            (tmp_path / f".{index:02d}.png").rename(tmp_path / f"{index:02d}.png")
        save(tmp_path / "whole.bin.png", 4)
        data = (tmp_path / "whole.bin.png").read_bytes()
        (tmp_path / "whole.bin.png").unlink()
        with (tmp_path / "99.png").open("wb") as file:
            file.write(data[:40])
            file.flush()
            time.sleep(0.1)
            file.write(data[40:])

    writer = threading.Thread(target=grow)
    writer.start()
    options = StreamOptions(stall_s=5.0, give_up_s=5.0)
    faults = Faults()
    frames = []
    for frame in open_source(tmp_path, options, watch=True).read(faults):
        frames.append(frame)
        if frame.picture.name == "99.png":
            break
    writer.join()
    assert [frame.picture.name for frame in frames if frame.picture.name != "whole.bin.png"][-1] == "99.png"
    assert shades(frames)[:4] == [0, 1, 2, 3]


def test_a_watched_folder_is_given_up_in_the_end(tmp_path):
    save(tmp_path / "0.png", 7)
    started = time.monotonic()
    frames, _ = read(tmp_path, watch=True)
    assert shades(frames) == [7]
    assert 0.5 < time.monotonic() - started < 10


def test_another_size_is_filled_and_cropped():
    frames, faults = read([picture(1), picture(2, 56, 126), picture(3, 14, 14)])
    assert {frame.picture.pixels.shape for frame in frames} == {(28, 42, 3)}
    assert shades(frames) == [1, 2, 3]
    assert faults.lines() == ("size changed: 2 (000001: 126×56 instead of 42×28; 000002: 14×14 instead of 42×28)",)


def test_missing_frames_are_noted():
    times = [*np.arange(10) / 30, *(10 + np.arange(5)) / 30 + 0.2]
    _, faults = read([(time_s, picture(1)) for time_s in times])
    assert faults.lines() == ("frames dropped: 1 (about 6 before 000010)",)


def test_a_stall_is_noted():
    def slow():
        yield picture(0)
        time.sleep(0.3)
        yield picture(1)

    frames, faults = read(slow())
    assert len(frames) == 2
    assert faults.counts == {"stalled": 1}


def test_faults_take_no_more_memory_with_time():
    faults = Faults()
    for index in range(1000):
        faults.add("unreadable", f"frame {index}")
    assert len(faults.examples["unreadable"]) == EXAMPLES
    assert faults.lines() == ("unreadable: 1000 (frame 0; frame 1; frame 2; …)",)


def test_what_is_no_picture_is_passed_by():
    frames, faults = read([picture(0), np.zeros((4, 4, 7), np.uint8), "nonsense", picture(3)])
    assert [frame.index for frame in frames] == [0, 3]
    assert faults.counts == {"unreadable": 2}


def video(path: Path, count: int = 30) -> Path:
    noise = np.random.default_rng(0)
    return write_video(path, [noise.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(count)], 10.0)


def test_a_video_gives_times(tmp_path):
    source = open_source(video(tmp_path / "clip.mp4"), FAST, frames_per_second=5.0)
    frames = list(source.read(Faults()))
    assert [frame.time_s for frame in frames] == pytest.approx([index / 5 for index in range(15)])
    assert source.expected() == [(frame.index, frame.picture.name, frame.time_s) for frame in frames]


@pytest.mark.parametrize("suffix", ["mkv", "avi"])
def test_a_video_that_ends_within_a_frame_is_read_until_there(suffix, tmp_path):
    path = video(tmp_path / f"clip.{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    frames, faults = read(path)
    assert 5 < len(frames) < 25
    assert faults.counts == {"truncated": 1}
    assert "says it is 3.0 s long" in faults.lines()[0]


class FakeCamera:
    """As OpenCV's: ten frames, then silence."""

    def __init__(self, number: int) -> None:
        self.number, self.given, self.released = number, 0, False

    def isOpened(self) -> bool:
        return self.number == 0

    def read(self):
        time.sleep(0.01)
        self.given += 1
        return (True, picture(self.given)) if self.given <= 10 else (False, None)

    def release(self) -> None:
        self.released = True


def test_a_camera_gives_the_latest_frame_and_is_given_up(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    monkeypatch.setattr(Path, "exists", lambda self: True)
    source = CameraSource(0, FAST)
    faults, seen = Faults(), []
    for frame in source.read(faults):
        seen.append(frame)
        time.sleep(0.035)  # a slow network
    assert shades(seen)[-1] == 10
    assert 1 < len(seen) < 10  # what came in between was let go of
    assert faults.lines() == ("gave up: 1 (camera 0: no frame for 0.6 s)",)
    assert source._capture.released
    with pytest.raises(ValueError, match="camera 1 cannot be opened"):
        CameraSource(1, FAST)


def test_a_camera_is_released_by_the_thread_that_reads_it(monkeypatch):
    """Who stops while the device is silent does not take it away from under the reader."""
    answer, reading = threading.Event(), threading.Event()

    class Silent(FakeCamera):
        def read(self):
            if self.given:
                reading.set()
                assert answer.wait(10)
                assert not self.released
            return super().read()

    monkeypatch.setattr(cv2, "VideoCapture", Silent)
    monkeypatch.setattr(Path, "exists", lambda self: True)
    monkeypatch.setattr(latest, "STOP_S", 0.05)
    source = CameraSource(0, FAST)
    frames = source.read(Faults())
    next(frames)
    assert reading.wait(10)
    frames.close()
    assert not source._capture.released
    answer.set()
    until = time.monotonic() + 10
    while not source._capture.released and time.monotonic() < until:
        time.sleep(0.01)
    assert source._capture.released


def test_a_live_stream_resumed_has_no_name_twice(circling, options, tmp_path):
    """Its frames are named by their numbers, which go on."""

    class Live:
        live, description = True, "live"

        def expected(self):
            return []

        def read(self, faults):
            return (live_frame(index, index / 30, pixels.numpy()) for index, pixels in enumerate(shown))

        def stop(self) -> None:
            pass

    truth = circling(20)
    shown = box_pictures(truth.cameras[:10], 28, 42)
    for _ in range(2):
        with stream(truth, Live(), options(), folder=tmp_path, resume=True) as run:
            list(run)
            names = run.all_frames().names
    assert names == tuple(f"{index:08d}" for index in range(20))


def test_an_address_is_a_stream(tmp_path):
    video(tmp_path / "clip.ts")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        address = f"http://somebody:secret@127.0.0.1:{server.server_port}/clip.ts"
        source = open_source(address, StreamOptions())
        assert "secret" not in source.description
        assert source.live
        frames = list(source.read(Faults()))
        assert 1 <= len(frames) <= 30
        assert frames[-1].picture.pixels.shape == (48, 64, 3)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (97, "camera 97 does not exist; this machine has"),
        ("97", "camera 97 does not exist; this machine has"),
        ("nowhere/", "no such path: nowhere"),
        ("nowhere/clip.mp4", "no such path: nowhere/clip.mp4"),
        ("http://127.0.0.1:9/live.ts", "stream http://127.0.0.1:9/live.ts cannot be read: "),
        (3.5, "a stream's source is a folder, a video, .*; got float"),
    ],
)
def test_what_cannot_be_read_is_refused(source, message):
    with pytest.raises(ValueError, match=message):
        open_source(source, FAST)


def test_only_folders_can_be_watched(tmp_path):
    save(tmp_path / "0.png", 0)
    with pytest.raises(ValueError, match=r"only a folder can be watched"):
        FolderSource(tmp_path / "0.png", FAST, watch=True)
