"""What the worker does, in this process: its last words, and limits that only it can keep."""

import json
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path

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


def test_the_page_gets_as_many_points_as_the_server_gives(task: Task, tiny: Path, tmp_path: Path):
    limits = ServeOptions(view_points=100)
    worker = Worker("cpu", {"tiny": str(tiny)}, tmp_path / "examples", limits)
    assert worker.run(task, lambda stage, done, total: None) == 1
    scene = json.loads((task.folder / "view" / "scene.json").read_text())
    assert scene["points"]["count"] == 100
    assert len(np.fromfile(task.folder / "view" / "points.bin", POINT)) == 100
