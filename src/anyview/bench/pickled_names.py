"""Names of pictures as the published evaluator stores them: a pickled array of text (quirk 7).

A pickle can run anything when it is opened. This reader makes arrays and text only, and refuses whatever names another
class or function.
"""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np

_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{
        (module, "_reconstruct"): np.empty(0).__reduce__()[0]
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    },
}
"""What a pickled array of text is made with, before and since NumPy 2."""


class _TextOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it would run {module}.{name}")
        return _ALLOWED[module, name]


def is_pickled(path: Path, name: str) -> bool:
    """Whether an array of an .npz file is stored as a pickle; False also where the file cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
            np.lib.format.read_magic(member)
            return np.lib.format.read_array_header_1_0(member)[2].hasobject
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, EOFError):
        return False


def read_pickled_names(path: Path, name: str) -> tuple[str, ...]:
    """Read a pickled array of text from an .npz file, without running anything that the pickle names.

    Raises:
        ValueError: it holds something else than text, or is broken.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            member = io.BytesIO(archive.read(f"{name}.npy"))
        np.lib.format.read_magic(member)
        np.lib.format.read_array_header_1_0(member)
        array = _TextOnly(member).load()
    except (
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        OSError,
        ValueError,
        KeyError,
        EOFError,
        AttributeError,
    ) as error:
        raise ValueError(f"{path} is corrupt, or holds more than text ({error})") from error
    names = np.asarray(array).ravel().tolist()
    if not all(isinstance(value, str) for value in names):
        raise ValueError(f"{path}: expected text as {name}, got {[type(value).__name__ for value in names][:3]}")
    return tuple(names)
