"""Who asks, and whether a page of another site makes a browser ask."""

import ipaddress
import socket
import time
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.requests import Request

from anyview.serve.jobs import JobStore
from anyview.serve.options import ServeOptions
from anyview.serve.tokens import LOCAL, Tokens, new_token, token_hash
from anyview.serve.uploads import Refused

COOKIE = "anyview_session"
SAME_ORIGIN_HEADER = "x-anyview"
"""Pages of other sites cannot send it without being asked first whether they may, and they may not."""
SESSION_S = 30 * 86_400.0


class Gate:
    """Decides who a request comes from."""

    def __init__(self, options: ServeOptions, tokens: Tokens | None, store: JobStore) -> None:
        self._options = options
        self._tokens = tokens
        self._store = store

    @property
    def asks_for_tokens(self) -> bool:
        """Whether requests need a token."""
        return self._tokens is not None

    def reader(self, request: Request) -> str:
        """Return who asks to see something.

        Raises:
            Refused: Nobody that is known here.
        """
        owner, _ = self._identify(request)
        return owner

    def writer(self, request: Request) -> str:
        """Return who asks to change something: with a token, or from a page of this very server.

        Raises:
            Refused: Nobody that is known here, or a browser that a page of another site may have sent.
        """
        owner, with_token = self._identify(request)
        if not with_token and not is_same_origin(request):
            raise Refused(
                403,
                "this changes something, so it needs a token, or the header X-Anyview: 1, which pages of other sites "
                "cannot send",
            )
        return owner

    def start_session(self, token: str) -> str | None:
        """Take a browser's token and return the secret of its cookie; None where no tokens are asked for.

        Raises:
            Refused: No such token.
        """
        if self._tokens is None:
            return None
        if self._tokens.owner(token) is None:
            raise Refused(401, "no such token")
        secret = new_token()
        self._store.start_session(token_hash(secret), token_hash(token), time.time() + SESSION_S)
        return secret

    def end_session(self, secret: str) -> None:
        """Forget a browser."""
        self._store.end_session(token_hash(secret))

    def _identify(self, request: Request) -> tuple[str, bool]:
        """Return the owner, and whether a token said so rather than a cookie or nothing."""
        if self._tokens is None:
            return LOCAL, False
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            owner = self._tokens.owner(token.strip())
            if owner is None:
                raise Refused(401, "no such token")
            return owner, True
        secret = request.cookies.get(COOKIE)
        shown = self._store.session_token(token_hash(secret)) if secret else None
        owner = self._tokens.owner_of_hash(shown) if shown is not None else None
        if owner is None:  # a session lasts no longer than the token that it began with
            raise Refused(401, "a token is needed: Authorization: Bearer TOKEN")
        return owner, False


def is_same_origin(request: Request) -> bool:
    """Whether a browser says that a page of this server asks, or something that is no page of another site does."""
    if request.headers.get(SAME_ORIGIN_HEADER) == "1":
        return True
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        return site == "same-origin"
    return origin is not None and origin.partition("://")[2] == request.headers.get("host", "")


def known_hosts(options: ServeOptions) -> Callable[[str], bool]:
    """Return what tells whether a Host header names this server.

    Pages of other sites can have their own name point to this machine (DNS rebinding), but not a number, nor a name
    that is ours.
    """
    names: Iterable[str] = ("localhost", options.host, socket.gethostname(), *options.hosts)
    known = {name.lower().rstrip(".") for name in names}

    def is_known(header: str) -> bool:
        try:
            name = urlsplit(f"//{header}").hostname
        except ValueError:  # brackets that are not closed
            return False
        if name is None:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.rstrip(".") in known
        return True

    return is_known
