"""``transforms.json`` of nerfstudio, instant-ngp and Blender's data sets, as scenes with known cameras."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from anyview.geometry.pose import rigid_inverse
from anyview.images.budget import ReadingBudget
from anyview.images.decode import decode_file, picture_size
from anyview.images.pinhole import KnownView, check_aspect, straight_intrinsics, undistort
from anyview.images.pool import Progress, map_in_order
from anyview.images.read import PICTURE_SUFFIXES, missing_path, unique_names
from anyview.types import Cameras, Picture, Scene

_PERSPECTIVE = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE")
_FISHEYE = ("OPENCV_FISHEYE", "FISHEYE")
_Job = tuple[Path, str, Mapping[str, Any]]
"""A picture's file and name, and what the file says of it."""


def read_transforms(path: str | Path, *, progress: Progress | None = None) -> Scene:
    """Read a ``transforms.json``, or the one in a folder: its pictures in the order of the file, with their cameras.

    Poses become world-to-camera with OpenCV's axes, in the world of the file; ``applied_transform``, which leads from
    the capture's own world to that one, has no part in it. Intrinsics may be given once or per frame, by focal lengths
    or by ``camera_angle_x``; pictures of another size than ``w`` × ``h`` get intrinsics of their own size. Lens
    distortion is taken out. Pixels are taken as stored, EXIF orientation ignored, as nerfstudio takes them.

    Raises:
        ValueError: the file is not such a file, pictures are missing, or the lens model is unknown.
    """
    path, jobs = _listed(path)
    camera_to_world = torch.from_numpy(np.stack([_camera_to_world(path, frame) for _, _, frame in jobs]))
    budget = ReadingBudget(len(jobs))
    read = map_in_order(lambda job: _read_as_pinhole(path, job, budget), jobs, progress)
    return Scene(
        pictures=tuple(picture for picture, _ in read),
        cameras=Cameras.from_arrays(rigid_inverse(camera_to_world), [intrinsics for _, intrinsics in read]),
        source=str(path),
    )


def list_transforms(path: Path) -> list[KnownView]:
    """List the pictures of a ``transforms.json`` with their cameras, without reading more of them than their sizes.

    Raises:
        ValueError: as `read_transforms`, but for pictures that are broken.
    """
    path, jobs = _listed(path)
    views = []
    for job in jobs:
        picture_path, name, frame = job
        size = picture_size(picture_path)
        intrinsics, coefficients, fisheye = _camera(path, job, size)
        if fisheye or any(coefficients):
            intrinsics = straight_intrinsics(size, intrinsics, coefficients, fisheye=fisheye)
        pose = Cameras.from_arrays(rigid_inverse(torch.from_numpy(_camera_to_world(path, frame))), intrinsics)
        read = partial(_read_straight, path, job)
        views.append(KnownView(name, size, pose.world_to_camera, intrinsics, read))
    return views


def _listed(path: str | Path) -> tuple[Path, list[_Job]]:
    path = Path(path).expanduser()
    path = path / "transforms.json" if path.is_dir() else path
    document = _load(path)
    frames = [{**document, **frame} for frame in document["frames"]]
    paths = [_picture_path(path.parent, frame["file_path"]) for frame in frames]
    missing = [str(wanted) for wanted in paths if not wanted.is_file()]
    if missing:
        raise ValueError(f"{path} names {len(missing)} pictures that do not exist: {', '.join(missing[:5])}")
    return path, list(zip(paths, _names(path.parent, paths), frames, strict=True))


