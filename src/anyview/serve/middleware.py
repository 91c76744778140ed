"""What holds for every request: its host, the size of its body, the headers of the answer, what is counted."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anyview.serve import faults

SMALL_BODY = 64 * 1024
"""Largest body of requests that are no uploads."""
DRAINED = 16 * 2**20
"""Bytes of a refused body that are read all the same."""
DRAIN_S = 5.0
"""And how long they may take."""
UPLOADS = frozenset({"/v1/jobs", "/v1/depth"})
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",  # blob: pictures that are about to be uploaded
        "media-src 'self'",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
SECURITY_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}

logger = logging.getLogger(__name__)
Count = Callable[[str, str, int, float], None]
"""Called with method, route, status and seconds of each request."""


class Guard:
    """Outermost layer of the application."""

    def __init__(self, app: ASGIApp, *, is_known_host: Callable[[str], bool], count: Count) -> None:
        self._app = app
        self._is_known_host = is_known_host
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, body = time.perf_counter(), 500, _Body(receive)
        answering = False

        async def send_guarded(message: Message) -> None:
            nonlocal status, answering
            if message["type"] == "http.response.start":
                status, answering = message["status"], True
                if status >= 400:
                    await body.drain()
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            headers = Headers(scope=scope)
            if not self._is_known_host(headers.get("host", "")):
                await _answer(send_guarded, 421, "this server is not called that; start it with --hosts NAME")
                return
            if scope["path"] in UPLOADS:
                await self._app(scope, body.receive, send_guarded)
                return
            await self._app(scope, _limited(body.receive), send_guarded)
        except Exception:  # the boundary; outside of it nobody would add the headers
            if answering:
                raise
            await _answer(send_guarded, 500, faults.report(logger, f"{scope['method']} {scope['path']!r}"))
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._count(scope["method"], route, status, time.perf_counter() - started)


class _Body:
    """The body of a request, as far as it was read."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._ended = False

    async def receive(self) -> Message:
        """Hand on the next part."""
        message = await self._receive()
        self._ended = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    async def drain(self) -> None:
        """Read what is left, if it is little and comes soon: who is still sending would not see the answer."""
        size = 0

        async def read() -> None:
            nonlocal size
            while not self._ended and size < DRAINED:
                size += len((await self.receive()).get("body", b""))

        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(read(), DRAIN_S)


def _limited(receive: Receive) -> Receive:
    size = 0

    async def receive_limited() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > SMALL_BODY:
            raise HTTPException(413, f"a body may have at most {SMALL_BODY} bytes here")
        return message

    return receive_limited


async def _answer(send: Send, status: int, reason: str) -> None:
    body = json.dumps({"error": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
