"""Runs: what they keep, what they refuse, and what they say of scenes that fail."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import fake_sets
import numpy as np
import pytest

from anyview.bench.command import run_bench
from anyview.bench.datasets import generic
from anyview.bench.options import BenchOptions
from anyview.bench.results import RunFolder, read_arrays
from anyview.bench.rivals.rival import Answer, Question
from anyview.bench.runner import find_work, run
from anyview.bench.tables import read_run, render, scenes

ROOMS = 3
SANE = BenchOptions()


@pytest.fixture
def rooms(tmp_path) -> str:
    """Several copies of a room, each with pictures of its own."""
    for index in range(ROOMS):
        fake_sets.write_scene_json(tmp_path / "rooms" / f"{index}")
        (tmp_path / "rooms" / f"{index}" / "room").rename(tmp_path / "rooms" / f"room{index}")
    return f"scene_json:{tmp_path / 'rooms'}"


def oracle(work, **changes) -> fake_sets.Oracle:
    return fake_sets.Oracle([item.scene for item in work], fake_sets.box_depth(1.0), None, compat=False, **changes)


def start(data: str, task, folder: Path, options: BenchOptions = SANE, **changes):
    work = find_work([data], task, options)
    model = oracle(work, **changes)
    return run(work, model, options, RunFolder(folder)), model


def by_scene(outcomes):
    return {outcome.scene: outcome for outcome in outcomes}


def test_what_is_done_is_not_done_again(rooms, tmp_path):
    outcomes, model = start(rooms, "pose", tmp_path / "run")
    assert model.asked == ROOMS
    again, idle = start(rooms, "pose", tmp_path / "run")
    assert idle.asked == 0
    assert [outcome.metrics for outcome in again] == [outcome.metrics for outcome in outcomes]
    RunFolder(tmp_path / "run").results(find_work([rooms], "pose", BenchOptions())[1].scene, "unposed").unlink()
    _, partial = start(rooms, "pose", tmp_path / "run")
    assert partial.asked == 1
    _, everything = start(rooms, "pose", tmp_path / "run", BenchOptions(recompute="everything"))
    assert everything.asked == ROOMS


@pytest.mark.usefixtures("few_samples")
def test_poses_and_geometry_share_a_prediction(rooms, tmp_path):
    pytest.importorskip("open3d")
    start(rooms, "pose", tmp_path / "run")
    options = BenchOptions(scenes=("room0",))
    outcomes, model = start(rooms, "recon_unposed", tmp_path / "run", options)
    assert model.asked == 0
    assert outcomes[0].metrics["fscore"] > 0.99  # the truth is what the views see
    assert outcomes[0].metrics["precision"] == 1
    first = (tmp_path / "run").glob("**/pcd.ply")
    cloud = {path: path.read_bytes() for path in first}
    assert cloud
    again, _ = start(rooms, "recon_unposed", tmp_path / "run", replace(options, recompute="scores"))
    assert again[0].metrics == outcomes[0].metrics
    assert {path: path.read_bytes() for path in cloud} == cloud


@pytest.mark.usefixtures("few_samples")
def test_another_similarity_frame_scores_the_same(rooms, tmp_path):
    pytest.importorskip("open3d")
    options = BenchOptions(scenes=("room0",))
    here = (2.5, np.eye(3), np.array([0.0, 4, 0]))
    for task in ("pose", "recon_unposed", "recon_posed"):
        (one,), _ = start(rooms, task, tmp_path / "one", options)
        (other,), _ = start(rooms, task, tmp_path / "other", options, frame=here)
        for name, value in one.metrics.items():
            assert other.metrics[name] == pytest.approx(value, abs=2e-3), (task, name)


@dataclass
class Turned(fake_sets.Oracle):
    """The second camera is turned about its own axis by so many degrees."""

    degrees: float = 4.5

    def answer(self, question: Question) -> Answer:
        said = super().answer(question)
        a = np.radians(self.degrees)
        turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]], np.float32)
        poses = said.world_to_camera.copy()
        poses[1, :3] = turn @ poses[1, :3]
        return replace(said, world_to_camera=poses)


def test_a_known_perturbation_gives_the_known_score(rooms, tmp_path):
    """Of the six pairs of four cameras, three have the turned one.

    A turn about the viewing axis by 4.5 degrees turns the direction of translation by less. So those pairs are wrong
    by 4.5 degrees, and right in the steps 5 to 30: 26 of 30, and 1 of 5.
    """
    options = BenchOptions(scenes=("room0",))
    work = find_work([rooms], "pose", options)
    model = Turned([work[0].scene], fake_sets.box_depth(1.0), None, compat=False)
    (outcome,) = run(work, model, options, RunFolder(tmp_path / "run"))
    share = 3 / 6
    assert outcome.metrics["auc30"] == pytest.approx(1 - share * 4 / 30)
    assert outcome.metrics["auc05"] == pytest.approx(1 - share * 4 / 5)
    assert outcome.metrics["auc03"] == pytest.approx(1 - share)


@dataclass
class Moody(fake_sets.Oracle):
    """Fails on the second question."""

    def answer(self, question: Question) -> Answer:
        if self.asked == 1:
            self.asked += 1
            raise ValueError("no idea\nat all")
        return super().answer(question)


def test_a_scene_that_fails_is_not_averaged_away(rooms, tmp_path):
    options = BenchOptions()
    work = find_work([rooms], "pose", options)
    model = Moody([item.scene for item in work], fake_sets.box_depth(1.0), None, compat=False)
    outcomes = by_scene(run(work, model, options, RunFolder(tmp_path / "run")))
    assert outcomes["room1"].reason == "no idea at all"
    text = render(scenes(read_run(tmp_path / "run")), "text")
    assert "failed (no idea at all)" in text
    assert "mean over 2 of 3 scenes" in text
    document = json.loads((tmp_path / "run" / "metric_results" / "scene_json_pose.json").read_text())
    assert document["mean_over"] == {"scenes": 2, "of": 3}
    assert document["failed"] == {"room1": "no idea at all"}
    assert document["mean"]["auc30"] == 1
    healed, once = start(rooms, "pose", tmp_path / "run")
    assert once.asked == 1  # failures are tried again, successes kept
    assert all(outcome.reason is None for outcome in healed)


def test_compat_writes_the_published_form(fake_data, tmp_path):
    data = f"dtu64:{fake_data('dtu64')}"
    options = BenchOptions(protocol="compat")
    work = find_work([data], "pose", options)
    model = fake_sets.Oracle([work[0].scene], fake_sets.sphere_depth, (42, 56), compat=True)
    run(work, model, options, RunFolder(tmp_path))
    document = json.loads((tmp_path / "metric_results" / "dtu64_pose.json").read_text())
    scores = {"auc30": 1.0, "auc15": 1.0, "auc05": 1.0, "auc03": 1.0}
    assert document == {"scan105": scores, "mean": scores}
    exports = tmp_path / "model_results" / "dtu64" / "scan105" / "unposed" / "exports"
    stored = read_arrays(exports / "mini_npz" / "results.npz")
    assert {name: (values.shape, values.dtype.name) for name, values in stored.items()} == {
        "depth": ((35, 42, 56), "float32"),
        "extrinsics": ((35, 3, 4), "float32"),
        "intrinsics": ((35, 3, 3), "float32"),
    }
    assert np.array_equal(stored["depth"], np.round(stored["depth"], 8))
    truth = read_arrays(exports / "gt_meta.npz")
    assert truth["image_files"].dtype.kind == "U"
    assert truth["image_files"][0] == "image/00000033.png"
    assert (truth["extrinsics"].shape, truth["intrinsics"].shape) == ((35, 4, 4), (35, 3, 3))


def test_results_of_another_model_or_options_are_not_mixed_in(rooms, tmp_path):
    start(rooms, "pose", tmp_path / "run")
    with pytest.raises(ValueError, match="holds results with model oracle, and this run has guess; give another"):
        start(rooms, "pose", tmp_path / "run", identity={"model": "guess"})
    with pytest.raises(ValueError, match="holds results with protocol sane, and this run has compat"):
        start(rooms, "pose", tmp_path / "run", BenchOptions(protocol="compat"))
    with pytest.raises(ValueError, match="max_frames 100, and this run has 2"):
        start(rooms, "pose", tmp_path / "run", BenchOptions(max_frames=2))
    with pytest.raises(ValueError, match="is not empty and no folder of a run"):
        start(rooms, "pose", tmp_path / "rooms")


def test_corrupt_results_are_refused_unless_asked(rooms, tmp_path):
    start(rooms, "pose", tmp_path / "run")
    scene = find_work([rooms], "pose", BenchOptions())[2].scene
    file = RunFolder(tmp_path / "run").results(scene, "unposed")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"results.npz is corrupt .*; --recompute corrupt predicts the scene again"):
        start(rooms, "pose", tmp_path / "run")
    outcomes, model = start(rooms, "pose", tmp_path / "run", BenchOptions(recompute="corrupt"))
    assert model.asked == 1
    assert [outcome.reason for outcome in outcomes] == [None] * ROOMS


def test_pickles_are_not_opened(rooms, tmp_path):
    start(rooms, "pose", tmp_path / "run")
    scene = find_work([rooms], "pose", BenchOptions())[0].scene
    file = RunFolder(tmp_path / "run").exports(scene, "unposed") / "gt_meta.npz"
    np.savez(file, image_files=np.array([Path("x")], object))
    with pytest.raises(ValueError, match=r"gt_meta\.npz is corrupt"):
        start(rooms, "pose", tmp_path / "run")


def test_results_of_other_frames_are_not_scored(rooms, tmp_path):
    start(rooms, "pose", tmp_path / "run")
    file = tmp_path / "rooms" / "room0" / "scene.json"
    document = json.loads(file.read_text())
    file.write_text(json.dumps(document | {"frames": document["frames"][:3]}))
    for recompute in ("nothing", "scores"):
        with pytest.raises(ValueError, match="is for other frames than the 3 that room0 has now; give another"):
            start(rooms, "pose", tmp_path / "run", BenchOptions(recompute=recompute))
    outcomes, model = start(rooms, "pose", tmp_path / "run", BenchOptions(recompute="everything"))
    assert model.asked == ROOMS
    assert by_scene(outcomes)["room0"].frames == 3


def test_results_of_other_cameras_are_not_scored(rooms, tmp_path):
    """Frames of the same names, as those of a synthetic split at another resolution."""
    start(rooms, "pose", tmp_path / "run")
    file = tmp_path / "rooms" / "room1" / "scene.json"
    document = json.loads(file.read_text())
    document["frames"][2]["w2c"][0][3] += 0.01
    file.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"gt_meta\.npz is for other extrinsics than room1 has now"):
        start(rooms, "pose", tmp_path / "run")
    run_bench("pose", ["synth:test/1/3/56"], "constant", tmp_path / "synth", BenchOptions())
    with pytest.raises(ValueError, match="is for other intrinsics than test-0000 has now; give another output folder"):
        run_bench("pose", ["synth:test/1/3/70"], "constant", tmp_path / "synth", BenchOptions())


@pytest.mark.parametrize("broken", ['{"a": 1}', '{"dataset": "scene_js', "[]"])
def test_corrupt_scores_are_refused_unless_asked(broken, rooms, tmp_path):
    before, _ = start(rooms, "pose", tmp_path / "run")
    score = RunFolder(tmp_path / "run").score("scene_json", "room1", "pose")
    score.write_text(broken)
    with pytest.raises(ValueError, match=r"room1\.json is corrupt.*; --recompute corrupt scores the scene again"):
        start(rooms, "pose", tmp_path / "run")
    with pytest.raises(ValueError, match=r"room1\.json is corrupt"):
        read_run(tmp_path / "run")
    after, model = start(rooms, "pose", tmp_path / "run", BenchOptions(recompute="corrupt"))
    assert model.asked == 0
    assert [outcome.metrics for outcome in after] == [outcome.metrics for outcome in before]


def test_a_corrupt_record_is_refused_unless_asked(rooms, tmp_path):
    start(rooms, "pose", tmp_path / "run")
    scene = find_work([rooms], "pose", BenchOptions())[0].scene
    (RunFolder(tmp_path / "run").exports(scene, "unposed").parent / "record.json").write_text("{}")
    with pytest.raises(ValueError, match=r"record\.json is corrupt .*; --recompute corrupt predicts the scene again"):
        start(rooms, "pose", tmp_path / "run")
    outcomes, model = start(rooms, "pose", tmp_path / "run", BenchOptions(recompute="corrupt"))
    assert model.asked == 1
    assert by_scene(outcomes)["room0"].seconds > 0


def test_scores_that_are_being_written_do_not_count(rooms, tmp_path):
    """Half files lie in hidden folders, also those of a run that was killed."""
    start(rooms, "pose", tmp_path / "run")
    score = RunFolder(tmp_path / "run").score("scene_json", "room1", "pose")
    for name, content in ((".room1-x1", score.read_text()), (".room1-x2", '{"dataset": "sc')):
        (score.parent / name).mkdir()
        (score.parent / name / "room1.json").write_text(content)
    outcomes, _ = start(rooms, "pose", tmp_path / "run")
    assert len(outcomes) == ROOMS
    assert [outcome.scene for outcome in read_run(tmp_path / "run").outcomes] == ["room0", "room1", "room2"]


def test_shards_share_the_scenes(rooms, tmp_path):
    whole, _ = start(rooms, "pose", tmp_path / "whole")
    for part in ("1/2", "2/2"):
        outcomes, model = start(rooms, "pose", tmp_path / "parts", BenchOptions(shard=part))
        assert model.asked == len(outcomes) == (2 if part == "1/2" else 1)
    parts, idle = start(rooms, "pose", tmp_path / "parts")
    assert idle.asked == 0
    assert [outcome.metrics for outcome in parts] == [outcome.metrics for outcome in whole]
    for shard in ("0/2", "3/2", "two", "1/2/3"):
        with pytest.raises(ValueError, match="expected a shard as i/n"):
            BenchOptions(shard=shard).parsed_shard()


def test_a_model_is_only_asked_what_it_can(rooms, tmp_path):
    with pytest.raises(ValueError, match="oracle cannot be scored at pose; it can at depth"):
        start(rooms, "pose", tmp_path / "run", tasks=("depth",))
    assert not (tmp_path / "run").exists()


def test_views_without_a_pose_count_as_wrong(rooms, tmp_path):
    options = BenchOptions(scenes=("room0",))
    work = find_work([rooms], "pose", options)

    @dataclass
    class Lost(fake_sets.Oracle):
        def answer(self, question: Question) -> Answer:
            said = super().answer(question)
            poses = said.world_to_camera.copy()
            poses[3] = np.nan
            return replace(said, world_to_camera=poses)

    for protocol in ("sane", "compat"):
        chosen = replace(options, protocol=protocol)
        model = Lost([work[0].scene], fake_sets.box_depth(1.0), None, compat=protocol == "compat")
        (outcome,) = run(work, model, chosen, RunFolder(tmp_path / protocol))
        assert outcome.metrics["auc30"] == pytest.approx(3 / 6)
        assert "1 of 4 views without a pose" in outcome.notes


@dataclass
class Empty(fake_sets.Oracle):
    """No depth anywhere."""

    identity: dict = field(default_factory=lambda: {"model": "empty"})

    def answer(self, question: Question) -> Answer:
        said = super().answer(question)
        return replace(said, depth=tuple(np.zeros_like(depth) for depth in said.depth))


def test_an_empty_surface_fails_in_sane_and_is_random_points_in_compat(rooms, tmp_path):
    pytest.importorskip("open3d")
    for protocol in ("sane", "compat"):
        options = BenchOptions(scenes=("room0",), protocol=protocol)
        work = find_work([rooms], "recon_posed", options)
        assert work[0].scene.read_recipe is not None
        small = replace(work[0].scene.read_recipe(), samples=2000)
        scene = replace(work[0].scene, read_recipe=lambda small=small: small)
        model = Empty([scene], fake_sets.box_depth(1.0), None, compat=protocol == "compat")
        (outcome,) = run([replace(work[0], scene=scene)], model, options, RunFolder(tmp_path / protocol))
        if protocol == "sane":
            assert outcome.reason == "no depth could be fused: the surface is empty"
        else:
            assert outcome.reason is None  # Q20
            assert np.isfinite(outcome.metrics["acc"])


def test_a_scan_that_nothing_was_found_of_fails_in_sane_and_has_no_mean_in_compat(fake_data, tmp_path):
    """A mean over no points would otherwise be the mean of all scans, and the scan would count as scored."""
    for protocol in ("sane", "compat"):
        options = BenchOptions(protocol=protocol)
        work = find_work([f"dtu:{fake_data('dtu')}"], "recon_posed", options)
        model = Empty([work[0].scene], fake_sets.sphere_depth, (21, 28), compat=protocol == "compat")
        (outcome,) = run(work, model, options, RunFolder(tmp_path / protocol))
        if protocol == "sane":
            assert outcome.reason == "no predicted point lies near the truth"
        else:
            assert outcome.reason is None
            assert np.isnan(outcome.metrics["overall"])


def test_one_view_has_no_pose_to_compare(rooms, tmp_path):
    options = BenchOptions(scenes=("room0",), max_frames=1)
    (outcome,), _ = start(rooms, "pose", tmp_path / "sane", options)
    assert outcome.reason == "poses are compared in pairs: expected at least 2 views, got 1"
    (outcome,), _ = start(rooms, "pose", tmp_path / "compat", replace(options, protocol="compat"))
    assert np.isnan(outcome.metrics["auc30"])


@pytest.mark.usefixtures("few_samples")
def test_depth_that_is_none_does_not_disturb(rooms, tmp_path):
    pytest.importorskip("open3d")

    @dataclass
    class Holes(fake_sets.Oracle):
        def answer(self, question: Question) -> Answer:
            said = super().answer(question)
            maps = tuple(depth.copy() for depth in said.depth)
            for depth in maps:
                depth[:2], depth[2:4], depth[4:6] = np.nan, np.inf, -1
            return replace(said, depth=maps)

    options = BenchOptions(scenes=("room0",))
    work = find_work([rooms], "recon_posed", options)
    model = Holes([work[0].scene], fake_sets.box_depth(1.0), None, compat=False)
    (outcome,) = run(work, model, options, RunFolder(tmp_path / "run"))
    assert outcome.metrics["precision"] == 1
    assert 0.8 < outcome.metrics["recall"] < 1


def test_a_killed_run_goes_on_where_it_was(rooms, tmp_path):
    """SIGKILL in the middle of the second scene: the first is kept, and nothing of the second is taken for whole."""
    script = """
