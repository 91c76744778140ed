"""One picture, in whatever form it comes, becomes upright 8-bit RGB.

16 bits become 8 by division by 257, floats must lie between 0 and 1; nothing is ever stretched to its own range.
Alpha is laid over white.
"""

import io
import struct
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image, UnidentifiedImageError

from anyview.images.exif import focal_length_px, orientation, read_exif
from anyview.types import Picture

_ROUNDING = 1e-3
"""How far float pictures may overshoot 0 and 1: what resampling leaves behind."""
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""What HEIC pictures name themselves, in bytes 8 to 12."""
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error)
"""What Pillow's readers raise on damaged files."""


def decode_file(path: Path, name: str, *, upright: bool = True) -> Picture:
    """Read a picture file. ``upright=False`` keeps the pixels as stored, as structure from motion sees them."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    return decode_bytes(data, name, label=str(path), upright=upright)


def picture_size(path: Path) -> tuple[int, int]:
    """Return (height, width) of a picture as it is stored.

    Raises:
        ValueError: the file is no picture.
    """
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except OSError as error:
        raise ValueError(f"{path} is not a readable picture ({error})") from error


def decode_bytes(data: bytes, name: str, *, label: str | None = None, upright: bool = True) -> Picture:
    """Read a picture from the content of a file; errors call it ``label``."""
    label = label or f"picture {name}"
    if not data:
        raise ValueError(f"{label} is empty (0 bytes)")
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS:
        return decode_image(_open_heif(data, label), name, label=label, upright=upright)
    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError as error:
        if data[:4] in (b"II*\0", b"MM\0*"):  # TIFFs of float RGB, which Pillow does not know
            return Picture(to_rgb8(_decode_deep(data, label), label), name)
        raise ValueError(f"{label} is not a picture in a known format") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{label} is too large: {error}") from error
    except _BROKEN as error:
        raise ValueError(f"{label} is a broken or truncated picture ({error})") from error
    deep = _decode_deep(data, label) if _has_more_than_8_bits(image) else None
    return decode_image(image, name, label=label, upright=upright, deep=deep)


def decode_image(
    image: Image.Image,
    name: str,
    *,
    label: str | None = None,
    upright: bool = True,
    deep: Shaped[np.ndarray, "..."] | None = None,
) -> Picture:
    """Convert a PIL image of any mode; ``deep`` are its pixels where PIL would cut them to 8 bits."""
    label = label or f"picture {name}"
    try:
        array = _pixels_of(image) if deep is None else deep
    except _BROKEN as error:
        raise ValueError(f"{label} is a broken or truncated picture ({error})") from error
    pixels = to_rgb8(array, label)
    exif = read_exif(image, label)  # after the pixels: Pillow turns TIFFs itself and then forgets the orientation
    if upright:
        pixels = _turned(pixels, orientation(exif))
    return Picture(pixels, name, focal_length_px(exif, *pixels.shape[:2]))


def to_rgb8(array: Shaped[np.ndarray, "..."], label: str) -> UInt8[np.ndarray, "height width 3"]:
    """Convert an array [height, width] or [height, width, 1, 3 or 4] of uint8, uint16, or floats from 0 to 1."""
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise ValueError(
            f"{label}: expected an array [height, width] or [height, width, 1, 3 or 4], channels last; "
            f"got {list(array.shape)}"
        )
    pixels = _to_8_bits(array, label)
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    elif pixels.shape[2] == 4:
        alpha = pixels[..., 3:].astype(np.uint16)
        pixels = ((pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(pixels)


def _to_8_bits(array: Shaped[np.ndarray, "..."], label: str) -> UInt8[np.ndarray, "..."]:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"{label}: expected values of type uint8, uint16 or float; got {array.dtype}")
    low, high = float(array.min()), float(array.max())
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # false for NaN too
        raise ValueError(f"{label}: float values must lie between 0 and 1; got {low:g} to {high:g}")
    return np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)


def _pixels_of(image: Image.Image) -> Shaped[np.ndarray, "..."]:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return np.asarray(image)
    return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def _has_more_than_8_bits(image: Image.Image) -> bool:
    return image.format in ("PNG", "TIFF") and (image.mode in ("I", "F") or ";16" in str(getattr(image, "tile", "")))


def _decode_deep(data: bytes, label: str) -> Shaped[np.ndarray, "..."]:
    """Decode through OpenCV, which keeps all bits of all channels."""
    import cv2

    array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None:
        raise ValueError(f"{label} is a broken or truncated picture, or of a kind that cannot be read")
    if array.ndim == 3 and array.shape[2] >= 3:
        array = array[..., [2, 1, 0, *range(3, array.shape[2])]]
    return array


def _open_heif(data: bytes, label: str) -> Image.Image:
    try:
        import pillow_heif
    except ImportError as error:
        raise ValueError(f'{label}: HEIC pictures need `pip install "anyview[heic]"`') from error
    try:
        return pillow_heif.open_heif(data).to_pillow()
    except (*_BROKEN, RuntimeError) as error:
        raise ValueError(f"{label} is a broken or truncated picture ({str(error).strip()})") from error


def _turned(pixels: UInt8[np.ndarray, "stored_height stored_width 3"], orientation: int) -> UInt8[np.ndarray, "h w 3"]:
    """Undo an EXIF orientation. From 5 on rows and columns are exchanged; which sides are then mirrored follows."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
