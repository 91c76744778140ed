"""The whole stream on injected geometry: lengths, drift, loops, resuming, known poses, refusals."""

import math
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from measures import centers, relative_error

from anyview.geometry.alignment import umeyama
from anyview.geometry.camera import unproject_to_world
from anyview.geometry.pose import camera_centers, rigid_inverse, rigid_transform
from anyview.geometry.rotation_vector import rotation_from_vector, vector_from_rotation
from anyview.streaming import KnownPoses, stream
from anyview.streaming.injected import BOX, Errors, InjectedPredictor, box_depth, circle_cameras, path_length
from anyview.streaming.known import anchor_window
from anyview.types import Cameras


def truth_depth(truth, index):
    return box_depth(truth.cameras[index], truth.height, truth.width)


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 13, 14])
def test_any_number_of_frames_comes_once_and_in_order(count, circling, options):
    """One, two, a window less one, a window, one more, and both sides of two windows."""
    truth = circling(30, window_scale=0.2)
    with stream(truth, truth.frames(count), options()) as run:
        windows = list(run)
        seen = torch.cat([window.frames for window in windows]).tolist()
        assert seen == list(range(count))
        assert sum(len(window.names) for window in windows) == run.report.frames_kept == count
        if count > 2:
            assert relative_error(run, truth) < 1e-6


def test_windows_come_in_one_frame_and_unit(circling, options, assert_close):
    truth = circling(30, window_scale=0.5)
    with stream(truth, truth.frames(), options()) as run:
        windows = list(run)
    centers_found = camera_centers(torch.cat([window.cameras.world_to_camera for window in windows]))
    depth = torch.cat([window.depth for window in windows])
    # The world is the first camera's frame; its unit that of the first window.
    similarity, _ = umeyama(centers_found.double(), camera_centers(truth.cameras.world_to_camera))
    true_depth = torch.cat([truth_depth(truth, window.frames.tolist()) for window in windows])
    assert_close(depth * similarity.scale.float(), true_depth.float(), 2e-5, reason="float32 through a dozen seams")


def test_drift_without_loops_is_as_predicted(circling, options):
    """Each window's steps grow by exp(drift) a frame, so the chain's do too, all along."""
    drift, count = 0.004, 60
    truth = circling(count, drift=drift, window_scale=0.3)
    with stream(truth, truth.frames(), options()) as run:
        list(run)
        found = centers(run)
    true = camera_centers(truth.cameras.world_to_camera)
    steps = (true[1:] - true[:-1]) * (drift * torch.arange(1, count)).exp()[:, None]
    predicted = torch.cat([true[:1], true[:1] + steps.cumsum(0)])
    similarity, _ = umeyama(found, predicted)
    assert (similarity.apply(found) - predicted).norm(dim=-1).max() < 0.005 * path_length(truth.cameras)
    # And that drift is large: what is predicted is not just the truth.
    onto_truth, _ = umeyama(found, true)
    assert (onto_truth.apply(found) - true).norm(dim=-1).max() > 0.01 * path_length(truth.cameras)


def test_a_loop_takes_the_drift_out_and_says_what_moved(circling, options):
    truth = circling(60, laps=1.15, drift=0.004, window_scale=0.3, depth=0.01, rotation=0.001)
    without = stream(truth, truth.frames(), options())
    list(without)
    run = stream(truth, truth.frames(), options(loops=True))
    places: dict[int, torch.Tensor] = {}
    owners: dict[int, int] = {}
    for window in run:
        for index, pose in places.items():
            if owners[index] in window.corrections:
                places[index] = window.corrections[owners[index]].apply(pose[None])[0]
        for frame, owner, center in zip(
            window.frames.tolist(), window.owners.tolist(), camera_centers(window.cameras.world_to_camera), strict=True
        ):
            places[frame], owners[frame] = center.double(), owner
    assert run.report.loops_found == run.report.loops_believed > 0
    assert relative_error(without, truth) > 0.008
    assert relative_error(run, truth) < 0.004
    # Who only listens ends where the stream does.
    listened = torch.stack([places[frame] for frame in range(60)])
    assert (listened - centers(run)).abs().max() < 1e-4 * path_length(truth.cameras)
    for one in (without, run):
        one.close()


def test_the_last_frames_close_a_loop_too(circling, options):
    """Only the last three, which no window finishes, are far enough from the first to count as come back."""
    truth = circling(40, drift=0.004, window_scale=0.3)
    with stream(truth, truth.frames(), options(loops=True, loop_gap=36)) as run:
        windows = list(run)
        assert run.report.loop_candidates == run.report.loops_believed == 1
        assert windows[-1].corrections
        closed = relative_error(run, truth)
    with stream(truth, truth.frames(), options()) as run:
        list(run)
        assert closed < 0.5 * relative_error(run, truth)


