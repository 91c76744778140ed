from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from anyview.exporters.names import file_stems
from anyview.files import atomic_path
from anyview.options import ExportOptions
from anyview.types import Prediction


def write(prediction: Prediction, folder: Path, options: ExportOptions) -> list[Path]:
    """Write, per backbone block, each picture beside its patch features as colours: equal colour, like features.

    Red, green and blue are the three main directions in which the features of all views vary.
    """
    from PIL import Image

    stems = file_stems(prediction.names)
    paths = []
    with atomic_path(folder / "features") as temporary:
        for block, features in prediction.features.items():
            name = f"block_{block:02d}"
            (temporary / name).mkdir(parents=True)
            colors = _upscale(feature_colors(features, _patch_mask(prediction, features)), prediction)
            pictures = torch.cat([prediction.images, colors], 2).numpy()
            for stem, picture in zip(stems, pictures, strict=True):
                Image.fromarray(picture).save(temporary / name / f"{stem}.png")
                paths.append(folder / "features" / name / f"{stem}.png")
    return paths


def feature_colors(
    features: Float[Tensor, "views rows columns channels"], mask: Bool[Tensor, "views rows columns"]
) -> UInt8[Tensor, "views rows columns 3"]:
    """Colour features by their three principal components, each from its 10th to its 90th percentile over all views.

    One basis serves all views; a component's largest weight is made positive, so that the same features always have
    the same colours. Where the mask is False the colour is black.
    """
    tokens = features[mask].double()
    centered = tokens - tokens.mean(0)
    _, directions = torch.linalg.eigh(centered.mT @ centered)
    basis = directions[:, -3:].flip(-1)
    basis = basis * basis.gather(0, basis.abs().argmax(0, keepdim=True)).sign()
    components = (centered @ basis).numpy()
    low, high = np.percentile(components, [10, 90], axis=0)
    scaled = ((components - low) / np.maximum(high - low, 1e-12)).clip(0, 1)
    colors = torch.zeros(*mask.shape, 3, dtype=torch.uint8)
    colors[mask] = torch.from_numpy((scaled * 255).round().astype(np.uint8))
    return colors


def _patch_mask(
    prediction: Prediction, features: Float[Tensor, "views rows columns channels"]
) -> Bool[Tensor, "views rows columns"]:
    """Say which patches have their centre in the mask."""
    rows, columns = features.shape[1:3]
    if prediction.mask is None:
        return torch.ones(features.shape[:3], dtype=torch.bool)
    height, width = prediction.mask.shape[1:]
    y = ((torch.arange(rows) + 0.5) * height / rows).long()
    x = ((torch.arange(columns) + 0.5) * width / columns).long()
    return prediction.mask[:, y][:, :, x]


def _upscale(
    colors: UInt8[Tensor, "views rows columns 3"], prediction: Prediction
) -> UInt8[Tensor, "views height width 3"]:
    """Repeat every patch's colour over its pixels."""
    height, width = prediction.images.shape[1:3]
    y = torch.arange(height) * colors.shape[1] // height
    x = torch.arange(width) * colors.shape[2] // width
    upscaled = colors[:, y][:, :, x]
    return upscaled if prediction.mask is None else upscaled * prediction.mask[..., None]
