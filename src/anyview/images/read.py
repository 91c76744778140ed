"""Pictures from files, folders, patterns and memory."""

import difflib
import glob
import itertools
import logging
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from anyview.images.budget import ReadingBudget
from anyview.images.decode import decode_bytes, decode_file, decode_image, to_rgb8
from anyview.images.pool import Progress, map_in_order
from anyview.types import Picture

logger = logging.getLogger(__name__)

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif"})


class ListedPicture(NamedTuple):
    """A picture before it is read: a path, or what is in memory, and the name it gets."""

    content: Any
    name: str


PictureSource = str | os.PathLike[str] | bytes | np.ndarray | Tensor | Image.Image | Picture


def read_pictures(
    source: PictureSource | Sequence[Any],
    *,
    progress: Progress | None = None,
) -> tuple[Picture, ...]:
    """Read pictures from a path, a glob pattern, a folder, something in memory, or a sequence of any of these.

    A folder gives its picture files (not those in folders below) in natural order, so that 2.jpg comes before 10.jpg.
    In memory: the bytes of a picture file; PIL images; arrays and tensors with channels last, ``[height, width]`` or
    ``[height, width, 1, 3 or 4]``, or a stack of them with one more dimension in front, of uint8, uint16, or floats
    from 0 to 1. Files keep their name, with as much of their folder as it takes to tell them apart; pictures in memory
    are called by their position, ``0000`` and so on.

    Raises:
        ValueError: naming the file that does not exist or cannot be read, or the array that is not a picture.
    """
    return read_listed(list_pictures(source), progress=progress)


def list_pictures(source: PictureSource | Sequence[Any]) -> list[ListedPicture]:
    """List and name the pictures that `read_pictures` would read.

    Raises:
        ValueError: there are none, or a path leads to none.
    """
    contents = _expand(source)
    if not contents:
        raise ValueError("no pictures given")
    return [ListedPicture(*pair) for pair in zip(contents, _names(contents), strict=True)]


def read_listed(pictures: Sequence[ListedPicture], *, progress: Progress | None = None) -> tuple[Picture, ...]:
    """Read some of the pictures that `list_pictures` has listed.

    Raises:
        ValueError: a picture cannot be read, or all of them do not fit into memory.
    """
    budget = ReadingBudget(len(pictures))
    return tuple(map_in_order(lambda listed: budget.take(_decode(*listed)), pictures, progress))


def picture_files(path: str | os.PathLike[str]) -> list[Path]:
    """Return the picture files that a path, a folder or a glob pattern means, in natural order."""
    path = Path(path).expanduser()
    if path.is_dir():
        return _in_folder(path)
    if path.exists():
        return [path]
    if any(sign in str(path) for sign in "*?["):
        matches = [Path(match) for match in glob.glob(str(path), recursive=True)]
        if pictures := _only_pictures(matches):
            return pictures
        raise ValueError(f"no picture matches the pattern {path}")
    raise ValueError(missing_path(path))


def missing_path(path: Path) -> str:
    """Say that a path does not exist, and which existing one is nearest to it."""
    parent = path.parent
    if path.is_symlink():
        return f"no such path: {path} (a symbolic link that leads nowhere)"
    if not parent.is_dir():
        return f"no such path: {path} (there is no folder {parent})"
    close = difflib.get_close_matches(path.name, os.listdir(parent), n=1)
    return f"no such path: {path}" + (f"; did you mean {str(parent / close[0])!r}?" if close else "")


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sort key under which numbers inside of names count as numbers."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name.casefold())]


def readable_name(name: str) -> str:
    """Replace the bytes of a file name that are not UTF-8: other files could not hold it."""
    return os.fsencode(name).decode("utf-8", "replace")


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """Give a name that was there before a number, ahead of its suffix."""
    unique: dict[str, None] = {}
    for name in names:
        stem, suffix = os.path.splitext(name)
        candidates = itertools.chain([name], (f"{stem}_{count}{suffix}" for count in itertools.count(2)))
        unique[next(candidate for candidate in candidates if candidate not in unique)] = None
    return tuple(unique)


def _expand(source: object) -> list[Any]:
    """One entry per picture: a `Path` for each file, and what is in memory as it is."""
    if isinstance(source, (list, tuple)):
        return [content for part in source for content in _expand(part)]
    if isinstance(source, (str, os.PathLike)):
        return picture_files(source)
    if isinstance(source, Tensor):
        source = source.detach().cpu()
        source = (source.float() if source.is_floating_point() else source).numpy()
    if isinstance(source, np.ndarray):
        return list(source) if source.ndim == 4 else [source]
    if isinstance(source, (bytes, Image.Image, Picture)):
        return [source]
    raise ValueError(f"a picture is a path, bytes, an array or a PIL image; got {type(source).__name__}")


def _decode(content: Any, name: str) -> Picture:
    if isinstance(content, Path):
        return decode_file(content, name)
    if isinstance(content, bytes):
        return decode_bytes(content, name)
    if isinstance(content, np.ndarray):
        return Picture(to_rgb8(content, f"picture {name}"), name)
    if isinstance(content, Image.Image):
        return decode_image(content, name)
    return replace(content, name=name)


def _names(contents: Sequence[Any]) -> tuple[str, ...]:
    """File names, or paths from the folder that all of a name's files share where a name is there more than once."""
    namesakes = defaultdict(set)
    for content in contents:
        if isinstance(content, Path):
            namesakes[content.name].add(content.absolute())
    names = []
    for position, content in enumerate(contents):
        if isinstance(content, Picture):
            names.append(content.name)
        elif not isinstance(content, Path):
            names.append(f"{position:04d}")
        elif len(files := namesakes[content.name]) == 1:
            names.append(content.name)
        else:
            names.append(content.absolute().relative_to(os.path.commonpath(files)).as_posix())
    return unique_names([readable_name(name) for name in names])


def _in_folder(folder: Path) -> list[Path]:
    files = list(folder.iterdir())
    pictures = _only_pictures(files)
    if not pictures:
        kinds = ", ".join(sorted(suffix[1:] for suffix in PICTURE_SUFFIXES))
        raise ValueError(f"the folder {folder} holds no pictures ({kinds}); it holds {len(files)} other entries")
    return pictures


def _only_pictures(paths: Sequence[Path]) -> list[Path]:
    seen = [path for path in paths if not path.name.startswith(".") and path.is_file()]
    pictures = [path for path in seen if path.suffix.lower() in PICTURE_SUFFIXES]
    others = sorted(path.name for path in seen if path not in set(pictures))
    if others:
        logger.info("ignored %d files that are not pictures: %s", len(others), ", ".join(others[:5]))
    return sorted(pictures, key=lambda path: natural_key(str(path)))
