from pathlib import Path

import numpy as np
import torch

from anyview.exporters.points import PointCloud, point_cloud
from anyview.files import atomic_path
from anyview.options import ExportOptions
from anyview.types import Prediction, Units

LAYOUT = {
    "positions": ("float", ("x", "y", "z")),
    "normals": ("float", ("nx", "ny", "nz")),
    "colors": ("uchar", ("red", "green", "blue")),
    "confidence": ("float", ("confidence",)),
}
"""Field of `PointCloud` -> PLY type and properties, in the order of the file."""
NUMPY_TYPES = {"float": "<f4", "uchar": "u1"}


def write(prediction: Prediction, folder: Path, options: ExportOptions) -> list[Path]:
    """Write ``points.ply``: the chosen points in world coordinates, with normal, colour and (if any) confidence."""
    path = folder / "points.ply"
    with atomic_path(path) as temporary:
        write_ply(temporary, point_cloud(prediction, options, normals=True), prediction)
    return [path]


def write_ply(path: Path, cloud: PointCloud, prediction: Prediction) -> None:
    """Write a binary little-endian PLY file whose comments say the prediction's unit and model."""
    write_points(path, cloud, prediction.units, prediction.model)


def write_points(path: Path, cloud: PointCloud, units: Units, model: str) -> None:
    """Write points that come from several predictions of one model, as `write_ply` does."""
    fields = [field for field in LAYOUT if getattr(cloud, field) is not None]
    rows = np.empty(len(cloud.positions), _row_type(fields))
    for field in fields:
        rows[field] = getattr(cloud, field).numpy()
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment units {units}",
        f"comment model {model}",
        f"element vertex {len(rows)}",
        *_properties(fields),
        "end_header",
    ]
    path.write_bytes("".join(line + "\n" for line in header).encode() + rows.tobytes())


def read_ply(path: str | Path) -> PointCloud:
    """Read back what `write_ply` wrote; bit-equal.

    Raises:
        ValueError: the file is not one of ours.
    """
    header, _, body = Path(path).read_bytes().partition(b"end_header\n")
    lines = header.decode("utf-8", "replace").splitlines()
    properties = [line for line in lines if line.startswith("property ")]
    fields = [field for field in LAYOUT if _properties([field])[0] in properties]
    if "positions" not in fields or properties != _properties(fields) or "binary_little_endian" not in lines[1]:
        raise ValueError(f"{path} is not a point cloud that anyview wrote: expected binary PLY with {[*LAYOUT]}")
    rows = np.frombuffer(body, _row_type(fields))
    return PointCloud(**{field: torch.from_numpy(rows[field].copy()) for field in fields})


def _row_type(fields: list[str]) -> np.dtype:
    sizes = {field: (len(names),) if len(names) > 1 else () for field, (_, names) in LAYOUT.items()}
    return np.dtype([(field, NUMPY_TYPES[LAYOUT[field][0]], sizes[field]) for field in fields])


def _properties(fields: list[str]) -> list[str]:
    return [f"property {kind} {name}" for kind, names in (LAYOUT[field] for field in fields) for name in names]
