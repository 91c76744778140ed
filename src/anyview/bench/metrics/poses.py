"""Scores of cameras by pairs of views (benchmark 1.5)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anyview.geometry.pose import quaternion_xyzw_from_matrix, rigid_inverse, rotation_angle
from anyview.options import Protocol

THRESHOLDS = (3, 5, 15, 30)
"""Degrees."""
BASELINE_TOLERANCE = 1e-4
"""Baselines shorter than this part of the longest have no direction worth comparing ("sane")."""


@dataclass(frozen=True)
class PoseScores:
    """Areas under accuracy curves by their limit in degrees, 0 to 1; NaN for a single view."""

    auc: dict[int, float]
    """In steps of one degree; opposite directions of translation count as equal."""
    auc_signed: dict[int, float] | None = None
    """The same with opposite directions counted as 180 degrees apart ("sane" only)."""
    auc_exact: dict[int, float] | None = None
    """The exact area under the curve of ``auc``, without steps ("sane" only)."""
    pairs: int = 0
    pairs_without_baseline: int = 0
    """Pairs whose true baseline is too short for a direction, so that only their rotation counts ("sane" only)."""


def score_poses(
    predicted: Float[Tensor, "views 4 4"],
    truth: Float[Tensor, "views 4 4"],
    protocol: Protocol = "sane",
    thresholds: Sequence[int] = THRESHOLDS,
) -> PoseScores:
    """Compare the relative poses of all pairs of views; poses are world to camera.

    In "compat" these are the published numbers: see `pair_errors`. In "sane" the relative pose is Eⱼ Eᵢ⁻¹, whatever the
    world frame; pairs without a baseline are compared by their rotation only, and counted. Views without a pose (NaN)
    have wrong pairs only.
    """
    pairs = math.comb(len(truth), 2)
    if protocol == "compat":
        return PoseScores(pose_aucs(predicted, truth, thresholds), pairs=pairs)
    rotation, translation, baseline = relative_errors(predicted, truth)
    signed, errors = largest_errors(rotation, translation, baseline)
    return PoseScores(
        {threshold: area_under_curve(errors, threshold) for threshold in thresholds},
        {threshold: area_under_curve(signed, threshold) for threshold in thresholds},
        {threshold: exact_area_under_curve(errors, threshold) for threshold in thresholds},
        pairs,
        int((~baseline).sum()),
    )


def largest_errors(
    rotation: Float[Tensor, " pairs"], translation: Float[Tensor, " pairs"], baseline: Bool[Tensor, " pairs"]
) -> tuple[Float[Tensor, " pairs"], Float[Tensor, " pairs"]]:
    """Return the larger of both errors of each pair, with opposite translations told apart, and counted as equal."""
    translation = torch.where(baseline, translation, 0)
    signed = torch.maximum(rotation, translation)
    unsigned = torch.maximum(rotation, torch.minimum(translation, 180 - translation))
    return signed.nan_to_num(nan=torch.inf), unsigned.nan_to_num(nan=torch.inf)


def relative_errors(
    predicted: Float[Tensor, "views 4 4"], truth: Float[Tensor, "views 4 4"]
) -> tuple[Float[Tensor, " pairs"], Float[Tensor, " pairs"], Bool[Tensor, " pairs"]]:
    """Compute the errors in degrees of the relative poses Eⱼ Eᵢ⁻¹: of rotation, and of translation, 0 to 180.

    Also returns which pairs have a true baseline; the translation errors of the others mean nothing.
    """
    first, second = torch.triu_indices(len(truth), len(truth), offset=1)
    found, true = (poses.double()[second] @ rigid_inverse(poses.double()[first]) for poses in (predicted, truth))
    rotation = torch.rad2deg(rotation_angle(found[:, :3, :3].mT @ true[:, :3, :3]))
    lengths = true[:, :3, 3].norm(dim=-1)
    cross = torch.linalg.cross(found[:, :3, 3], true[:, :3, 3]).norm(dim=-1)
    translation = torch.rad2deg(torch.atan2(cross, (found[:, :3, 3] * true[:, :3, 3]).sum(-1)))
    stands_still = found[:, :3, 3].norm(dim=-1) == 0
    translation = torch.where(stands_still, 90.0, translation)
    longest = lengths.max() if len(lengths) else lengths.new_zeros(())
    return rotation, translation, lengths > BASELINE_TOLERANCE * longest


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
    thresholds: Sequence[int] = THRESHOLDS,
) -> dict[int, float]:
    """Compute the area under the accuracy curve of `pair_errors` up to each threshold in degrees, 0 to 1.

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


def exact_area_under_curve(errors: Float[Tensor, " pairs"], threshold: int) -> float:
    """Integrate the share of ``errors`` up to x over x from 0 to ``threshold``, in parts of the largest area."""
    return (1 - errors.double() / threshold).clamp(min=0).mean().item()


def _relative_poses(world_to_camera: Float[Tensor, "views 4 4"]) -> Float[Tensor, "pairs 4 4"]:
    poses = world_to_camera.double()
    poses = poses @ rigid_inverse(poses[:1])
    first, second = torch.triu_indices(len(poses), len(poses), offset=1)
    return rigid_inverse(poses)[first] @ poses[second]


def _squared_sine(left: Float[Tensor, "pairs components"], right: Float[Tensor, "pairs components"]) -> Tensor:
    return (1 - (left * right).sum(-1).square()).clamp(min=1e-15)


def _normalized(vectors: Float[Tensor, "pairs 3"]) -> Float[Tensor, "pairs 3"]:
    return vectors / (vectors.norm(dim=-1, keepdim=True) + 1e-15)
