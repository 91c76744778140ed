"""Servers for tests: a whole one with a worker process and a tiny network, and applications without workers."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from serving import MakeApp, Running, running, until
from starlette.testclient import TestClient

from anyview.model.checkpoint import save
from anyview.serve.app import create_app
from anyview.serve.options import ServeOptions
from anyview.serve.service import Service
from anyview.serve.tokens import Tokens
from filled import filled


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File of a tiny any-view network."""
    return save(filled("anyview"), tmp_path_factory.mktemp("model") / "tiny.safetensors", name="tiny")


@pytest.fixture(scope="session")
def live(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server whose worker is ready; it asks for no token."""
    options = ServeOptions(data=tmp_path_factory.mktemp("live"), devices=("cpu",), free_mib=0.0, cancel_s=1.0, nice=0)
    with running(options, tiny) as server:
        until(lambda: server.service.workers_ready)
        yield server


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[MakeApp]:
    """Make applications whose jobs wait for ever, since no worker runs."""
    with ExitStack() as stack:
        yield partial(open_app, stack, tmp_path / "data")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """An application without tokens and workers, for tests that leave nothing in it."""
    with ExitStack() as stack:
        yield open_app(stack, tmp_path_factory.mktemp("app"))


def open_app(stack: ExitStack, folder: Path, tokens: dict[str, str] | None = None, **changes: Any) -> TestClient:
    """Make an application that lasts as long as the stack."""
    options = replace(ServeOptions(data=folder, free_mib=0.0), **changes)
    service = Service.create(options, {"tiny": "tiny"}, None if tokens is None else Tokens(tokens))
    stack.callback(service.close)
    # Errors that a server turns into a 500 must be seen as such.
    client = TestClient(create_app(service), base_url="http://localhost", raise_server_exceptions=False)
    client.headers["X-Anyview"] = "1"
    return client
