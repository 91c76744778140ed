"""The supervisor beside a worker that is none: both ends of the pipe are ours."""

from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from anyview.serve import worker
from anyview.serve.folders import Folders
from anyview.serve.jobs import Job, JobStore
from anyview.serve.options import ServeOptions
from anyview.serve.supervisor import Supervisor


class NoProcess:
    """A worker process that lives until it is killed."""

    exitcode = -9

    def __init__(self, sentinel: Connection) -> None:
        self.sentinel = sentinel.fileno()
        self.killed = False

    def is_alive(self) -> bool:
        return not self.killed

    def kill(self) -> None:
        self.killed = True

    def join(self) -> None:
        """It has ended."""

    def close(self) -> None:
        """There is nothing to let go of."""


@dataclass
class Watched:
    supervisor: Supervisor
    process: NoProcess
    theirs: Connection
    store: JobStore
    job: Job


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """A job that runs, as far as its supervisor knows."""
    folders = Folders(tmp_path)
    folders.make()
    store = JobStore(folders.database)
    store.add("anna", "tiny", "{}")
    job = store.take(0.0)
    assert job is not None
    supervisor = Supervisor("cpu", {"tiny": "tiny"}, folders, store, ServeOptions(data=tmp_path))
    (ours, theirs), (sentinel, kept) = Pipe(), Pipe()
    process: Any = NoProcess(sentinel)
    supervisor._pipe, supervisor._process = ours, process
    yield Watched(supervisor, process, theirs, store, job)
    for end in (ours, theirs, sentinel, kept):
        end.close()
    store.close()


def test_a_server_that_ends_leaves_a_running_job_to_the_next(watched: Watched):
    watched.supervisor.stop()
    assert watched.supervisor._watch(watched.job) is None
    assert not watched.process.killed


def test_a_job_that_was_cancelled_when_the_server_ends_stays_cancelled(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
):
    """Instead of going back into the queue and being done after all."""
    watched.store.cancel(watched.job.id, keep_s=60.0)
    send = watched.supervisor._pipe.send

    def send_and_stop(message: object) -> None:
        send(message)
        watched.supervisor.stop()

    monkeypatch.setattr(watched.supervisor._pipe, "send", send_and_stop)
    assert watched.supervisor._watch(watched.job) == worker.Ended(cancelled=True)
    assert watched.process.killed  # before its files are removed
    assert watched.theirs.recv() is None


def test_a_worker_that_has_just_ended_need_not_be_told_to(watched: Watched):
    watched.store.cancel(watched.job.id, keep_s=60.0)

    def broken(_: object) -> None:
        watched.theirs.close()
        raise BrokenPipeError

    watched.supervisor._pipe.send = broken  # type: ignore[union-attr]
    assert watched.supervisor._watch(watched.job) == worker.Ended(cancelled=True)


def test_what_is_done_before_its_cancellation_comes_through_is_done(watched: Watched):
    watched.store.cancel(watched.job.id, keep_s=60.0)
    watched.theirs.send(worker.Progress("exporting", 0.9))
    watched.theirs.send(worker.Ended(views=1))
    assert watched.supervisor._watch(watched.job) == worker.Ended(views=1)
    job = watched.store.get(watched.job.id)
    assert job is not None
    assert (job.stage, job.progress) == ("exporting", 0.9)
