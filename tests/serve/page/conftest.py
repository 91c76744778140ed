"""A browser before a real server, which has a finished result of true depth."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from browsing import (
    CHROMIUM,
    PATIENCE_S,
    SWITCHES,
    TRUE_ROOM,
    VIEWPORT,
    Visit,
    store_result,
    true_prediction,
    write_pictures,
)
from serving import Running, running, until

from anyview.serve.options import ServeOptions
from anyview.types import Prediction

MakeVisit = Callable[..., AbstractContextManager[Visit]]


@pytest.fixture(scope="session")
def truth() -> Prediction:
    """A synthetic room with its true depth and cameras."""
    return true_prediction(TRUE_ROOM)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server and the pictures are."""
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="session")
def result(folder: Path, truth: Prediction) -> str:
    """Id of a finished job whose result is the truth."""
    return store_result(folder / "data", truth)


@pytest.fixture(scope="session")
def pictures(folder: Path, truth: Prediction) -> list[Path]:
    """Files of the truth's pictures."""
    return write_pictures(truth, folder)


@pytest.fixture(scope="session")
def site(result: str, folder: Path, tiny: Path) -> Iterator[Running]:
    """A server with that job, and a worker with a tiny network."""
    options = ServeOptions(data=folder / "data", devices=("cpu",), free_mib=0.0, cancel_s=PATIENCE_S)
    with running(options, tiny) as server:
        until(lambda: server.service.workers_ready, PATIENCE_S)
        yield server


@pytest.fixture(scope="package")
def make_visit() -> Iterator[MakeVisit]:
    """Open windows of a browser, in which nothing may go wrong but what a test expects.

    Playwright keeps an event loop running for as long as it is open, beside which other tests could start none.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)

        @contextmanager
        def visiting(address: str, faults: tuple[str, ...] = (), **settings: object) -> Iterator[Visit]:
            window = {"viewport": VIEWPORT, "reduced_motion": "reduce", "locale": "en-GB", **settings}
            context = browser.new_context(**window)
            context.set_default_timeout(1000 * PATIENCE_S)
            visit = Visit(context.new_page(), address)
            yield visit
            context.close()
            assert [fault for fault in visit.faults if not any(known in fault for known in faults)] == []
            assert visit.foreign == []

        yield visiting
        browser.close()


@pytest.fixture
def visit(make_visit: MakeVisit, site: Running) -> Iterator[Visit]:
    """A window before the server."""
    with make_visit(site.address) as opened:
        yield opened
