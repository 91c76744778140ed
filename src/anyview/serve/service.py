"""The parts of a running server, and what its routes do with them."""

import asyncio
import contextlib
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TextIO

from starlette.requests import ClientDisconnect, Request

from anyview.serve.folders import Folders
from anyview.serve.jobs import Job, JobStore, QueueFull, new_id
from anyview.serve.metrics import Metrics
from anyview.serve.options import MIB, ServeOptions
from anyview.serve.requests import JobRequest, parse_request
from anyview.serve.security import Gate
from anyview.serve.supervisor import Supervisor
from anyview.serve.sweeper import Incoming, Sweeper
from anyview.serve.tokens import Tokens
from anyview.serve.uploads import Refused, Upload, UploadedFile, check_space, receive

RETRY_AFTER_S = 5
"""What those are told whom a full queue sends away."""
WATCH_S = 0.1
"""How often those who wait for a job look whether any has changed."""


@dataclass
class Service:
    """One server's parts."""

    options: ServeOptions
    models: Mapping[str, str]
    folders: Folders
    store: JobStore
    gate: Gate
    metrics: Metrics
    sweeper: Sweeper
    supervisors: list[Supervisor]
    streams: dict[str, int] = field(default_factory=dict)
    """Event streams that are open, by owner."""
    _lock: TextIO | None = None

    @classmethod
    def create(cls, options: ServeOptions, models: Mapping[str, str], tokens: Tokens | None) -> "Service":
        """Open the data folder; jobs that ran when a server ended there wait again.

        Raises:
            ValueError: The folder cannot be written to, another server is in there, or its jobs cannot be read.
        """
        folders = Folders(options.data.absolute())
        folders.make()
        lock = folders.lock()
        try:
            store = JobStore(folders.database)
            try:
                for job in store.jobs(states=["running"]):
                    store.requeue(job.id, keep_s=options.keep_s, counts=True)
            except sqlite3.Error as error:
                store.close()
                raise ValueError(f"the jobs in {folders.database} cannot be written: {error}") from error
        except ValueError:
            lock.close()
            raise
        metrics = Metrics()
        supervisors = [
            Supervisor(device, dict(models), folders, store, options, metrics.count_job) for device in options.devices
        ]
        sweeper = Sweeper(folders, store, options)
        gate = Gate(options, tokens, store)
        return cls(options, models, folders, store, gate, metrics, sweeper, supervisors, _lock=lock)

    def start(self) -> None:
        """Sweep what the last server left, and start the threads."""
        self.sweeper.sweep(at_once=True)
        self.sweeper.start()
        for supervisor in self.supervisors:
            supervisor.start()

    def stop(self) -> None:
        """End the threads and processes; jobs that run wait for the next server."""
        threads: list[Supervisor | Sweeper] = [*self.supervisors, self.sweeper]
        for thread in threads:
            thread.stop()
        for thread in threads:
            thread.join()
        self.close()

    def close(self) -> None:
        """Let go of the data folder."""
        self.store.close()
        if self._lock is not None:
            self._lock.close()

    @property
    def workers_ready(self) -> int:
        """Worker processes that are ready."""
        return sum(supervisor.ready for supervisor in self.supervisors)

    def parse(self, text: str | bytes, *, example: str | None = None) -> JobRequest:
        """Read a job's options.

        Raises:
            Refused: In one line, what is wrong.
        """
        try:
            return parse_request(text, self.options, list(self.models), example=example)
        except (ValueError, ImportError) as error:
            raise Refused(422, str(error)) from error

    def check_room(self, owner: str) -> None:
        """Refuse before an upload what would be refused after it, and after those that are coming in.

        Raises:
            Refused: The queue is full.
        """
        uploads = self.sweeper.active_uploads.values()
        try:
            self.store.check_room(
                owner,
                queue=self.options.queue,
                queue_per_token=self.options.queue_per_token,
                coming=len(uploads),
                coming_of_owner=sum(upload.owner == owner for upload in uploads),
            )
        except QueueFull as error:
            raise Refused(429, str(error), retry_after_s=RETRY_AFTER_S) from error

    async def submit(self, request: Request, owner: str, *, formats: tuple[str, ...] = ()) -> Job:
        """Take an upload and queue its job; where ``formats`` are given it is one of one picture, in these formats.

        Raises:
            Refused: In one line, why not.
        """
        self.check_room(owner)
        id = new_id()
        self.sweeper.active_uploads[id] = Incoming(owner)
        try:
            upload = await self._receive(request, id)
            try:
                text = upload.fields.pop("options", "{}") or "{}"
                self._check_upload(upload, single=bool(formats))
                parsed = self.parse(text)
                if formats:
                    text = json.dumps(json.loads(text) | {"formats": formats})
                    parsed = replace(parsed, formats=formats)
                self.folders.accept(self.folders.uploads / id, id)
                return self._queue(owner, parsed, text, id=id, files=upload.files)
            except BaseException:
                shutil.rmtree(self.folders.uploads / id, ignore_errors=True)
                self.folders.drop(id)
                raise
        finally:
            del self.sweeper.active_uploads[id]

    def submit_example(self, owner: str, name: str, text: bytes) -> Job:
        """Queue the job of a demo scene.

        Raises:
            Refused: In one line, why not.
        """
        self.check_room(owner)
        parsed = self.parse(text or b"{}", example=name)
        check_space(self.folders.root, self.options)
        return self._queue(owner, parsed, (text or b"{}").decode(), example=name)

    def remove(self, job: Job) -> None:
        """Forget a job that has ended; the sweeper removes its files.

        Raises:
            Refused: It has not.
        """
        if not job.ended:
            raise Refused(409, f"the job is {job.state}; cancel it first")
        self.store.remove(job.id)

    async def changes(self, id: str) -> AsyncIterator[Job]:
        """Yield a job now and after each change of the queue, until it has ended or is gone."""
        version = -1
        while True:
            if self.store.version != version:
                version = self.store.version
                job = self.store.get(id)
                if job is None:
                    return
                yield job
                if job.ended:
                    return
            await asyncio.sleep(WATCH_S)

    async def wait(self, id: str, seconds: float) -> Job | None:
        """Return a job once it has ended, or as it is after so many seconds; None if it is gone."""

        async def last() -> None:
            async for _ in self.changes(id):
                pass

        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(last(), seconds)
        return self.store.get(id)

    def _check_upload(self, upload: Upload, *, single: bool) -> None:
        if upload.fields:
            raise Refused(422, "expected files and one field called options, got another field")
        if not upload.files:
            raise Refused(422, "no pictures given")
        if single and (len(upload.files) != 1 or upload.files[0].content.kind != "picture"):
            raise Refused(422, f"expected one picture, got {len(upload.files)} files or a video")
        if len(upload.files) > self.options.views:
            raise Refused(413, f"a job may have at most {self.options.views} pictures and frames")

    def _queue(
        self,
        owner: str,
        parsed: JobRequest,
        text: str,
        *,
        id: str | None = None,
        files: Sequence[UploadedFile] = (),
        example: str | None = None,
    ) -> Job:
        try:
            return self.store.add(
                owner,
                parsed.model,
                text,
                id=id,
                names=[file.name for file in files],
                input_size=sum(file.size for file in files),
                example=example,
                formats=parsed.formats,
                queue=self.options.queue,
                queue_per_token=self.options.queue_per_token,
            )
        except QueueFull as error:
            raise Refused(429, str(error), retry_after_s=RETRY_AFTER_S) from error

    async def _receive(self, request: Request, id: str) -> Upload:
        headers, incoming = request.headers, self.sweeper.active_uploads[id]

        def look(come: int, announced: int) -> None:
            incoming.size = come
            check_space(self.folders.root, self.options, coming=announced)
            if self.sweeper.input_bytes() + announced > self.options.disk_mib * MIB:
                raise Refused(
                    507, "the uploads of jobs that wait fill the disk of the server", retry_after_s=RETRY_AFTER_S
                )

        try:
            return await receive(
                request.stream(),
                headers.get("content-type", ""),
                headers.get("content-length"),
                self.folders.uploads / id,
                self.options,
                look,
            )
        except ClientDisconnect as error:
            raise Refused(400, "the client went away") from error
