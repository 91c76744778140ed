"""ScanNet++ (Yeshwanth et al., 2023) as published, the videos of the telephone.

data/SCENE/iphone/rgb/frame_000000.jpg              unpacked by the authors' tools
data/SCENE/iphone/depth/frame_000000.png            16 bits, millimetres; or `render_depth`, drawn from the scan
data/SCENE/iphone/pose_intrinsic_imu.json           per frame "aligned_poses" (camera-to-world) and "intrinsic"
"""

import json
from pathlib import Path

import numpy as np
import torch

from anyview.geometry.pose import rigid_inverse
from anyview.images.decode import decode_file
from anyview.recordings.scene import Frame, RealScene, SceneList, check_depth, check_poses, read_depth
from anyview.types import Cameras

MILLIMETRE = 0.001


def read_scannetpp(path: Path) -> SceneList:
    """Read every scene below a folder. Rendered depth is preferred to the sensor's, where it is there.

    Raises:
        ValueError: there is none, or files of one are missing or broken.
    """
    files = sorted(path.rglob("iphone/pose_intrinsic_imu.json"))
    if not files:
        raise ValueError(f"{path} holds no scene of ScanNet++: no iphone/pose_intrinsic_imu.json in it or below")
    return SceneList([_read_scene(file) for file in files])


def _read_scene(file: Path) -> RealScene:
    folder = file.parent
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        names = sorted(document)
        poses = torch.tensor([document[name]["aligned_poses"] for name in names], dtype=torch.float64)
        cameras = Cameras.from_arrays(rigid_inverse(poses), [document[name]["intrinsic"] for name in names])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{file}: expected 'aligned_poses' and 'intrinsic' for every frame ({error!r})") from error
    check_poses(file, cameras)
    depths = folder / ("render_depth" if (folder / "render_depth").is_dir() else "depth")
    intrinsics = cameras.intrinsics.double().numpy()

    def read(number: int) -> Frame:
        picture = folder / "rgb" / f"{names[number]}.jpg"
        depth = depths / f"{names[number]}.png"
        return Frame(
            decode_file(picture, picture.name).pixels,
            intrinsics[number],
            check_depth(depth, read_depth(depth, MILLIMETRE)).astype(np.float32),
        )

    return RealScene(folder.parent.name, cameras.world_to_camera, read)
