"""What goes wrong by itself: processes that are killed, disks that are full, clients that go away."""

import asyncio
import contextlib
import errno
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from serving import QUICK, MakeApp, Running, picture, running, service_of, until

from anyview.serve import uploads
from anyview.serve.client import Client, ServerError
from anyview.serve.options import ServeOptions


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(picture())
    return path


def hold_worker(server: Running) -> int:
    """Make the worker stand still, so that its next job does not end; return its process."""
    [supervisor] = server.service.supervisors
    until(lambda: supervisor.ready)
    process = supervisor.process_id
    assert process is not None
    os.kill(process, signal.SIGSTOP)
    return process


def start_on_held_worker(server: Running, photo: Path) -> tuple[str, int]:
    process = hold_worker(server)
    id = server.client.submit([photo], QUICK)["id"]
    until(lambda: server.client.job(id)["state"] == "running")
    return id, process


def assert_clean(server: Running) -> None:
    """After a sweep there is nothing of uploads, inputs, and half a result."""
    service = server.service
    service.sweeper.sweep(at_once=True)
    assert list(service.folders.uploads.iterdir()) == []
    for job in service.store.jobs():
        folder = service.folders.job(job.id)
        left = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
        assert left == ({"result"} if job.state == "done" else set()), job


def test_a_killed_worker_fails_its_job_and_comes_back(live: Running, photo: Path):
    restarts = live.service.supervisors[0].restarts
    id, process = start_on_held_worker(live, photo)
    waiting = live.client.submit([photo], QUICK)["id"]
    os.kill(process, signal.SIGKILL)
    failed = live.client.wait(id)
    assert failed["state"] == "failed"
    assert "the worker process ended in the middle of the job (signal 9" in failed["error"]
    assert failed["files"] == []
    assert live.client.wait(waiting)["state"] == "done"
    assert live.service.supervisors[0].restarts == restarts + 1
    assert_clean(live)


def test_a_running_job_that_does_not_listen_is_ended(live: Running, photo: Path):
    id, process = start_on_held_worker(live, photo)
    live.client.cancel(id)
    cancelled = live.client.wait(id)
    assert (cancelled["state"], cancelled["error"]) == ("cancelled", None)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    assert live.client.wait(live.client.submit([photo], QUICK)["id"])["state"] == "done"
    assert_clean(live)


def test_a_running_job_stops_when_it_is_cancelled(live: Running, tmp_path: Path):
    """The worker itself stops, at its next step, and stays."""
    until(lambda: live.service.workers_ready)
    process = live.service.supervisors[0].process_id
    paths = [tmp_path / f"{index}.png" for index in range(40)]
    for index, path in enumerate(paths):
        path.write_bytes(picture(index, 168, 224))
    id = live.client.submit(paths, {"predict": {"resolution": 224}, "formats": ["npz"]})["id"]
    until(lambda: live.client.job(id)["stage"] == "predicting")
    live.client.cancel(id)
    assert live.client.wait(id)["state"] == "cancelled"
    assert live.service.supervisors[0].process_id == process
    assert_clean(live)


def test_a_job_that_takes_too_long_is_ended(tiny: Path, tmp_path: Path, photo: Path):
    options = ServeOptions(data=tmp_path / "data", devices=("cpu",), nice=0, free_mib=0.0, job_s=0.5, cancel_s=0.2)
    with running(options, tiny) as server:
        id, _ = start_on_held_worker(server, photo)
        failed = server.client.wait(id)
        assert failed["state"] == "failed"
        assert failed["error"] == "it took longer than the 0.5 s that a job may run"


def serve_in_a_process(data: Path, model: Path) -> tuple[subprocess.Popen[str], str]:
    """Run the command as users do; return the process and the server's address."""
    script = "import sys; from anyview.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["serve", "--port", "0", "--data", str(data), "--models", str(model), "--devices", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments, "--free-mib", "0", "--nice", "0"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("serving tiny at http://"), line
    return process, line.split(" at ")[1].split(",")[0]


