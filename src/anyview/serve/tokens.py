"""Who may come in: tokens from a file, or one that the server makes up."""

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from anyview.serve.options import ServeOptions

LOCAL = "local"
"""Owner of all jobs where no tokens are asked for."""
SHORTEST = 16


class Tokens:
    """Tokens and the names of those who have them; only hashes are kept."""

    def __init__(self, tokens: Mapping[str, str]) -> None:
        """``tokens``: name -> token."""
        self._hashes = {name: token_hash(token) for name, token in tokens.items()}

    def owner(self, token: str) -> str | None:
        """Return who has this token, in a time that does not depend on how much of it is right."""
        return self.owner_of_hash(token_hash(token))

    def owner_of_hash(self, hash: str) -> str | None:
        """Return who has the token of this hash, in such a time too."""
        found = None
        for name, expected in self._hashes.items():
            if hmac.compare_digest(hash, expected):
                found = name
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """Who has a token."""
        return tuple(self._hashes)


def new_token() -> str:
    """Make a token that nobody guesses."""
    return secrets.token_urlsafe(24)


def token_hash(token: str) -> str:
    """Return what is kept of a token. Tokens are random and long, so that a plain hash does."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def read_tokens(path: Path) -> dict[str, str]:
    """Read lines ``NAME TOKEN``; empty ones and those that begin with # count for nothing.

    Raises:
        ValueError: The file cannot be read, says nothing, or has a line that is not of this form.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ValueError(f"tokens cannot be read from {path}: {reason}") from error
    tokens: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2 or not re.fullmatch(r"[\w.-]{1,40}", words[0]):
            raise ValueError(f"{path}:{number}: expected NAME TOKEN, with letters, digits, _, . and - in the name")
        name, token = words
        if name in tokens or token in tokens.values():
            raise ValueError(f"{path}:{number}: {name} or its token is there twice")
        if len(token) < SHORTEST:
            raise ValueError(f"{path}:{number}: expected a token of at least {SHORTEST} characters, got {len(token)}")
        tokens[name] = token
    if not tokens:
        raise ValueError(f"{path} holds no tokens: expected a line NAME TOKEN for each")
    return tokens


def own_token(data: Path) -> str:
    """Return the token that is kept in the data folder, readable by its owner alone; make it if it is not there."""
    path = data / "token"
    if not path.is_file():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"owner {new_token()}\n")
    return read_tokens(path)["owner"]


def tokens_for(options: ServeOptions) -> Tokens | None:
    """Return the tokens that a server asks for, None where it asks for none.

    Raises:
        ValueError: The file of tokens is not what it should be.
    """
    if not options.asks_for_tokens:
        return None
    if options.token_file is not None:
        return Tokens(read_tokens(options.token_file))
    return Tokens({"owner": own_token(options.data)})
