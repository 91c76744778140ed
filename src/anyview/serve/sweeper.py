"""Removes what has expired, what is too much, and what belongs to nobody."""

import logging
import shutil
import sqlite3
import threading
import time

from anyview.serve.folders import Folders, folder_bytes
from anyview.serve.jobs import ENDED, JobStore
from anyview.serve.options import MIB, ServeOptions

logger = logging.getLogger(__name__)


class Sweeper(threading.Thread):
    """Sweeps now and then."""

    def __init__(self, folders: Folders, store: JobStore, options: ServeOptions) -> None:
        super().__init__(name="sweeper", daemon=True)
        self._folders = folders
        self._store = store
        self._options = options
        self._stopping = threading.Event()
        self.active_uploads: set[str] = set()
        """Names of folders that are being written into."""
        self.disk_bytes = 0
        """What all jobs took on the disk at the last sweep."""

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

    def sweep(self) -> None:
        """Sweep once."""
        now = time.time()
        ended = self._store.jobs(states=ENDED)
        kept = []
        for job in ended:
            if job.expires is not None and job.expires <= now:
                self._drop(job.id)
            else:
                kept.append((job.id, folder_bytes(self._folders.job(job.id))))
        self._drop_orphans()
        total = sum(size for _, size in kept)
        while kept and total > self._options.disk_mib * MIB:  # the oldest come last
            id, size = kept.pop()
            self._drop(id)
            total -= size
        self.disk_bytes = total

    def _drop(self, id: str) -> None:
        self._store.remove(id)  # first, so that no job is there without its files
        self._folders.drop(id)

    def _drop_orphans(self) -> None:
        """Remove folders of no job, and what is left of uploads and examples that came to no end."""
        for folder in self._folders.jobs.iterdir():
            if folder.name in self.active_uploads:  # looked at before the job: it is added while it is in there
                continue
            job = self._store.get(folder.name)
            if job is None:
                shutil.rmtree(folder, ignore_errors=True)
            elif job is not None and job.ended:
                self._folders.drop_work(job.id)
        for folder in self._folders.uploads.iterdir():
            if folder.name not in self.active_uploads:
                shutil.rmtree(folder, ignore_errors=True)
        running = self._store.jobs(states=["running"])
        if not any(job.example for job in running):
            for folder in self._folders.examples.iterdir():
                if folder.name.startswith("."):
                    shutil.rmtree(folder, ignore_errors=True)
