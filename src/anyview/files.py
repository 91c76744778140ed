"""Writing files so that a name never holds half a file."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``, of the same suffix, that becomes ``path`` when the block succeeds.

    The block may write a file or make a folder there; an existing file or folder at ``path`` is replaced. If the block
    raises, the temporary file or folder is removed and ``path`` is as it was. Parent folders are made, and those made
    for nothing removed.
    """
    path = Path(path)
    made = [parent for parent in path.parents if not parent.exists()]
    try:
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
    except BaseException:
        for parent in made:
            with suppress(OSError):  # somebody else may have put something there
                parent.rmdir()
        raise


def check_folder(folder: str | Path) -> None:
    """Try that files can be written into ``folder``, which need not exist yet.

    Raises:
        ValueError: it is a file, or lies in one, or the system does not let files be made there.
    """
    folder = Path(folder)
    existing = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not existing.is_dir():
        raise ValueError(f"cannot write into {folder}: {existing} is a file, not a folder")
    try:
        # Permissions do not tell: root has them all, also where a file system takes no files.
        tempfile.TemporaryDirectory(dir=existing).cleanup()
    except OSError as error:
        raise ValueError(f"cannot write into {folder}: {existing} takes no files ({error.strerror})") from error
