"""Real sequences: their layouts, pairing with the truth, errors of streams over them, refusals."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from anyview.bench.datasets.sequences import find_sequences
from anyview.bench.odometry import compare_with_truth, errors_table, evaluate
from anyview.bench.tables import render
from anyview.geometry.alignment import Similarity
from anyview.geometry.pose import camera_centers
from anyview.options import StreamOptions
from anyview.streaming import stream
from anyview.streaming.injected import Errors, InjectedPredictor, circle_cameras
from anyview.streaming.trajectory import write_kitti, write_tum

HEIGHT, WIDTH, COUNT = 28, 42, 30
OPTIONS = StreamOptions(window=8, overlap=3, resolution=WIDTH, keyframe_change=0.0, loops=False)
START_S = 1305031102.175304
"""Of a TUM sequence."""


@pytest.fixture(scope="module")
def truth() -> InjectedPredictor:
    """True geometry in units that change from window to window: what is left is stitching."""
    return InjectedPredictor(circle_cameras(COUNT, HEIGHT, WIDTH), HEIGHT, WIDTH, Errors(window_scale=0.3))


def write_pictures(truth: InjectedPredictor, folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    for name, (_, picture) in zip(names, truth.frames(), strict=True):
        cv2.imwrite(str(folder / name), picture.pixels)


def write_tum_sequence(truth: InjectedPredictor, folder: Path, poses: torch.Tensor) -> None:
    """Poses come at another rate than pictures, and start later."""
    times = [START_S + index / 30 for index in range(COUNT)]
    write_pictures(truth, folder / "rgb", [f"{time_s:.6f}.png" for time_s in times])
    (folder / "rgb.txt").write_text("# color images\n" + "".join(f"{t:.6f} rgb/{t:.6f}.png\n" for t in times))
    write_tum(folder / "groundtruth.txt", [time_s + 0.004 for time_s in times[4:]], poses[4:])


def write_kitti_sequence(truth: InjectedPredictor, root: Path, name: str, poses: torch.Tensor | None) -> None:
    folder = root / "sequences" / name
    write_pictures(truth, folder / "image_0", [f"{index:06d}.png" for index in range(COUNT)])
    (folder / "times.txt").write_text("".join(f"{index / 10:.6e}\n" for index in range(COUNT)))
    if poses is not None:
        write_kitti(root / "poses" / f"{name}.txt", poses)


def write_scene_json(truth: InjectedPredictor, folder: Path, poses: torch.Tensor) -> None:
    names = [f"{index:05d}.png" for index in range(COUNT)]
    write_pictures(truth, folder / "images", names)
    frames = [{"file": f"images/{name}", "w2c": pose.tolist()} for name, pose in zip(names, poses, strict=True)]
    frames[3]["w2c"] = None
    (folder / "scene.json").write_text(json.dumps({"units": "metres", "frames": frames}))


def larger(poses: torch.Tensor) -> torch.Tensor:
    """The same trajectory in another world: twice as large, moved."""
    shift = torch.tensor([3.0, -1.0, 2.0]).double()
    return Similarity(torch.tensor(2.0).double(), torch.eye(3).double(), shift).apply_to_poses(poses)


def test_every_layout_is_compared_with_its_truth(truth, tmp_path):
    poses = truth.cameras.world_to_camera
    write_tum_sequence(truth, tmp_path / "freiburg", larger(poses))
    write_kitti_sequence(truth, tmp_path / "kitti", "00", poses)
    write_scene_json(truth, tmp_path / "walk", poses)
    for where, name, compared in (("freiburg", "freiburg", 26), ("kitti", "00", 30), ("walk", "walk", 29)):
        (sequence,) = find_sequences(tmp_path / where)
        assert sequence.name == name
        (errors,) = evaluate([sequence], truth, OPTIONS, tmp_path / "out")
        assert (errors.compared, errors.kept) == (compared, COUNT)
        unit = 2.0 if where == "freiburg" else 1.0
        assert errors.ate < 1e-4 * unit
        assert errors.rpe_translation < 1e-4 * unit
        assert errors.rpe_rotation < 1e-2
        begin = COUNT - compared if where == "freiburg" else 0
        centers = camera_centers(poses[begin:])
        length = float((centers[1:] - centers[:-1]).norm(dim=-1).sum())
        # Without its fourth pose a path cuts a corner.
        assert errors.path_length == pytest.approx(unit * length, rel=1e-3)
        assert json.loads((tmp_path / "out" / name / "errors.json").read_text())["ate"] == errors.ate
        assert (tmp_path / "out" / name / "trajectory.txt").is_file()


def test_a_folder_of_sequences_and_the_table(truth, tmp_path):
    """Sequences without published poses are passed over among others, and refused by name."""
    poses = truth.cameras.world_to_camera
    for name, known in (("10", poses), ("00", poses), ("11", None)):
        write_kitti_sequence(truth, tmp_path / "kitti", name, known)
    sequences = find_sequences(tmp_path / "kitti")
    assert [sequence.name for sequence in sequences] == ["00", "10"]
    with pytest.raises(ValueError, match=r"sequences/11 has no true poses: no such path: .*poses/11.txt"):
        find_sequences(tmp_path / "kitti" / "sequences" / "11")
    every = evaluate(sequences, truth, OPTIONS, tmp_path / "out")
    text = render([errors_table(every)], "text")
    assert [line.split()[:4] for line in text.splitlines()[3:5]] == [[n, "30", "of", "30"] for n in ("00", "10")]
    assert "after fitting similarities" in text
    again = evaluate(sequences, truth, OPTIONS, tmp_path / "out", resume=True)
    assert [one.ate for one in again] == [one.ate for one in every]
    with pytest.raises(ValueError, match="pass --resume"):
        evaluate(sequences, truth, OPTIONS, tmp_path / "out")
    with pytest.raises(ValueError, match="two sequences are called 00"):
        evaluate([sequences[0], sequences[0]], truth, OPTIONS, tmp_path / "twice")


def test_errors_are_those_put_on(truth, tmp_path):
    """A truth whose scale is wrong by a half, compared without fitting scale: by hand."""
    poses = truth.cameras.world_to_camera
    write_kitti_sequence(truth, tmp_path, "00", larger(poses))
    (sequence,) = find_sequences(tmp_path)
    exact = InjectedPredictor(truth.cameras, HEIGHT, WIDTH)
    with stream(exact, sequence.pictures, OPTIONS) as run:
        list(run)
        errors = compare_with_truth(run, sequence, "se3")
    centers = camera_centers(poses)
    # Twice as far from the middle is off by as much as the distance from the middle.
    expected = float((centers - centers.mean(0)).norm(dim=-1).square().mean().sqrt())
    assert errors.ate == pytest.approx(expected, rel=1e-4)
    assert errors.ate_still == pytest.approx(2 * expected)
    assert errors.scale == 1.0
    step = float((centers[1:] - centers[:-1]).norm(dim=-1).square().mean().sqrt())
    assert errors.rpe_translation == pytest.approx(step, rel=1e-3)
    assert errors.rpe_rotation < 1e-2


def test_what_is_no_sequence_is_refused(truth, tmp_path):
    with pytest.raises(ValueError, match="no such path"):
        find_sequences(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"holds no sequence; expected a TUM sequence"):
        find_sequences(tmp_path)
    (tmp_path / "tum" / "rgb").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"no such path: .*groundtruth.txt"):
        find_sequences(tmp_path / "tum")
    (tmp_path / "json" / "images").mkdir(parents=True)
    (tmp_path / "json" / "scene.json").write_text('{"frames": [{"file": "images/0.png"}]}')
    with pytest.raises(ValueError, match="no frame has w2c"):
        find_sequences(tmp_path / "json")
    (tmp_path / "json" / "scene.json").write_text('{"frames": 3}')
    with pytest.raises(ValueError, match=r"scene\.json is broken: expected frames with file and w2c"):
        find_sequences(tmp_path / "json")


def test_a_truth_of_other_times_is_refused(truth, tmp_path):
    write_tum_sequence(truth, tmp_path / "late", truth.cameras.world_to_camera)
    text = (tmp_path / "late" / "groundtruth.txt").read_text()
    (tmp_path / "late" / "groundtruth.txt").write_text(text.replace("130503110", "140503110"))
    with pytest.raises(ValueError, match="late: expected at least 3 kept frames with a true pose, got 0"):
        evaluate(find_sequences(tmp_path / "late"), truth, OPTIONS, tmp_path / "out")


@pytest.mark.real
def test_the_real_sequences_are_read(shared_data):
    """Every set with cameras; those without have no place here."""
    sequences = {sequence.name: sequence for sequence in find_sequences(shared_data / "kitti_odo_1")}
    assert len(sequences["kitti_odo_1"].truth) == 25
    (fountain,) = find_sequences(shared_data / "strecha_fountain_p11")
    pictures = sorted(path.name for path in fountain.pictures.iterdir())
    assert all(fountain.truth.look_up(0, name, 0.0) is not None for name in pictures)
    assert np.isfinite(torch.stack(list(fountain.truth.by_name.values())).numpy()).all()
