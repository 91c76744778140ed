from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from anyview.files import atomic_path
from anyview.options import ExportOptions
from anyview.types import Cameras, Gaussians, Placement, Prediction

Nested = TypeVar("Nested", Cameras, Gaussians)

ARRAYS = ("images", "depth", "confidence", "mask", "sky", "rays", "ray_confidence", "canonical_depth")
CAMERA_ARRAYS = ("world_to_camera", "intrinsics")
GAUSSIAN_ARRAYS = ("means", "scales", "quaternions_wxyz", "harmonics", "opacities")
PLACEMENT_COLUMNS = ("input_height", "input_width", "scale_x", "scale_y", "offset_x", "offset_y")


def write(prediction: Prediction, folder: Path, options: ExportOptions) -> list[Path]:
    """Write ``results.npz``, one array per field of the prediction; a field that is None has no array.

    Strings are arrays of strings, so ``numpy.load`` reads the file without pickles. ``placements`` has one row per view
    (`PLACEMENT_COLUMNS`), ``lacks`` one row (field, reason) each; ``features_11`` and ``gaussian_means`` are nested.
    """
    path = folder / "results.npz"
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **_arrays(prediction))
    return [path]


def read_npz(path: str | Path) -> Prediction:
    """Read back what `write` wrote; bit-equal.

    Raises:
        ValueError: the file is not one of ours.
    """
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    missing = {"images", "depth", "units", "model", "names", "placements"} - arrays.keys()
    if missing:
        raise ValueError(f"{path} is not a results.npz of anyview: it has no {', '.join(sorted(missing))}")
    tensors = {name: torch.from_numpy(value) for name, value in arrays.items() if value.dtype.kind in "fub"}
    return Prediction(
        **{name: tensors[name] for name in ARRAYS if name in tensors},
        cameras=_nested(Cameras, CAMERA_ARRAYS, "", tensors),
        gaussians=_nested(Gaussians, GAUSSIAN_ARRAYS, "gaussian_", tensors),
        features={int(name[9:]): value for name, value in tensors.items() if name.startswith("features_")},
        units=arrays["units"].item(),
        model=arrays["model"].item(),
        names=tuple(arrays["names"].tolist()),
        placements=tuple(Placement(int(row[0]), int(row[1]), *row[2:]) for row in arrays["placements"].tolist()),
        metric_scale=arrays["metric_scale"].item() if "metric_scale" in arrays else None,
        lacks=dict(arrays["lacks"].tolist()),
        notes=tuple(arrays["notes"].tolist()),
    )


def _arrays(prediction: Prediction) -> dict[str, Any]:
    values: dict[str, Tensor | None] = {name: getattr(prediction, name) for name in ARRAYS}
    if prediction.cameras is not None:
        values |= {name: getattr(prediction.cameras, name) for name in CAMERA_ARRAYS}
    if prediction.gaussians is not None:
        values |= {f"gaussian_{name}": getattr(prediction.gaussians, name) for name in GAUSSIAN_ARRAYS}
    values |= {f"features_{block}": value for block, value in prediction.features.items()}
    arrays = {name: value.numpy() for name, value in values.items() if value is not None}
    if prediction.metric_scale is not None:
        arrays["metric_scale"] = np.array(prediction.metric_scale)
    return arrays | {
        "units": np.array(prediction.units),
        "model": np.array(prediction.model),
        "names": np.array(prediction.names, str),
        "placements": np.array([[getattr(p, column) for column in PLACEMENT_COLUMNS] for p in prediction.placements]),
        "lacks": np.array(list(prediction.lacks.items()), str).reshape(-1, 2),
        "notes": np.array(prediction.notes, str),
    }


def _nested(kind: type[Nested], fields: tuple[str, ...], prefix: str, tensors: dict[str, Tensor]) -> Nested | None:
    if prefix + fields[0] not in tensors:
        return None
    return kind(**{name: tensors[prefix + name] for name in fields})
