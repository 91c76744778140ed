from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anyview.exporters.names import file_stems
from anyview.files import atomic_path
from anyview.options import ExportOptions
from anyview.types import Prediction, Units

LARGEST = 2**16 - 1
MILLIMETRE = 0.001


def write(prediction: Prediction, folder: Path, options: ExportOptions) -> list[Path]:
    """Write depth as 16-bit grey PNGs: depth = value × scale, and value 0 where there is none.

    Scale and unit are the same for all views and stand in each PNG's text, as ``depth_scale`` and ``depth_unit``.
    Metres are written in millimetres if they fit; all else is scaled to use all values. The error is half the scale.
    """
    valid = prediction.valid()
    scale = choose_scale(prediction.depth[valid], prediction.units)
    paths = [folder / "depth_png" / f"{stem}.png" for stem in file_stems(prediction.names)]
    with atomic_path(folder / "depth_png") as temporary:
        temporary.mkdir()
        for view, path in enumerate(paths):
            text = {"depth_unit": prediction.units, "model": prediction.model, "picture": prediction.names[view]}
            write_depth_png(temporary / path.name, prediction.depth[view], valid[view], scale, text)
    return paths


def choose_scale(depth: Float[Tensor, " values"], units: Units) -> float:
    """Return the depth that the value 1 stands for: a millimetre where that fits, else what uses all values."""
    farthest = float(depth.max()) if len(depth) else 1.0
    return MILLIMETRE if units == "metres" and farthest <= LARGEST * MILLIMETRE else farthest / LARGEST


def write_depth_png(
    path: Path,
    depth: Float[Tensor, "height width"],
    valid: Bool[Tensor, "height width"],
    scale: float,
    text: Mapping[str, str],
) -> None:
    """Write one depth map, with its scale and ``text`` in the PNG's text."""
    from PIL import Image, PngImagePlugin

    # In float64: no depth may round to 0, which stands for none, nor above the largest value.
    levels = (depth.double() / scale).round().clamp(1, LARGEST)
    info = PngImagePlugin.PngInfo()
    info.add_text("depth_scale", repr(scale))
    for key, value in text.items():
        (info.add_itxt if key == "picture" else info.add_text)(key, value)
    Image.fromarray(torch.where(valid, levels, 0).numpy().astype(np.uint16)).save(path, pnginfo=info)


def read_depth_png(path: str | Path) -> tuple[Float[Tensor, "height width"], Units]:
    """Read depth (0 where there is none) and its unit from a PNG that `write` wrote.

    Raises:
        ValueError: the PNG does not say its scale and unit.
    """
    from PIL import Image

    with Image.open(path) as image:
        text = image.info
        if "depth_scale" not in text or "depth_unit" not in text:
            raise ValueError(f"{path} has no depth_scale and depth_unit in its PNG text: anyview did not write it")
        values = torch.from_numpy(np.asarray(image).astype(np.float64))
    return (values * float(text["depth_scale"])).float(), text["depth_unit"]
