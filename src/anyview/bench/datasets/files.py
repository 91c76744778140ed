"""Files of data sets, with errors that say what was expected."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Shaped, UInt8
from PIL import Image

from anyview.images.decode import decode_file, picture_size
from anyview.options import nearest_names


def need(path: Path, layout: str) -> Path:
    """Return a path that must be there.

    Raises:
        ValueError: it is not; the layout is named.
    """
    if not path.exists():
        raise ValueError(f"{path} is missing; expected {layout}")
    return path


def need_scene(name: str, names: Sequence[str], dataset: str) -> str:
    """Return the name of a scene that must be there.

    Raises:
        ValueError: it is not; the nearest are offered.
    """
    if name not in names:
        raise ValueError(f"{dataset} has no scene {name!r} here; {nearest_names(name, names)}")
    return name


def published_scenes(root: Path, names: Iterable[str], layout: str) -> tuple[str, ...]:
    """Return those of the published names that are folders of ``root``, in the published order.

    Raises:
        ValueError: none is.
    """
    there = tuple(name for name in names if (root / name).is_dir())
    if not there:
        raise ValueError(f"{root} holds none of the scenes; expected {layout}")
    return there


def picture_reader(path: Path) -> Callable[[], UInt8[np.ndarray, "height width 3"]]:
    """Read a picture as it is stored: EXIF orientation is ignored, as cameras of data sets ignore it."""
    return lambda: decode_file(path, path.name, upright=False).pixels


def upright_size(path: Path) -> tuple[int, int]:
    """Return (height, width) of a picture turned by its EXIF orientation (compat, Q30)."""
    with Image.open(path) as image:
        turned = image.getexif().get(0x0112, 1) >= 5
        return (image.width, image.height) if turned else (image.height, image.width)


def size_reader(path: Path) -> Callable[[], tuple[int, int]]:
    """Return what reads the size of a stored picture."""
    return partial(picture_size, path)


def read_gray(path: Path, kind: type[np.generic]) -> Shaped[np.ndarray, "height width"]:
    """Read a picture of one channel.

    Raises:
        ValueError: it is missing, broken, or of another type.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    array = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED) if path.stat().st_size else None
    if array is None or array.ndim != 2 or array.dtype != kind:
        found = "no picture" if array is None else f"{array.dtype} of shape {list(array.shape)}"
        raise ValueError(f"{path}: expected one channel of {np.dtype(kind)}, got {found}")
    return array


def read_matrix(path: Path, rows: int, columns: int) -> Float[np.ndarray, "rows columns"]:
    """Read a matrix of text or .npy, float64.

    Raises:
        ValueError: it is missing or of another shape.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    try:
        matrix = np.load(path, allow_pickle=False) if path.suffix == ".npy" else np.loadtxt(path, ndmin=2)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path} holds no matrix ({error})") from error
    if matrix.shape != (rows, columns):
        raise ValueError(f"{path}: expected a {rows}×{columns} matrix, got the shape {list(matrix.shape)}")
    return matrix.astype(np.float64)


def read_raw_float32(path: Path, size: tuple[int, int]) -> Float[np.ndarray, "height width"]:
    """Read little-endian float32 without a header, row by row.

    Raises:
        ValueError: the file has another length.
    """
    values = np.fromfile(path, "<f4") if path.stat().st_size % 4 == 0 else np.empty(0, "<f4")
    if values.size != size[0] * size[1]:
        raise ValueError(
            f"{path}: expected {4 * size[0] * size[1]} bytes, float32 for {size[1]}×{size[0]} pixels; got "
            f"{path.stat().st_size}"
        )
    return values.reshape(size)
