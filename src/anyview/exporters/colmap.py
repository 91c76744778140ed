import errno
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from anyview.exporters.points import select_pixels
from anyview.exporters.tracks import Tracks, find_tracks
from anyview.files import atomic_path
from anyview.geometry.camera import unplace_intrinsics
from anyview.options import ExportOptions
from anyview.types import Placement, Prediction

if TYPE_CHECKING:
    import pycolmap


def write(prediction: Prediction, folder: Path, options: ExportOptions) -> list[Path]:
    """Write a COLMAP model into ``colmap/sparse/0``: put the pictures into ``colmap/images`` and it is a project.

    Cameras are PINHOLE in pixels of the pictures as they were given. Points are those that two views or more see; a
    single view has none, since a point with one observation says nothing about cameras. Ids start at 1.
    """
    import pycolmap

    tracks = find_tracks(prediction, select_pixels(prediction, options), options.max_tracks, options.sampling_seed)
    model = pycolmap.Reconstruction()
    camera_ids = _add_cameras(model, prediction, options.shared_intrinsics)
    keypoints, indices = _keypoints(tracks, prediction.placements)
    _add_images(model, prediction, camera_ids, keypoints)
    _add_points(model, tracks, indices)
    model.update_point_3d_errors()
    target = folder / "colmap" / "sparse" / "0"
    with atomic_path(target) as temporary:
        temporary.mkdir()
        model.write(temporary)
        _check_complete(temporary / "points3D.bin", tracks)
        names = sorted(path.name for path in temporary.iterdir())
    return [target / name for name in names]


def _add_cameras(model: "pycolmap.Reconstruction", prediction: Prediction, shared: bool) -> list[int]:
    """Add one camera per view, or one per size of picture; return each view's camera id."""
    import pycolmap

    assert prediction.cameras is not None
    intrinsics = unplace_intrinsics(prediction.cameras.intrinsics.double(), prediction.placements)
    sizes = [(placement.input_width, placement.input_height) for placement in prediction.placements]
    groups = [sizes.index(size) if shared else view for view, size in enumerate(sizes)]
    camera_ids = {group: number for number, group in enumerate(dict.fromkeys(groups), 1)}
    for group, camera_id in camera_ids.items():
        members = torch.tensor([other == group for other in groups])
        median = intrinsics[members].quantile(0.5, dim=0)
        parameters = [median[0, 0], median[1, 1], median[0, 2], median[1, 2]]
        width, height = sizes[group]
        model.add_camera_with_trivial_rig(
            pycolmap.Camera(
                model="PINHOLE", width=width, height=height, params=np.array(parameters), camera_id=camera_id
            )
        )
    return [camera_ids[group] for group in groups]


def _keypoints(
    tracks: Tracks, placements: Sequence[Placement]
) -> tuple[list[Float[Tensor, "_ 2"]], Int[Tensor, " observations"]]:
    """Sort observations by view: keypoints in pixels of the input pictures, and each observation's index among them."""
    scale = torch.tensor([(p.scale_x, p.scale_y) for p in placements], dtype=torch.float64)
    offset = torch.tensor([(p.offset_x, p.offset_y) for p in placements], dtype=torch.float64)
    pixels = (tracks.pixels.double() - offset[tracks.view]) / scale[tracks.view]
    indices = torch.empty_like(tracks.view)
    keypoints = []
    for view in range(len(placements)):
        mine = tracks.view == view
        keypoints.append(pixels[mine])
        indices[mine] = torch.arange(int(mine.sum()))
    return keypoints, indices


def _add_images(
    model: "pycolmap.Reconstruction",
    prediction: Prediction,
    camera_ids: list[int],
    keypoints: list[Float[Tensor, "_ 2"]],
) -> None:
    import pycolmap

    assert prediction.cameras is not None
    poses = prediction.cameras.world_to_camera.double().numpy()
    for view, name in enumerate(prediction.names):
        image = pycolmap.Image(
            name=name, keypoints=keypoints[view].numpy(), camera_id=camera_ids[view], image_id=view + 1
        )
        pose = pycolmap.Rigid3d(pycolmap.Rotation3d(poses[view, :3, :3]), poses[view, :3, 3])
        model.add_image_with_trivial_frame(image, pose)


def _add_points(model: "pycolmap.Reconstruction", tracks: Tracks, indices: Int[Tensor, " observations"]) -> None:
    import pycolmap

    images, points = (tracks.view + 1).tolist(), indices.tolist()
    ends = torch.bincount(tracks.track, minlength=len(tracks.positions)).cumsum(0).tolist()
    start = 0
    for position, color, end in zip(tracks.positions.double().numpy(), tracks.colors.numpy(), ends, strict=True):
        elements = [pycolmap.TrackElement(images[i], points[i]) for i in range(start, end)]
        model.add_point3D(position, pycolmap.Track(elements), color)
        start = end


def _check_complete(points: Path, tracks: Tracks) -> None:
    """Raise OSError if the last file that pycolmap wrote is short: it does not say so itself when the disk is full."""
    expected = 8 + 51 * len(tracks.positions) + 8 * len(tracks.track)  # COLMAP's binary layout
    written = points.stat().st_size if points.exists() else 0
    if written != expected:
        raise OSError(errno.ENOSPC, f"{points.name} has {written} of {expected} bytes, as on a full disk")