def worker_of(server: int) -> int | None:
    """The worker among a server's child processes."""
    children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    threads = Path(f"/proc/{server}/task").iterdir()
    children += [child for thread in threads for child in (thread / "children").read_text().split()]
    for child in children:
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    return None


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads Linux's /proc")
def test_no_job_is_lost_when_the_server_is_killed(tiny: Path, tmp_path: Path, photo: Path):
    data = tmp_path / "data"
    server, address = serve_in_a_process(data, tiny)
    client = Client(address)
    try:
        until(lambda: is_ready(address))
        worker = worker_of(server.pid)
        assert worker is not None
        os.kill(worker, signal.SIGSTOP)
        ids = [client.submit([photo], QUICK)["id"] for _ in range(2)]
        until(lambda: client.job(ids[0])["state"] == "running")
        (data / "uploads" / "half").mkdir()  # what an upload leaves that the server dies in
    finally:
        server.kill()
        server.wait()
        server.stdout.close()  # which the worker still holds open
    os.kill(worker, signal.SIGCONT)
    until(lambda: not Path(f"/proc/{worker}").exists())  # it does not outlive its server
    server, address = serve_in_a_process(data, tiny)
    client = Client(address)
    try:
        jobs = [client.wait(id) for id in ids]
        assert [(job["state"], job["views"]) for job in jobs] == [("done", 1), ("done", 1)]
        assert list((data / "uploads").iterdir()) == []
        assert [sorted(entry.name for entry in (data / "jobs" / id).iterdir()) for id in ids] == [["result"]] * 2
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)
    assert server.returncode in (0, 130)


def is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/readyz") as answer:
            return answer.status == 200
    except urllib.error.HTTPError as error:
        with error:
            return False


def test_a_job_that_runs_when_the_server_is_asked_to_end_waits_for_the_next(tiny: Path, tmp_path: Path, photo: Path):
    options = ServeOptions(data=tmp_path / "data", devices=("cpu",), nice=0, free_mib=0.0)
    with running(options, tiny) as server:
        id, _ = start_on_held_worker(server, photo)
        half = server.service.folders.job(id) / "work-1"
        half.mkdir()  # the worker does so first
        (half / "results.npz").write_bytes(b"half")
    with running(options, tiny) as server:
        assert server.client.wait(id)["state"] == "done"
        job = server.service.store.get(id)
        assert job is not None
        assert job.attempts == 1


def test_a_client_that_goes_away_in_its_upload_leaves_nothing(live: Running):
    host, port = live.address.removeprefix("http://").split(":")
    before = {job["id"] for job in live.client.jobs()}
    with socket.create_connection((host, int(port))) as connection:
        head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        connection.sendall(
            b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-Anyview: 1\r\nContent-Length: 100000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + head + picture()[:1000]
        )
        until(lambda: list(live.service.folders.uploads.rglob("*.part")))
    until(lambda: not list(live.service.folders.uploads.iterdir()))
    assert {job["id"] for job in live.client.jobs()} == before
    assert live.service.sweeper.active_uploads == {}


def refusal_of(folder: Path, chunks: AsyncIterator[bytes], look: uploads.Look, **limits: Any) -> uploads.Refused:
    """Upload what comes when it comes, unlike the tests' client, which gives a whole body at once."""
    options = ServeOptions(free_mib=0.0, **limits)
    upload = uploads.receive(chunks, "multipart/form-data; boundary=b", "60000000", folder / "x", options, look)
    # In a thread of its own: in this one the browser of other tests may have a loop that runs.
    with ThreadPoolExecutor(1) as pool, pytest.raises(uploads.Refused) as refusal:
        pool.submit(asyncio.run, upload).result()
    assert list(folder.iterdir()) == []
    return refusal.value


PART = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'


