"""Hypersim (Roberts et al., 2021) as published; one scene for each camera trajectory.

ai_001_001/_detail/metadata_scene.csv                              metres per unit of positions
ai_001_001/_detail/cam_00/camera_keyframe_{positions,orientations,frame_indices}.hdf5
ai_001_001/images/scene_cam_00_final_preview/frame.0000.tonemap.jpg
ai_001_001/images/scene_cam_00_geometry_hdf5/frame.0000.depth_meters.hdf5   distance from the camera's centre
metadata_camera_parameters.csv                                     optional; lenses that are shifted or tilted
"""

import csv
import math
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from anyview.geometry.pose import rigid_inverse, rigid_transform
from anyview.images.decode import decode_file
from anyview.recordings.scene import Frame, RealScene, SceneList, check_depth, check_poses
from anyview.types import Cameras

HEIGHT, WIDTH = 768, 1024
FIELD_OF_VIEW = math.pi / 3
"""Horizontal, of most cameras."""
UP_AND_BACK = np.diag([1.0, -1, -1])
"""Its camera axes (x right, y up, z backward) from OpenCV's."""


def read_hypersim(path: Path) -> SceneList:
    """Read every trajectory below a folder. Needs h5py (extra ``train``).

    Raises:
        ValueError: there is none, or files of one are missing or broken.
    """
    folders = sorted(file.parent for file in path.rglob("_detail/cam_*/camera_keyframe_positions.hdf5"))
    if not folders:
        raise ValueError(f"{path} holds no trajectory of Hypersim: no _detail/cam_*/camera_keyframe_positions.hdf5")
    lenses = _read_lenses(path / "metadata_camera_parameters.csv")
    return SceneList([_read_trajectory(folder, lenses) for folder in folders])


def _read_trajectory(folder: Path, lenses: dict[str, Float[np.ndarray, "3 3"]]) -> RealScene:
    scene, camera = folder.parent.parent, folder.name
    positions, orientations, numbers = (
        read_hdf5(folder / f"camera_keyframe_{kind}.hdf5") for kind in ("positions", "orientations", "frame_indices")
    )
    frames = len(positions)
    if positions.shape != (frames, 3) or orientations.shape != (frames, 3, 3) or numbers.shape != (frames,):
        raise ValueError(
            f"{folder}: expected positions [frames, 3], orientations [frames, 3, 3] and frame_indices [frames]; got "
            f"{list(positions.shape)}, {list(orientations.shape)} and {list(numbers.shape)}"
        )
    intrinsics, turn = pinhole_and_turn(lenses.get(scene.name))
    rotation = torch.from_numpy(orientations.astype(np.float64) @ UP_AND_BACK @ turn)
    center = torch.from_numpy(positions.astype(np.float64)) * _metres_per_unit(scene / "_detail" / "metadata_scene.csv")
    poses = rigid_inverse(rigid_transform(rotation, center)).float()
    check_poses(folder, Cameras(poses, torch.from_numpy(intrinsics).float().expand(frames, 3, 3)))
    images = scene / "images"

    def read(number: int) -> Frame:
        name = f"frame.{int(numbers[number]):04d}"
        pixels = decode_file(images / f"scene_{camera}_final_preview" / f"{name}.tonemap.jpg", name).pixels
        file = images / f"scene_{camera}_geometry_hdf5" / f"{name}.depth_meters.hdf5"
        # Rays that hit nothing have NaN or infinity.
        distance = np.nan_to_num(read_hdf5(file).astype(np.float32), nan=0, posinf=0)
        height, width = pixels.shape[:2]
        to_picture = np.diag([width / WIDTH, height / HEIGHT, 1.0])
        depth = check_depth(file, distance, (height, width)) / _ray_lengths(to_picture @ intrinsics, height, width)
        return Frame(pixels, to_picture @ intrinsics, depth.astype(np.float32))

    return RealScene(f"{scene.name}/{camera}", poses, read)


def pinhole_and_turn(
    lens: Float[np.ndarray, "3 3"] | None,
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3 3"]]:
    """Return intrinsics, and the rotation of a lens' image plane (from the pinhole's frame to the camera's, OpenCV).

    ``lens`` takes (u, v, 1), from −1 to 1 to the right and upwards, to directions. That of a shifted or tilted lens is
    no pinhole's along the camera's axis, but every such map is a rotation times an upper triangular matrix.
    """
    if lens is None:
        tangent = math.tan(FIELD_OF_VIEW / 2)
        lens = np.diag([tangent, tangent * HEIGHT / WIDTH, -1.0])
    to_plane = np.array([[2 / WIDTH, 0, -1], [0, -2 / HEIGHT, 1], [0, 0, 1]])
    rotation, upper = np.linalg.qr(UP_AND_BACK @ lens @ to_plane)
    signs = np.sign(np.diag(upper))
    rotation, upper = rotation * signs, signs[:, None] * upper
    intrinsics = np.linalg.inv(upper / upper[2, 2])
    return np.triu(intrinsics) / intrinsics[2, 2], rotation


def _ray_lengths(intrinsics: Float[np.ndarray, "3 3"], height: int, width: int) -> Float[np.ndarray, "height width"]:
    y, x = np.mgrid[:height, :width] + 0.5
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(intrinsics).T
    return np.linalg.norm(rays, axis=-1)


def read_hdf5(path: Path) -> np.ndarray:
    """Read the one array of a file.

    Raises:
        ValueError: the file is missing or broken.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError('Hypersim\'s files need `pip install "anyview[train]"`') from error
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    try:
        with h5py.File(path, "r") as file:
            return file["dataset"][:]
    except (OSError, KeyError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _metres_per_unit(path: Path) -> float:
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    with path.open(newline="") as file:
        rows = {row[0]: row[1] for row in csv.reader(file) if len(row) >= 2}
    if "meters_per_asset_unit" not in rows:
        raise ValueError(f"{path} does not give meters_per_asset_unit")
    return float(rows["meters_per_asset_unit"])


def _read_lenses(path: Path) -> dict[str, Float[np.ndarray, "3 3"]]:
    if not path.is_file():
        return {}
    names = [[f"M_cam_from_uv_{row}{column}" for column in range(3)] for row in range(3)]
    with path.open(newline="") as file:
        return {
            row["scene_name"]: np.array([[float(row[name]) for name in line] for line in names])
            for row in csv.DictReader(file)
        }
