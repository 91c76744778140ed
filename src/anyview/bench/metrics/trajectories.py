"""Errors of trajectories: absolute (ATE) and relative (RPE), as in Sturm et al. 2012."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from anyview.geometry.alignment import Similarity, umeyama
from anyview.geometry.pose import camera_centers, rigid_inverse, rotation_angle

TrajectoryFit = Literal["sim3", "se3", "none"]
"""What is fitted to the true camera positions first: rotation, translation and scale; without scale; nothing."""


@dataclass(frozen=True)
class TrajectoryScores:
    """Root mean squares. Lengths in the unit of the truth."""

    ate: float
    """Distance of positions after the fit."""
    rpe_translation: float
    """Length of the error of the motion from one view to the next."""
    rpe_rotation: float
    """Angle of the same, in degrees."""
    scale: float
    """What the prediction was multiplied with."""


def score_trajectory(
    predicted: Float[Tensor, "views 4 4"],
    truth: Float[Tensor, "views 4 4"],
    fit: TrajectoryFit = "sim3",
    step: int = 1,
) -> TrajectoryScores:
    """Compare cameras (world to camera) in their order. Motions go from each view to the ``step``-th after it.

    Raises:
        ValueError: there are not more than ``step`` views.
    """
    if not 0 < step < len(truth):
        raise ValueError(f"expected more than {step} views for motions over a step of {step}, got {len(truth)}")
    predicted, truth = predicted.double(), truth.double()
    similarity = _fit(camera_centers(predicted), camera_centers(truth), fit)
    moved = similarity.apply_to_poses(predicted)
    ate = (camera_centers(moved) - camera_centers(truth)).norm(dim=-1)
    true_motion, motion = (poses[:-step] @ rigid_inverse(poses[step:]) for poses in (truth, moved))
    error = rigid_inverse(true_motion) @ motion
    return TrajectoryScores(
        _rms(ate),
        _rms(error[:, :3, 3].norm(dim=-1)),
        _rms(torch.rad2deg(rotation_angle(error[:, :3, :3]))),
        similarity.scale.item(),
    )


def _fit(source: Float[Tensor, "views 3"], target: Float[Tensor, "views 3"], fit: TrajectoryFit) -> Similarity:
    if fit == "none":
        return Similarity(source.new_ones(()), torch.eye(3).to(source), source.new_zeros(3))
    return umeyama(source, target, with_scale=fit == "sim3")[0]


def _rms(values: Float[Tensor, " values"]) -> float:
    return values.square().mean().sqrt().item()
