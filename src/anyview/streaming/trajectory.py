"""Trajectories as files: TUM and KITTI in and out, COLMAP and nerfstudio out, known poses from any of the first three.

TUM has a line per frame, ``time x y z qx qy qz qw``; KITTI one with the 12 numbers of a 3×4 matrix. Both are camera to
world with OpenCV's axes.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anyview.exporters.names import file_stems
from anyview.files import atomic_path
from anyview.geometry.pose import (
    homogeneous,
    matrix_from_quaternion_xyzw,
    quaternion_xyzw_from_matrix,
    rigid_inverse,
    rigid_transform,
)
from anyview.images.colmap import find_models, read_model
from anyview.images.read import missing_path
from anyview.streaming.known import KnownPoses
from anyview.types import Cameras, Units


def write_tum(path: Path, times_s: Sequence[float], world_to_camera: Float[Tensor, "frames 4 4"]) -> None:
    """Write times and poses, all digits of float64 that matter."""
    camera_to_world = rigid_inverse(world_to_camera.double())
    quaternions = quaternion_xyzw_from_matrix(camera_to_world[:, :3, :3])
    rows = (torch.cat([camera_to_world[:, :3, 3], quaternions], -1) + 0.0).tolist()  # no negative zeros
    lines = [f"{t:.6f} " + " ".join(f"{v:.9g}" for v in row) for t, row in zip(times_s, rows, strict=True)]
    _write_text(path, "# time x y z qx qy qz qw (camera to world)", lines)


def read_tum(path: Path) -> tuple[list[float], Float[Tensor, "frames 4 4"]]:
    """Read times and poses (world to camera), in the order of time.

    Raises:
        ValueError: the file is no such file.
    """
    rows = _read_numbers(path, 8)
    rows = rows[rows[:, 0].argsort()]
    camera_to_world = rigid_transform(matrix_from_quaternion_xyzw(rows[:, 4:]), rows[:, 1:4])
    return rows[:, 0].tolist(), rigid_inverse(camera_to_world)


def write_kitti(path: Path, world_to_camera: Float[Tensor, "frames 4 4"]) -> None:
    """Write one pose per line, for every frame of the source."""
    rows = rigid_inverse(world_to_camera.double())[:, :3].flatten(1).tolist()
    _write_text(path, None, [" ".join(f"{value:.9e}" for value in row) for row in rows])


def read_kitti(path: Path) -> Float[Tensor, "frames 4 4"]:
    """Read poses (world to camera).

    Raises:
        ValueError: the file is no such file.
    """
    return rigid_inverse(homogeneous(_read_numbers(path, 12).view(-1, 3, 4)))


def every_position(
    index: Sequence[int], poses: Float[Tensor, "frames 4 4"], count: int
) -> Float[Tensor, "positions 4 4"]:
    """Give each of a source's ``count`` positions a pose: passed-over ones stand where the one before did."""
    latest = np.searchsorted(np.asarray(index), np.arange(count), side="right") - 1
    return poses[torch.from_numpy(latest.clip(min=0))]


def read_known_poses(path: str | Path) -> KnownPoses:
    """Read known poses from a TUM or KITTI file, or by name from a COLMAP project.

    Raises:
        ValueError: it is none of these.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        models = find_models(path)
        if not models:
            raise ValueError(f"{path} holds no COLMAP model; known poses come from one, or from a TUM or KITTI file")
        return KnownPoses(by_name=_colmap_poses(models[0]))
    if not path.is_file():
        raise ValueError(missing_path(path))
    columns = _count_columns(path)
    if columns == 8:
        times_s, poses = read_tum(path)
        return KnownPoses(times_s=times_s, timed=tuple(poses))
    if columns == 12:
        return KnownPoses(by_index=dict(enumerate(read_kitti(path))))
    raise ValueError(f"{path}: expected 8 numbers a line (TUM) or 12 (KITTI), got {columns}")


def _colmap_poses(model: Path) -> dict[str, Float[Tensor, "4 4"]]:
    poses = {}
    for image in read_model(model).images.values():
        pose = homogeneous(torch.from_numpy(np.array(image.cam_from_world().matrix())))
        poses[image.name] = poses[Path(image.name).name] = pose
    return poses


def write_colmap(path: Path, names: Sequence[str], cameras: Cameras, height: int, width: int) -> None:
    """Write a COLMAP model as text, one pinhole camera per picture, without points."""
    poses, matrices = cameras.world_to_camera.double(), cameras.intrinsics.double()
    quaternions = quaternion_xyzw_from_matrix(poses[:, :3, :3]).tolist()
    camera_lines, image_lines = [], []
    for view, name in enumerate(names):
        (focal_x, _, center_x), (_, focal_y, center_y), _ = matrices[view].tolist()
        lens = " ".join(f"{value:.9g}" for value in (focal_x, focal_y, center_x, center_y))
        camera_lines.append(f"{view + 1} PINHOLE {width} {height} {lens}")
        x, y, z, w = quaternions[view]
        pose = " ".join(f"{value:.12g}" for value in (w, x, y, z, *poses[view, :3, 3].tolist()))
        image_lines += [f"{view + 1} {pose} {view + 1} {name}", ""]
    with atomic_path(path) as temporary:
        temporary.mkdir()
        (temporary / "cameras.txt").write_text("\n".join([*camera_lines, ""]))
        (temporary / "images.txt").write_text("\n".join([*image_lines, ""]))
        (temporary / "points3D.txt").write_text("")


def write_transforms(
    path: Path, names: Sequence[str], cameras: Cameras, height: int, width: int, units: Units, model: str
) -> None:
    """Write nerfstudio's ``transforms.json``, whose frames are called as in the source; its axes are OpenGL's."""
    to_opencv = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))
    camera_to_world = (rigid_inverse(cameras.world_to_camera.double()) @ to_opencv).tolist()
    frames = []
    for name, matrix, intrinsics in zip(names, camera_to_world, cameras.intrinsics.double().tolist(), strict=True):
        (focal_x, _, center_x), (_, focal_y, center_y), _ = intrinsics
        lens = {"fl_x": focal_x, "fl_y": focal_y, "cx": center_x, "cy": center_y}
        frames.append({"file_path": name, **lens, "transform_matrix": matrix})
    document = {"camera_model": "OPENCV", "w": width, "h": height, "units": units, "model": model, "frames": frames}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(document) + "\n")


def frame_stems(index: Sequence[int], names: Sequence[str]) -> tuple[str, ...]:
    """Name files after frames: position, then the picture's own name where it says more."""
    stems = file_stems(names)
    return tuple(f"{position:08d}_{stem}" for position, stem in zip(index, stems, strict=True))


def _write_text(path: Path, header: str | None, lines: Sequence[str]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join([*([header] if header else []), *lines, ""]))


def _data_lines(path: Path) -> list[str]:
    lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _count_columns(path: Path) -> int:
    lines = _data_lines(path)
    return len(lines[0].split()) if lines else 0


def _read_numbers(path: Path, columns: int) -> Float[Tensor, "rows columns"]:
    rows = []
    for number, line in enumerate(_data_lines(path), start=1):
        try:
            values = [float(word) for word in line.split()]
        except ValueError as error:
            raise ValueError(f"{path}: pose {number} holds what is no number: {line[:60]!r}") from error
        if len(values) != columns or not all(map(math.isfinite, values)):
            raise ValueError(f"{path}: expected {columns} finite numbers for pose {number}, got {line[:60]!r}")
        rows.append(values)
    if not rows:
        raise ValueError(f"{path} holds no poses")
    return torch.tensor(rows, dtype=torch.float64)
