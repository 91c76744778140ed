"""Videos: accepted by their content, limited by what is in them, read by the worker."""

from pathlib import Path

import numpy as np
import pytest
from serving import Running, picture

from anyview.exporters.npz import read_npz
from anyview.images.video import write_video
from anyview.serve.content import sniff
from anyview.serve.video import check_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of noise, 56 × 42 pixels, 10 frames a second."""
    frames = (np.random.default_rng(index).integers(0, 255, (42, 56, 3), dtype=np.uint8) for index in range(20))
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", frames, 10.0)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi"])
def test_videos_are_known_by_their_content(tmp_path: Path, suffix: str):
    frames = [np.zeros((16, 16, 3), np.uint8)] * 2
    path = write_video(tmp_path / f"clip{suffix}", frames, 10.0)
    content = sniff(path.read_bytes()[:64], "clip")
    assert content.kind == "video"
    assert content.suffix == {".mov": ".mp4"}.get(suffix, suffix)


def test_limits_of_videos(clip: Path, tmp_path: Path):
    check_video(clip, "clip.mp4", seconds=2.5, megapixels=0.01)
    with pytest.raises(ValueError, match=r"clip\.mp4 is 2 s long, more than the 1\.5 s"):
        check_video(clip, "clip.mp4", seconds=1.5, megapixels=0.01)
    with pytest.raises(ValueError, match=r"clip\.mp4 has frames of 56×42, more than the 0\.001 million"):
        check_video(clip, "clip.mp4", seconds=2.5, megapixels=0.001)
    (tmp_path / "broken.mp4").write_bytes(clip.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"broken\.mp4 cannot be decoded as video"):
        check_video(tmp_path / "broken.mp4", "broken.mp4", seconds=2.5, megapixels=0.01)


def test_a_playlist_that_calls_itself_a_video_opens_nothing(tmp_path: Path):
    """FFmpeg would follow it: to files of the server, or to other machines."""
    for text in ("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "ffconcat version 1.0\nfile /etc/passwd\n"):
        with pytest.raises(ValueError, match="neither a picture"):
            sniff(text.encode(), "list.mp4")


def test_frames_and_pictures_become_one_scene(live: Running, clip: Path, tmp_path: Path):
    (tmp_path / "first.png").write_bytes(picture())
    options = {"predict": {"resolution": 56}, "formats": ["npz"], "frames_per_second": 5, "max_frames": 3}
    job = live.client.wait(live.client.submit([tmp_path / "first.png", clip], options)["id"])
    assert job["state"] == "done", job["error"]
    assert (job["views"], job["inputs"]) == (4, ["first.png", "clip.mp4"])
    prediction = read_npz(live.client.download(job["id"], "results.npz", tmp_path / "results.npz"))
    assert prediction.names == ("first.png", "clip_00000", "clip_00001", "clip_00002")


def test_a_broken_video_fails_its_job_and_is_named(live: Running, clip: Path, tmp_path: Path):
    broken = tmp_path / "holiday.mp4"
    broken.write_bytes(clip.read_bytes()[:200])
    job = live.client.wait(live.client.submit([broken])["id"])
    assert job["state"] == "failed"
    assert job["error"].startswith("holiday.mp4 cannot be decoded as video")
