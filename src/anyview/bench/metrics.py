"""Scores of poses and point clouds, exactly as the published DA3 benchmark computes them (its "compat" mode)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anyview.geometry.alignment import fit_scale_l1
from anyview.geometry.pose import quaternion_xyzw_from_matrix, rigid_inverse


def pair_errors(
    predicted: Float[Tensor, "views 4 4"], truth: Float[Tensor, "views 4 4"]
) -> tuple[Float[Tensor, " pairs"], Float[Tensor, " pairs"]]:
    """Compute the errors in degrees of relative rotation and of translation direction, for every pair of views.

    Poses are world to camera. The definition is the published one (benchmark 1.5) with its oddities: the relative pose
    is Eᵢ⁻¹Eⱼ after moving the first camera to the origin, opposite translations count as equal, and a pair without
    baseline has a translation error of 90 degrees.
    """
    predicted_relative, true_relative = _relative_poses(predicted), _relative_poses(truth)
    predicted_quaternion = quaternion_xyzw_from_matrix(predicted_relative[:, :3, :3])
    true_quaternion = quaternion_xyzw_from_matrix(true_relative[:, :3, :3])
    half_sine = _squared_sine(predicted_quaternion, true_quaternion)
    sine = _squared_sine(_normalized(predicted_relative[:, :3, 3]), _normalized(true_relative[:, :3, 3]))
    return torch.rad2deg(torch.arccos(1 - 2 * half_sine)), torch.rad2deg(torch.arccos((1 - sine).sqrt()))


def pose_aucs(
    predicted: Float[Tensor, "views 4 4"],
    truth: Float[Tensor, "views 4 4"],
    thresholds: Sequence[int] = (3, 5, 15, 30),
) -> dict[int, float]:
    """Compute the area under the accuracy curve of pair errors up to each threshold in degrees, 0 to 1.

    The error of a pair is the larger of its rotation and translation errors. NaN for a single view.
    """
    rotation, translation = pair_errors(predicted, truth)
    errors = torch.maximum(rotation, translation)
    return {threshold: area_under_curve(errors, threshold) for threshold in thresholds}


def area_under_curve(errors: Float[Tensor, " pairs"], threshold: int) -> float:
    """Average the share of ``errors`` below 1, 2, …, ``threshold``; the last step includes its limit."""
    limits = torch.arange(1, threshold + 1, device=errors.device)[:, None]
    accurate = (errors < limits) | ((limits == threshold) & (errors == threshold))
    return accurate.double().mean().item()


@dataclass(frozen=True)
class CloudScores:
    """How well a point cloud matches another. Distances in the unit of the points, the rest 0 to 1."""

    accuracy: float
    """Mean distance from predicted points to the truth."""
    completeness: float
    """Mean distance from true points to the prediction."""
    overall: float
    """Mean of the two."""
    precision: float
    """Share of predicted points closer to the truth than the threshold."""
    recall: float
    """Share of true points closer to the prediction than the threshold."""
    f_score: float
    """Harmonic mean of precision and recall."""


def score_cloud(
    predicted: Float[np.ndarray, "predicted_points 3"],
    truth: Float[np.ndarray, "true_points 3"],
    threshold: float,
    voxel_size: float | None = None,
) -> CloudScores:
    """Compare point clouds by nearest neighbours (benchmark 1.10), after thinning both to voxels if asked.

    An empty cloud on either side has infinite distances and no accurate points. Needs the extra ``bench``.
    """
    if len(predicted) == 0 or len(truth) == 0:
        return CloudScores(np.inf, np.inf, np.inf, 0.0, 0.0, 0.0)
    if voxel_size is not None:
        predicted, truth = thin_to_voxels(predicted, voxel_size), thin_to_voxels(truth, voxel_size)
    to_truth, to_predicted = nearest_distances(predicted, truth), nearest_distances(truth, predicted)
    accuracy, completeness = float(to_truth.mean()), float(to_predicted.mean())
    precision, recall = float((to_truth < threshold).mean()), float((to_predicted < threshold).mean())
    f_score = 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
    return CloudScores(accuracy, completeness, (accuracy + completeness) / 2, precision, recall, f_score)


def thin_to_voxels(points: Float[np.ndarray, "points 3"], voxel_size: float) -> Float[np.ndarray, "voxels 3"]:
    """Replace the points of every occupied voxel by their mean; the grid starts half a voxel below the minimum."""
    points = points.astype(np.float64)
    cells = np.floor((points - (points.min(0) - voxel_size / 2)) / voxel_size).astype(np.int64)
    _, voxel, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    voxel = voxel.reshape(-1)  # numpy 2.0 alone returns a column here
    sums = np.stack([np.bincount(voxel, coordinate) for coordinate in points.T], -1)
    return sums / counts[:, None]


def nearest_distances(
    points: Float[np.ndarray, "points 3"], others: Float[np.ndarray, "others 3"]
) -> Float[np.ndarray, " points"]:
    """Measure the distance from every point to the nearest of the others. Needs the extra ``bench``."""
    try:
        from scipy.spatial import KDTree
    except ImportError as error:
        raise ImportError('scoring point clouds needs scipy: pip install "anyview[bench]"') from error
    return KDTree(others.astype(np.float64)).query(points.astype(np.float64))[0]


def _relative_poses(world_to_camera: Float[Tensor, "views 4 4"]) -> Float[Tensor, "pairs 4 4"]:
    poses = world_to_camera.double()
    poses = poses @ rigid_inverse(poses[:1])
    first, second = torch.triu_indices(len(poses), len(poses), offset=1)
    return rigid_inverse(poses)[first] @ poses[second]


def _squared_sine(left: Float[Tensor, "pairs components"], right: Float[Tensor, "pairs components"]) -> Tensor:
    return (1 - (left * right).sum(-1).square()).clamp(min=1e-15)


def _normalized(vectors: Float[Tensor, "pairs 3"]) -> Float[Tensor, "pairs 3"]:
    return vectors / (vectors.norm(dim=-1, keepdim=True) + 1e-15)


def depth_scores(
    predicted: Float[Tensor, "*views height width"], truth: Float[Tensor, "*views height width"]
) -> dict[str, float]:
    """Compare depth up to one scale for all views, the L1-best one: δ1 (ratio below 1.25) and AbsRel.

    Pixels without true depth (0) do not count; NaN where none has any.
    """
    known = truth > 0
    if not known.any():
        return {"delta1": float("nan"), "abs_rel": float("nan")}
    depth, true_depth = predicted[known].double(), truth[known].double()
    depth = depth * fit_scale_l1(depth, true_depth, 1 / true_depth)
    ratio = torch.maximum(depth / true_depth, true_depth / depth)
    return {
        "delta1": (ratio < 1.25).double().mean().item(),
        "abs_rel": ((depth - true_depth).abs() / true_depth).mean().item(),
    }
