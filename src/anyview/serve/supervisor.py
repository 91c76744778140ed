"""One thread for each worker process: hands out jobs, listens, ends what takes too long, starts anew what has ended."""

import logging
import multiprocessing
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Literal

from anyview.serve import faults, worker
from anyview.serve.folders import Folders
from anyview.serve.jobs import Job, JobStore, StoredFile
from anyview.serve.options import ServeOptions
from anyview.serve.requests import one_line, parse_request

logger = logging.getLogger(__name__)

POLL_S = 0.2
"""How often a running job's clock and cancellation are looked at."""
LOOK_S = 1.0
"""How often a thread without a job looks whether its worker is well and the server goes on."""
PAUSE_S = 2.0
"""Between two starts of a worker that ends before it is ready."""

Outcome = Literal["done", "failed", "cancelled"]
Observe = Callable[[str, float], None]
"""Called with how a job ended and its seconds."""


class Supervisor(threading.Thread):
    """Keeps one worker process and its jobs."""

    def __init__(
        self,
        device: str,
        models: dict[str, str],
        folders: Folders,
        store: JobStore,
        options: ServeOptions,
        observe: Observe = lambda state, seconds: None,
    ) -> None:
        super().__init__(name=f"supervisor of {device}", daemon=True)
        self.device = device
        self.restarts = 0
        """Worker processes that ended against the server's will."""
        self.ready = False
        """Whether the worker waits for jobs or does one."""
        self._models = models
        self._folders = folders
        self._store = store
        self._options = options
        self._observe = observe
        self._stopping = threading.Event()
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._unwritten: Callable[[], None] | None = None

    @property
    def process_id(self) -> int | None:
        """Of the worker, where there is one."""
        return self._process.pid if self._process is not None else None

    def stop(self) -> None:
        """Ask the thread to end; a job that runs goes back into the queue."""
        self._stopping.set()

    def run(self) -> None:
        """Serve until `stop`."""
        try:
            while not self._stopping.is_set():
                try:
                    self._step()
                except (sqlite3.Error, OSError):  # a full disk must not end the thread
                    logger.exception("the supervisor of %s", self.device)
                    self._stopping.wait(PAUSE_S)
        finally:
            self._end_worker()

    def _step(self) -> None:
        """Do a job, if there is a worker and a job."""
        self._write_outcome()
        if not self._has_worker():
            return
        job = self._store.take(LOOK_S)
        if job is None:
            return
        try:
            self._serve(job)
        except Exception:  # the boundary: a job may fail, the thread may not
            reason = faults.report(logger, f"job {job.id}")
            self._end_worker()
            self._finish(job, worker.Ended(error=reason))
        self._write_outcome()

    def _has_worker(self) -> bool:
        """Start the worker where there is none; return whether it is ready."""
        if self._process is not None and self._process.is_alive():
            return True
        if self._process is not None:
            self.restarts += 1
            logger.warning("the worker on %s ended (%s)", self.device, self._process.exitcode)
            self._end_worker()
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, self.device, self._models, self._folders.examples, self._options)
        process = context.Process(target=worker.main, args=arguments, daemon=True)
        try:
            process.start()
        except OSError:
            self._end_worker()
            raise
        finally:
            theirs.close()
        self._process = process
        while not self._stopping.is_set():
            try:
                if self._pipe.poll(POLL_S):
                    self._pipe.recv()
                    self.ready = True
                    return True
            except (EOFError, OSError):
                self._process.join()
                self.restarts += 1
                logger.error("the worker on %s ended before it was ready (%s)", self.device, self._process.exitcode)
                self._end_worker()
                self._stopping.wait(PAUSE_S)
                return False
        return False

    def _serve(self, job: Job) -> None:
        try:
            self._folders.drop_starts(job.id)
            request = parse_request(self._store.request(job.id), self._options, list(self._models), example=job.example)
            task = worker.Task(job.id, request, self._folders.inputs_of(job), self._folders.work(job))
        except (ValueError, OSError) as error:  # the limits, the models or the disk have changed since it came
            self._finish(job, worker.Ended(error=one_line(error)))
            return
        assert self._pipe is not None
        try:
            self._pipe.send(task)
        except OSError:
            self._store.requeue(job.id, keep_s=self._options.keep_s, counts=True)
            return
        outcome = self._watch(job)
        if outcome is None:
            self._store.requeue(job.id, keep_s=self._options.keep_s, counts=False)
        else:
            self._finish(job, outcome)

    def _watch(self, job: Job) -> worker.Ended | None:
        """Listen to the worker until the job has ended; None where the server ends first.

        Where that happens after the job was to be ended, it has ended, and its worker with it.
        """
        assert self._pipe is not None
        assert self._process is not None
        deadline = time.monotonic() + self._options.job_s
        reason, given_up = None, float("inf")
        while not self._stopping.is_set():
            connection.wait([self._pipe, self._process.sentinel], POLL_S)
            try:
                while self._pipe.poll():
                    message = self._pipe.recv()
                    if isinstance(message, worker.Progress):
                        self._note(job, message)
                    elif isinstance(message, worker.Ended):
                        return message if reason is None or not message.cancelled else reason
            except (EOFError, OSError):
                return reason if reason is not None else self._crashed()
            if not self._process.is_alive():
                return reason if reason is not None else self._crashed()
            now = time.monotonic()
            if reason is None:
                if self._store.is_cancelled(job.id):
                    reason = worker.Ended(cancelled=True)
                elif now > deadline:
                    reason = worker.Ended(error=f"it took longer than the {self._options.job_s:g} s that a job may run")
                if reason is not None:
                    with suppress(OSError):  # it has just ended, as the next round will see
                        self._pipe.send(None)
                    given_up = now + self._options.cancel_s
            elif now > given_up:
                self._end_worker()
                return reason
        if reason is not None:
            self._end_worker()
        return reason

    def _note(self, job: Job, progress: worker.Progress) -> None:
        try:
            self._store.progress(job.id, progress.stage, progress.fraction)
        except sqlite3.Error:  # the job goes on, whether that can be seen or not
            logger.exception("progress of job %s", job.id)

    def _crashed(self) -> worker.Ended:
        assert self._process is not None
        self._process.join()
        code = self._process.exitcode or 0
        self.ready = False
        why = (
            f"signal {-code}: killed, by the system perhaps, for want of memory" if code == -9 else f"exit code {code}"
        )
        return worker.Ended(error=f"the worker process ended in the middle of the job ({why})")

    def _finish(self, job: Job, outcome: worker.Ended) -> None:
        """Put a job's result in its place and keep how it ended, for `_write_outcome`."""
        state: Outcome = "done"
        error, files = outcome.error, list[StoredFile]()
        if outcome.cancelled:
            state = "cancelled"
        elif error is None:
            try:
                files = self._folders.take_result(job)
            except OSError as problem:
                error = one_line(problem)
        if error is not None:
            state = "failed"
        self._unwritten = partial(self._write, job, state, error, outcome.views, files)

    def _write_outcome(self) -> None:
        """Write down how the last job ended, unless that was done. What fails is done again later."""
        if self._unwritten is not None:
            self._unwritten()
            self._unwritten = None

    def _write(self, job: Job, state: Outcome, error: str | None, views: int | None, files: list[StoredFile]) -> None:
        self._store.finish(job.id, state, keep_s=self._options.keep_s, error=error, views=views, files=files)
        self._folders.drop_work(job.id)
        self._observe(state, time.time() - (job.started or time.time()))

    def _end_worker(self) -> None:
        self.ready = False
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None
