"""A client of the REST interface; imports nothing that is not in the standard library."""

import json
import math
import secrets
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from anyview.files import atomic_path
from anyview.serve.jobs import ENDED


class ServerError(Exception):
    """What a server says instead of doing it."""

    def __init__(self, status: int, reason: str, retry_after_s: float | None) -> None:
        super().__init__(f"{reason} (status {status})")
        self.status = status
        self.reason = reason
        self.retry_after_s = retry_after_s
        """When to try again, where the queue was full."""


class Client:
    """A server, as programs see it. Answers are what JSON makes of them; ``docs/serving.md`` lists their fields."""

    def __init__(self, address: str, token: str | None = None, *, timeout_s: float = 120.0) -> None:
        """``address``: for example "http://127.0.0.1:8000". ``timeout_s``: without any sign of the server."""
        self._address = address.rstrip("/")
        self._token = token
        self._timeout_s = timeout_s

    def submit(self, paths: Sequence[str | Path], options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Upload pictures and videos as one scene and return the job. Files are streamed.

        Raises:
            ServerError: In one line, why not.
            OSError: A file cannot be read, or there is no server.
        """
        return self._upload("/v1/jobs", paths, options, {})

    def job(self, id: str) -> dict[str, Any]:
        """Return how a job is."""
        return self._json("GET", f"/v1/jobs/{quote(id, safe='')}")

    def jobs(self) -> list[dict[str, Any]]:
        """Return your jobs without their ``files``, the newest first."""
        return self._json("GET", "/v1/jobs")["jobs"]

    def events(self, id: str) -> Iterator[dict[str, Any]]:
        """Yield a job now and whenever something about it changes, until it has ended."""
        with closing(self._signs(id, self._timeout_s)) as signs:
            for job in signs:
                if job is not None:
                    yield job

    def wait(
        self,
        id: str,
        *,
        timeout_s: float | None = None,
        progress: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        """Return a job once it has ended, however it did; ``progress`` is called with the job as it changes.

        Raises:
            TimeoutError: It has not ended within ``timeout_s``; it goes on. Said up to 15 s later, since so far apart
                are the server's signs of life.
        """
        end = math.inf if timeout_s is None else time.monotonic() + timeout_s
        state = "not known to be in any state"
        while (left := end - time.monotonic()) > 0:
            try:
                with closing(self._signs(id, min(self._timeout_s, left))) as signs:
                    for job in signs:
                        if job is not None:
                            state = job["state"]
                            if progress is not None:
                                progress(job)
                            if state in ENDED:
                                return job
                        if time.monotonic() > end:
                            break
            except OSError:  # a socket that has waited as long as it may, among others
                if time.monotonic() < end:
                    raise
        raise TimeoutError(f"job {id} has not ended within {timeout_s:g} s; it is {state}")

    def cancel(self, id: str) -> dict[str, Any]:
        """End a job that waits or runs."""
        return self._json("POST", f"/v1/jobs/{quote(id, safe='')}/cancel")

    def remove(self, id: str) -> None:
        """Remove a job that has ended, with its result."""
        self._open("DELETE", f"/v1/jobs/{quote(id, safe='')}").close()

    def download(self, id: str, name: str, path: str | Path) -> Path:
        """Write a file of a result to ``path``; names are those in the job's ``files``."""
        return self._save(f"/v1/jobs/{quote(id, safe='')}/files/{quote(name)}", Path(path))

    def download_archive(self, id: str, path: str | Path) -> Path:
        """Write all formats of a result to a zip file."""
        return self._save(f"/v1/jobs/{quote(id, safe='')}/archive.zip", Path(path))

    def share(self, id: str) -> str:
        """Make a link to a job, for those who have no token."""
        return self._address + self._json("POST", f"/v1/jobs/{quote(id, safe='')}/share")["path"]

    def unshare(self, id: str) -> None:
        """End all links to a job."""
        self._open("DELETE", f"/v1/jobs/{quote(id, safe='')}/share").close()

    def depth(self, path: str | Path, options: Mapping[str, Any] | None = None, *, arrays: bool = False) -> bytes:
        """Return the depth of one picture: a 16-bit PNG, or a NumPy .npz of everything if ``arrays``.

        Raises:
            ServerError: In one line, why not; status 202 if it takes too long, and the reason is the job's identifier.
        """
        accept = {"Accept": "application/octet-stream" if arrays else "image/png"}
        return self._upload("/v1/depth", [path], options, accept, raw=True)

    def models(self) -> list[dict[str, Any]]:
        """Return the models."""
        return self._json("GET", "/v1/models")["models"]

    def options(self) -> dict[str, Any]:
        """Return the schema, the defaults and the limits of a job's options."""
        return self._json("GET", "/v1/options")

    def formats(self) -> list[dict[str, Any]]:
        """Return the formats of results."""
        return self._json("GET", "/v1/formats")["formats"]

    def examples(self) -> list[dict[str, Any]]:
        """Return the demo scenes."""
        return self._json("GET", "/v1/examples")["examples"]

    def start_example(self, name: str, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Queue the job of a demo scene and return it."""
        return self._json("POST", f"/v1/examples/{quote(name, safe='')}", json.dumps(options or {}).encode())

    def _signs(self, id: str, timeout_s: float) -> Generator[dict[str, Any] | None, None, None]:
        """Yield a job as `events` does, and None for whatever else the server sends to show that it is there."""
        with closing(self._open("GET", f"/v1/jobs/{quote(id, safe='')}/events", timeout_s=timeout_s)) as answer:
            for line in answer:
                yield json.loads(line[len(b"data: ") :]) if line.startswith(b"data: ") else None

    def _upload(
        self,
        route: str,
        paths: Sequence[str | Path],
        options: Mapping[str, Any] | None,
        headers: Mapping[str, str],
        *,
        raw: bool = False,
    ) -> Any:
        boundary = secrets.token_hex(16)
        files = [Path(path) for path in paths]
        heads = [_part_head(boundary, file.name) for file in files]
        fields = _options_part(boundary, options or {})
        end = f"--{boundary}--\r\n".encode()
        size = (
            len(fields)
            + len(end)
            + sum(len(head) + file.stat().st_size + 2 for head, file in zip(heads, files, strict=True))
        )

        def body() -> Iterator[bytes]:
            yield fields
            for head, file in zip(heads, files, strict=True):
                yield head
                with file.open("rb") as content:
                    yield from _chunks(content)
                yield b"\r\n"
            yield end

        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Content-Length": str(size)}
        with closing(self._open("POST", route, body(), {**kind, **headers})) as answer:
            data = answer.read()
            if raw and answer.status == 202:
                raise ServerError(202, json.loads(data)["id"], None)
        return data if raw else json.loads(data)

    def _json(self, method: str, route: str, body: bytes | None = None) -> Any:
        with closing(self._open(method, route, body)) as answer:
            return json.loads(answer.read())

    def _save(self, route: str, path: Path) -> Path:
        with closing(self._open("GET", route)) as answer, atomic_path(path) as temporary, temporary.open("wb") as file:
            shutil.copyfileobj(answer, file)
        return path

    def _open(
        self,
        method: str,
        route: str,
        body: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] = {},
        *,
        timeout_s: float | None = None,
    ) -> HTTPResponse:
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        sent = {"X-Anyview": "1", **headers}
        if self._token is not None:
            sent["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(self._address + route, data=body, headers=sent, method=method)
        try:
            answer: HTTPResponse = urllib.request.urlopen(request, timeout=timeout_s)
        except urllib.error.HTTPError as error:
            with error:
                raise _server_error(error) from error
        return answer


def _server_error(error: urllib.error.HTTPError) -> ServerError:
    text = error.read(10_000)
    try:
        reason = str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):  # something between here and the server
        reason = error.reason
    waiting = error.headers.get("Retry-After", "")
    return ServerError(error.code, reason, float(waiting) if waiting.isdecimal() else None)


def _part_head(boundary: str, name: str) -> bytes:
    shown = name.encode("utf-8", "replace").decode().replace("\\", "_").replace('"', "_")
    disposition = f'Content-Disposition: form-data; name="files"; filename="{" ".join(shown.split())}"'
    return f"--{boundary}\r\n{disposition}\r\nContent-Type: application/octet-stream\r\n\r\n".encode()


def _options_part(boundary: str, options: Mapping[str, Any]) -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="options"\r\n\r\n'
    return f"{head}{json.dumps(options)}\r\n".encode()


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(1 << 16):
        yield chunk
