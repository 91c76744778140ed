"""``anyview stream``: what it writes and says, resuming, and refusals in one line with nothing written."""

import re
import signal
import sys
import urllib.request
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image

from anyview.cli import main
from anyview.cli.stream import interrupted_by
from anyview.exporters.ply import read_ply
from anyview.images.video import write_video
from anyview.model.checkpoint import save
from anyview.streaming.live import LiveViewer
from anyview.streaming.sources import FolderSource
from anyview.streaming.trajectory import read_kitti, read_tum
from box_room import render_room, room_cameras
from filled import filled

SMALL = ("--window", "4", "--overlap", "2", "--resolution", "56", "--keyframe-change", "0", "--no-loops")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A small any-view network: filled, so that what it says is arbitrary and always the same."""
    return save(filled("anyview"), tmp_path_factory.mktemp("model") / "tiny.safetensors", name="tiny")


@pytest.fixture(scope="module")
def walk(tmp_path_factory) -> Path:
    """A folder of seven pictures."""
    folder = tmp_path_factory.mktemp("walk")
    pictures, _ = render_room(room_cameras(7, 42, 56), 42, 56)
    for index, pixels in enumerate(pictures.numpy()):
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def run(capsys, *arguments: object) -> tuple[int, str, list[str]]:
    capsys.readouterr()
    code = main(["stream", *map(str, arguments)])
    captured = capsys.readouterr()
    lines = re.split(r"[\r\n]+", captured.err)
    return code, captured.out, [line for line in lines if line.startswith("anyview")]  # the others are progress


def test_a_folder_becomes_trajectory_and_cloud(capsys, model, walk, tmp_path):
    code, said, errors = run(capsys, walk, "-o", tmp_path, "-m", model, "-f", "tum,kitti,cloud", *SMALL)
    assert (code, errors) == (0, [])
    times, poses = read_tum(tmp_path / "trajectory.txt")
    assert times == pytest.approx([index / 30 for index in range(7)], abs=1e-6)
    assert poses.isfinite().all()
    assert len(read_kitti(tmp_path / "trajectory_kitti.txt")) == 7
    assert len(read_ply(tmp_path / "cloud.ply").positions) > 10
    assert "7 frames read, 7 kept, 0 passed over (nothing had moved), in 3 windows" in said
    assert re.search(r"\d kept frames/s, scale ±.*%, 0 of 0 loops found and believed", said)
    assert re.search(r"memory \d+\.\d GiB, disk \d+\.\d MiB", said)


def test_a_run_is_resumed_only_if_wanted(capsys, model, walk, tmp_path):
    arguments = (walk, "-o", tmp_path, "-m", model, "-f", "tum", *SMALL)
    assert run(capsys, *arguments)[0] == 0
    first = (tmp_path / "trajectory.txt").read_bytes()
    code, _, errors = run(capsys, *arguments)
    assert code == 2
    assert errors == [f"anyview: {tmp_path} holds a stream of 3 windows; pass --resume to go on with it"]
    code, said, _ = run(capsys, *arguments, "--resume")
    assert code == 0
    assert "7 frames read" in said
    assert (tmp_path / "trajectory.txt").read_bytes() == first


def test_faults_of_the_source_are_said(capsys, model, walk, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for path in walk.glob("*.png"):
        (pictures / path.name).write_bytes(path.read_bytes())
    (pictures / "3.png").write_bytes(b"\x89PNG, once")
    code, said, _ = run(capsys, pictures, "-o", tmp_path / "out", "-m", model, "-f", "tum", *SMALL)
    assert code == 0
    assert "6 frames read" in said
    assert "source: unreadable: 1 (" in said


def test_a_video_with_known_intrinsics(capsys, model, walk, tmp_path):
    pixels = [np.asarray(Image.open(path)) for path in sorted(walk.glob("*.png"))]
    clip = write_video(tmp_path / "clip.mp4", pixels, 10.0)
    arguments = ("--intrinsics", "40,41,28,21", "-f", "colmap", *SMALL)
    assert run(capsys, clip, "-o", tmp_path / "out", "-m", model, *arguments)[0] == 0
    cameras = (tmp_path / "out" / "colmap" / "sparse" / "0" / "cameras.txt").read_text().splitlines()
    assert cameras[0] == "1 PINHOLE 56 42 40 41 28 21"


def test_ctrl_c_ends_a_stream_that_waits_and_writes_its_results(capsys, model, walk, tmp_path, monkeypatch):
    really = FolderSource._list

    def interrupted(source: FolderSource, seen) -> list[Path]:
        if seen:  # the folder's pictures are read, and more are waited for
            signal.raise_signal(signal.SIGINT)
        return really(source, seen)

    monkeypatch.setattr(FolderSource, "_list", interrupted)
    usual = signal.getsignal(signal.SIGINT)
    arguments = ("--watch", "--give-up-s", "300", "-f", "tum,cloud,depth", *SMALL)
    code, said, errors = run(capsys, walk, "-o", tmp_path, "-m", model, *arguments)
    assert (code, errors) == (0, [])
    assert "7 frames read, 7 kept" in said
    assert len(read_tum(tmp_path / "trajectory.txt")[0]) == len(list((tmp_path / "depth").iterdir())) == 7
    assert len(read_ply(tmp_path / "cloud.ply").positions) > 10
    assert signal.getsignal(signal.SIGINT) is usual


def test_a_second_ctrl_c_interrupts():
    stopped = []

    def press_twice() -> None:
        with interrupted_by(lambda: stopped.append("once")):
            signal.raise_signal(signal.SIGINT)
            stopped.append("going on")
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background may ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            press_twice()
    finally:
        signal.signal(signal.SIGINT, before)
    assert stopped == ["once", "going on"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "no such path: nowhere"),
        (("97",), "camera 97 does not exist; this machine has"),
        (("WALK", "-f", "tumm"), "unknown format 'tumm': did you mean 'tum'?"),
        (("WALK", "--window", "1"), "expected windows of at least 2 frames, got 1"),
        (("WALK", "--intrinsics", "1,2,3"), "expected intrinsics as FX,FY,CX,CY, got '1,2,3'"),
        (("WALK", "--known-poses", "poses.txt"), "no such path: poses.txt"),
        (("WALK", "--known-poses", "LATE"), "none of the 1 known poses belongs to a frame"),
    ],
)
def test_refusals(arguments, message, capsys, model, walk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "late.txt").write_text("1000 0 0 0 0 0 0 1\n")
    places = {"WALK": walk, "LATE": "late.txt"}
    given = [places.get(argument, argument) for argument in arguments]
    code, said, errors = run(capsys, *given, "-o", tmp_path / "out", "-m", model)
    assert (code, said) == (2, "")
    (line,) = errors
    assert message in line
    assert not (tmp_path / "out").exists()


def test_live_serves_the_stream_while_it_runs(capsys, model, walk, tmp_path, monkeypatch):
    """Every window is shown, and the server is stopped at the end: nobody sits at this terminal."""
    seen = []
    really = LiveViewer.show

    def show(viewer: LiveViewer, window) -> None:
        really(viewer, window)
        with urllib.request.urlopen(viewer.address, timeout=10) as page:
            seen.append((page.status, len(viewer.scene.cameras)))

    monkeypatch.setattr(LiveViewer, "show", show)
    capsys.readouterr()
    arguments = ["-o", str(tmp_path), "-m", str(model), "-f", "tum", "--live", "--live-port", "18180", *SMALL]
    assert main(["stream", str(walk), *arguments]) == 0
    assert "live at http://127.0.0.1:181" in capsys.readouterr().err
    assert seen == [(200, 2), (200, 4), (200, 5), (200, 7)]
    with pytest.raises(URLError):
        urllib.request.urlopen("http://127.0.0.1:18180", timeout=1)


def test_live_without_the_viewer_is_refused(capsys, model, walk, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    code, _, errors = run(capsys, walk, "-o", tmp_path / "out", "-m", model, "--live")
    assert code == 2
    assert errors == ['anyview: the live viewer needs viser: pip install "anyview[view]"']
    assert not (tmp_path / "out").exists()
