"""Removes what has expired, what is too much, and what belongs to nobody."""

import logging
import shutil
import sqlite3
import threading
import time
from dataclasses import dataclass

from anyview.serve.folders import Folders
from anyview.serve.jobs import ENDED, JobStore
from anyview.serve.options import MIB, ServeOptions

MOST_KEPT = 10_000
"""Jobs that have ended, failed and cancelled ones among them, which take hardly any space but some time."""
logger = logging.getLogger(__name__)


@dataclass
class Incoming:
    """An upload that is being written."""

    owner: str
    size: int = 0
    """Bytes that have come, at the last look."""


class Sweeper(threading.Thread):
    """Sweeps now and then."""

    def __init__(self, folders: Folders, store: JobStore, options: ServeOptions) -> None:
        super().__init__(name="sweeper", daemon=True)
        self._folders = folders
        self._store = store
        self._options = options
        self._stopping = threading.Event()
        self._forgotten: set[str] = set()
        """Folders that had no job at the last sweep."""
        self.active_uploads: dict[str, Incoming] = {}
        """By the names of the folders that they are written into."""
        self.disk_bytes = 0
        """What all uploads and results took on the disk at the last sweep."""

    def stop(self) -> None:
        """Ask the thread to end."""
        self._stopping.set()

    def run(self) -> None:
        """Sweep until `stop`."""
        while not self._stopping.wait(self._options.sweep_s):
            try:
                self.sweep()
            except (OSError, sqlite3.Error):  # a full disk must not end the sweeper
                logger.exception("sweeping")

    def sweep(self, *, at_once: bool = False) -> None:
        """Sweep once.

        The folder of a job that is gone stays until the next sweep, since somebody may be about to read from it; where
        there is nobody yet it goes ``at_once``.
        """
        now = time.time()
        ended = self._store.jobs(states=ENDED)
        kept = []
        for job in ended:
            if job.expires is not None and job.expires <= now:
                self._store.remove(job.id)
            else:
                kept.append((job.id, job.size))
        total = self.input_bytes() + sum(size for _, size in kept)
        while kept and (total > self._options.disk_mib * MIB or len(kept) > MOST_KEPT):  # the oldest come last
            id, size = kept.pop()
            self._store.remove(id)
            total -= size
        self.disk_bytes = total
        self._drop_orphans(at_once)

    def input_bytes(self) -> int:
        """Return the bytes of all uploads, those that are coming in among them."""
        return self._store.input_bytes() + sum(upload.size for upload in list(self.active_uploads.values()))

    def _drop_orphans(self, at_once: bool) -> None:
        """Remove folders of no job, and what is left of uploads and examples that came to no end."""
        forgotten = set()
        for folder in self._folders.jobs.iterdir():
            if folder.name in self.active_uploads:  # looked at before the job: it is added while it is in there
                continue
            job = self._store.get(folder.name)
            if job is None and (at_once or folder.name in self._forgotten):
                shutil.rmtree(folder, ignore_errors=True)
            elif job is None:
                forgotten.add(folder.name)
            elif job.ended:
                self._folders.drop_work(job.id)
        self._forgotten = forgotten
        for folder in self._folders.uploads.iterdir():
            if folder.name not in self.active_uploads:
                shutil.rmtree(folder, ignore_errors=True)
        running = self._store.jobs(states=["running"])
        if not any(job.example for job in running):
            for folder in self._folders.examples.iterdir():
                if folder.name.startswith("."):
                    shutil.rmtree(folder, ignore_errors=True)
