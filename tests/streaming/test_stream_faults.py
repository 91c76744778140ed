"""Sources with faults, through the whole stream: survived, reported, and the geometry of the rest as it would be."""

import time
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import torch
from measures import relative_error

from anyview.images.video import write_video
from anyview.streaming import stream
from anyview.types import Picture


def frames_with_faults(truth, wait_s: float) -> Iterator[tuple[float, Picture]]:
    """As a bad camera gives them: one late, three missing, one of another size, one twice, one that is none."""
    for index, (time_s, picture) in enumerate(truth.frames()):
        if index in (12, 13, 14):
            yield time_s, "nothing"  # the source goes on counting
            continue
        if index == 8:
            time.sleep(wait_s)
        if index == 17:
            yield time_s, Picture(cv2.resize(picture.pixels, (84, 112)), picture.name)
            continue
        yield time_s, picture


def test_all_faults_at_once_are_survived_and_reported(circling, options, tmp_path):
    truth = circling(30, window_scale=0.3)
    made = options(stall_s=0.2, give_up_s=5.0)
    with stream(truth, frames_with_faults(truth, 0.4), made, folder=tmp_path) as run:
        seen = torch.cat([window.frames for window in run]).tolist()
        report = run.report
        assert relative_error(run, truth) < 1e-6
    assert seen == [index for index in range(30) if index not in (12, 13, 14)]
    faults = {line.split(":")[0]: line for line in report.faults}
    assert faults.keys() == {"unreadable", "stalled", "frames dropped", "size changed"}
    assert faults["unreadable"].startswith("unreadable: 3 ")
    assert faults["frames dropped"] == "frames dropped: 1 (about 3 before 000015)"
    assert faults["size changed"] == "size changed: 1 (000017: 84×112 instead of 42×28)"
    # What stands on disk is whole: a resumed run finds nothing left to do and gives the same.
    with stream(truth, frames_with_faults(truth, 0.0), made, folder=tmp_path, resume=True) as again:
        assert torch.cat([window.frames for window in again]).tolist() == seen[-3:]
        assert again.report.frames_kept == 27


@pytest.mark.parametrize("count", [1, 5, 40])
def test_identical_frames_cost_one_prediction(count, circling, options):
    """A camera that hangs gives one picture for ever; it is one frame, and one window."""
    truth = circling(3)
    (_, picture), *_ = truth.frames()
    with stream(truth, [picture] * count, options()) as run:
        windows = list(run)
        assert {window.index for window in windows} == {0}
        assert sum(map(len, windows)) == 1
        assert (run.report.frames_kept, run.report.frames_passed_over) == (1, count - 1)
        assert run.report.windows == 1


def test_a_video_cut_off_within_a_frame_streams_to_its_end(circling, options, tmp_path):
    truth = circling(30)
    noise = np.random.default_rng(0)
    shown = [noise.integers(0, 255, (28, 42, 3), dtype=np.uint8) for _ in range(30)]
    path = write_video(tmp_path / "clip.mkv", shown, 10.0)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    with stream(truth, path, options()) as run:
        seen = torch.cat([window.frames for window in run]).tolist()
        assert 8 < len(seen) < 30
        assert seen == list(range(len(seen)))
        assert [line.split(":")[0] for line in run.report.faults] == ["truncated"]
        assert relative_error(run, truth) < 1e-6