def _load(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise ValueError(missing_path(path))
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    frames = document.get("frames") if isinstance(document, dict) else None
    if not frames or not all(isinstance(frame, dict) and isinstance(frame.get("file_path"), str) for frame in frames):
        raise ValueError(f"{path} has no list 'frames' with a 'file_path' in each")
    return document


def _picture_path(folder: Path, file_path: str) -> Path:
    """Find a picture; Blender's data sets leave the suffix out."""
    path = folder / file_path
    candidates = [path, *(path.with_name(path.name + suffix) for suffix in sorted(PICTURE_SUFFIXES))]
    return next((candidate for candidate in candidates if candidate.is_file()), path)


def _names(folder: Path, paths: Sequence[Path]) -> tuple[str, ...]:
    """File names; where those are not unique, paths as seen from the folder."""
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = [Path(os.path.relpath(path, folder)).as_posix() for path in paths]
    return unique_names(names)


def _camera_to_world(path: Path, frame: Mapping[str, Any]) -> Float[np.ndarray, "4 4"]:
    """Return a frame's pose with OpenCV's camera axes; the file's are OpenGL's (y up, z backward)."""
    wanted = f"{path}: expected a 4x4 'transform_matrix' for {frame['file_path']}"
    try:
        matrix = np.array(frame.get("transform_matrix", ()), np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{wanted}; got rows of different lengths, or what is no number") from error
    if matrix.shape not in ((3, 4), (4, 4)):
        raise ValueError(f"{wanted}; got the shape {list(matrix.shape)}")
    if len(matrix) == 4 and not np.allclose(matrix[3], [0, 0, 0, 1]):
        raise ValueError(f"{wanted} with the last row (0, 0, 0, 1); got {matrix[3].tolist()}")
    return np.vstack([matrix[:3] * [1, -1, -1, 1], [0, 0, 0, 1]])


def _read_straight(path: Path, job: _Job) -> UInt8[np.ndarray, "height width 3"]:
    return _read_as_pinhole(path, job, ReadingBudget(1))[0].pixels


def _read_as_pinhole(path: Path, job: _Job, budget: ReadingBudget) -> tuple[Picture, Float[np.ndarray, "3 3"]]:
    picture_path, name, _ = job
    pixels = budget.take(decode_file(picture_path, name, upright=False)).pixels
    intrinsics, coefficients, fisheye = _camera(path, job, (pixels.shape[0], pixels.shape[1]))
    if fisheye or any(coefficients):
        pixels, intrinsics = undistort(pixels, intrinsics, coefficients, fisheye=fisheye)
    return Picture(pixels, name), intrinsics


def _camera(path: Path, job: _Job, size: tuple[int, int]) -> tuple[Float[np.ndarray, "3 3"], tuple[float, ...], bool]:
    """Return intrinsics and lens of a picture of ``size`` (height, width), which may not be that of the file's."""
    picture_path, _, frame = job
    height, width = size
    camera_size = int(_number(path, frame, "h", height)), int(_number(path, frame, "w", width))
    if min(camera_size) < 1:
        raise ValueError(f"{path}: expected a size of at least 1x1 pixels as 'w' and 'h'; got {camera_size[::-1]}")
    check_aspect(picture_path, size, camera_size)
    scale = np.array([[width / camera_size[1]], [height / camera_size[0]], [1.0]])
    return _intrinsics(path, frame, *camera_size) * scale, *_lens(path, frame)


def _intrinsics(path: Path, frame: Mapping[str, Any], height: int, width: int) -> Float[np.ndarray, "3 3"]:
    focal_x = _number(path, frame, "fl_x", 0) or _focal_length(_number(path, frame, "camera_angle_x", 0), width)
    focal_y = _number(path, frame, "fl_y", 0) or _focal_length(_number(path, frame, "camera_angle_y", 0), height)
    if not focal_x:
        raise ValueError(f"{path} gives no focal length ('fl_x' or 'camera_angle_x') for {frame['file_path']}")
    center_x, center_y = _number(path, frame, "cx", width / 2), _number(path, frame, "cy", height / 2)
    return np.array([[focal_x, 0, center_x], [0, focal_y or focal_x, center_y], [0, 0, 1]], np.float64)


def _focal_length(angle_rad: float, side: int) -> float:
    return side / 2 / math.tan(angle_rad / 2) if angle_rad else 0.0


def _number(path: Path, frame: Mapping[str, Any], key: str, default: int | float) -> float:
    value = default if frame.get(key) is None else frame[key]
    if not (isinstance(value, int | float) and math.isfinite(value)):
        raise ValueError(f"{path}: expected a number as {key!r} of {frame['file_path']}; got {value!r}")
    return float(value)


def _lens(path: Path, frame: Mapping[str, Any]) -> tuple[tuple[float, ...], bool]:
    """Return OpenCV's distortion coefficients, and whether they are of its fisheye model."""
    model = frame.get("camera_model", "OPENCV_FISHEYE" if frame.get("is_fisheye") else "OPENCV")
    k1, k2, k3, k4, p1, p2 = (_number(path, frame, name, 0) for name in ("k1", "k2", "k3", "k4", "p1", "p2"))
    if model in _FISHEYE:
        return (k1, k2, k3, k4), True
    if model not in _PERSPECTIVE or k4 != 0:
        known = ", ".join((*_PERSPECTIVE, *_FISHEYE))
        raise ValueError(
            f"{path}: camera model {model} with k4 = {k4:g} cannot become a pinhole camera; known: {known}"
        )
    return (k1, k2, p1, p2, k3), False
