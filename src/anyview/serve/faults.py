"""Faults of our own: the log has all of them, users what to ask the log's keeper for."""

import logging
import secrets


def report(logger: logging.Logger, where: str) -> str:
    """Write the exception that is being handled to the log; return what users are told, which says nothing of it."""
    reference = secrets.token_hex(4)
    logger.exception("internal error %s: %s", reference, where)
    return f"internal error; it stands in the log of the server as {reference}"
