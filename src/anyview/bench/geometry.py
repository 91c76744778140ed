"""A model's depth and cameras -> the points that are compared with the truth, and their scores."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32

from anyview.bench.alignment import align_to_truth
from anyview.bench.datasets.scene import BenchFrame, BenchScene, CloudTruth, DtuTruth, MeshTruth, TsdfRecipe
from anyview.bench.metrics.clouds import cloud_distances, f_scores, score_distances
from anyview.bench.metrics.dtu import Observability, score_dtu
from anyview.bench.results import Stored
from anyview.devices import available_memory
from anyview.fusion.depth import (
    fusion_intrinsics,
    mask_depth,
    prepare_depth,
    resize_linear,
    resize_nearest,
)
from anyview.fusion.dtu import backproject, cap_points, consistent_points
from anyview.fusion.mesh import read_mesh, read_points, sample_surface, stand_in_points
from anyview.fusion.tsdf import Tsdf
from anyview.geometry.camera import unplace_intrinsics
from anyview.options import Protocol
from anyview.types import Placement

ALLOCATION_STEP, BLOCK_SIDE, VOXEL_BYTES = 4, 16, 48
"""Of Open3D's volume: every fourth pixel gives space to blocks of 16³ voxels of 48 bytes."""
LARGEST_SHARE = 0.5
"""Of the available memory that a volume may take: others work beside it, and Open3D's tables grow in leaps."""
GIB = 2**30
CURVE_STEPS, CURVE_END = 40, 2.0
"""F-scores are kept for plots at so many thresholds, up to so many times the one that counts."""


@dataclass(frozen=True)
class _Aligned:
    """A model's answer in the frame and unit of the truth."""

    scale: float
    """What depth is multiplied with."""
    world_to_camera: Float32[np.ndarray, "views 4 4"]
    placed: Bool[np.ndarray, " views"]
    """Views that have a pose."""


def _align(scene: BenchScene, stored: Stored, protocol: Protocol) -> _Aligned:
    if stored.depth is None or stored.world_to_camera is None or stored.intrinsics is None:
        raise ValueError("the results hold no depth or no cameras to fuse")
    placed = np.isfinite(stored.world_to_camera).all((1, 2))
    predicted, truth = (torch.from_numpy(poses[placed]) for poses in (stored.world_to_camera, scene.world_to_camera()))
    similarity = align_to_truth(predicted, truth, protocol).similarity
    moved = stored.world_to_camera.copy()
    moved[placed] = similarity.apply_to_poses(predicted).numpy()
    return _Aligned(similarity.scale.item(), moved, placed)


def fuse_surface(scene: BenchScene, stored: Stored, posed: bool, protocol: Protocol) -> Float[np.ndarray, "points 3"]:
    """Fuse depth into a surface and draw points from it (benchmark 1.7 to 1.9).

    ``posed`` takes the true cameras, otherwise the predicted ones are brought into the frame of the true ones. A
    surface without faces gives the published evaluator's random points in "compat" (quirk 20).

    Raises:
        ValueError: the results hold no depth or no cameras, or the surface is empty ("sane").
    """
    assert scene.read_recipe is not None
    recipe = scene.read_recipe()
    aligned = _align(scene, stored, protocol)
    blocks: set[bytes] = set()
    for depth, matrix, pose in _views(scene, stored, aligned, recipe, posed, protocol):
        blocks |= touched_blocks(depth, matrix, pose, recipe)
        _check_memory(len(blocks), recipe)
    volume = Tsdf(recipe.voxel_size, recipe.truncation, recipe.largest_depth)
    for depth, matrix, pose in _views(scene, stored, aligned, recipe, posed, protocol):
        volume.integrate(depth, matrix, pose)
    mesh = volume.mesh()
    if len(mesh.faces) == 0:
        if protocol == "compat":
            return stand_in_points(recipe.samples)
        raise ValueError("no depth could be fused: the surface is empty")
    return sample_surface(mesh, recipe.samples, _seed(scene, "prediction"))


def touched_blocks(
    depth: Float[np.ndarray, "height width"],
    matrix: Float[np.ndarray, "3 3"],
    pose: Float[np.ndarray, "4 4"],
    recipe: TsdfRecipe,
) -> set[bytes]:
    """Name the blocks of voxels that a view's surface lies in; fusion fills these and some of their neighbours."""
    sparse = depth[::ALLOCATION_STEP, ::ALLOCATION_STEP].astype(np.float64)
    known = np.isfinite(sparse) & (sparse > 0) & (sparse < recipe.largest_depth)
    rows, columns = np.nonzero(known)
    z = sparse[known]
    x = (columns * ALLOCATION_STEP + 0.5 - matrix[0, 2]) / matrix[0, 0] * z
    y = (rows * ALLOCATION_STEP + 0.5 - matrix[1, 2]) / matrix[1, 1] * z
    points = (np.stack([x, y, z], -1) - pose[:3, 3]) @ pose[:3, :3]
    cells = np.floor(points / (BLOCK_SIDE * recipe.voxel_size)).clip(-(2.0**62), 2.0**62).astype(np.int64)
    return {cell.tobytes() for cell in np.unique(cells, axis=0)}


