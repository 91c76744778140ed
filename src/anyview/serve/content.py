"""What an uploaded file is, by its content: the name and the type that came with it decide nothing."""

import importlib.util
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from anyview.images.decode import HEIF_BRANDS

Kind = Literal["picture", "video"]
HEAD = 64
"""Bytes of a file's beginning that tell its format."""
_OTHER_BRANDS = (b"avif", b"avis", b"M4A ", b"M4B ", b"crx ", b"jp2 ")
"""Files built like MP4 that are no videos, and that nothing here reads."""
LONGEST_NAME = 60


@dataclass(frozen=True)
class Content:
    """A format that is let in."""

    kind: Kind
    suffix: str
    pillow_format: str | None = None
    """The one reader that may open it; None: not Pillow's."""


_MAGIC = (
    (re.compile(rb"\xff\xd8\xff"), Content("picture", ".jpg", "JPEG")),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), Content("picture", ".png", "PNG")),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), Content("picture", ".webp", "WEBP")),
    (re.compile(rb"BM.{4}\0\0\0\0", re.DOTALL), Content("picture", ".bmp", "BMP")),
    (re.compile(rb"II\*\0|MM\0\*"), Content("picture", ".tif", "TIFF")),
    (re.compile(rb".{4}ftyp(" + rb"|".join(HEIF_BRANDS) + rb")", re.DOTALL), Content("picture", ".heic")),
    (re.compile(rb".{4}ftyp(?!" + rb"|".join(_OTHER_BRANDS) + rb")", re.DOTALL), Content("video", ".mp4")),
    (re.compile(rb"\x1a\x45\xdf\xa3"), Content("video", ".mkv")),
    (re.compile(rb"RIFF.{4}AVI ", re.DOTALL), Content("video", ".avi")),
)


def sniff(head: bytes, name: str) -> Content:
    """Tell the format from a file's first `HEAD` bytes.

    Raises:
        ValueError: It is none that is let in; errors call the file ``name``.
    """
    if not head:
        raise ValueError(f"{name} is empty (0 bytes)")
    for magic, content in _MAGIC:
        if magic.match(head):
            if content.suffix == ".heic" and importlib.util.find_spec("pillow_heif") is None:
                raise ValueError(f"{name} is a HEIC picture, which this server cannot read")
            return content
    raise ValueError(
        f"{name} is neither a picture (JPEG, PNG, WebP, BMP, TIFF, HEIC) nor a video (MP4, MOV, MKV, WebM, AVI)"
    )


def check_picture(path: Path, content: Content, name: str, *, megapixels: float) -> tuple[int, int]:
    """Read the size in a picture's header, decoding nothing; return width and height.

    Raises:
        ValueError: The header is broken, or promises more than ``megapixels``.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        if content.pillow_format is None:
            import pillow_heif

            width, height = pillow_heif.open_heif(path, convert_hdr_to_8bit=False).size
        else:
            with Image.open(path, formats=[content.pillow_format]) as image:
                width, height = image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{name} has more pixels than the {megapixels:g} million that are let in") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error) as error:
        raise ValueError(f"{name} is a broken picture") from error
    if width * height > megapixels * 1e6:
        raise ValueError(f"{name} has {width}×{height} pixels, more than the {megapixels:g} million that are let in")
    return width, height


def shown_name(given: str) -> str:
    """Make what a user called a file fit to be shown and to be part of a file's name: word characters, . and -."""
    last = re.split(r"[/\\]", given)[-1]
    words = re.sub(r"[^\w.-]+", "_", last).strip("._-")
    stem, dot, suffix = words.rpartition(".")
    if not dot or len(suffix) > 5:
        stem, suffix = words, ""
    stem = stem[: LONGEST_NAME - len(suffix) - 1].strip("._-") or "file"
    return f"{stem}.{suffix}" if suffix else stem
