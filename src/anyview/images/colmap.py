"""COLMAP projects as scenes with known cameras."""

import copy
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anyview.images.budget import ReadingBudget
from anyview.images.decode import decode_file
from anyview.images.pinhole import check_aspect
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
    model = models[0]
    reconstruction = read_model(model)
    images = sorted(
        (reconstruction.images[image_id] for image_id in reconstruction.reg_image_ids()),
        key=lambda image: natural_key(image.name),
    )
    if not images:
        raise ValueError(f"the COLMAP model {model} has no registered images")
    names = [image.name for image in images]
    paths = picture_paths(names, [Path(image_folder).expanduser()] if image_folder else likely_folders(folder, model))
    cameras = [reconstruction.cameras[image.camera_id] for image in images]
    for camera in cameras:
        if camera.is_spherical():
            raise ValueError(f"{model}: {camera.model_name} cameras see all around and cannot become pinhole cameras")
    budget = ReadingBudget(len(paths))
    read = map_in_order(lambda job: _read_as_pinhole(*job, budget), zip(paths, names, cameras, strict=True), progress)
    for image in images:
        if not image.cam_from_world().rotation.norm() > 0:  # its matrix would pass for the identity
            raise ValueError(f"{model}: the rotation of {image.name} is the quaternion (0, 0, 0, 0)")
    poses = [image.cam_from_world().matrix() for image in images]
    return Scene(
        pictures=tuple(picture for picture, _ in read),
        cameras=Cameras.from_arrays(poses, [camera.calibration_matrix() for _, camera in read]),
        source=f"COLMAP project {folder}",
    )


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


def _read_as_pinhole(
    path: Path, name: str, camera: "pycolmap.Camera", budget: ReadingBudget
) -> tuple[Picture, "pycolmap.Camera"]:
    return as_pinhole(path, budget.take(decode_file(path, name, upright=False)), camera)


def as_pinhole(path: Path, picture: Picture, camera: "pycolmap.Camera") -> tuple[Picture, "pycolmap.Camera"]:
    """Take a lens' distortion out of the picture at ``path``; return it with the pinhole camera that sees the same.

    Raises:
        ValueError: the picture is of another aspect than its camera's.
    """
    import pycolmap

    pixels = picture.pixels
    height, width = pixels.shape[:2]
    if (height, width) != (camera.height, camera.width):
        check_aspect(path, (height, width), (camera.height, camera.width))
        camera = copy.copy(camera)
        camera.rescale(width, height)
    if not (camera.is_perspective_pinhole() and camera.is_undistorted()):
        bitmap, camera = pycolmap.undistort_image(
            pycolmap.UndistortCameraOptions(), pycolmap.Bitmap.from_array(pixels), camera
        )
        pixels = bitmap.to_array()
    return Picture(pixels, picture.name), camera
