"""A running server for tests, and what its tests have in common."""

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvicorn
from PIL import Image
from starlette.testclient import TestClient

from anyview.serve.app import create_app
from anyview.serve.client import Client
from anyview.serve.options import ServeOptions
from anyview.serve.server import listen
from anyview.serve.service import Service
from anyview.serve.tokens import Tokens

MakeApp = Callable[..., TestClient]

QUICK = {"predict": {"resolution": 56}, "formats": ["npz"]}
"""Options of jobs that take no time."""


def picture(seed: int = 0, height: int = 42, width: int = 56, kind: str = "PNG") -> bytes:
    """A picture file of noise."""
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not so after {seconds} s"
        time.sleep(0.02)


@dataclass
class Running:
    """A server in a thread of this process, its worker in a process of its own."""

    service: Service
    address: str
    client: Client


@contextmanager
def running(options: ServeOptions, model: Path, tokens: dict[str, str] | None = None) -> Iterator[Running]:
    """Run a server while the block runs."""
    service = Service.create(options, {"tiny": str(model)}, None if tokens is None else Tokens(tokens))
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(
        uvicorn.Config(create_app(service), log_level="critical", timeout_graceful_shutdown=1, ws="none")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        until(lambda: server.started)
        yield Running(service, address, Client(address, None if tokens is None else next(iter(tokens.values()))))
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def service_of(client: TestClient) -> Service:
    """The parts of an application."""
    service: Service = client.app.state.service  # type: ignore[attr-defined]
    return service
