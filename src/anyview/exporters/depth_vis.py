import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from anyview.exporters.colors import spectral
from anyview.exporters.names import file_stems
from anyview.files import atomic_path
from anyview.options import ExportOptions
from anyview.types import Prediction, Units

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

GAP = 8
NO_DEPTH = (64, 64, 64)
UNIT_LABELS: dict[Units, str] = {
    "metres": "metres",
    "caller": "caller's unit",
    "arbitrary": "relative",
    "canonical": "canonical",
}


@dataclass(frozen=True)
class DepthRange:
    """The depths at the two ends of the colours; between them colours are spaced by inverse depth."""

    near: float
    far: float

    def place(self, depth: Float32[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
        """Say where depths lie: 0 at the near end, 1 at the far end."""
        span = 1 / self.near - 1 / self.far
        return (1 / np.float32(self.near) - 1 / depth) / np.float32(max(span, 1e-12))

    def at(self, place: float) -> float:
        """Return the depth at a place from 0 (near) to 1 (far): the inverse of `place`."""
        return 1 / ((1 - place) / self.near + place / self.far)


def write(prediction: Prediction, folder: Path, options: ExportOptions) -> list[Path]:
    """Write each picture beside its depth in colours, near red and far violet; each view has its own range."""
    from PIL import Image

    paths = [folder / "depth_vis" / f"{stem}.jpg" for stem in file_stems(prediction.names)]
    with atomic_path(folder / "depth_vis") as temporary:
        temporary.mkdir()
        for path, picture in zip(paths, depth_pictures(prediction), strict=True):
            jpeg = io.BytesIO()  # written by us, since Pillow does not notice a JPEG that a full disk cuts short
            Image.fromarray(picture).save(jpeg, "JPEG", quality=95, subsampling=0)
            (temporary / path.name).write_bytes(jpeg.getvalue())
    return paths


def depth_pictures(
    prediction: Prediction, *, common_range: bool = False
) -> Iterator[UInt8[np.ndarray, "height total_width 3"]]:
    """Draw picture, coloured depth and legend of one view after the other; all of one size."""
    depths, valid, images = prediction.depth.numpy(), prediction.valid().numpy(), prediction.images.numpy()
    shared = depth_range(depths, valid) if common_range else None
    for depth, good, image in zip(depths, valid, images, strict=True):
        shown = shared or depth_range(depth, good)
        # The depth of bad pixels may be anything, so they get a harmless one before it is inverted.
        colors = spectral(shown.place(np.where(good, depth, np.float32(shown.far))))
        colors[~good] = NO_DEPTH
        gap = np.full((len(image), GAP, 3), 255, np.uint8)
        yield np.concatenate([image, gap, colors, gap, _legend(shown, prediction.units, len(image))], 1)


def depth_range(depth: Float32[np.ndarray, "*shape"], valid: Bool[np.ndarray, "*shape"]) -> DepthRange:
    """Find the range that the colours span: the 2nd to the 98th percentile of inverse depth (spec 14)."""
    if not valid.any():
        return DepthRange(1.0, 1.0)
    far, near = np.percentile(1 / depth[valid], [2, 98])
    return DepthRange(1 / float(near), 1 / float(far))


def _legend(shown: DepthRange, units: Units, height: int) -> UInt8[np.ndarray, "height width 3"]:
    """Draw the colour bar with depths beside it and the unit above; its width depends on the height alone."""
    from PIL import Image, ImageDraw, ImageFont

    size = min(max(height // 24, 11), 32)
    font = ImageFont.load_default(size)
    bar_width, top, bottom = 2 * size, 3 * size, height - size
    width = max(bar_width + size + _width("0.00e+00", font), *(_width(label, font) for label in UNIT_LABELS.values()))
    picture = Image.new("RGB", (width + size // 2, height), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((0, size // 4), "depth", "black", font)
    draw.text((0, size // 4 + 5 * size // 4), UNIT_LABELS[units], "black", font)
    ramp = spectral(np.linspace(0, 1, max(bottom - top, 1), dtype=np.float32))
    picture.paste(Image.fromarray(np.repeat(ramp[:, None], bar_width, 1)), (0, top))
    ticks = min(max((bottom - top) // (3 * size), 2), 7)
    for place in np.linspace(0, 1, ticks):
        row = top + round(place * (bottom - top - 1))
        draw.line([(bar_width, row), (bar_width + size // 3, row)], "black")
        draw.text((bar_width + size // 2, row), f"{shown.at(float(place)):#.3g}", "black", font, anchor="lm")
    return np.asarray(picture)


def _width(text: str, font: "FreeTypeFont | ImageFont") -> int:
    return round(font.getlength(text))
