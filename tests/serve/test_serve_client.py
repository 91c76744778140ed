"""The client of the REST interface, where servers do what ours does not, or all that it can do."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

import pytest

import anyview
from anyview.serve.client import Client

RUNNING = b'event: job\ndata: {"state": "running"}\n\n'
DONE = b'event: job\ndata: {"state": "done"}\n\n'
STILL_HERE = b": still here\n\n"
ALONE = {"PYTHONPATH": str(Path(anyview.__file__).parents[1])}


@contextmanager
def server_that(sends: Callable[[BinaryIO], None]) -> Iterator[Client]:
    """A server that answers everything with an event stream."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            try:
                sends(self.wfile)
            except OSError:  # the client has gone
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield Client(f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def signs_of_life(file: BinaryIO) -> None:
    file.write(RUNNING)
    for _ in range(100):
        file.write(STILL_HERE)
        file.flush()
        time.sleep(0.1)


def silence(file: BinaryIO) -> None:
    file.write(RUNNING)
    file.flush()
    time.sleep(10)


@pytest.mark.parametrize("sends", [signs_of_life, silence])
def test_waiting_for_a_job_ends_in_time(sends: Callable[[BinaryIO], None]):
    """Also where nothing about the job changes, which is when it would be waited for in vain."""
    started, told = time.monotonic(), []
    with (
        server_that(sends) as client,
        pytest.raises(TimeoutError, match=r"job x has not ended within 0\.5 s; it is running"),
    ):
        client.wait("x", timeout_s=0.5, progress=told.append)
    assert 0.5 <= time.monotonic() - started < 5
    assert told == [{"state": "running"}]


def test_signs_of_life_are_no_events():
    def sends(file: BinaryIO) -> None:
        file.write(STILL_HERE + RUNNING + STILL_HERE + DONE)

    with server_that(sends) as client:
        assert list(client.events("x")) == [{"state": "running"}, {"state": "done"}]
        assert client.wait("x", timeout_s=60.0) == {"state": "done"}


def test_a_stream_that_breaks_off_is_asked_for_again():
    answers = [STILL_HERE + RUNNING, RUNNING, DONE]
    with server_that(lambda file: file.write(answers.pop(0)) and None) as client:
        assert client.wait("x") == {"state": "done"}
    assert answers == []


def test_the_client_needs_no_package():
    """Programs that only call a server need not have what the server needs."""
    script = (
        "import sys; import anyview.serve.client; "
        "print(*sorted(name for name in sys.modules if '.' not in name and name not in sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, check=True, env=ALONE)
    assert done.stdout.split() == ["__main__", "anyview"]


def test_a_server_that_is_not_there_is_an_error_at_once():
    with server_that(silence) as client:
        pass
    with pytest.raises(OSError, match="refused"):
        client.wait("x", timeout_s=60.0)