def _check_memory(blocks: int, recipe: TsdfRecipe) -> None:
    """Refuse to fuse what would not fit: a wrong scale makes a room as large as a town, in voxels of a centimetre."""
    layers = 1 + 2 * recipe.truncation / (BLOCK_SIDE * recipe.voxel_size)
    needed, available = blocks * layers * BLOCK_SIDE**3 * VOXEL_BYTES, available_memory(torch.device("cpu"))
    if available is not None and needed > LARGEST_SHARE * available:
        raise ValueError(
            f"fusing needs more than {LARGEST_SHARE * available / GIB:.1f} GiB, {LARGEST_SHARE:.0%} of what is "
            "available: the aligned depth is far larger than the scene"
        )


def _views(
    scene: BenchScene, stored: Stored, aligned: _Aligned, recipe: TsdfRecipe, posed: bool, protocol: Protocol
) -> Iterator[tuple[Float[np.ndarray, "height width"], Float[np.ndarray, "3 3"], Float[np.ndarray, "4 4"]]]:
    """Yield depth, intrinsics and pose of every view that has one, at the size of fusion."""
    assert stored.depth is not None
    assert stored.intrinsics is not None
    published = scene.intrinsics() if protocol == "compat" else scene.corner_intrinsics()
    truth = scene.world_to_camera()
    for view, (frame, depth) in enumerate(zip(scene.frames, stored.depth, strict=True)):
        if not (posed or aligned.placed[view]):
            continue
        picture_size = frame.read_size()
        size = recipe.fusion_size or picture_size
        placement = stored.placements[view] if stored.placements is not None and protocol == "sane" else None
        prepared = _prepare(frame, depth, size, recipe, aligned.scale, placement, protocol)
        if posed:
            matrix = published[view].astype(np.float64)
            if recipe.fusion_size is not None and protocol == "compat":
                matrix[:2, 2] += 0.5  # Q36: before scaling, and not taken back afterwards
            yield prepared, fusion_intrinsics(matrix, frame.camera_size or picture_size, size, protocol), truth[view]
            continue
        matrix, map_size = stored.intrinsics[view].astype(np.float64), depth.shape
        if placement is not None:
            matrix = unplace_intrinsics(torch.from_numpy(matrix)[None], [placement])[0].numpy()
            map_size = (placement.input_height, placement.input_width)
        yield (
            prepared,
            fusion_intrinsics(matrix, (map_size[0], map_size[1]), size, protocol),
            aligned.world_to_camera[view],
        )


def _prepare(
    frame: BenchFrame,
    depth: Float32[np.ndarray, "rows columns"],
    size: tuple[int, int],
    recipe: TsdfRecipe,
    scale: float,
    placement: Placement | None,
    protocol: Protocol,
) -> Float32[np.ndarray, "height width"]:
    valid = frame.read_valid()
    if placement is not None:
        depth = spread_over_picture(depth, placement)
    if recipe.fusion_size is not None and protocol == "compat":  # ScanNet++: nearest, then linear (Q34)
        resized = resize_linear(resize_nearest(depth, *(frame.camera_size or frame.read_size())), *size)
        return (scale * mask_depth(resized, valid, protocol)).astype(np.float32)
    return prepare_depth(depth, *size, valid, scale, protocol)


def spread_over_picture(
    depth: Float[np.ndarray, "rows columns"], placement: Placement
) -> Float[np.ndarray, "height width"]:
    """Bring a map to its picture's size, nearest pixel, with 0 where a crop took the map away (quirk 4)."""
    height, width = placement.input_height, placement.input_width
    whole = placement.offset_x == placement.offset_y == 0
    if whole and round(placement.scale_x * width) == depth.shape[1] and round(placement.scale_y * height) == len(depth):
        return resize_nearest(depth, height, width)
    rows = np.floor(placement.scale_y * (np.arange(height) + 0.5) + placement.offset_y).astype(int)
    columns = np.floor(placement.scale_x * (np.arange(width) + 0.5) + placement.offset_x).astype(int)
    inside = ((rows >= 0) & (rows < depth.shape[0]))[:, None] & ((columns >= 0) & (columns < depth.shape[1]))
    spread = depth[rows.clip(0, depth.shape[0] - 1)[:, None], columns.clip(0, depth.shape[1] - 1)]
    return np.where(inside, spread, depth.dtype.type(0))


def read_truth(scene: BenchScene, protocol: Protocol) -> Float[np.ndarray, "points 3"]:
    """Read the true points of a scene, or draw them from its true surface.

    Raises:
        ValueError: the file is missing or broken. In "compat" a missing surface is a cloud of random points (Q20).
    """
    assert scene.read_recipe is not None
    if isinstance(scene.truth, MeshTruth):
        samples = scene.read_recipe().samples
        if protocol == "compat" and not scene.truth.path.is_file():
            return stand_in_points(samples)
        return sample_surface(read_mesh(scene.truth.path), samples, _seed(scene, "truth"))
    assert isinstance(scene.truth, CloudTruth)
    if scene.truth.read is not None:
        return scene.truth.read()
    assert scene.truth.path is not None
    return read_points(scene.truth.path)


