"""True answers score perfectly through the whole path, on data sets whose truth is what their own depth shows."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import fake_sets
import numpy as np
import pytest

from anyview.bench.options import BenchOptions, Task
from anyview.bench.results import RunFolder
from anyview.bench.rivals.rival import Answer, Question
from anyview.bench.runner import find_work, run

MODES: tuple[Task, ...] = ("pose", "recon_unposed", "recon_posed", "depth")


@dataclass
class Knowing:
    """Says what the frames' own files say, told by their pictures; without cameras in a frame of its own."""

    work: list
    name: str = "knowing"
    tasks: tuple = MODES
    identity: dict = field(default_factory=lambda: {"model": "knowing"})

    def answer(self, question: Question) -> Answer:
        frames = {frame.read_picture().tobytes(): frame for item in self.work for frame in item.scene.frames}
        said = [frames[picture.pixels.tobytes()] for picture in question.pictures]
        scale, *move = fake_sets.similarity()
        poses = [fake_sets.moved(frame.world_to_camera.astype(np.float64), scale, *move) for frame in said]
        return Answer(
            depth=tuple(np.float32(scale) * frame.read_depth() for frame in said),
            world_to_camera=np.stack(poses).astype(np.float32),
            intrinsics=np.stack([frame.intrinsics for frame in said]),
        )


def write_folder(root: Path) -> None:
    """A scene in the layout that training reads too."""
    fake_sets.write_scene_json(root)
    document = json.loads((root / "room" / "scene.json").read_text())
    frames = [
        {"name": Path(frame["file"]).name, "world_to_camera": frame["w2c"], "intrinsics": frame["K"]}
        for frame in document["frames"]
    ]
    (root / "room" / "scene.json").unlink()
    (root / "room" / "cameras.json").write_text(json.dumps({"depth_unit": 1 / 5000, "frames": frames}))


@pytest.fixture
def place(tmp_path):
    """NAME:PATH of a data set of one scene."""
    writers = {"scene_json": fake_sets.write_scene_json, "folder": write_folder}

    def made(name: str) -> str:
        if name == "synth":
            return "synth:test/1/3/56"
        (tmp_path / name).mkdir()
        writers[name](tmp_path / name)
        return f"{name}:{tmp_path / name}"

    return made


@pytest.mark.usefixtures("few_samples")
@pytest.mark.parametrize(
    ("name", "tasks"),
    # The geometry of pictures as small as these synthetic ones is coarser than its threshold.
    [("synth", ("pose", "depth")), ("scene_json", MODES), ("folder", MODES)],
)
def test_the_truth_scores_perfectly_in_every_mode(name, tasks, place, tmp_path):
    pytest.importorskip("open3d")
    data = place(name)
    for task in tasks:
        work = find_work([data], task, BenchOptions())
        (outcome,) = run(work, Knowing(work), BenchOptions(), RunFolder(tmp_path / "run"))
        assert outcome.reason is None, task
        if task == "pose":
            assert [outcome.metrics[f"auc{limit}"] for limit in ("03", "05", "15", "30")] == [1, 1, 1, 1]
            assert outcome.metrics["ate"] < 1e-4
        elif task == "depth":
            assert outcome.metrics["delta1"] == 1
            assert outcome.metrics["abs_rel"] < 1e-5
        else:
            assert outcome.metrics["precision"] > 0.999, task
            assert outcome.metrics["fscore"] > 0.99, task


@pytest.mark.usefixtures("few_samples")
def test_another_run_writes_the_same_bytes(place, tmp_path):
    """Points and scores depend on nothing but the data and the answers."""
    pytest.importorskip("open3d")
    data = place("scene_json")
    for folder in ("one", "two"):
        work = find_work([data], "recon_unposed", BenchOptions())
        run(work, Knowing(work), BenchOptions(), RunFolder(tmp_path / folder))
    for file in (
        "metric_results/scene_json_recon_unposed.json",
        "model_results/scene_json/room/unposed/exports/fuse/pcd.ply",
        "model_results/scene_json/room/unposed/exports/mini_npz/results.npz",
    ):
        one, two = (tmp_path / folder / file for folder in ("one", "two"))
        assert one.read_bytes() == two.read_bytes(), file