@pytest.mark.parametrize(
    ("pause_s", "limits", "reason"),
    [
        (30.0, {"upload_stall_s": 0.1}, "nothing came for 0.1 s"),
        (30.0, {"upload_stall_s": 0.1, "upload_s": 20.0}, "nothing came for 0.1 s"),
        (0.01, {"upload_s": 0.3}, "an upload may take at most 0.3 s"),
    ],
)
def test_an_upload_that_is_too_slow_is_ended(tmp_path: Path, pause_s: float, limits: dict[str, float], reason: str):
    """Also one that never stands still: a byte now and then would hold its place for ever."""

    async def slowly():
        yield PART + picture()[:100]
        for _ in range(1000):
            await asyncio.sleep(pause_s)
            yield b"x"

    refusal = refusal_of(tmp_path, slowly(), lambda come, announced: None, **limits)
    assert (refusal.status, refusal.reason) == (408, reason)


def test_the_disk_is_looked_at_while_an_upload_comes_in(tmp_path: Path):
    """Of 60 MB, in pieces of 1 MiB, after each 16 MiB; what others have written meanwhile ends it at the third."""
    looks = []

    async def at_once():
        yield PART + picture()
        for _ in range(100):
            yield bytes(2**20)

    def look(come: int, announced: int) -> None:
        looks.append((come, announced))
        if len(looks) == 3:
            raise uploads.Refused(507, "the disk of the server is full")

    assert refusal_of(tmp_path, at_once(), look).status == 507
    first = len(PART + picture())
    come = [0, first + 16 * 2**20, first + 32 * 2**20]
    assert looks == [(counted, 60_000_000 - counted) for counted in come]


def test_a_disk_that_fills_during_an_upload_is_noticed(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch):
    client = make_app(free_mib=64.0)
    usage, asked = shutil.disk_usage("/"), []

    def less_each_time(_: object) -> Any:
        asked.append(None)
        return usage._replace(free=(200 if len(asked) == 1 else 60) * 2**20)

    monkeypatch.setattr(shutil, "disk_usage", less_each_time)
    answer = client.post("/v1/jobs", files={"files": ("a.png", picture() + bytes(40 * 2**20), "image/png")})
    assert (answer.status_code, answer.json()) == (507, {"error": "the disk of the server is full"})
    assert len(asked) == 2
    assert list(service_of(client).folders.uploads.iterdir()) == []


def test_a_client_that_goes_away_from_depth_takes_its_job_along(live: Running):
    process = hold_worker(live)
    host, port = live.address.removeprefix("http://").split(":")
    body = (
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="left.png"\r\n\r\n'
        + picture()
        + b"\r\n--b--\r\n"
    )
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /v1/depth HTTP/1.1\r\nHost: localhost\r\nX-Anyview: 1\r\nContent-Type: multipart/form-data; "
            b"boundary=b\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
        )
        until(lambda: any(job["inputs"] == ["left.png"] for job in live.client.jobs()))
    # The worker stands still, so that only the cancellation can end the job.
    try:
        until(
            lambda: all(job["inputs"] != ["left.png"] or job["state"] == "cancelled" for job in live.client.jobs()),
            15.0,
        )
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)


