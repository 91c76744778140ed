import math

import pytest
import torch

from anyview.bench.metrics.trajectories import score_trajectory
from anyview.geometry.pose import rigid_inverse, rigid_transform


def cameras(centers: list, turns: list[float] | None = None) -> torch.Tensor:
    """World to camera; turned about z by degrees."""
    angles = torch.deg2rad(torch.tensor(turns or [0.0] * len(centers), dtype=torch.float64))
    zero, one = torch.zeros_like(angles), torch.ones_like(angles)
    rows = [[angles.cos(), -angles.sin(), zero], [angles.sin(), angles.cos(), zero], [zero, zero, one]]
    rotation = torch.stack([torch.stack(row, -1) for row in rows], -2)
    return rigid_inverse(rigid_transform(rotation, torch.tensor(centers, dtype=torch.float64)))


SQUARE = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]


def test_without_a_fit_by_hand():
    moved = [[0, 0, 0], [1, 0, 0], [1, 1, 2], [0, 1, 0]]
    scores = score_trajectory(cameras(moved), cameras(SQUARE), "none")
    assert scores.ate == pytest.approx(1)  # one of four is 2 off
    assert scores.rpe_translation == pytest.approx(math.sqrt(8 / 3))  # two of three motions are 2 off
    assert scores.rpe_rotation == pytest.approx(0, abs=1e-6)
    assert scores.scale == 1


def test_rotation_errors_by_hand():
    truth, predicted = cameras(SQUARE, [0, 10, 20, 30]), cameras(SQUARE, [0, 10, 26, 36])
    assert score_trajectory(predicted, truth, "none").rpe_rotation == pytest.approx(math.sqrt(36 / 3))
    assert score_trajectory(predicted, truth, "none", step=2).rpe_rotation == pytest.approx(6)
    # The motion after a camera that is turned by 6 degrees too much is seen from it turned by as much.
    chord = 2 * math.sin(math.radians(3))
    assert score_trajectory(predicted, truth, "none").rpe_translation == pytest.approx(chord / math.sqrt(3))


@pytest.mark.parametrize(("fit", "ate", "scale"), [("sim3", 0, 0.5), ("se3", math.sqrt(0.5), 1)])
def test_a_similarity_frame_counts_as_far_as_it_is_fitted(fit, ate, scale):
    truth = cameras(SQUARE, [0, 10, 20, 30])
    frame = rigid_transform(rigid_inverse(cameras([[0, 0, 0]], [70.0]))[0, :3, :3], torch.tensor([4.0, 5, 6]).double())
    predicted = truth @ rigid_inverse(frame)
    predicted[:, :3, 3] *= 2
    scores = score_trajectory(predicted, truth, fit)
    assert scores.ate == pytest.approx(ate, abs=1e-9)  # corners of a square of 2 are √2 / 2 from those of one of 1
    assert scores.scale == pytest.approx(scale)
    assert scores.rpe_translation == pytest.approx(0 if fit == "sim3" else 1, abs=1e-9)
    assert scores.rpe_rotation == pytest.approx(0, abs=1e-5)


def test_a_straight_line_has_errors_along_it():
    truth = cameras([[k, 0, 0] for k in range(5)])
    predicted = cameras([[0, 2 * k, 0] for k in range(5)])
    scores = score_trajectory(predicted, truth)
    assert scores.ate == pytest.approx(0, abs=1e-9)
    assert scores.scale == pytest.approx(0.5)


@pytest.mark.parametrize("step", [0, 4, 7])
def test_there_must_be_motions(step):
    with pytest.raises(ValueError, match=f"more than {step} views for motions over a step of {step}, got 4"):
        score_trajectory(cameras(SQUARE), cameras(SQUARE), step=step)
