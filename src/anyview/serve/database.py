"""The SQLite file: its tables, and opening it."""

import os
import sqlite3
from pathlib import Path

_VERSION = 1
"""Of the tables, kept in the file."""
_TABLES = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, state TEXT NOT NULL,
    stage TEXT NOT NULL, progress REAL NOT NULL, error TEXT, created REAL NOT NULL, started REAL, finished REAL,
    expires REAL, model TEXT NOT NULL, request TEXT NOT NULL, example TEXT, formats TEXT NOT NULL, names TEXT NOT NULL,
    views INTEGER, files TEXT NOT NULL, size INTEGER NOT NULL, thumbnail INTEGER NOT NULL, input_size INTEGER NOT NULL,
    attempts INTEGER NOT NULL
);
CREATE INDEX jobs_state ON jobs (state);
CREATE INDEX jobs_owner ON jobs (owner);
CREATE TABLE shares (
    hash TEXT PRIMARY KEY, job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE
);
CREATE TABLE sessions (hash TEXT PRIMARY KEY, token TEXT NOT NULL, expires REAL NOT NULL);
"""


def open_database(path: Path) -> sqlite3.Connection:
    """Open the file, of which nobody else may read or write anything, and check that it is whole.

    Raises:
        OSError, sqlite3.Error: It cannot be opened, is broken, or of another version.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # what SQLite makes beside it gets the same mode
    path.chmod(0o600)
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
    try:
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON", "secure_delete = ON"):
            connection.execute(f"PRAGMA {pragma}")
        [found] = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(found.splitlines()[-1])
        [version], [tables] = (
            connection.execute(query).fetchone()
            for query in ("PRAGMA user_version", "SELECT COUNT(*) FROM sqlite_master")
        )
        if tables and version != _VERSION:
            raise sqlite3.DatabaseError(f"version {version} of its tables, expected {_VERSION}")
        if not tables:
            connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")
    except BaseException:
        connection.close()
        raise
    connection.row_factory = sqlite3.Row
    return connection
