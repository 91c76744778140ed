from pathlib import Path

import numpy as np
import torch

from anyview.files import atomic_path
from anyview.geometry.harmonics import colors_of_harmonics
from anyview.options import ExportOptions
from anyview.render.scene import scene_gaussians
from anyview.types import Gaussians, Prediction

FILE_NAME = "gaussians.splat"
LAYOUT = np.dtype([("position", "<f4", 3), ("scale", "<f4", 3), ("color", "u1", 4), ("rotation", "u1", 4)])
"""One Gaussian: position, standard deviations, red green blue opacity, quaternion wxyz as 128 + 128 q."""


def write(prediction: Prediction, folder: Path, options: ExportOptions) -> list[Path]:
    """Write `FILE_NAME`: 32 bytes for each Gaussian, of one colour from all sides, as web viewers stream them.

    The largest and most opaque come first, so that a viewer that is still loading shows what matters.
    """
    path = folder / FILE_NAME
    with atomic_path(path) as temporary:
        temporary.write_bytes(splat_rows(scene_gaussians(prediction, options)).tobytes())
    return [path]


def splat_rows(gaussians: Gaussians) -> np.ndarray:
    """Lay out Gaussians of one scene as `LAYOUT` says."""
    order = (-gaussians.scales.prod(-1) * gaussians.opacities).argsort(stable=True)
    colors = torch.cat([colors_of_harmonics(gaussians.harmonics[..., 0]), gaussians.opacities[:, None]], -1)[order]
    quaternions = torch.nn.functional.normalize(gaussians.quaternions_wxyz[order], dim=-1)
    rows = np.empty(len(order), LAYOUT)
    rows["position"], rows["scale"] = gaussians.means[order].numpy(), gaussians.scales[order].numpy()
    rows["color"] = (colors.clamp(0, 1) * 255).round().byte().numpy()
    rows["rotation"] = (quaternions * 128 + 128).round().clamp(0, 255).byte().numpy()
    return rows
