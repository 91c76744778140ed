"""What EXIF says about the camera."""

import logging
import math
import struct

from PIL import ExifTags, Image

logger = logging.getLogger(__name__)

_FILM_DIAGONAL_MM = math.hypot(36.0, 24.0)
_MILLIMETRES_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 1e-3}
_PLAUSIBLE = (0.1, 100.0)
"""Focal lengths in longer sides of the picture: fields of view from 157 to 0.6 degrees."""


def read_exif(image: Image.Image, name: str) -> Image.Exif:
    """Return the EXIF block; an unreadable one counts as empty, and the log says so."""
    try:
        exif = image.getexif()
        exif.get_ifd(ExifTags.IFD.Exif)
    except (SyntaxError, struct.error) as error:
        logger.warning("%s: EXIF block ignored, it cannot be read (%s)", name, error)
        return Image.Exif()
    return exif


def orientation(exif: Image.Exif) -> int:
    """Return how the pixels must be turned to stand upright: 1 to 8 as EXIF counts, 1 where it does not say."""
    value = exif.get(ExifTags.Base.Orientation, 1)
    return value if value in range(1, 9) else 1


def focal_length_px(exif: Image.Exif, height: int, width: int) -> float | None:
    """Return the focal length in pixels of the picture of this size; None if EXIF does not say, or says nonsense.

    The 35 mm equivalent counts first, as the one number that most cameras fill in rightly. It is taken to keep the
    diagonal field of view, so it does not depend on how the picture is turned.
    """
    tags = exif.get_ifd(ExifTags.IFD.Exif)
    equivalent_mm = _number(tags, ExifTags.Base.FocalLengthIn35mmFilm)
    candidates = (
        equivalent_mm / _FILM_DIAGONAL_MM * math.hypot(width, height),
        _focal_length_from_sensor(tags, max(height, width)),
    )
    low, high = (limit * max(height, width) for limit in _PLAUSIBLE)
    return next((focal for focal in candidates if low <= focal <= high), None)


def _focal_length_from_sensor(tags: dict[int, object], longer_side: int) -> float:
    """Focal length in millimetres times the sensor's pixels per millimetre, or NaN."""
    unit = tags.get(ExifTags.Base.FocalPlaneResolutionUnit, 2)
    millimetres_per_unit = _MILLIMETRES_PER_UNIT.get(unit) if isinstance(unit, int) else None
    if millimetres_per_unit is None:
        return math.nan
    pixels_per_mm = _number(tags, ExifTags.Base.FocalPlaneXResolution) / millimetres_per_unit
    # The resolution belongs to the picture as taken, which may have been made smaller, and turned, since then.
    taken = max(_number(tags, ExifTags.Base.ExifImageWidth), _number(tags, ExifTags.Base.ExifImageHeight))
    shrunk = longer_side / taken if taken > 0 else 1.0
    return _number(tags, ExifTags.Base.FocalLength) * pixels_per_mm * shrunk


def _number(tags: dict[int, object], tag: int) -> float:
    try:
        return float(tags.get(tag, math.nan))  # type: ignore[arg-type]  # whatever a file holds; else TypeError
    except (TypeError, ValueError, ZeroDivisionError):
        return math.nan
