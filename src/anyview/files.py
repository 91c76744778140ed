"""Writing files so that a name never holds half a file."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``, of the same suffix, that becomes ``path`` when the block succeeds.

    The block may write a file or make a folder there; an existing file or folder at ``path`` is replaced. If the block
    raises, the temporary file or folder is removed and ``path`` is as it was. Parent folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix=f".{path.stem}-", dir=path.parent))
    try:
        temporary = holder / path.name
        yield temporary
        if temporary.is_dir() and path.is_dir():
            os.replace(path, holder / "replaced")
        os.replace(temporary, path)
    finally:
        shutil.rmtree(holder, ignore_errors=True)