def test_false_loops_break_nothing(circling, options):
    """A network that takes two places for one, and descriptors of which 3 in 10 are of another place."""
    errors = {"drift": 0.004, "window_scale": 0.3, "depth": 0.01, "false_places": 0.3, "fooled": True}
    truth = circling(70, laps=1.3, **errors)
    with stream(truth, truth.frames(), options(loops=True)) as run:
        list(run)
        assert run.report.loop_candidates > run.report.loops_found
        assert run.report.loops_believed > 0
        assert relative_error(run, truth) < 0.005


def test_each_wall_is_there_once(circling, options):
    """After stitching, points of all windows lie on the walls, as thin as depth is noisy."""
    truth = circling(40, window_scale=0.4, depth=0.003)
    with stream(truth, truth.frames(), options()) as run:
        windows = list(run)
        similarity, _ = umeyama(centers(run), camera_centers(truth.cameras.world_to_camera))
    points = torch.cat([unproject_to_world(window.depth, window.cameras).reshape(-1, 3) for window in windows])
    walls = (similarity.apply(points.double()).abs() / torch.tensor(BOX).double()).amax(-1)
    assert walls.quantile(0.99) < 1.02
    assert walls.quantile(0.01) > 0.98


def test_outliers_in_depth_do_not_pull(circling, options):
    truth = circling(40, window_scale=0.3, outliers=0.3)
    with stream(truth, truth.frames(), options()) as run:
        list(run)
        assert relative_error(run, truth) < 1e-3


def test_overlaps_condition_the_predictor_unless_told_not_to(circling, options):
    for conditioning, expected in (("overlap", 4), ("none", 0)):
        truth = circling(28)
        with stream(truth, truth.frames(), options(conditioning=conditioning)) as run:
            assert len(list(run)) == 6
        assert truth.conditioned == expected


@pytest.mark.parametrize("first", [True, False])
def test_the_world_s_unit_is_the_first_window_s(first, circling, options):
    """Later windows are brought to it, whatever they come in."""
    truth = circling(20, metric=first)
    with stream(truth, truth.frames(), options()) as run:
        for window in run:
            truth.metric = not first
            assert window.units == ("metres" if first else "arbitrary")


def test_seams_of_windows_that_were_told_the_overlap_are_less_sure(circling, options):
    """The same predictions, three shared frames: they count as one where their cameras were told."""
    deviations = []
    for conditioning in ("overlap", "none"):
        truth = circling(18, depth=0.2)
        with stream(truth, truth.frames(), options(conditioning=conditioning)) as run:
            list(run)
            deviations.append(torch.tensor([edge.deviation for edge in run.scene.seams]))
    told, untold = deviations
    assert untold.min() > 0.02
    assert told.tolist() == pytest.approx((3**0.5 * untold).tolist())


def test_standing_still_costs_nothing(circling, options):
    moving = circle_cameras(20, 28, 42)
    truth = InjectedPredictor(
        Cameras(moving.world_to_camera.repeat_interleave(4, 0), moving.intrinsics.repeat_interleave(4, 0)), 28, 42
    )
    with stream(truth, truth.frames(), options()) as run:
        list(run)
        assert run.report.frames_read == 80
        assert run.report.frames_kept == 20
        assert run.report.frames_passed_over == 60


# Known cameras.


def known(truth, index) -> KnownPoses:
    return KnownPoses(by_index={i: truth.cameras.world_to_camera[i] for i in index})


@pytest.mark.parametrize(
    "index",
    [range(40), range(0, 40, 5), [*range(10), *range(30, 40)], range(25, 40)],
    ids=["all", "some", "gap", "late"],
)
def test_known_poses_set_the_world(index, circling, options):
    """Wherever known poses begin, everything ends in their world, what came before them too."""
    truth = circling(40, window_scale=0.3, depth=0.002, rotation=0.001)
    with stream(truth, truth.frames(), options(), known_poses=known(truth, index)) as run:
        windows = list(run)
        assert windows[-1].units == "caller"
        found = centers(run)
        cameras = run.scene.world_cameras(run.all_frames())
    true = camera_centers(truth.cameras.world_to_camera)
    assert (found - true).norm(dim=-1).max() < 0.05
    for i in index:
        assert torch.equal(cameras.world_to_camera[i], truth.cameras.world_to_camera[i])


