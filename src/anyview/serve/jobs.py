"""Jobs in an SQLite file: what was accepted survives the end of the server, however it ends."""

import json
import secrets
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from anyview.serve.database import open_database
from anyview.serve.turns import fair_order

State = Literal["queued", "running", "done", "failed", "cancelled"]
ENDED: tuple[State, ...] = ("done", "failed", "cancelled")
THUMBNAIL = "thumb.jpg"
"""The file of a result that stands for it in lists."""
MOST_ATTEMPTS = 3
"""Starts of a job: one more after each end of the server, until the job is under suspicion of ending it."""

MOST_SHARES = 100
"""Links to one job."""
MOST_SESSIONS = 100
"""Browsers that one token lets in; one more, and the first must show it again."""


@dataclass(frozen=True)
class StoredFile:
    """A file of a result."""

    name: str
    """Below the result's folder, with forward slashes."""
    size: int
    media_type: str


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job, as the database has it, but for the list of its files, which may be long. Times: seconds since 1970."""

    id: str
    owner: str
    state: State
    stage: str
    progress: float
    """0 to 1."""
    error: str | None
    created: float
    started: float | None
    finished: float | None
    expires: float | None
    model: str
    formats: tuple[str, ...] | None
    """As asked; None: the default ones."""
    example: str | None
    names: tuple[str, ...]
    """What the uploaded files were called, fit to be shown."""
    views: int | None
    size: int
    """Bytes of its result."""
    input_size: int
    """Bytes of its uploaded files, which are there until it has ended."""
    thumbnail: bool
    """Whether there is `THUMBNAIL` among its files."""
    attempts: int

    @property
    def ended(self) -> bool:
        """Whether nothing about it will change any more, until it is removed."""
        return self.state in ENDED


_COLUMNS = ", ".join(field.name for field in fields(Job))


class QueueFull(Exception):
    """No room for another job; the message says whose limit it is."""


class JobStore:
    """The jobs of a server, for any of its threads. Whoever waits for changes looks at `version`."""

    def __init__(self, path: str | Path) -> None:
        """Open the file, or make it.

        Raises:
            ValueError: It cannot be read, or is of another version.
        """
        try:
            self._connection = open_database(Path(path))
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise ValueError(
                f"the jobs in {path} cannot be read ({reason}); without this file they begin anew"
            ) from error
        self._changed = threading.Condition(threading.RLock())
        self._last_turns: dict[str, int] = {}
        self._turn = 0
        self._cancelled: set[str] = set()
        self.version = 0
        """Grows with every change of any job."""
        self._order: tuple[int, dict[str, int]] = (-1, {})

    def close(self) -> None:
        """Let go of the file."""
        with self._changed:
            self._connection.close()

    def add(
        self,
        owner: str,
        model: str,
        request: str,
        *,
        id: str | None = None,
        formats: Sequence[str] | None = None,
        names: Sequence[str] = (),
        input_size: int = 0,
        example: str | None = None,
        queue: int | None = None,
        queue_per_token: int | None = None,
    ) -> Job:
        """Queue a job; ``request`` is the JSON of its options as it came in, ``input_size`` the bytes of its files.

        Raises:
            QueueFull: There are ``queue`` jobs waiting, or ``queue_per_token`` of this owner waiting or running.
        """
        with self._change() as execute:
            self._check_room(owner, queue, queue_per_token)
            id = new_id() if id is None else id
            listed_formats, listed_names = json.dumps(formats), json.dumps(list(names))
            execute(
                "INSERT INTO jobs (id, owner, state, stage, progress, created, model, request, formats, example, "
                "names, input_size, files, size, thumbnail, attempts) "
                "VALUES (?, ?, 'queued', 'queued', 0, ?, ?, ?, ?, ?, ?, ?, '[]', 0, 0, 0)",
                (id, owner, time.time(), model, request, listed_formats, example, listed_names, input_size),
            )
        job = self.get(id)
        assert job is not None
        return job

    def check_room(
        self, owner: str, *, queue: int, queue_per_token: int, coming: int = 0, coming_of_owner: int = 0
    ) -> None:
        """Refuse early what `add` would refuse once the jobs that are ``coming``, some of this owner, are there.

        Raises:
            QueueFull: As in `add`.
        """
        with self._changed:
            self._check_room(owner, queue, queue_per_token, coming, coming_of_owner)

    def get(self, id: str) -> Job | None:
        """Return a job, or None."""
        rows = self._rows(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", (id,))
        return _job(rows[0]) if rows else None

    def files(self, id: str) -> tuple[StoredFile, ...]:
        """Return the files of a job's result; none where there is no such job any more."""
        rows = self._rows("SELECT files FROM jobs WHERE id = ?", (id,))
        return tuple(StoredFile(*entry) for entry in json.loads(rows[0]["files"])) if rows else ()

    def request(self, id: str) -> str:
        """Return the JSON of a job's options, which may be long: known cameras are in there."""
        return str(self._rows("SELECT request FROM jobs WHERE id = ?", (id,))[0]["request"])

    def jobs(self, owner: str | None = None, *, states: Sequence[str] = (), limit: int | None = None) -> list[Job]:
        """Return jobs, the newest first, of everybody or one owner."""
        conditions, values = ["1"], []
        if owner is not None:
            conditions.append("owner = ?")
            values.append(owner)
        if states:
            conditions.append(f"state IN ({', '.join('?' * len(states))})")
            values.extend(states)
        query = f"SELECT {_COLUMNS} FROM jobs WHERE {' AND '.join(conditions)} ORDER BY number DESC LIMIT ?"
        return [_job(row) for row in self._rows(query, (*values, -1 if limit is None else limit))]

    def input_bytes(self) -> int:
        """Return the bytes of what was uploaded for jobs that wait or run."""
        query = "SELECT COALESCE(SUM(input_size), 0) AS bytes FROM jobs WHERE state IN ('queued', 'running')"
        return int(self._rows(query)[0]["bytes"])

    def counts(self) -> Counter[str]:
        """Count jobs by state."""
        rows = self._rows("SELECT state, COUNT(*) AS jobs FROM jobs GROUP BY state")
        return Counter({row["state"]: row["jobs"] for row in rows})

    def positions(self) -> dict[str, int]:
        """Return the place in the queue of each waiting job; the next one has 1."""
        with self._changed:
            if self._order[0] != self.version:
                order = fair_order(self._waiting(), self._last_turns)
                self._order = (self.version, {id: place for place, id in enumerate(order, start=1)})
            return self._order[1]

    def take(self, timeout: float) -> Job | None:
        """Start the job whose turn it is, or return None if there is none within ``timeout`` seconds."""
        with self._changed:
            if not self._changed.wait_for(self._waiting, timeout):
                return None
            order = fair_order(self._waiting(), self._last_turns)
            with self._change() as execute:
                execute(
                    "UPDATE jobs SET state = 'running', stage = 'starting', started = ?, attempts = attempts + 1 "
                    "WHERE id = ?",
                    (time.time(), order[0]),
                )
            job = self.get(order[0])
            assert job is not None
            self._turn += 1
            self._last_turns[job.owner] = self._turn
            return job

    def progress(self, id: str, stage: str, fraction: float) -> None:
        """Note how far a running job is."""
        with self._change() as execute:
            execute("UPDATE jobs SET stage = ?, progress = ? WHERE id = ? AND state = 'running'", (stage, fraction, id))

    def finish(
        self,
        id: str,
        state: Literal["done", "failed", "cancelled"],
        *,
        keep_s: float,
        error: str | None = None,
        views: int | None = None,
        files: Sequence[StoredFile] = (),
    ) -> None:
        """End a job that waits or runs; one that has ended stays as it is."""
        listed = json.dumps([[file.name, file.size, file.media_type] for file in files])
        size, thumbnail = sum(file.size for file in files), any(file.name == THUMBNAIL for file in files)
        now = time.time()
        with self._change() as execute:
            execute(
                "UPDATE jobs SET state = ?, stage = ?, progress = CASE WHEN ? = 'done' THEN 1 ELSE progress END, "
                "error = ?, finished = ?, expires = ?, views = ?, files = ?, size = ?, thumbnail = ? "
                "WHERE id = ? AND state IN ('queued', 'running')",
                (state, state, state, error, now, now + keep_s, views, listed, size, thumbnail, id),
            )
            self._cancelled.discard(id)

    def cancel(self, id: str, *, keep_s: float) -> None:
        """End a waiting job; ask for the end of a running one (`is_cancelled`)."""
        with self._changed:
            job = self.get(id)
            if job is not None and job.state == "queued":
                self.finish(id, "cancelled", keep_s=keep_s)
            elif job is not None and job.state == "running":
                self._cancelled.add(id)

    def is_cancelled(self, id: str) -> bool:
        """Whether the end of a running job was asked for."""
        with self._changed:
            return id in self._cancelled

    def requeue(self, id: str, *, keep_s: float, counts: bool) -> None:
        """Put a running job back; one that ``counts`` fails where it has been started `MOST_ATTEMPTS` times."""
        with self._changed:
            job = self.get(id)
            if job is None or job.state != "running":
                return
            if counts and job.attempts >= MOST_ATTEMPTS:
                self.finish(id, "failed", keep_s=keep_s, error=f"the server ended {job.attempts} times during this job")
                return
            with self._change() as execute:
                execute(
                    "UPDATE jobs SET state = 'queued', stage = 'queued', progress = 0, started = NULL, attempts = ? "
                    "WHERE id = ?",
                    (job.attempts if counts else job.attempts - 1, id),
                )
                self._cancelled.discard(id)

    def remove(self, id: str) -> None:
        """Forget a job that has ended, and its shares."""
        with self._change() as execute:
            execute(f"DELETE FROM jobs WHERE id = ? AND state IN ({', '.join('?' * len(ENDED))})", (id, *ENDED))

    def share(self, id: str, hash: str) -> bool:
        """Let whoever has the token of this hash see a job; return False where the job is gone or has its links."""
        with self._change() as execute:
            added = execute(
                "INSERT INTO shares (hash, job) "
                "SELECT ?, id FROM jobs WHERE id = ? AND (SELECT COUNT(*) FROM shares WHERE job = ?) < ?",
                (hash, id, id, MOST_SHARES),
            )
            return bool(added.rowcount)

    def unshare(self, id: str) -> None:
        """End all shares of a job."""
        with self._change() as execute:
            execute("DELETE FROM shares WHERE job = ?", (id,))

    def shared(self, hash: str) -> Job | None:
        """Return the job that a share's hash stands for."""
        rows = self._rows("SELECT job FROM shares WHERE hash = ?", (hash,))
        return self.get(rows[0]["job"]) if rows else None

    def start_session(self, hash: str, token: str, expires: float) -> None:
        """Remember a browser that has shown the token of which ``token`` is the hash, and not too many of them."""
        with self._change() as execute:
            execute("DELETE FROM sessions WHERE expires < ?", (time.time(),))
            execute(
                "DELETE FROM sessions WHERE token = ? AND hash NOT IN "
                "(SELECT hash FROM sessions WHERE token = ? ORDER BY expires DESC LIMIT ?)",
                (token, token, MOST_SESSIONS - 1),
            )
            execute("INSERT INTO sessions (hash, token, expires) VALUES (?, ?, ?)", (hash, token, expires))

    def session_token(self, hash: str) -> str | None:
        """Return the hash of the token that a browser has shown, or None where there is no such session."""
        rows = self._rows("SELECT token FROM sessions WHERE hash = ? AND expires > ?", (hash, time.time()))
        return rows[0]["token"] if rows else None

    def end_session(self, hash: str) -> None:
        """Forget a browser."""
        with self._change() as execute:
            execute("DELETE FROM sessions WHERE hash = ?", (hash,))

    def _check_room(
        self,
        owner: str,
        queue: int | None,
        queue_per_token: int | None,
        coming: int = 0,
        coming_of_owner: int = 0,
    ) -> None:
        counts = self._rows(
            "SELECT SUM(state = 'queued') AS waiting, SUM(owner = ?) AS own FROM jobs "
            "WHERE state IN ('queued', 'running')",
            (owner,),
        )[0]
        if queue is not None and (counts["waiting"] or 0) + coming >= queue:
            raise QueueFull(f"{queue} jobs are waiting, which is the most; try again later")
        if queue_per_token is not None and (counts["own"] or 0) + coming_of_owner >= queue_per_token:
            raise QueueFull(f"{queue_per_token} of your jobs are waiting or running, which is the most for one token")

    def _waiting(self) -> list[tuple[str, str]]:
        rows = self._rows("SELECT id, owner FROM jobs WHERE state = 'queued' ORDER BY number")
        return [(row["id"], row["owner"]) for row in rows]

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with self._changed:
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _change(self) -> Iterator[Any]:
        """Hold the lock for one transaction; then wake whoever waits."""
        with self._changed:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection.execute
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite itself rolls back where the disk is full
                    self._connection.execute("ROLLBACK")
                raise
            self.version += 1
            self._changed.notify_all()


def new_id() -> str:
    """Make an identifier that nobody guesses: 32 hexadecimal digits."""
    return secrets.token_hex(16)


def _job(row: sqlite3.Row) -> Job:
    formats, names = json.loads(row["formats"]), json.loads(row["names"])
    parsed = {
        "formats": None if formats is None else tuple(formats),
        "names": tuple(names),
        "thumbnail": bool(row["thumbnail"]),
    }
    return Job(**dict(row) | parsed)
