"""``anyview odometry``: a table, files for each sequence, and refusals in one line."""

import json
from pathlib import Path

import pytest
from PIL import Image

from anyview.cli import main
from anyview.model.checkpoint import save
from anyview.streaming.trajectory import write_kitti
from box_room import render_room, room_cameras
from filled import filled

SMALL = ("--window", "4", "--overlap", "2", "--resolution", "56", "--keyframe-change", "0", "--no-loops")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save(filled("anyview"), tmp_path_factory.mktemp("model") / "tiny.safetensors", name="tiny")


@pytest.fixture(scope="module")
def kitti(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("kitti")
    cameras = room_cameras(7, 42, 56)
    for name in ("03", "04"):
        (root / "sequences" / name / "image_2").mkdir(parents=True)
        for index, pixels in enumerate(render_room(cameras, 42, 56)[0].numpy()):
            Image.fromarray(pixels).save(root / "sequences" / name / "image_2" / f"{index:06d}.png")
        write_kitti(root / "poses" / f"{name}.txt", cameras.world_to_camera)
    return root


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["odometry", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_row_for_each_sequence(capsys, model, kitti, tmp_path):
    code, said, _ = run(capsys, kitti, "-o", tmp_path, "-m", model, "--format", "json", *SMALL)
    assert code == 0
    (table,) = json.loads(said)
    assert [row["sequence"] for row in table["rows"]] == ["03", "04"]
    for row in table["rows"]:
        errors = json.loads((tmp_path / row["sequence"] / "errors.json").read_text())
        assert (row["frames"], row["ATE"]) == (7, errors["ate"])
        assert errors["kept"] == 7
        assert (tmp_path / row["sequence"] / "trajectory.txt").is_file()


def test_it_goes_on_only_if_told_to(capsys, model, kitti, tmp_path):
    arguments = (kitti / "sequences" / "03", "-o", tmp_path, "-m", model, *SMALL)
    assert run(capsys, *arguments)[0] == 0
    first = (tmp_path / "03" / "trajectory.txt").read_bytes()
    code, _, errors = run(capsys, *arguments)
    assert code == 2
    assert f"anyview: {tmp_path}/03 holds a stream of 3 windows; pass --resume to go on with it" in errors
    assert run(capsys, *arguments, "--resume")[0] == 0
    assert (tmp_path / "03" / "trajectory.txt").read_bytes() == first


def test_nothing_to_compare_with_is_refused(capsys, model, tmp_path):
    (tmp_path / "empty").mkdir()
    code, said, errors = run(capsys, tmp_path / "empty", "-o", tmp_path / "out", "-m", model)
    assert (code, said) == (2, "")
    assert "holds no sequence; expected a TUM sequence" in errors
    assert not (tmp_path / "out").exists()