def test_a_known_pose_without_baseline_sets_the_frame_and_not_the_scale(circling, options):
    truth = circling(12)
    with stream(truth, truth.frames(), options(), known_poses=known(truth, [3])) as run:
        assert list(run)[-1].units == "arbitrary"
        assert torch.allclose(centers(run)[3], camera_centers(truth.cameras.world_to_camera[3]))


def test_one_known_frame_keeps_the_steps_as_they_are(circling, options):
    """Windows in units of their own; whichever sees the known frame, the path is the truth's but for its unit."""
    truth = circling(60, window_scale=0.5)
    with stream(truth, truth.frames(), options(), known_poses=known(truth, [30])) as run:
        list(run)
        found = centers(run)
    true = camera_centers(truth.cameras.world_to_camera)
    ratio = (found[1:] - found[:-1]).norm(dim=-1) / (true[1:] - true[:-1]).norm(dim=-1)
    assert ratio.max() / ratio.min() < 1.001
    assert torch.allclose(found[30], true[30])


@pytest.mark.parametrize("index", [range(0, 60, 10), [3, *range(40, 60)]], ids=["every tenth", "one, then many"])
def test_known_poses_far_apart_set_the_scale_together(index, circling, options):
    """No window sees two known cameras, or only late ones do: what lies before and between has their unit too."""
    truth = circling(60, window_scale=0.5)
    with stream(truth, truth.frames(), options(), known_poses=known(truth, index)) as run:
        windows = list(run)
        assert windows[-1].units == "caller"
        error = (centers(run) - camera_centers(truth.cameras.world_to_camera)).norm(dim=-1)
    assert error.max() < 0.005 * path_length(truth.cameras)


@pytest.mark.parametrize("noise_m", [0.001, 0.01])
def test_anchors_do_not_turn_about_a_straight_way(noise_m):
    """Nine cameras along 0.8 m, whose rotations are exact and whose places are not."""
    generator = torch.Generator().manual_seed(0)
    turn = rotation_from_vector(torch.tensor([0.3, -0.5, 0.2]).double())
    centers = torch.zeros(9, 3).double()
    centers[:, 2] = torch.linspace(0, 0.8, 9)
    straight = rigid_inverse(rigid_transform(torch.eye(3).double().expand(9, 3, 3), centers))
    shaken = centers + noise_m * torch.randn(9, 3, generator=generator).double()
    target = rigid_inverse(rigid_transform(turn.expand(9, 3, 3), 2 * shaken @ turn.mT))
    anchor = anchor_window(straight, list(target), unit=3.0)
    assert math.degrees(float(vector_from_rotation(anchor.rotation @ turn.mT).norm())) < 0.1
    assert anchor.scale == pytest.approx(2.0, rel=0.05)


def test_poses_match_by_time_within_the_tolerance(circling, options):
    truth = circling(20)
    times = [index / 30 + 0.01 for index in range(20)]
    poses = KnownPoses(times_s=times, timed=tuple(truth.cameras.world_to_camera))
    with stream(truth, truth.frames(), options(), known_poses=poses) as run:
        list(run)
        assert run.report.anchors == run.report.windows
        assert (centers(run) - camera_centers(truth.cameras.world_to_camera)).abs().max() < 1e-9


def test_a_rig_gives_metres(options):
    """Left and right alternate, 0.4 m apart."""
    left = circle_cameras(20, 28, 42)
    right_pose = rigid_inverse(left.world_to_camera)
    right_pose[:, :3, 3] += 0.4 * right_pose[:, :3, 0]
    poses = torch.stack([left.world_to_camera, rigid_inverse(right_pose)], 1).flatten(0, 1)
    truth = InjectedPredictor(
        Cameras(poses, left.intrinsics.repeat_interleave(2, 0)), 28, 42, Errors(window_scale=0.5, depth=0.002)
    )
    with stream(truth, truth.frames(), options(rig_baseline=0.4, overlap=4)) as run:
        windows = list(run)
        assert windows[-1].units == "metres"
        similarity, _ = umeyama(centers(run), camera_centers(poses))
        assert float(similarity.scale) == pytest.approx(1.0, abs=1e-3)


# Killed and resumed.


def run_all(truth, folder, options, frames=None, **arguments):
    with stream(truth, frames or truth.frames(), options, folder=folder, **arguments) as run:
        list(run)
        return run.scene.world_cameras(run.all_frames()).world_to_camera, run.report


