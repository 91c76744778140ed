import tracemalloc
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from anyview.images.video import choose_frames, read_frames, write_video


def grey_frames(count: int, height: int = 64, width: int = 96) -> Iterator[np.ndarray]:
    """Frames whose brightness tells their number, darker in the top left quarter."""
    for number in range(count):
        frame = np.full((height, width, 3), 40 + 4 * number, np.uint8)
        frame[: height // 2, : width // 2] = 0
        yield frame


def number_of(pixels: np.ndarray) -> int:
    return round((float(pixels[-20:, -20:].mean()) - 40) / 4)


def numbers(path: Path, **options: object) -> list[int]:
    return [number_of(frame.pixels) for frame in read_frames(path, **options)]


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """2.4 seconds at 10 frames per second."""
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", grey_frames(24), 10.0)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi", "m4v"])
def test_round_trip(tmp_path, suffix):
    path = write_video(tmp_path / f"clip.{suffix}", grey_frames(12), 10.0)
    frames = list(read_frames(path))
    assert [number_of(frame.pixels) for frame in frames] == list(range(12))
    assert [frame.time_s for frame in frames] == pytest.approx([number / 10 for number in range(12)], abs=2e-3)
    for frame, original in zip(frames, grey_frames(12), strict=True):
        assert np.abs(frame.pixels.astype(int) - original).mean() < 3


def test_colours_survive(tmp_path):
    frame = np.zeros((64, 96, 3), np.uint8)
    frame[...] = (200, 60, 30)
    (read,) = read_frames(write_video(tmp_path / "red.mp4", [frame], 5.0))
    assert np.abs(read.pixels.astype(int) - frame).max() < 12


def test_odd_sizes_are_padded_by_their_last_row_and_column(tmp_path):
    frames = [np.full((63, 95, 3), 90, np.uint8)] * 2
    sizes = {frame.pixels.shape for frame in read_frames(write_video(tmp_path / "odd.mp4", frames, 5.0))}
    assert sizes == {(64, 96, 3)}


def test_choosing(video):
    assert numbers(video) == list(range(24))
    assert numbers(video, frames_per_second=2.0) == [0, 5, 10, 15, 20]
    assert numbers(video, frames_per_second=100.0) == list(range(24))
    assert numbers(video, count=4) == [0, 8, 15, 23]
    assert numbers(video, count=1) == [0]
    assert numbers(video, count=100) == list(range(24))
    assert numbers(video, frames_per_second=2.0, count=3) == [0, 10, 20]


def test_uneven_times_are_sampled_by_time():
    times = [0.0, 0.1, 0.2, 1.1, 1.2, 4.0, 4.9, 5.0]
    assert choose_frames(times, 1.0, None) == [0, 3, 5, 7]  # at or after 0, 1, (2, 3 have none) 4, 5
    assert choose_frames([3 + time for time in times], 1.0, None) == [0, 3, 5, 7]
    assert choose_frames(times, 1.0, 2) == [0, 7]
    assert choose_frames([k / 30 for k in range(91)], 10.0, None) == list(range(0, 91, 3))


def test_variable_rate_files(tmp_path):
    import av

    path = tmp_path / "variable.mkv"
    times_ms = [0, 100, 200, 1100, 1200, 4000, 4900, 5000]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for pixels, time in zip(grey_frames(8), times_ms, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert numbers(path, frames_per_second=1.0) == [0, 3, 5, 7]
    assert [frame.time_s for frame in read_frames(path)] == pytest.approx([time / 1000 for time in times_ms])


def rotated(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Write the (a, b, c, d) of x' = a x + c y, y' = b x + d y into a track header, as telephones do."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version and flags, times, id, duration, layer, group, volume
    a, b, c, d = (value * 65536 for value in matrix)
    values = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], ">i4").tobytes()
    assert data[at : at + 4] == np.array([65536], ">i4").tobytes(), "the identity stands elsewhere"
    data[at : at + 36] = values
    turned = path.with_name(f"turned{matrix}.mp4")
    turned.write_bytes(data)
    return turned


@pytest.mark.parametrize(
    ("matrix", "shape", "dark_corner"),
    [
        ((1, 0, 0, 1), (64, 96), (0, 0)),
        ((0, 1, -1, 0), (96, 64), (0, -1)),  # clockwise: the x axis becomes the y axis, so top left comes top right
        ((-1, 0, 0, -1), (64, 96), (-1, -1)),
        ((0, -1, 1, 0), (96, 64), (-1, 0)),
    ],
)
def test_rotation_metadata_is_applied(tmp_path, matrix, shape, dark_corner):
    path = rotated(write_video(tmp_path / "a.mp4", grey_frames(3), 10.0), matrix)
    frame = next(read_frames(path))
    assert frame.pixels.shape == (*shape, 3)
    corners = {corner: frame.pixels[corner].mean() for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1))}
    assert min(corners, key=corners.__getitem__) == dark_corner
    assert sorted(corners.values())[1] > 30


def test_progress(video):
    calls = []
    list(read_frames(video, count=3, progress=lambda done, total: calls.append((done, total))))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_frames_are_decoded_one_at_a_time(tmp_path):
    path = write_video(tmp_path / "long.mp4", grey_frames(50, 256, 256), 25.0)
    tracemalloc.start()
    for _ in read_frames(path):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 256 * 256 * 3
    assert len(list(islice(read_frames(path), 2))) == 2


def test_refusals(tmp_path, video):
    import av

    (tmp_path / "text.mp4").write_text("dear diary")
    with pytest.raises(ValueError, match=r"text\.mp4 cannot be decoded as video: Invalid data"):
        read_frames(tmp_path / "text.mp4")
    (tmp_path / "zero.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match=r"zero\.mp4 cannot be decoded as video"):
        read_frames(tmp_path / "zero.mp4")
    (tmp_path / "half.mp4").write_bytes(video.read_bytes()[:900])
    with pytest.raises(ValueError, match=r"half\.mp4 cannot be decoded as video"):
        list(read_frames(tmp_path / "half.mp4"))
    with pytest.raises(ValueError, match=r"no such path: .*clop\.mp4; did you mean '.*clip\.mp4'"):
        read_frames(video.with_name("clop.mp4"))
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("flac", rate=8000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4000), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(ValueError, match=r"sound\.mkv has no video stream"):
        read_frames(tmp_path / "sound.mkv")
    with av.open(str(tmp_path / "empty.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        container.start_encoding()
    with pytest.raises(ValueError, match=r"empty\.mkv (has no frames|cannot be decoded)"):
        read_frames(tmp_path / "empty.mkv")
    with pytest.raises(ValueError, match=r"expected frames per second above 0, got 0\.0"):
        read_frames(video, frames_per_second=0.0)
    with pytest.raises(ValueError, match="expected at least 1 frame, got 0"):
        read_frames(video, count=0)


def test_writing_refuses_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="no frames to write"):
        write_video(tmp_path / "a.mp4", [], 10.0)
    frames = [np.zeros((64, 96, 3), np.uint8), np.zeros((64, 98, 3), np.uint8)]
    with pytest.raises(ValueError, match=r"expected frames of shape \(64, 96, 3\), got \(64, 98, 3\)"):
        write_video(tmp_path / "a.mp4", frames, 10.0)
    with pytest.raises(ValueError, match="frames per second above 0, got nan"):
        write_video(tmp_path / "a.mp4", frames, float("nan"))
    assert list(tmp_path.iterdir()) == []