import sys, time
from pathlib import Path
from anyview.bench.options import BenchOptions
from anyview.bench.results import RunFolder
from anyview.bench.rivals.constant import Constant
from anyview.bench.runner import find_work, run

class Slow(Constant):
    asked = 0
    def answer(self, question):
        Slow.asked += 1
        if Slow.asked == 2:
            print("second", flush=True)
            time.sleep(60)
        return super().answer(question)

options = BenchOptions()
run(find_work([sys.argv[1]], "pose", options), Slow(), options, RunFolder(Path(sys.argv[2])))
"""
    folder = tmp_path / "run"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", script, rooms, str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "second\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("**/results.npz")}
    assert len(before) == 1
    outcomes = run_bench("pose", [rooms], "constant", folder, BenchOptions())
    assert len(outcomes) == ROOMS
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_processes_give_the_same_as_one(rooms, tmp_path):
    one = run_bench("pose", [rooms], "constant", tmp_path / "one", BenchOptions())
    two = run_bench("pose", [rooms], "constant", tmp_path / "two", BenchOptions(), device="cpu", parallel=2)
    assert [outcome.metrics for outcome in one] == [outcome.metrics for outcome in two]
    summary = Path("metric_results") / "scene_json_pose.json"
    assert (tmp_path / "one" / summary).read_text() == (tmp_path / "two" / summary).read_text()
    with pytest.raises(ValueError, match=r"shard 1/2 is one of several processes already"):
        run_bench("pose", [rooms], "constant", tmp_path / "x", BenchOptions(shard="1/2"), parallel=2)


def test_generic_lengths_follow_the_depth(rooms):
    scene = find_work([rooms], "recon_posed", BenchOptions())[0].scene
    depths = np.concatenate([frame.read_depth().ravel() for frame in scene.frames])
    assert scene.read_recipe is not None
    assert scene.read_recipe().threshold == pytest.approx(np.median(depths) / generic.THRESHOLDS_PER_DEPTH, rel=0.01)


def test_time_and_memory_are_kept(rooms, tmp_path):
    started = time.perf_counter()
    outcomes, _ = start(rooms, "pose", tmp_path / "run")
    for outcome in outcomes:
        assert 0 < outcome.seconds < time.perf_counter() - started
        assert outcome.peak_bytes > 2**20
        assert outcome.frames == 4


def test_blocks_are_counted_where_the_surface_is():
    """A wall 2 m ahead, 2 m × 1.5 m large, in blocks of 0.32 m: 7 × 5 of them, from -1 to 1 and -0.75 to 0.75."""
    from anyview.bench.datasets.scannetpp import RECIPE
    from anyview.bench.geometry import touched_blocks

    matrix = np.array([[640.0, 0, 320], [0, 640, 240], [0, 0, 1]])
    depth = np.full((480, 640), 2.0, np.float32)
    assert len(touched_blocks(depth, matrix, np.eye(4), RECIPE)) == 8 * 6
    depth[:240] = np.nan
    assert len(touched_blocks(depth, matrix, np.eye(4), RECIPE)) == 8 * 3
    moved = np.eye(4)
    moved[0, 3] = -1.0  # the camera stands a metre to the right: the wall reaches from 0 to 2
    assert len(touched_blocks(depth, matrix, moved, RECIPE)) == 7 * 3
