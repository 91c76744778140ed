"""What the page shows of a prediction: a folder of plain binary files beside one JSON file."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from anyview.exporters import splat
from anyview.exporters.colors import spectral
from anyview.exporters.depth_vis import depth_range
from anyview.exporters.points import point_cloud, select_pixels, thin
from anyview.files import atomic_path
from anyview.options import ExportOptions
from anyview.render.scene import scene_gaussians
from anyview.serve.jobs import THUMBNAIL
from anyview.types import Prediction

POINT = np.dtype(
    [
        ("position", "<f4", 3),
        ("color", "u1", 4),
        ("confidence", "<f4"),
        ("depth", "<f4"),
        ("view", "<u2"),
        ("unused", "<u2"),
    ]
)
"""One point of points.bin: world position, red green blue 255, confidence (0 without one), depth in its view."""
THUMBNAIL_HEIGHT = 180
"""Pixels."""


def write_view(
    prediction: Prediction,
    folder: Path,
    options: ExportOptions,
    *,
    most_points: int,
    mesh: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write ``view/`` and `THUMBNAIL` into a folder that exists; ``mesh`` is the name of a mesh beside them.

    The points are the ones that the options choose for all formats, but for the confidence: of those below the
    percentile the file holds some too, and the scene says from which confidence on the formats have them. Of more
    Gaussians than ``most_points`` the page gets the largest and most opaque, and the scene says how many there are.
    """
    tell = progress or (lambda done, total: None)
    steps = len(prediction) + 1
    with atomic_path(folder / "view") as temporary:
        temporary.mkdir()
        views = []
        for view in range(len(prediction)):
            tell(view, steps)
            views.append(_write_view(prediction, view, temporary))
        tell(len(prediction), steps)
        scene = {
            "views": views,
            "units": prediction.units,
            "metric": prediction.is_metric,
            "model": prediction.model,
            "notes": list(prediction.notes),
            "confidence_range": _range(prediction.confidence, prediction),
            "depth_range": _range(prediction.depth, prediction),
            "points": _write_points(prediction, temporary, options, most_points),
            "gaussians": _write_gaussians(prediction, folder, temporary, options, most_points),
            "mesh": mesh,
        }
        (temporary / "scene.json").write_text(json.dumps(scene, allow_nan=False))
    write_thumbnail(prediction, folder / THUMBNAIL)
    tell(steps, steps)


def write_thumbnail(prediction: Prediction, path: Path) -> None:
    """Write the first picture and its depth in colours, side by side."""
    from PIL import Image

    depth, valid = prediction.depth[0].numpy(), prediction.valid()[0].numpy()
    shown = depth_range(depth, valid)
    colors = spectral(shown.place(np.where(valid, depth, np.float32(shown.far))))
    both = Image.fromarray(np.concatenate([prediction.images[0].numpy(), colors], 1))
    both.thumbnail((4 * THUMBNAIL_HEIGHT, THUMBNAIL_HEIGHT))
    path.write_bytes(_jpeg(np.asarray(both)))


def _write_view(prediction: Prediction, view: int, folder: Path) -> dict[str, Any]:
    name, (height, width) = f"{view:03d}", prediction.depth.shape[1:]
    (folder / f"{name}.jpg").write_bytes(_jpeg(prediction.images[view].numpy()))
    valid = prediction.valid()[view]
    # 0 stands for none, as in the depth pictures.
    torch.where(valid, prediction.depth[view], 0.0).numpy().astype("<f4").tofile(folder / f"{name}.depth")
    confidence = None
    if prediction.confidence is not None:
        confidence = f"view/{name}.confidence"
        prediction.confidence[view].numpy().astype("<f4").tofile(folder / f"{name}.confidence")
    camera = None if prediction.cameras is None else prediction.cameras[view]
    return {
        "name": prediction.names[view],
        "width": width,
        "height": height,
        "intrinsics": None if camera is None else camera.intrinsics.tolist(),
        "world_to_camera": None if camera is None else camera.world_to_camera.tolist(),
        "image": f"view/{name}.jpg",
        "depth": f"view/{name}.depth",
        "confidence": confidence,
    }


def _write_points(
    prediction: Prediction, folder: Path, options: ExportOptions, most_points: int
) -> dict[str, Any] | None:
    if prediction.cameras is None:
        return None
    asked = select_pixels(prediction, options)
    options = replace(options, confidence_percentile=0.0, max_points=min(options.max_points, most_points))
    rows = point_rows(prediction, options)
    rows.tofile(folder / "points.bin")
    threshold = None
    if prediction.confidence is not None and asked.any():
        threshold = prediction.confidence[asked].min().item()
    bounds = [rows["position"].min(0).tolist(), rows["position"].max(0).tolist()] if len(rows) else None
    return {"file": "view/points.bin", "count": len(rows), "bounds": bounds, "confidence_threshold": threshold}


def point_rows(prediction: Prediction, options: ExportOptions) -> np.ndarray:
    """Lay out the points that the options choose as `POINT` says."""
    cloud = point_cloud(prediction, options)
    chosen = thin(select_pixels(prediction, options), options.max_points, options.sampling_seed)
    rows = np.zeros(len(cloud.positions), POINT)
    rows["position"] = cloud.positions.numpy()
    rows["color"][:, :3] = cloud.colors.numpy()
    rows["color"][:, 3] = 255
    rows["depth"] = prediction.depth[chosen].numpy()
    rows["view"] = chosen.nonzero()[:, 0].numpy()
    if cloud.confidence is not None:
        rows["confidence"] = cloud.confidence.numpy()
    return rows


def _write_gaussians(
    prediction: Prediction, exported: Path, folder: Path, options: ExportOptions, most: int
) -> dict[str, Any] | None:
    """Take the file that was exported, if it is not too large; its first Gaussians are the ones that matter most."""
    path = exported / splat.FILE_NAME
    if path.is_file():
        total = path.stat().st_size // splat.LAYOUT.itemsize
        if total <= most:
            return {"file": path.name, "count": total, "total": total}
        rows = np.fromfile(path, splat.LAYOUT, most)
    elif prediction.gaussians is not None:
        rows = splat.splat_rows(scene_gaussians(prediction, options))
        total, rows = len(rows), rows[:most]
    else:
        return None
    rows.tofile(folder / splat.FILE_NAME)
    return {"file": f"view/{splat.FILE_NAME}", "count": len(rows), "total": total}


def _range(values: Float[Tensor, "views height width"] | None, prediction: Prediction) -> list[float] | None:
    """Smallest and largest of what is valid and finite."""
    if values is None:
        return None
    good = values[prediction.valid() & values.isfinite()]
    return [good.min().item(), good.max().item()] if len(good) else None


def _jpeg(pixels: UInt8[np.ndarray, "height width 3"]) -> bytes:
    from PIL import Image

    file = io.BytesIO()  # written by us, since Pillow does not notice a JPEG that a full disk cuts short
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()
