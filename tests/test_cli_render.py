"""``anyview render``: the video it writes, what it says, and what it refuses in one line with nothing written."""

import dataclasses
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from anyview.cli import main
from anyview.exporters import export
from anyview.options import ExportOptions
from anyview.types import Cameras, Gaussians, Placement, Prediction


@pytest.fixture
def wall(tmp_path, monkeypatch) -> Prediction:
    """A coloured wall 2 in front of two cameras; the current folder is empty."""
    monkeypatch.chdir(tmp_path)
    poses = torch.eye(4).repeat(2, 1, 1)
    poses[1, 0, 3] = -0.2
    ramp = torch.linspace(0, 255, 28).byte().expand(2, 20, 28)
    return Prediction(
        images=torch.stack([ramp, 255 - ramp, ramp], -1),
        depth=torch.full((2, 20, 28), 2.0),
        units="arbitrary",
        model="test",
        names=("a", "b"),
        placements=(Placement(20, 28),) * 2,
        confidence=torch.ones(2, 20, 28),
        cameras=Cameras(poses, torch.tensor([[25.0, 0, 14], [0, 25, 10], [0, 0, 1]]).repeat(2, 1, 1)),
        lacks={"gaussians": "test has no Gaussian head"},
    )


@pytest.fixture
def refused(capsys, wall) -> Callable[..., str]:
    """Assert that ``anyview render`` refuses in one line, with exit code 2 and nothing written; return the line."""

    def run(*arguments: str) -> str:
        before = sorted(Path.cwd().rglob("*"))
        capsys.readouterr()
        assert main(["render", *arguments]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert sorted(Path.cwd().rglob("*")) == before
        (line,) = captured.err.splitlines()
        assert line.startswith("anyview: ")
        return line

    return run


def video(path: str) -> tuple[list[np.ndarray], Fraction]:
    with av.open(path) as container:
        rate = container.streams.video[0].average_rate
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)], rate


def test_depth_and_colour_are_flown_through(wall, capsys):
    export(wall, ".", "npz")
    arguments = ["results.npz", "-o", "fly.mp4", "--frames", "7", "--fps", "10", "--size", "41x33", "--path", "orbit"]
    assert main(["render", *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "note: the Gaussians are made of depth and colour, one per pixel; no network predicted them",
        "note: videos have even sides, so 41×33 became 42×34",
        "wrote fly.mp4: 7 frames of 42×34, 0.7 s",
    ]
    assert "rendering" in captured.err
    assert "7/7" in captured.err
    frames, rate = video("fly.mp4")
    assert len(frames) == 7
    assert frames[0].shape == (34, 42, 3)
    assert rate == 10
    middle = frames[0][10:24, 5:-5].mean((0, 2))
    assert frames[0][17, 8, 1] > 150 > frames[0][17, -8, 1]
    assert middle.min() > 50  # no holes


def test_a_ply_carries_its_cameras_and_shows_the_same(wall, capsys):
    export(wall, ".", ["npz", "gaussians_ply"], ExportOptions(pixel_gaussians=True))
    for result, output in (("results.npz", "one.mp4"), ("gaussians.ply", "two.mp4")):
        assert main(["render", result, "-o", output, "--frames", "3", "--show", "both"]) == 0
    assert "note" not in capsys.readouterr().out.splitlines()[-1]
    (one, _), (two, _) = video("one.mp4"), video("two.mp4")
    assert one[0].shape == (20, 2 * 28 + 8, 3)
    assert np.abs(np.stack(one).astype(int) - np.stack(two)).max() <= 2


def test_a_ply_without_cameras_is_seen_from_outside(wall, capsys):
    lost = dataclasses.replace(wall, cameras=None, gaussians=_blobs())
    export(lost, ".", "gaussians_ply")
    assert main(["render", "gaussians.ply", "--frames", "2", "--size", "64x48", "--path", "wander"]) == 0
    assert "names no cameras, so the path starts from one that sees the whole scene" in capsys.readouterr().out
    frames, _ = video("fly.mp4")
    assert len(frames) == 2
    assert frames[0].max() > 100


def _blobs() -> object:

    means = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    return Gaussians(
        means, torch.full((30, 3), 0.3), torch.eye(4)[:1].expand(30, 4), torch.ones(30, 3, 1), torch.ones(30)
    )


def test_keyframes_are_flown_through(wall):
    export(wall, ".", "npz")
    keys = [{"position": [0, 0, z], "look_at": [0, 0, 2]} for z in (0, 1)]
    Path("keys.json").write_text(json.dumps(keys))
    assert main(["render", "results.npz", "--keyframes", "keys.json", "--frames", "3", "--show", "depth"]) == 0
    frames, _ = video("fly.mp4")
    # The wall comes nearer, so its colour changes from that of far to that of near.
    assert np.abs(frames[0][10, 14].astype(int) - frames[2][10, 14]).max() > 50


def test_one_view_makes_a_video_of_every_path(wall):
    fields = ("images", "depth", "names", "placements", "confidence", "cameras")
    export(dataclasses.replace(wall, **{name: getattr(wall, name)[:1] for name in fields}), ".", "npz")
    for path in ("through", "orbit", "wander", "dolly_zoom"):
        assert main(["render", "results.npz", "-o", f"{path}.mp4", "--path", path, "--frames", "2"]) == 0
        assert len(video(f"{path}.mp4")[0]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no.npz"], "no.npz does not exist"),
        (["."], ". is a folder, not a file"),
        (["results.npz", "-o", "fly.gif"], "expected the name of a video to write (.mp4, .mov, .mkv), got fly.gif"),
        (["results.npz", "--size", "big"], "expected a size as WIDTHxHEIGHT in pixels, like 1280x720; got 'big'"),
        (["results.npz", "--size", "0x9"], "expected a size as WIDTHxHEIGHT in pixels, like 1280x720; got '0x9'"),
        (["results.npz", "--frames", "0"], "expected at least 1 frame, got 0"),
        (["results.npz", "--fps", "nan"], "expected frames per second above 0, got nan"),
        (["results.npz", "--amplitude", "-3"], "expected an amplitude above 0, got -3.0"),
        (["results.npz", "--background", "0", "2", "0"], "expected a background of three values from 0 to 1, got"),
        (
            ["results.npz", "--device", "cpu", "--backend", "gsplat"],
            "gsplat renders on CUDA only, and the Gaussians",
        ),
        (["results.npz", "--least-opacity", "1"], "no Gaussian is left: all 1120 are dropped by confidence or opacity"),
        (["results.npz", "--no-pixel-gaussians"], "this prediction has no Gaussians: test has no Gaussian head"),
        (["results.npz", "--keyframes", "keys.json"], "keys.json: keyframe 1: position holds NaN or infinite values"),
        (["notes.txt"], "expected a results.npz or a .ply of Gaussians, got notes.txt"),
        (["points.ply"], "points.ply holds no Gaussians: it has no property f_dc_0"),
    ],
)
def test_bad_requests_are_refused_in_one_line(wall, refused, arguments, message):
    export(wall, ".", ["npz", "ply"])
    Path("notes.txt").write_text("")
    pose = {"position": [0, 0, 0], "look_at": [0, 0, 1]}
    Path("keys.json").write_text(json.dumps([pose, {**pose, "position": [float("nan"), 0, 0]}]))
    assert message in refused(*arguments)


def test_a_prediction_without_cameras_is_refused(wall, refused):
    export(dataclasses.replace(wall, cameras=None, lacks={"cameras": "mono models have none"}), ".", "npz")
    assert "a flight needs cameras, and this prediction has none: mono models have none" in refused("results.npz")
