"""Prediction -> files. Each format is the module of its name, with ``write(prediction, folder, options) -> paths``.

The table is free of torch, and a format's module is imported when it is written, so that help texts come at once.
"""

import importlib
import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyview.files import check_folder
from anyview.options import ExportOptions, GaussianOptions, nearest_names

if TYPE_CHECKING:
    import anyview.types

_GAUSSIANS_AS_THEY_ARE: dict[str, Any] = {field.name: field.default for field in fields(GaussianOptions)}
"""Options for Gaussians that have been chosen, merged and recoloured once for all formats."""
HIGHEST_FPS = 240.0
"""Of written videos, in frames per second."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """What users and `export` must know about a format before it is written."""

    description: str
    needs: tuple[str, ...] = ()
    """Fields of the prediction that must be there."""
    points: bool = False
    """Whether it shows the points that the options choose, of which there must be one at least."""
    package: str | None = None
    """Optional package; the extra that brings it has the name of the format."""


FORMATS = {
    "npz": Format(description="results.npz: everything the prediction holds, as NumPy arrays"),
    "depth_png": Format(description="depth_png/*.png: 16-bit depth, scale and unit in the PNG's text"),
    "depth_exr": Format(description="depth_exr/*.exr: 32-bit float depth"),
    "depth_vis": Format(description="depth_vis/*.jpg: the picture beside its coloured depth, with a legend"),
    "depth_video": Format(description="depth_video.mp4: the same as a video, one depth range for all frames"),
    "features": Format(description="features/*/*.png: patch features as colours (PCA)", needs=("features",)),
    "glb": Format(description="scene.glb: coloured points and camera frusta", needs=("cameras",), points=True),
    "ply": Format(description="points.ply: points with colour, normal and confidence", needs=("cameras",), points=True),
    "colmap": Format(
        description="colmap/sparse/0: cameras, images and points with tracks", needs=("cameras",), package="pycolmap"
    ),
    "mesh": Format(
        description="mesh.ply: depth fused into one coloured surface", needs=("cameras",), points=True, package="open3d"
    ),
    "transforms": Format(
        description="transforms/: nerfstudio's transforms.json, images and points", needs=("cameras",), points=True
    ),
    "gaussians_ply": Format(description="gaussians.ply: Gaussians for splat viewers", needs=("gaussians",)),
    "splat": Format(description="gaussians.splat: Gaussians for web viewers", needs=("gaussians",)),
    "spz": Format(
        description="gaussians.spz: the same, compressed to about a tenth of the PLY file", needs=("gaussians",)
    ),
    "gaussians_video": Format(
        description="gaussians_video.mp4: a flight through the Gaussians, colour and depth",
        needs=("cameras", "gaussians"),
    ),
}


def export(
    prediction: "anyview.types.Prediction",
    folder: str | Path,
    formats: str | Sequence[str],
    options: ExportOptions = ExportOptions(),
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, list[Path]]:
    """Write a prediction into ``folder`` in the given formats and return the paths by format.

    All formats are checked before the first is written. Files of the same names are replaced, each as a whole.

    Args:
        prediction: stays as it is.
        folder: made if missing.
        formats: names from `FORMATS`.
        options: which points are written, and how.
        progress: called with the number of formats done and that of all.

    Raises:
        ValueError: an unknown format, a bad option, a folder that is a file or cannot be written to, or a prediction
            without what a format needs.
        ImportError: a format needs a package that is not installed.
        OSError: the disk is full, for example. The format in work leaves nothing behind; those before it are complete.
    """
    names = [formats] if isinstance(formats, str) else list(dict.fromkeys(formats))
    folder = Path(folder)
    check_request(folder, names, options)
    _check_prediction(prediction, names, options)
    shown = _with_shown_gaussians(prediction, options) if any(map(_shows_gaussians, names)) else prediction
    as_they_are = replace(options, **_GAUSSIANS_AS_THEY_ARE)
    paths = {}
    for done, name in enumerate(names):
        if progress:
            progress(done, len(names))
        written = (shown, folder, as_they_are) if _shows_gaussians(name) else (prediction, folder, options)
        try:
            paths[name] = importlib.import_module(f"{__name__}.{name}").write(*written)
        except OSError as error:
            raise OSError(
                error.errno, f"{name} could not be written: {error.strerror or error}", str(folder)
            ) from error
    if progress:
        progress(len(names), len(names))
    return paths


def check_request(folder: str | Path, formats: Sequence[str], options: ExportOptions) -> None:
    """Check what can be checked before there is a prediction: formats, their packages, options and the folder.

    Raises:
        ValueError: an unknown format, a bad option, or a folder that is a file or cannot be written to.
        ImportError: a format needs a package that is not installed, or does not work.
    """
    check_formats(formats, options)
    check_folder(folder)


def check_formats(formats: Sequence[str], options: ExportOptions) -> None:
    """Check formats, their packages and options, and touch no folder.

    Raises:
        ValueError: an unknown format, or a bad option.
        ImportError: a format needs a package that is not installed, or does not work.
    """
    for name in formats:
        if name not in FORMATS:
            raise ValueError(f"unknown format {name!r}: {nearest_names(name, FORMATS)}")
        package = FORMATS[name].package
        if package == "open3d":
            from anyview.fusion.tsdf import check_open3d

            check_open3d()
        elif package and not importlib.util.find_spec(package):
            raise ImportError(f'format {name!r} needs {package}: pip install "anyview[{name}]"')
    _check_options(options)


def _check_options(options: ExportOptions) -> None:
    if not 0 <= options.confidence_percentile <= 100:
        raise ValueError(f"confidence_percentile must be 0 to 100, got {options.confidence_percentile}")
    options.check_gaussians()
    if options.mesh_voxel is not None and not 0 < options.mesh_voxel < math.inf:
        raise ValueError(f"mesh_voxel must be above 0, got {options.mesh_voxel}")
    if options.fps > HIGHEST_FPS:
        raise ValueError(f"fps must be at most {HIGHEST_FPS:g}, got {options.fps}")
    if not 0 <= options.sampling_seed < 2**63:
        raise ValueError(f"sampling_seed must be from 0 to below 2**63, got {options.sampling_seed}")
    for name in ("max_points", "max_tracks", "fps", "camera_size"):
        if not getattr(options, name) > 0:
            raise ValueError(f"{name} must be above 0, got {getattr(options, name)}")


def _check_prediction(prediction: "anyview.types.Prediction", formats: Sequence[str], options: ExportOptions) -> None:
    for name in formats:
        for needed in FORMATS[name].needs:
            # Gaussians that are made of depth and colour need cameras instead.
            field = "cameras" if needed == "gaussians" and options.pixel_gaussians else needed
            if not getattr(prediction, field):
                reason = prediction.lacks.get(field, "they were not predicted")
                raise ValueError(f"format {name!r} needs {field}, and this prediction has none: {reason}")
    if any(FORMATS[name].points for name in formats):
        from anyview.exporters.points import select_pixels

        if not select_pixels(prediction, options).any():
            raise ValueError(
                "no point is left to write: all pixels are masked, or dropped by confidence, sky or background"
            )


def _shows_gaussians(name: str) -> bool:
    return "gaussians" in FORMATS[name].needs


def _with_shown_gaussians(prediction: "anyview.types.Prediction", options: ExportOptions) -> "anyview.types.Prediction":
    from anyview.render.scene import scene_gaussians

    return replace(prediction, gaussians=scene_gaussians(prediction, options))
