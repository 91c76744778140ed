"""The application: the REST interface, the page, and what machines ask for. Its routes only call what is elsewhere."""

import errno
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.staticfiles import StaticFiles

from anyview import __version__
from anyview.serve import routes, schemas
from anyview.serve.middleware import Guard
from anyview.serve.security import known_hosts
from anyview.serve.service import Service
from anyview.serve.uploads import Refused, check_space

WEB = Path(__file__).parent / "web"


def create_app(service: Service) -> FastAPI:
    """Build the application around a service, which it starts and stops."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.stop()

    app = FastAPI(
        title="anyview",
        summary="3D space from any number of views",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages come from other sites
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.include_router(routes.router)
    _add_machine_routes(app, service)
    _add_page(app)
    _add_refusals(app)
    if service.options.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.options.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
        )
    app.add_middleware(Guard, is_known_host=known_hosts(service.options), count=service.metrics.count_request)
    return app


def _add_machine_routes(app: FastAPI, service: Service) -> None:
    @app.get("/healthz")
    async def healthz() -> schemas.HealthAnswer:
        """Say that the server answers."""
        return schemas.HealthAnswer(status="ok")

    @app.get("/readyz", responses={503: {"model": schemas.HealthAnswer}})
    async def readyz(response: Response) -> schemas.HealthAnswer:
        """Say whether a worker is ready and the disk has room."""
        status = "ok"
        if not service.workers_ready:
            status = "starting"
        else:
            try:
                check_space(service.folders.root, service.options)
            except Refused:
                status = "full"
        response.status_code = 200 if status == "ok" else 503
        return schemas.HealthAnswer.model_validate({"status": status})

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics(request: Request) -> Response:
        """Send the numbers that Prometheus collects; needs a token where anything does."""
        service.gate.reader(request)
        restarts = sum(supervisor.restarts for supervisor in service.supervisors)
        text = service.metrics.text(service.store.counts(), service.sweeper.disk_bytes, service.workers_ready, restarts)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        """Send the page."""
        if not (WEB / "index.html").is_file():
            raise Refused(404, "this installation has no page")
        return FileResponse(WEB / "index.html", headers={"cache-control": "no-cache"})

    if WEB.is_dir():
        app.mount("/static", _PageFiles(directory=WEB, follow_symlink=False), name="static")


class _PageFiles(StaticFiles):
    """What the page consists of: kept by browsers, who ask each time whether it is still so."""

    def file_response(self, *arguments: Any, **named: Any) -> Response:
        """Send a file, or say that it has not changed."""
        response = super().file_response(*arguments, **named)
        response.headers["cache-control"] = "no-cache"
        return response


def _add_refusals(app: FastAPI) -> None:
    """Give every error the same form: {"error": one line}."""

    @app.exception_handler(Refused)
    async def refused(_request: Request, error: Refused) -> JSONResponse:
        """Answer what is not served."""
        headers = {}
        if error.status == 401:
            headers["www-authenticate"] = "Bearer"
        if error.retry_after_s is not None:
            headers["retry-after"] = str(error.retry_after_s)
        return JSONResponse({"error": error.reason}, error.status, headers)

    @app.exception_handler(HTTPException)
    async def of_starlette(_request: Request, error: HTTPException) -> JSONResponse:
        """Answer what no route takes."""
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        """Answer parameters that make no sense."""
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return JSONResponse({"error": f"{where}: {first['msg']}"}, 422)

    @app.exception_handler(ClientDisconnect)
    async def gone(_request: Request, _error: ClientDisconnect) -> JSONResponse:
        """Answer nobody: who asked has gone in the middle of the body."""
        return JSONResponse({"error": "the client went away"}, 400)

    @app.exception_handler(OSError)
    @app.exception_handler(sqlite3.OperationalError)
    async def system(_request: Request, error: Exception) -> JSONResponse:
        """Answer when the disk is full."""
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "disk is full" in str(error):
            return JSONResponse({"error": "the disk of the server is full"}, 507)
        raise error  # what nobody thought of is answered by the guard
