"""Our own layout: pictures, depth and cameras of a scene in a folder (docs/training.md).

    SCENE/images/0001.jpg     any picture format
    SCENE/depth/0001.png      16 bits in steps of `depth_unit`, or .npy of any number type; 0: no depth; same size
    SCENE/masks/0001.png      optional; black where depth must not be used
    SCENE/cameras.json        {"depth_unit": 0.001, "frames": [{"name": "0001.jpg",
                               "world_to_camera": [4 rows of 4], "intrinsics": [3 rows of 3]}, ...]}

World-to-camera with OpenCV's axes, intrinsics in pixels of the picture; depth is z-depth in the unit of the positions.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from anyview.images.decode import decode_file
from anyview.images.read import missing_path
from anyview.recordings.scene import Frame, RealScene, SceneList, check_depth, check_poses, read_depth
from anyview.types import Cameras

DEPTH_SUFFIXES = (".npy", ".png")


def read_folders(path: Path) -> SceneList:
    """Read a scene's folder, or a folder of such folders.

    Raises:
        ValueError: naming the file that is missing or wrong.
    """
    if not path.is_dir():
        raise ValueError(missing_path(path))
    if (path / "cameras.json").is_file():
        return SceneList([read_folder(path)])
    folders = sorted(file.parent for file in path.glob("*/cameras.json"))
    if not folders:
        raise ValueError(f"{path} holds no scene: no cameras.json there or in the folders inside")
    return SceneList([read_folder(folder) for folder in folders])


def read_folder(path: Path) -> RealScene:
    """Read a scene's cameras, and see that its files are there; pictures and depth are read frame by frame."""
    file = path / "cameras.json"
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} is not readable JSON: {error}") from error
    frames = document.get("frames") if isinstance(document, dict) else None
    needed = {"name", "world_to_camera", "intrinsics"}
    if not frames or not all(isinstance(frame, dict) and needed <= frame.keys() for frame in frames):
        raise ValueError(f"{file}: expected a list 'frames' with {', '.join(sorted(needed))} in each")
    cameras = _cameras(file, frames)
    pictures = [path / "images" / frame["name"] for frame in frames]
    for picture in pictures:
        if not picture.is_file():
            raise ValueError(f"no such picture: {picture}, which {file} names")
    depths = [_depth_path(path, picture) for picture in pictures]
    intrinsics = cameras.intrinsics.double().numpy()
    depth_unit = float(document.get("depth_unit", 0.001))

    def read(number: int) -> Frame:
        pixels = decode_file(pictures[number], pictures[number].name, upright=False).pixels
        depth = check_depth(depths[number], read_depth(depths[number], depth_unit), pixels.shape[:2])
        mask = path / "masks" / f"{pictures[number].stem}.png"
        if mask.is_file():
            depth = depth * _read_mask(mask, depth.shape)
        return Frame(pixels, intrinsics[number], depth)

    return RealScene(path.name, cameras.world_to_camera, read)


def _cameras(file: Path, frames: list[dict[str, Any]]) -> Cameras:
    try:
        cameras = Cameras.from_arrays(
            [frame["world_to_camera"] for frame in frames], [frame["intrinsics"] for frame in frames]
        )
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file}: misshapen cameras: {error}") from error
    check_poses(file, cameras)
    return cameras


def _depth_path(path: Path, picture: Path) -> Path:
    candidates = [path / "depth" / f"{picture.stem}{suffix}" for suffix in DEPTH_SUFFIXES]
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        raise ValueError(f"no depth for {picture}: neither {candidates[0]} nor {candidates[1].name} exists")
    return found


def _read_mask(path: Path, size: tuple[int, ...]) -> np.ndarray:
    mask = decode_file(path, path.name, upright=False).pixels[..., 0] > 127
    if mask.shape != size:
        raise ValueError(f"{path}: expected a mask of {size[0]}x{size[1]} pixels, got {mask.shape[0]}x{mask.shape[1]}")
    return mask
