from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
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
    from PIL import Image, PngImagePlugin

    valid = prediction.valid()
    farthest = float(prediction.depth[valid].max()) if valid.any() else 1.0
    scale = MILLIMETRE if prediction.is_metric and farthest <= LARGEST * MILLIMETRE else farthest / LARGEST
    # In float64: no depth may round to 0, which stands for none, nor above the largest value.
    levels = (prediction.depth.double() / scale).round().clamp(1, LARGEST)
    values = torch.where(valid, levels, 0).numpy().astype(np.uint16)
    paths = [folder / "depth_png" / f"{stem}.png" for stem in file_stems(prediction.names)]
    with atomic_path(folder / "depth_png") as temporary:
        temporary.mkdir()
        for path, name, pixels in zip(paths, prediction.names, values, strict=True):
            text = PngImagePlugin.PngInfo()
            text.add_text("depth_scale", repr(scale))
            text.add_text("depth_unit", prediction.units)
            text.add_text("model", prediction.model)
            text.add_itxt("picture", name)
            Image.fromarray(pixels).save(temporary / path.name, pnginfo=text)
    return paths


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
