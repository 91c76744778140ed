"""What the worker does, in this process: its last words, and limits that only it can keep."""

import json
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from serving import picture

from anyview.serve.options import ServeOptions
from anyview.serve.requests import parse_request
from anyview.serve.view import POINT
from anyview.serve.worker import Ended, Input, Task, Worker, _outcome


@pytest.fixture
def task(tmp_path: Path) -> Task:
    (tmp_path / "0000.png").write_bytes(picture())
    request = parse_request('{"predict": {"resolution": 56}, "formats": ["npz"]}', ServeOptions(), ["tiny"])
    return Task("job", request, (Input(tmp_path / "0000.png", "picture", "a.png"),), tmp_path / "work")


class Raises(Worker):
    """A worker that does its tasks badly."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def run(self, task: Task, tell: Callable[[str, int, int], None]) -> int:
        raise self.error


def ended(task: Task, error: BaseException) -> Ended:
    ours, theirs = Pipe()
    with ours, theirs:
        return _outcome(Raises(error), task, ours)


@pytest.mark.parametrize("error", [RuntimeError("secret of /srv/anyview"), KeyError("secret"), AssertionError()])
def test_what_nobody_thought_of_is_told_to_the_log_alone(task: Task, caplog: pytest.LogCaptureFixture, error):
    outcome = ended(task, error)
    assert outcome.unforeseen
    assert outcome.error is not None
    words, _, reference = outcome.error.rpartition(" ")
    assert words == "internal error; it stands in the log of the server as"
    [record] = caplog.records
    assert record.getMessage() == f"internal error {reference}: job job"
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_what_users_can_mend_is_told_to_them(task: Task):
    path = task.inputs[0].path
    assert ended(task, ValueError(f"{path} is\nbroken")) == Ended(error="a.png is broken")
    assert ended(task, FileNotFoundError(2, "No such file", str(path))) == Ended(error="No such file")
    assert ended(task, MemoryError("8 views")) == Ended(error="out of memory: 8 views")
    of_the_device = ended(task, torch.OutOfMemoryError("CUDA out of memory. GPU 0 has 79 GiB"))
    assert of_the_device == Ended(error="out of memory of the device: fewer views, or a lower resolution, take less")


EDGES: list[dict[str, Any]] = [
    *({"predict": {"focal_length": value}} for value in (1e-300, 1e300)),
    *({"predict": {"field_of_view": value}} for value in (1e-300, 179.9999999)),
    *({"predict": {"features": [block]}, "formats": ["features"]} for block in (-1, 10**9)),
    {"predict": {"resolution": 14}, "formats": ["glb", "ply", "npz", "depth_vis", "depth_video"]},
    {"predict": {"seed": 2**63 - 1, "camera_source": "rays"}, "formats": ["glb"]},
    *({"export": {"camera_size": value}, "formats": ["glb"]} for value in (1e300, 1e-320)),
    *({"export": {"fps": value}, "formats": ["depth_video"]} for value in (1e-300, 1e-5, 239.99999, 240)),
    *({"export": {"max_points": 1, "confidence_percentile": value}, "formats": ["glb", "ply"]} for value in (0, 100)),
    *(
        {"export": {"pixel_gaussians": True, **options}, "formats": ["splat", "gaussians_ply", "spz"]}
        for options in (
            {"voxel_size": 1e-300},
            {"voxel_size": 1e300},
            {"least_opacity": 1.0},
            {"gaussian_percentile": 100},
        )
    ),
    {"export": {"max_tracks": 1, "sampling_seed": 2**63 - 1}, "formats": ["transforms"]},
    *({"intrinsics": [[[f, 0, 0], [0, f, 0], [0, 0, 1]]]} for f in (1e308, 1e-308, 0, -1)),
    *(
        {"intrinsics": [[[50, 0, 28], [0, 50, 21], [0, 0, 1]]], "world_to_camera": [pose]}
        for pose in (
            [[0, 0, 0, 0]] * 4,
            [[1, 0, 0, 1e308], [0, 1, 0, 0], [0, 0, 1, 0]],
            [[1e308, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]],
        )
    ),
]


@pytest.fixture(scope="module")
def worker(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Worker:
    return Worker("cpu", {"tiny": str(tiny)}, tmp_path_factory.mktemp("examples"), ServeOptions(view_points=100))


@pytest.mark.parametrize("options", EDGES, ids=lambda options: json.dumps(options)[:90])
def test_options_at_the_edge_of_what_is_let_in_give_a_result_or_a_reason(task: Task, worker: Worker, options):
    """Refused when they come or in the worker, in one line; none is a fault of ours, which costs a worker."""
    try:
        request = parse_request(json.dumps({"predict": {"resolution": 56}} | options), ServeOptions(), ["tiny"])
    except ValueError as refusal:
        said: str | None = str(refusal)
    else:
        ours, theirs = Pipe()
        with ours, theirs:
            outcome = _outcome(worker, replace(task, request=request), ours)
        assert not outcome.unforeseen
        said = outcome.error
        assert (outcome.views == 1) == (said is None)
    assert said is None or "\n" not in said


def test_the_page_gets_as_many_points_as_the_server_gives(task: Task, worker: Worker):
    assert worker.run(task, lambda stage, done, total: None) == 1
    scene = json.loads((task.folder / "view" / "scene.json").read_text())
    assert scene["points"]["count"] == 100
    assert len(np.fromfile(task.folder / "view" / "points.bin", POINT)) == 100
