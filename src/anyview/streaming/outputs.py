"""What a stream leaves behind: trajectories, depth, and a fused cloud, frame by frame from what is stored."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from anyview.exporters.depth_png import choose_scale, write_depth_png
from anyview.exporters.gaussians_ply import camera_comments, write_gaussians_ply
from anyview.exporters.ply import write_points
from anyview.files import atomic_path, check_folder
from anyview.fusion.mesh import write_mesh
from anyview.fusion.tsdf import check_open3d
from anyview.options import nearest_names
from anyview.render.pixels import NOTE
from anyview.streaming.cloud import VoxelCloud
from anyview.streaming.frames import PosedViews, join_views
from anyview.streaming.gaussians import fuse_gaussians
from anyview.streaming.mesh import SAMPLED_FRAMES, fuse_mesh, pixel_width
from anyview.streaming.network import NetworkPredictor
from anyview.streaming.stream import Stream
from anyview.streaming.trajectory import (
    every_position,
    frame_stems,
    write_colmap,
    write_kitti,
    write_transforms,
    write_tum,
)
from anyview.types import Cameras

MOST_PATH_CAMERAS = 200
"""In a file of Gaussians, spread over the stream: what a flight goes through."""
STREAM_FORMATS = {
    "tum": "trajectory.txt: time, position, quaternion of every kept frame",
    "kitti": "trajectory_kitti.txt: a 3×4 pose for every frame of the source, passed-over ones too",
    "colmap": "colmap/sparse/0: cameras and images as text, without points",
    "transforms": "transforms.json of nerfstudio",
    "cloud": "cloud.ply: the fused points, one per voxel",
    "mesh": "mesh.ply: the fused surface, coloured (extra mesh)",
    "gaussians": "gaussians.ply: the network's, where it has a head for them, else of depth and colour; one per voxel",
    "depth": "depth/*.png: 16-bit depth of every frame, scale and unit in the PNG's text",
}


def check_formats(folder: str | Path, formats: Sequence[str]) -> None:
    """Refuse what cannot be written, before anything is computed.

    Raises:
        ValueError: an unknown format, none, or a folder that takes no files.
        ImportError: a format needs a package that is not installed.
    """
    if not formats:
        raise ValueError(f"no format given; known: {', '.join(STREAM_FORMATS)}")
    for name in formats:
        if name not in STREAM_FORMATS:
            raise ValueError(f"unknown format {name!r}: {nearest_names(name, STREAM_FORMATS)}")
    if "mesh" in formats:
        check_open3d()
    check_folder(folder)


def write_outputs(
    run: Stream,
    folder: str | Path,
    formats: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Path]:
    """Write what is known now, as often as wanted; each file is replaced as a whole.

    Memory does not grow with the stream's length, but for the trajectory and the cloud's voxels.

    Raises:
        ValueError: an unknown format, or the stream has no frame yet.
    """
    folder = Path(folder)
    check_formats(folder, formats)
    rows = run.all_frames()
    cameras = run.scene.world_cameras(rows)
    height, width = run.map_size
    written = {}
    for name in formats:
        if name == "tum":
            written[name] = folder / "trajectory.txt"
            write_tum(written[name], rows.time_s.tolist(), cameras.world_to_camera)
        elif name == "kitti":
            written[name] = folder / "trajectory_kitti.txt"
            write_kitti(written[name], every_position(rows.index.tolist(), cameras.world_to_camera, run.positions))
        elif name == "colmap":
            written[name] = folder / "colmap" / "sparse" / "0"
            write_colmap(written[name], rows.names, cameras, height, width)
        elif name == "transforms":
            written[name] = folder / "transforms.json"
            write_transforms(written[name], rows.names, cameras, height, width, run.scene.units, run.predictor.name)
        elif name == "cloud":
            written[name] = folder / "cloud.ply"
            cloud = fuse(run, progress)
            with atomic_path(written[name]) as temporary:
                write_points(temporary, cloud.points(), run.scene.units, run.predictor.name)
        elif name == "mesh":
            written[name] = folder / "mesh.ply"
            write_surface(run, written[name])
        elif name == "gaussians":
            written[name] = folder / "gaussians.ply"
            write_gaussians(run, written[name])
        else:
            written[name] = folder / "depth"
            write_depth(run, written[name])
    return written


def stored_frames(run: Stream, stride: int = 1) -> Iterator[PosedViews]:
    """Read every ``stride``-th stored frame, one at a time, where the world has it now and in its unit."""
    rows = run.all_frames()
    cameras, scales = run.scene.world_cameras(rows), run.scene.world_scales(rows).float()
    for row, index in list(enumerate(rows.index.tolist()))[::stride]:
        if run.store.has_frame(index):
            image, depth, confidence = run.store.read_frame(index)
            camera = Cameras(cameras.world_to_camera[row : row + 1].float(), cameras.intrinsics[row : row + 1].float())
            yield PosedViews(image[None], scales[row] * depth[None], confidence[None], camera)


def stored_windows(run: Stream) -> Iterator[PosedViews]:
    """Read the stored frames of one window at a time, where the world has them now and in its unit."""
    rows = run.all_frames()
    owners = [int(rows.owner[row]) for row, index in enumerate(rows.index.tolist()) if run.store.has_frame(index)]
    for _, part in itertools.groupby(zip(owners, stored_frames(run), strict=True), key=lambda pair: pair[0]):
        yield join_views([frame for _, frame in part])


def fuse(run: Stream, progress: Callable[[int, int], None] | None = None) -> VoxelCloud:
    """Put the stored frames together where the world has them now."""
    cloud = VoxelCloud(run.options.cloud_points)
    total = len(run.store.frames())
    for done, frame in enumerate(stored_frames(run), start=1):
        cloud.add(frame.images[0], frame.depth[0], frame.confidence[0], frame.cameras[0])
        if progress is not None:
            progress(done, total)
    return cloud


def write_surface(run: Stream, path: Path) -> None:
    """Write the fused surface; comments in the file's header say unit, model and size of the voxels."""
    cloud = fuse(run).points()
    stride = max(1, len(run.store.frames()) // SAMPLED_FRAMES)
    widths = [width for frame in stored_frames(run, stride) if (width := pixel_width(frame)) is not None]
    if not widths:
        raise ValueError("no surface is left to write as a mesh: no pixel is sure")
    mesh, voxel_size = fuse_mesh(stored_frames(run), cloud, widths)
    comments = [f"units {run.scene.units}", f"model {run.predictor.name}", f"voxel_size {voxel_size:.6g}"]
    write_mesh(path, mesh, comments)


def write_gaussians(run: Stream, path: Path) -> None:
    """Write the fused Gaussians, as many as the cloud may have points; `anyview render` flies past their cameras."""
    predictor = run.predictor
    has_head = isinstance(predictor, NetworkPredictor) and predictor.model.abilities.gaussians
    gaussians = fuse_gaussians(
        stored_windows(run),
        predictor if isinstance(predictor, NetworkPredictor) and has_head else None,
        run.options.cloud_points,
    )
    rows = run.all_frames()
    stride = -(-len(rows) // MOST_PATH_CAMERAS)
    cameras = run.scene.world_cameras(rows)[::stride]
    comments = [f"units {run.scene.units}", f"model {predictor.name}", *([] if has_head else [NOTE])]
    comments += camera_comments(cameras, *run.map_size)
    with atomic_path(path) as temporary:
        write_gaussians_ply(temporary, gaussians, comments)


def write_depth(run: Stream, folder: Path) -> None:
    """Write every stored frame's depth in the world's unit; each file has the scale that its depths need."""
    rows = run.all_frames()
    scales = run.scene.world_scales(rows)
    stems = frame_stems(rows.index.tolist(), rows.names)
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        for row, index in enumerate(rows.index.tolist()):
            if not run.store.has_frame(index):
                continue
            _, depth, confidence = run.store.read_frame(index)
            world_depth, valid = depth * scales[row].float(), confidence >= 1
            scale = choose_scale(world_depth[valid], run.scene.units)
            text = {"depth_unit": run.scene.units, "model": run.predictor.name, "picture": rows.names[row]}
            write_depth_png(temporary / f"{stems[row]}.png", world_depth, valid, scale, text)
