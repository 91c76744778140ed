"""COLMAP projects as scenes with known cameras."""

import copy
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import UInt8

from anyview.images.budget import ReadingBudget
from anyview.images.decode import decode_file, picture_size
from anyview.images.pinhole import KnownView, check_aspect
from anyview.images.pool import Progress, map_in_order
from anyview.images.read import missing_path, natural_key
from anyview.types import Cameras, Picture, Scene

if TYPE_CHECKING:
    import pycolmap

logger = logging.getLogger(__name__)


def find_models(folder: Path) -> list[Path]:
    """Return the folders of a COLMAP project that hold ``cameras.bin`` or ``cameras.txt``: the first is the model.

    They may be the folder itself, ``sparse``, or folders inside of that.
    """
    sparse = folder / "sparse"
    inside = sorted((path for path in sparse.glob("*") if path.is_dir()), key=lambda path: natural_key(path.name))
    files = ("cameras.bin", "cameras.txt")
    return [path for path in (folder, sparse, *inside) if any((path / file).is_file() for file in files)]


def read_colmap(
    folder: str | Path, *, image_folder: str | Path | None = None, progress: Progress | None = None
) -> Scene:
    """Read a COLMAP project: all registered pictures in natural order of their names, with their cameras.

    Pictures of cameras with lens distortion are undistorted by pycolmap, so that every camera is a pinhole; those of
    another size than their camera (``images_2`` and the like) get intrinsics of their own size. Pixels are taken as
    stored, since COLMAP does not turn pictures by EXIF. ``image_folder`` defaults to ``images`` beside the model or up
    to two folders above, or the project's folder itself.

    Raises:
        ValueError: there is no model, it cannot be read, pictures are missing, or a camera sees all around.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise ValueError(missing_path(folder))
    models = find_models(folder)
    if not models:
        raise ValueError(f"{folder} holds no COLMAP model: no cameras.bin or cameras.txt there or in sparse")
    if len(models) > 1:
        logger.warning("%s holds %d COLMAP models; %s is read", folder, len(models), models[0])
    folders = [Path(image_folder).expanduser()] if image_folder else likely_folders(folder, models[0])
    views = registered_views(models[0], folders)
    budget = ReadingBudget(len(views))
    read = map_in_order(
        lambda view: as_pinhole(view.path, budget.take(view.decode()), view.camera),
        views,
        progress,
    )
    poses = [view.image.cam_from_world().matrix() for view in views]
    return Scene(
        pictures=tuple(picture for picture, _ in read),
        cameras=Cameras.from_arrays(poses, [camera.calibration_matrix() for _, camera in read]),
        source=f"COLMAP project {folder}",
    )


class RegisteredView(NamedTuple):
    """A picture of a model, before it is read."""

    path: Path
    image: "pycolmap.Image"
    camera: "pycolmap.Camera"

    def decode(self) -> Picture:
        """Read the picture as it is stored."""
        return decode_file(self.path, self.image.name, upright=False)


def registered_views(
    model: Path, folders: Sequence[Path], reconstruction: "pycolmap.Reconstruction | None" = None
) -> list[RegisteredView]:
    """List the pictures that a model has cameras of, in natural order of their names; ``folders`` may hold them.

    Raises:
        ValueError: the model cannot be read or has none, pictures are missing, or a camera sees all around.
    """
    reconstruction = reconstruction or read_model(model)
    images = sorted(
        (reconstruction.images[image_id] for image_id in reconstruction.reg_image_ids()),
        key=lambda image: natural_key(image.name),
    )
    if not images:
        raise ValueError(f"the COLMAP model {model} has no registered images")
    paths = picture_paths([image.name for image in images], folders)
    cameras = [reconstruction.cameras[image.camera_id] for image in images]
    for image, camera in zip(images, cameras, strict=True):
        if camera.is_spherical():
            raise ValueError(f"{model}: {camera.model_name} cameras see all around and cannot become pinhole cameras")
        if not image.cam_from_world().rotation.norm() > 0:  # its matrix would pass for the identity
            raise ValueError(f"{model}: the rotation of {image.name} is the quaternion (0, 0, 0, 0)")
    return [RegisteredView(*view) for view in zip(paths, images, cameras, strict=True)]


def list_colmap(model: Path, folders: Sequence[Path]) -> list[KnownView]:
    """List the pictures of a model with their cameras, without reading more of them than their sizes.

    Raises:
        ValueError: the model cannot be read or has none, pictures are missing, or cameras do not fit them.
    """
    listed = []
    for view in registered_views(model, folders):
        camera = pinhole_of(view.path, picture_size(view.path), view.camera)
        pose = Cameras.from_arrays(view.image.cam_from_world().matrix(), camera.calibration_matrix()).world_to_camera
        listed.append(
            KnownView(
                name=view.image.name,
                size=(camera.height, camera.width),
                world_to_camera=pose,
                intrinsics=np.asarray(camera.calibration_matrix(), np.float64),
                read=partial(_read_straight, view),
            )
        )
    return listed


def _read_straight(view: RegisteredView) -> UInt8[np.ndarray, "height width 3"]:
    return as_pinhole(view.path, view.decode(), view.camera)[0].pixels


def read_model(model: Path) -> "pycolmap.Reconstruction":
    """Read the folder of a model, binary or text.

    Raises:
        ValueError: it cannot be read, or pycolmap (extra ``colmap``) is not installed.
    """
    try:
        import pycolmap
    except ImportError as error:
        raise ValueError('COLMAP projects need `pip install "anyview[colmap]"`') from error
    for path in model.glob("*.bin"):
        if path.stat().st_size < 8:  # pycolmap would take whatever is in memory for the count of entries
            raise ValueError(f"{path} is cut off: it does not even hold its count of entries")
    try:
        return pycolmap.Reconstruction(model)
    except (ValueError, RuntimeError, OSError, IndexError, MemoryError) as error:
        raise ValueError(f"the COLMAP model {model} cannot be read: {error}") from error


def likely_folders(folder: Path, model: Path) -> list[Path]:
    """Return where the pictures of a project may lie, the likeliest first."""
    model = model.absolute()
    return [*(place / "images" for place in (folder, model, *model.parents[:2])), folder]


def picture_paths(names: Sequence[str], folders: Sequence[Path]) -> list[Path]:
    """Find all pictures in the first of the folders that has any of them.

    Raises:
        ValueError: that folder lacks some, or none has any.
    """
    for folder in folders:
        paths = [folder / name for name in names]
        missing = [name for name, path in zip(names, paths, strict=True) if not path.is_file()]
        if not missing:
            return paths
        if len(missing) < len(names):
            raise ValueError(f"{folder} lacks {len(missing)} of {len(names)} pictures: {', '.join(missing[:5])}")
    searched = ", ".join(dict.fromkeys(map(str, folders)))
    raise ValueError(f"none of the {len(names)} pictures ({names[0]} and so on) is in {searched}")


def as_pinhole(path: Path, picture: Picture, camera: "pycolmap.Camera") -> tuple[Picture, "pycolmap.Camera"]:
    """Take a lens' distortion out of the picture at ``path``; return it with the pinhole camera that sees the same.

    Raises:
        ValueError: the picture is of another aspect than its camera's.
    """
    import pycolmap

    height, width = picture.pixels.shape[:2]
    camera = _resized(path, (height, width), camera)
    if _is_pinhole(camera):
        return picture, camera
    bitmap, camera = pycolmap.undistort_image(
        pycolmap.UndistortCameraOptions(), pycolmap.Bitmap.from_array(picture.pixels), camera
    )
    return Picture(bitmap.to_array(), picture.name), camera


def pinhole_of(path: Path, size: tuple[int, int], camera: "pycolmap.Camera") -> "pycolmap.Camera":
    """Return the camera that `as_pinhole` gives to the picture at ``path`` of ``size`` (height, width).

    Raises:
        ValueError: the picture is of another aspect than its camera's.
    """
    import pycolmap

    camera = _resized(path, size, camera)
    return camera if _is_pinhole(camera) else pycolmap.undistort_camera(pycolmap.UndistortCameraOptions(), camera)


def _resized(path: Path, size: tuple[int, int], camera: "pycolmap.Camera") -> "pycolmap.Camera":
    if size == (camera.height, camera.width):
        return camera
    check_aspect(path, size, (camera.height, camera.width))
    camera = copy.copy(camera)
    camera.rescale(size[1], size[0])
    return camera


def _is_pinhole(camera: "pycolmap.Camera") -> bool:
    return camera.is_perspective_pinhole() and camera.is_undistorted()
