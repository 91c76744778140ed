"""COLMAP projects, and DL3DV (Ling et al., 2024), which is published as such projects.

Depth is that of COLMAP's dense reconstruction (``stereo/depth_maps`` of an undistorted project) where it is there;
otherwise that of the reconstruction's points. It is as good as the reconstruction.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from anyview.images.colmap import as_pinhole, find_models, likely_folders, read_model, registered_views
from anyview.images.read import missing_path
from anyview.recordings.scene import Frame, RealScene, SceneList, SparseDepth, check_depth
from anyview.types import Cameras

if TYPE_CHECKING:
    import pycolmap

SHORTEST_TRACK, LARGEST_ERROR = 3, 2.0
"""Points that fewer pictures see, or whose mean reprojection error in pixels is larger, give no depth."""
DL3DV_IMAGES = ("images_4", "images_8", "images_2", "images")
"""Folders of pictures at different sizes, in order of preference."""


def read_colmap_projects(path: Path) -> SceneList:
    """Read a COLMAP project, or a folder of projects.

    Raises:
        ValueError: there is none, or files of one are missing or broken.
    """
    if not path.is_dir():
        raise ValueError(missing_path(path))
    if find_models(path):
        return SceneList([_read_project(path, None)])
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir() and find_models(folder))
    if not folders:
        raise ValueError(f"{path} holds no COLMAP model: no cameras.bin or cameras.txt there or in the folders inside")
    return SceneList([_read_project(folder, None) for folder in folders])


def read_dl3dv(path: Path) -> SceneList:
    """Read every scene of DL3DV below a folder: SUBSET/HASH/{images_4, colmap/sparse/0}.

    Raises:
        ValueError: there is none, or files of one are missing or broken.
    """
    projects = sorted({folder for folder in path.rglob("colmap") if folder.is_dir() and find_models(folder)})
    if not projects:
        raise ValueError(f"{path} holds no scene of DL3DV: no colmap/sparse/0 with a model in it or below")
    scenes = []
    for project in projects:
        folders = [project.parent / name for name in DL3DV_IMAGES]
        images = next((folder for folder in folders if folder.is_dir()), None)
        if images is None:
            raise ValueError(f"{project.parent} has none of {', '.join(DL3DV_IMAGES)}")
        scenes.append(_read_project(project, images))
    return SceneList(scenes)


def _read_project(path: Path, images_folder: Path | None) -> RealScene:
    model = find_models(path)[0]
    reconstruction = read_model(model)
    folders = [images_folder] if images_folder else likely_folders(path, model)
    views = registered_views(model, folders, reconstruction)
    poses = Cameras.from_arrays(
        [view.image.cam_from_world().matrix() for view in views],
        [view.camera.calibration_matrix() for view in views],
    ).world_to_camera

    def read(number: int) -> Frame:
        image = views[number].image
        picture, pinhole = as_pinhole(views[number].path, views[number].decode(), views[number].camera)
        dense = path / "stereo" / "depth_maps" / f"{image.name}.geometric.bin"
        intrinsics = np.asarray(pinhole.calibration_matrix(), np.float64)
        if dense.is_file():
            return Frame(picture.pixels, intrinsics, check_depth(dense, read_depth_map(dense)))
        return Frame(picture.pixels, intrinsics, _sparse_depth(reconstruction, image, intrinsics))

    return RealScene(path.name if images_folder is None else path.parent.name, poses, read)


def _sparse_depth(
    reconstruction: "pycolmap.Reconstruction", image: "pycolmap.Image", intrinsics: Float[np.ndarray, "3 3"]
) -> SparseDepth:
    points = [reconstruction.points3D[point.point3D_id] for point in image.points2D if point.has_point3D()]
    good = [p.xyz for p in points if p.track.length() >= SHORTEST_TRACK and p.error <= LARGEST_ERROR]
    world = np.array(good, np.float64).reshape(-1, 3)
    pose = image.cam_from_world().matrix()
    seen = world @ pose[:, :3].T + pose[:, 3]
    seen = seen[seen[:, 2] > 0]
    pixels = (seen @ intrinsics.T)[:, :2] / seen[:, 2:]
    return SparseDepth(pixels, seen[:, 2])


def read_depth_map(path: Path) -> Float[np.ndarray, "rows columns"]:
    """Read a map as COLMAP writes it: width&height&channels& as text, then float32 row by row.

    Raises:
        ValueError: the file is cut off, or no such map.
    """
    content = path.read_bytes()
    header = content.split(b"&", 3)
    if len(header) < 4 or not all(part.isdigit() for part in header[:3]):
        raise ValueError(f"{path} is no depth map of COLMAP: it does not begin with width&height&channels&")
    width, height, channels = map(int, header[:3])
    if channels != 1 or len(header[3]) != 4 * width * height:
        raise ValueError(
            f"{path}: expected {4 * width * height} bytes of one channel after its header, got {len(header[3])} of "
            f"{channels}"
        )
    return np.frombuffer(header[3], "<f4").reshape(height, width)