def score_points(
    points: Float[np.ndarray, "points 3"], truth: Float[np.ndarray, "true_points 3"], recipe: TsdfRecipe
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Score a cloud; return the published metrics, and curves over the threshold in parts of the one that counts."""
    if recipe.crop_margin is not None and len(truth):
        low, high = truth.min(0) - recipe.crop_margin, truth.max(0) + recipe.crop_margin
        points = points[((points >= low) & (points <= high)).all(-1)]
    to_truth, to_predicted = cloud_distances(points, truth, recipe.evaluation_voxel)
    scores = score_distances(to_truth, to_predicted, recipe.threshold)
    metrics = {
        "acc": scores.accuracy,
        "comp": scores.completeness,
        "overall": scores.overall,
        "precision": scores.precision,
        "recall": scores.recall,
        "fscore": scores.f_score,
    }
    if len(to_truth) == 0:
        return metrics, {}
    parts = np.linspace(0, CURVE_END, CURVE_STEPS + 1)[1:]
    precision, recall, f_score = f_scores(to_truth, to_predicted, parts * recipe.threshold)
    curves = {"threshold": parts * recipe.threshold, "precision": precision, "recall": recall, "fscore": f_score}
    return metrics, {name: [round(float(value), 6) for value in values] for name, values in curves.items()}


def fuse_dtu(
    scene: BenchScene, stored: Stored, posed: bool, protocol: Protocol, filter_unposed: bool
) -> Float[np.ndarray, "points 3"]:
    """Lift depth into the world as DTU's evaluation does (benchmark 2.5).

    Raises:
        ValueError: the results hold no depth or no cameras.
    """
    aligned = _align(scene, stored, protocol)
    assert stored.depth is not None
    assert stored.intrinsics is not None
    published = scene.intrinsics() if protocol == "compat" else scene.corner_intrinsics()
    truth = scene.world_to_camera()
    maps, matrices, poses = [], [], []
    for view, (frame, depth) in enumerate(zip(scene.frames, stored.depth, strict=True)):
        if not (posed or aligned.placed[view]):
            continue
        valid = frame.read_valid()
        assert valid is not None
        size = (valid.shape[0], valid.shape[1])
        masked = resize_nearest(depth, *size, "torch") if depth.shape != size else depth
        if posed or depth.shape != size or protocol == "sane":  # Q39: depth of the masks' size is not masked
            masked = np.where(valid, masked, np.float32(0))
        if protocol == "sane":
            masked = mask_depth(masked, None, protocol)
        maps.append(np.float32(aligned.scale) * masked)
        matrix, from_size = (published[view], size) if posed else (stored.intrinsics[view], depth.shape)
        matrix = fusion_intrinsics(matrix, (from_size[0], from_size[1]), size, protocol)
        matrices.append(matrix)
        poses.append(truth[view] if posed else aligned.world_to_camera[view])
    stacked: list[Any] = [torch.from_numpy(np.stack(values)).float() for values in (maps, matrices, poses)]
    filtered = posed or filter_unposed
    points = torch.cat(list(consistent_points(*stacked))) if filtered else backproject(*stacked)
    return cap_points(points.numpy()).astype(np.float64)


def score_dtu_points(scene: BenchScene, points: Float[np.ndarray, "points 3"], protocol: Protocol) -> dict[str, float]:
    """Score a cloud by DTU's rules.

    Raises:
        ValueError: the scan's files are broken.
    """
    assert isinstance(scene.truth, DtuTruth)
    scores = score_dtu(points, read_points(scene.truth.points), _observability(scene.truth))
    return scores.by_name(protocol)


def _observability(truth: DtuTruth) -> Observability:
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError('scoring DTU needs scipy: pip install "anyview[bench]"') from error
    values: dict[str, Any] = {}
    for path, names in ((truth.observed, ("ObsMask", "BB", "Res")), (truth.plane, ("P",))):
        try:
            file = loadmat(path)
            values |= {name: np.asarray(file[name]) for name in names}
        # What SciPy's reader raises for files that are cut short, of another kind, or of MATLAB 7.3.
        except (ValueError, KeyError, TypeError, OSError, NotImplementedError) as error:
            raise ValueError(f"{path} holds no {', '.join(names)} ({error!r})") from error
    bounds = values["BB"].astype(np.float64)
    return Observability(
        mask=values["ObsMask"] != 0,
        low=bounds[0],
        high=bounds[1],
        resolution=float(values["Res"].ravel()[0]),
        plane=values["P"].astype(np.float64).ravel(),
    )


def _seed(scene: BenchScene, what: str) -> int:
    return zlib.crc32(f"{scene.dataset}/{scene.name}/{what}".encode())