def test_a_resumed_stream_is_the_undisturbed_one(tmp_path, circling, options):
    """Broken off between any two windows, with loops and known poses on the way."""
    errors = {"drift": 0.006, "window_scale": 0.3, "depth": 0.01}
    truth = circling(50, laps=1.2, **errors)
    poses = known(truth, range(15, 18))
    whole, report = run_all(truth, tmp_path / "whole", options(loops=True), known_poses=poses)
    assert report.loops_found
    run = stream(truth, truth.frames(), options(loops=True), folder=tmp_path / "cut", known_poses=poses)
    for _ in range(4):
        next(iter(run))
    run.close()
    for stop in (3, 6, 100):
        run = stream(
            truth, truth.frames(), options(loops=True), folder=tmp_path / "cut", resume=True, known_poses=poses
        )
        for window in run:
            if window.index == stop:
                break
        resumed = run.scene.world_cameras(run.all_frames()).world_to_camera
        final = run.report
        run.close()
    assert torch.equal(resumed, whole)
    for name in (
        "frames_read",
        "frames_kept",
        "frames_passed_over",
        "loops_found",
        "loops_believed",
        "loop_candidates",
    ):
        assert getattr(final, name) == getattr(report, name)


KILLED = """
    import os, signal, sys
    import torch
    from anyview.options import StreamOptions
    from anyview.streaming import stream, store
    from anyview.streaming.injected import Errors, InjectedPredictor, circle_cameras

    folder, fatal, resume = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "resume"
    written = 0
    really = store._save

    def save(*arguments, **options):
        global written
        written += 1
        if written == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        really(*arguments, **options)

    store._save = save
    truth = InjectedPredictor(circle_cameras(40, 28, 42), 28, 42, Errors(window_scale=0.3, depth=0.01))
    options = StreamOptions(window=8, overlap=3, resolution=42, keyframe_change=0.0, loops=False)
    run = stream(truth, truth.frames(), options, folder=folder, resume=resume)
    list(run)
    torch.save(run.scene.world_cameras(run.all_frames()).world_to_camera, folder + "/poses.pt")
"""


def run_killed(script: Path, folder: Path, fatal: int, mode: str) -> int:
    return subprocess.run([sys.executable, script, folder, str(fatal), mode], check=False).returncode


def test_kill_9_anywhere_changes_nothing(tmp_path):
    """Killed before a frame, between a window's overlap and its record, and once more while resuming."""
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED))
    assert run_killed(script, tmp_path / "whole", 0, "start") == 0
    cut = tmp_path / "cut"
    # Windows 0 and 1 write 5 frames, then overlap, then record each: 14 is window 1's record.
    assert run_killed(script, cut, 14, "start") == -signal.SIGKILL
    assert run_killed(script, cut, 10, "resume") == -signal.SIGKILL
    assert run_killed(script, cut, 0, "resume") == 0
    whole, resumed = (torch.load(folder / "poses.pt") for folder in (tmp_path / "whole", cut))
    assert torch.equal(whole, resumed)
    assert not list(cut.glob("*/.*"))


def test_cancelling_ends_after_the_window_in_work(circling, options, tmp_path):
    truth = circling(60)
    run = stream(truth, truth.frames(), options(), folder=tmp_path)
    seen = 0
    for window in run:
        seen += len(window)
        run.cancel()
    assert seen == 8
    run.close()
    whole, _ = run_all(truth, tmp_path, options(), resume=True)
    assert len(whole) == 60


# Refusals.


def test_a_folder_with_another_run_is_refused(circling, options, tmp_path):
    truth = circling(20)
    run_all(truth, tmp_path, options())
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=r"holds a stream of 4 windows; pass --resume to go on"):
        stream(truth, truth.frames(), options(), folder=tmp_path)
    with pytest.raises(ValueError, match=r"cannot be resumed: options was .*'window': 8.*now .*'window': 6"):
        stream(truth, truth.frames(), options(window=6), folder=tmp_path, resume=True)
    assert before == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))


def test_other_known_poses_are_refused(circling, options, tmp_path):
    truth = circling(20)
    run_all(truth, tmp_path, options(), known_poses=known(truth, range(10)))
    with pytest.raises(ValueError, match=r"cannot be resumed: known poses was '[0-9a-f]{16}', now '[0-9a-f]{16}'$"):
        stream(truth, truth.frames(), options(), folder=tmp_path, resume=True, known_poses=known(truth, range(1, 11)))
    with pytest.raises(ValueError, match=r"cannot be resumed: known poses was '[0-9a-f]{16}', now None$"):
        stream(truth, truth.frames(), options(), folder=tmp_path, resume=True)


