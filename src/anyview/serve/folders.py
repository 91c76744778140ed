"""Where things lie in the data folder. All names in it are the server's own."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from anyview.files import check_folder
from anyview.serve.content import Kind
from anyview.serve.jobs import Job, StoredFile
from anyview.serve.worker import Input

MEDIA_TYPES = {
    ".glb": "model/gltf-binary",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".mp4": "video/mp4",
    ".npz": "application/octet-stream",
    ".ply": "application/octet-stream",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
}
"""Others are sent as bytes without a meaning."""
_VIDEO_SUFFIXES = (".mp4", ".mkv", ".avi")


@dataclass(frozen=True)
class Folders:
    """The data folder of a server."""

    root: Path

    @property
    def database(self) -> Path:
        """The jobs."""
        return self.root / "jobs.sqlite3"

    @property
    def jobs(self) -> Path:
        """One folder per job."""
        return self.root / "jobs"

    @property
    def uploads(self) -> Path:
        """Uploads that are no jobs yet."""
        return self.root / "uploads"

    @property
    def examples(self) -> Path:
        """Pictures of demo scenes."""
        return self.root / "examples"

    def make(self) -> None:
        """Make what is missing.

        Raises:
            ValueError: Files cannot be made there.
        """
        check_folder(self.root)
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            for folder in (self.jobs, self.uploads, self.examples):
                folder.mkdir(exist_ok=True, mode=0o700)
                folder.chmod(0o700)  # whatever the folder around it lets others do
            for folder in (self.root, self.jobs, self.uploads, self.examples):
                probe = folder / ".probe"
                probe.touch()
                probe.unlink()
        except OSError as error:
            raise ValueError(f"cannot write into {self.root}: {error.strerror}") from error

    def lock(self) -> TextIO:
        """Keep other servers out for as long as the file that is returned is open.

        Raises:
            ValueError: Another server is in there.
        """
        file = (self.root / "lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise ValueError(f"the data folder {self.root} is in use by another server") from error
        return file

    def job(self, id: str) -> Path:
        """All of a job."""
        return self.jobs / id

    def inputs(self, id: str) -> Path:
        """What was uploaded for a job, until it has ended."""
        return self.job(id) / "input"

    def work(self, job: Job) -> Path:
        """What a job writes into; another folder at each start, so that nothing of an earlier one comes in."""
        return self.job(job.id) / f"work-{job.attempts}"

    def result(self, id: str) -> Path:
        """What a job has written; there once all of it is."""
        return self.job(id) / "result"

    def accept(self, upload: Path, id: str) -> None:
        """Make an upload the input of a job."""
        self.job(id).mkdir(mode=0o700)
        os.replace(upload, self.inputs(id))

    def inputs_of(self, job: Job) -> tuple[Input, ...]:
        """List what was uploaded, in its order."""
        paths = sorted(self.inputs(job.id).iterdir()) if job.names else []
        return tuple(Input(path, kind_of(path), name) for path, name in zip(paths, job.names, strict=True))

    def take_result(self, job: Job) -> list[StoredFile]:
        """Make what a job has written its result; the last step, in one piece."""
        shutil.rmtree(self.result(job.id), ignore_errors=True)
        os.replace(self.work(job), self.result(job.id))
        return list(list_files(self.result(job.id)))

    def drop_starts(self, id: str) -> None:
        """Remove what earlier starts of a job have written."""
        for folder in self.job(id).glob("work-*"):
            shutil.rmtree(folder)

    def drop_work(self, id: str) -> None:
        """Remove what is not needed once a job has ended: all but its result."""
        if self.job(id).is_dir():
            for entry in self.job(id).iterdir():
                if entry.name != "result":
                    shutil.rmtree(entry, ignore_errors=True)

    def drop(self, id: str) -> None:
        """Remove all of a job."""
        shutil.rmtree(self.job(id), ignore_errors=True)


def list_files(folder: Path) -> Iterator[StoredFile]:
    """List the files below a folder by name; links and what else is no plain file do not count."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            media_type = MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream")
            yield StoredFile(path.relative_to(folder).as_posix(), path.stat().st_size, media_type)


def kind_of(path: Path) -> Kind:
    """Say what an accepted file is; its suffix is ours."""
    return "video" if path.suffix in _VIDEO_SUFFIXES else "picture"
