"""TartanAir (Wang et al., 2020) as published: ENVIRONMENT/Easy|Hard/P000/{image_left, depth_left, pose_left.txt}."""

from pathlib import Path

import numpy as np
import torch

from anyview.geometry.pose import matrix_from_quaternion_xyzw, rigid_inverse, rigid_transform
from anyview.images.decode import decode_file
from anyview.recordings.scene import Frame, RealScene, SceneList, check_depth, check_poses, read_depth
from anyview.types import Cameras

INTRINSICS = np.array([[320.0, 0, 320], [0, 320, 240], [0, 0, 1]])
FORWARD_RIGHT_DOWN = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
"""Its camera axes (x forward, y right, z down) from OpenCV's."""
LEFT_OUT = frozenset({"amusement"})
"""Environments that the paper drops (training spec 3.6)."""
FARTHEST = {"carwelding": 80.0, "hospital": 30.0, "ocean": 1000.0, "office": 30.0, "office2": 30.0}
"""Metres beyond which the paper clips depth; such pixels have none here [inferred]."""


def read_tartanair(path: Path) -> SceneList:
    """Read every trajectory below a folder.

    Raises:
        ValueError: there is none, or files of one are missing or broken.
    """
    files = sorted(path.rglob("pose_left.txt"))
    files = [file for file in files if not LEFT_OUT.intersection(file.relative_to(path).parts)]
    if not files:
        raise ValueError(f"{path} holds no trajectory of TartanAir: no pose_left.txt in it or below")
    return SceneList([_read_trajectory(path, file) for file in files])


def _read_trajectory(root: Path, file: Path) -> RealScene:
    try:
        rows = torch.from_numpy(np.loadtxt(file, ndmin=2)).float()
    except ValueError as error:
        raise ValueError(f"{file} is not a table of numbers: {error}") from error
    folder = file.parent
    pictures = sorted((folder / "image_left").glob("*_left.png"))
    if rows.shape != (len(pictures), 7):
        raise ValueError(
            f"{file}: expected 7 numbers for each of the {len(pictures)} pictures in {folder / 'image_left'}; "
            f"got the shape {list(rows.shape)}"
        )
    rotation = matrix_from_quaternion_xyzw(rows[:, 3:]) @ FORWARD_RIGHT_DOWN
    poses = rigid_inverse(rigid_transform(rotation, rows[:, :3]))
    check_poses(file, Cameras(poses, torch.from_numpy(INTRINSICS).float().expand(len(poses), 3, 3)))
    farthest = next((FARTHEST[part] for part in folder.parts if part in FARTHEST), np.inf)

    def read(number: int) -> Frame:
        picture = pictures[number]
        pixels = decode_file(picture, picture.name).pixels
        depth_path = folder / "depth_left" / f"{picture.stem}_depth.npy"
        depth = check_depth(depth_path, read_depth(depth_path, 1.0), pixels.shape[:2])
        return Frame(pixels, INTRINSICS, np.where(depth <= farthest, depth, np.float32(0)))

    return RealScene(str(folder.relative_to(root)), poses, read)