def test_a_slow_reader_of_events_holds_up_nobody(live: Running, photo: Path):
    """Many open streams of a job that stands still; the limit holds, and the job goes on when they are gone."""
    id, process = start_on_held_worker(live, photo)
    streams = []
    try:
        for _ in range(live.service.options.streams_per_token):
            stream = live.client.events(id)
            next(stream)
            streams.append(stream)
        with pytest.raises(ServerError, match="too many event streams") as refusal:
            next(live.client.events(id))
        assert refusal.value.status == 429
        assert refusal.value.retry_after_s
        started = time.monotonic()
        live.client.job(id)
        assert time.monotonic() - started < 5
    finally:
        for stream in streams:
            stream.close()
        os.kill(process, signal.SIGCONT)
    assert live.client.wait(id)["state"] == "done"
    until(lambda: live.service.streams.get("local", 0) == 0)


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_upload_onto_a_full_disk_is_refused(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch):
    client = make_app(free_mib=64.0)
    files = {"files": ("a.png", picture(), "image/png")}
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=64 * 2**20 - 1))
    for path in ("/v1/jobs", "/v1/depth", "/v1/examples/room"):
        answer = client.post(path, files=files) if "examples" not in path else client.post(path)
        assert (answer.status_code, answer.json()) == (507, {"error": "the disk of the server is full"})
    monkeypatch.undo()
    with monkeypatch.context() as patch:
        patch.setattr(uploads._Parts, "_on_data", full_disk)
        assert client.post("/v1/jobs", files=files).status_code == 507
    with monkeypatch.context() as patch:
        patch.setattr("anyview.serve.folders.os.replace", full_disk)
        assert client.post("/v1/jobs", files=files).status_code == 507
    folders = service_of(client).folders
    assert list(folders.uploads.iterdir()) == list(folders.jobs.iterdir()) == []
    assert client.get("/v1/jobs").json() == {"jobs": []}
    assert client.post("/v1/jobs", files=files).status_code == 201


def test_a_result_that_does_not_fit_on_the_disk_fails_its_job(
    live: Running, photo: Path, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr("anyview.serve.folders.os.replace", full_disk)
        with pytest.raises(ServerError, match="disk of the server is full"):
            live.client.submit([photo], QUICK)
    id, process = start_on_held_worker(live, photo)
    with monkeypatch.context() as patch:
        patch.setattr("anyview.serve.folders.os.replace", full_disk)
        os.kill(process, signal.SIGCONT)
        failed = live.client.wait(id)
    assert (failed["state"], failed["error"]) == ("failed", "No space left on device")
    assert_clean(live)
    assert live.client.wait(live.client.submit([photo], QUICK)["id"])["state"] == "done"


@pytest.mark.parametrize("change", ["take", "progress", "finish"])
def test_a_database_that_fails_once_costs_no_job(
    live: Running, photo: Path, monkeypatch: pytest.MonkeyPatch, change: str
):
    monkeypatch.setattr("anyview.serve.supervisor.PAUSE_S", 0.05)
    write, failures = getattr(live.service.store, change), [sqlite3.OperationalError("database or disk is full")]

    def write_later(*args: object, **named: object) -> object:
        if failures:
            raise failures.pop()
        return write(*args, **named)

    monkeypatch.setattr(live.service.store, change, write_later)
    job = live.client.wait(live.client.submit([photo], QUICK)["id"], timeout_s=20.0)
    assert (job["state"], job["error"], failures) == ("done", None, [])
    assert live.service.supervisors[0].is_alive()


def test_a_worker_that_cannot_write_fails_its_job(live: Running, photo: Path):
    id, process = start_on_held_worker(live, photo)
    folder = live.service.folders.job(id)
    shutil.rmtree(folder)
    folder.write_text("a file where a folder should be made")
    os.kill(process, signal.SIGCONT)
    failed = live.client.wait(id)
    assert failed["state"] == "failed"
    assert str(folder) not in json.dumps(failed)
    folder.unlink()


def test_a_refusal_reaches_a_client_that_is_still_sending(live: Running, tmp_path: Path):
    """A connection that is closed with data on its way is reset, and what was said on it lost."""
    page = tmp_path / "page.png"
    page.write_bytes(b"<html>" + bytes(4_000_000))
    with pytest.raises(ServerError, match=r"page\.png is neither a picture") as refusal:
        live.client.submit([page])
    assert refusal.value.status == 415


def test_header_lines_have_a_limit(live: Running):
    host, port = live.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        connection.settimeout(30)
        connection.sendall(b"X: " + b"y" * 40_000)
        assert connection.recv(100).startswith(b"HTTP/1.1 4")
    assert live.client.models()


def test_the_server_works_for_many_at_once(live: Running, photo: Path):
    results: list[str] = []

    def ask() -> None:
        results.append(live.client.wait(live.client.submit([photo], QUICK)["id"])["state"])

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["done"] * 6