def test_known_poses_that_match_nothing_are_refused(options, circling, tmp_path):
    from PIL import Image

    for index in range(3):
        Image.fromarray(np.zeros((28, 42, 3), np.uint8)).save(tmp_path / f"{1000 + index}.25.png")
    late = KnownPoses(times_s=(5.0, 6.0), timed=(torch.eye(4), torch.eye(4)))
    message = r"none of the 2 known poses belongs to a frame: they have times 5.00 to 6.00 s .*1000.25 to 1002.25 s"
    with pytest.raises(ValueError, match=message):
        stream(circling(3), tmp_path, options(), known_poses=late)


def test_known_poses_too_far_for_single_precision_are_refused(circling, options):
    """Northings: half a metre between two numbers, and steps of 1.3 m."""
    truth = circling(20)
    camera_to_world = rigid_inverse(truth.cameras.world_to_camera)
    camera_to_world[:, 1, 3] += 5e6
    far = KnownPoses(by_index=dict(enumerate(rigid_inverse(camera_to_world))))
    with pytest.raises(
        ValueError, match=r"up to 5e\+06 from the origin at steps of 1.32, .* no more than 0.6 apart; sub"
    ):
        stream(truth, truth.frames(), options(), known_poses=far)


def test_known_poses_that_never_come_are_reported(circling, options):
    truth = circling(12)
    poses = KnownPoses(by_name={"another.png": torch.eye(4)})
    with stream(truth, truth.frames(), options(), known_poses=poses) as run:
        list(run)
        assert "known poses: 1 (none of them belongs to a frame that came)" in run.report.faults


def test_a_source_without_a_frame_is_refused(circling, options):
    with stream(circling(3), [], options()) as run, pytest.raises(ValueError, match="gave no frame that can be read"):
        list(run)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": 1}, "windows of at least 2 frames, got 1"),
        ({"overlap": 8}, "overlap from 1 to 7 frames"),
        ({"resolution": 13}, "at least 14 pixels"),
        ({"rig_baseline": 0.0}, "rig_baseline above 0"),
        ({"stall_s": 9.0, "give_up_s": 1.0}, "stall_s <= give_up_s"),
        ({"keyframe_change": 1.0}, "keyframe change from 0 to below 1"),
        ({"loop_gap": 0}, "loop_gap of at least 1"),
    ],
)
def test_options_that_mean_nothing_are_refused(changes, message, circling, options):
    with pytest.raises(ValueError, match=message):
        stream(circling(3), [], options(**changes))


def test_a_rig_without_pairs_is_refused(circling, options):
    truth = circling(6)
    with (
        stream(truth, truth.frames(1), options(rig_baseline=0.1)) as run,
        pytest.raises(ValueError, match="hold no pair of the rig"),
    ):
        list(run)


# Bounds.


def test_disk_use_keeps_to_its_limit(circling, options):
    truth = circling(60, depth=0.01)
    with stream(truth, truth.frames(), options()) as run:
        list(run)
        free = run.report.disk_bytes
    limit = 0.6 * free / 2**30
    with stream(truth, truth.frames(), options(disk_limit=limit)) as run:
        list(run)
        on_disk = sum(path.stat().st_size for path in run.store.folder.glob("*/*.npz"))
        assert run.report.disk_bytes == on_disk <= limit * 2**30
        assert len(centers(run)) == 60  # poses are kept of all


def test_a_record_holds_one_window_whatever_it_corrects(circling, options, tmp_path):
    """Else the journal would grow with the square of the windows; frames apart, a record is a few numbers."""
    truth = circling(60, laps=1.15, drift=0.004, window_scale=0.3)
    with stream(truth, truth.frames(), options(loops=True), folder=tmp_path) as run:
        list(run)
        assert run.report.loops_found > 2
        for index in range(run.report.windows):
            record = run.store.read_window(index)
            assert sum(values.nbytes for name, values in record.items() if not name.startswith("frame_")) < 1000


def test_a_journal_above_the_disk_limit_is_reported(circling, options):
    truth = circling(30)
    with stream(truth, truth.frames(), options(disk_limit=1e-6)) as run:
        list(run)
        (fault,) = run.report.faults
    assert re.fullmatch(r"disk limit passed: 1 \(what resuming needs takes 0\.\d\d MiB after 1 windows\)", fault)


def test_the_clock_stops_with_the_stream(circling, options):
    truth = circling(10)
    with stream(truth, truth.frames(), options()) as run:
        next(iter(run))
        assert run.report.seconds < run.report.seconds
        list(run)
        assert 0 < run.report.seconds == run.report.seconds


def test_temporary_folders_vanish(circling, options):
    truth = circling(10)
    run = stream(truth, truth.frames(), options())
    list(run)
    folder = run.store.folder
    assert folder.is_dir()
    run.close()
    assert not folder.exists()
