import math

import numpy as np
import pytest
import torch

from anyview.bench.metrics.poses import (
    area_under_curve,
    exact_area_under_curve,
    pair_errors,
    pose_aucs,
    relative_errors,
    score_poses,
)
from anyview.geometry.pose import rigid_inverse, rigid_transform

ERRORS = torch.tensor([0, 0.5, 1, 1.5, 2, 2.999, 3, 3.0001, 10, 29.99, 30, 31], dtype=torch.float64)


@pytest.fixture(scope="module")
def stored(golden):
    return np.load(golden / "metrics.npz")


@pytest.mark.parametrize("case", range(4))
def test_aucs_meet_the_reference(case, stored):
    predicted, truth = (torch.from_numpy(stored[f"pose{case}.{name}"]) for name in ("predicted", "truth"))
    for threshold, auc in score_poses(predicted, truth, "compat").auc.items():
        assert auc == pytest.approx(float(stored[f"pose{case}.auc{threshold:02}"]), abs=1e-12)


@pytest.mark.parametrize(("threshold", "auc"), [(3, 0.361111), (5, 0.466667), (15, 0.627778), (30, 0.694444)])
def test_area_under_the_curve_of_known_errors(threshold, auc):
    assert area_under_curve(ERRORS, threshold) == pytest.approx(auc, abs=1e-6)


def test_the_exact_area_by_hand():
    assert exact_area_under_curve(torch.tensor([0.0, 1.5, 3, 4]), 3) == pytest.approx((1 + 0.5) / 4)
    fine = np.linspace(0, 30, 300_001)
    curve = np.searchsorted(np.sort(ERRORS.numpy()), fine, side="right") / len(ERRORS)
    assert exact_area_under_curve(ERRORS, 30) == pytest.approx(curve.mean(), abs=1e-4)


@pytest.mark.parametrize("protocol", ["compat", "sane"])
def test_one_view_has_no_area(protocol):
    scores = score_poses(torch.eye(4)[None], torch.eye(4)[None], protocol)
    assert all(math.isnan(auc) for auc in scores.auc.values())
    assert (scores.pairs, scores.pairs_without_baseline) == (0, 0)


def test_the_benchmarks_trajectory(spiral):
    rotation, translation = pair_errors(*spiral)
    expected_rotation = [0.6999, 1.4, 2.1, 2.8, 3.5, 0.6999, 1.3999, 2.1, 2.8, 0.6998, 1.4, 2.1, 0.6999, 1.4, 0.7002]
    expected_translation = [2.1409, 1.7794, 1.5738, 2.0096, 2.9839, 2.0687, 1.9433, 2.2027, 2.8830, 2.3055, 2.4893]
    assert rotation.tolist() == pytest.approx(expected_rotation, abs=6e-4)
    assert translation.tolist() == pytest.approx([*expected_translation, 2.9939, 2.7957, 3.1925, 3.4155], abs=6e-4)
    aucs = pose_aucs(*spiral)
    assert list(aucs.values()) == pytest.approx([0.311111, 0.586667, 0.862222, 0.931111], abs=1e-6)


def turned_and_moved(degrees: float, translation: list[float]) -> torch.Tensor:
    angle = math.radians(degrees)
    rotation = torch.tensor([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    return rigid_transform(rotation, torch.tensor(translation, dtype=torch.float32))


def test_errors_of_a_pair_by_hand():
    first, truth = torch.eye(4), turned_and_moved(10, [1, 0, 0])
    true_pair = torch.stack([first, truth])
    rotation, translation = pair_errors(torch.stack([first, turned_and_moved(17, [1, 1, 0])]), true_pair)
    assert rotation.tolist() == pytest.approx([7], abs=1e-4)
    assert translation.tolist() == pytest.approx([45], abs=1e-4)
    opposite = torch.stack([first, turned_and_moved(10, [-2, 0, 0])])
    assert pair_errors(opposite, true_pair)[1].tolist() == pytest.approx([0], abs=1e-4)
    rotation, translation, baseline = relative_errors(opposite, true_pair)
    assert rotation.tolist() == pytest.approx([0], abs=1e-4)
    assert translation.tolist() == pytest.approx([180], abs=1e-4)
    assert baseline.tolist() == [True]


def test_opposite_translations_count_as_equal_unless_signed():
    truth = torch.stack([torch.eye(4), turned_and_moved(10, [1, 0, 0])])
    opposite = torch.stack([torch.eye(4), turned_and_moved(10, [-2, 0, 0])])
    scores = score_poses(opposite, truth)
    assert scores.auc[30] == 1
    assert scores.auc_signed is not None
    assert scores.auc_signed[30] == 0


def test_a_translation_off_by_a_known_angle():
    truth = torch.stack([torch.eye(4), turned_and_moved(0, [1, 0, 0])])
    angle = math.radians(12.5)
    predicted = torch.stack([torch.eye(4), turned_and_moved(0, [3 * math.cos(angle), 3 * math.sin(angle), 0])])
    scores = score_poses(predicted, truth)
    assert scores.auc[15] == pytest.approx(3 / 15)  # below 13, 14, 15
    assert scores.auc_exact is not None
    assert scores.auc_exact[15] == pytest.approx(2.5 / 15, abs=1e-5)
    assert scores.auc[3] == 0


def test_no_baseline_is_an_error_of_90_degrees_in_compat_and_skipped_in_sane(spiral):
    truth = spiral[1].clone()
    truth[1] = truth[0]
    rotation, translation = pair_errors(truth, truth)
    assert rotation.max() < 0.03  # what float32 leaves
    assert sorted(translation.tolist())[-2:] == pytest.approx([0, 90], abs=0.03)
    assert list(score_poses(truth, truth, "compat").auc.values()) == pytest.approx([14 / 15] * 4)
    sane = score_poses(truth, truth)
    assert set(sane.auc.values()) == {1.0}
    assert (sane.pairs, sane.pairs_without_baseline) == (15, 1)


def test_cameras_in_one_place_are_compared_by_their_rotation():
    truth = torch.stack([turned_and_moved(angle, [0, 0, 0]) for angle in (0, 20, 50)])
    predicted = torch.stack([turned_and_moved(angle, [angle, 0, 1]) for angle in (0, 20, 54)])
    scores = score_poses(predicted, truth)
    assert scores.pairs_without_baseline == scores.pairs == 3
    assert scores.auc[15] == pytest.approx((1 + 2 * 11 / 15) / 3)  # 0, 4 and 4 degrees off


def test_a_camera_that_did_not_move_is_wrong_where_it_should_have():
    truth = torch.stack([torch.eye(4), turned_and_moved(0, [1, 0, 0])])
    stays = torch.stack([torch.eye(4), torch.eye(4)])
    assert relative_errors(stays, truth)[1].tolist() == [90]
    assert score_poses(stays, truth).auc[30] == 0


@pytest.mark.parametrize("protocol", ["compat", "sane"])
def test_a_view_without_a_pose_has_wrong_pairs_only(protocol, spiral):
    predicted = spiral[1].clone()
    predicted[3] = math.nan
    scores = score_poses(predicted, spiral[1], protocol)
    assert set(scores.auc.values()) == {10 / 15}


def test_errors_do_not_depend_on_the_world_frame(stored):
    predicted, truth = (torch.from_numpy(stored[f"pose1.{name}"]).double() for name in ("predicted", "truth"))
    frame = turned_and_moved(33, [1, 2, 3]).double()
    moved = predicted @ rigid_inverse(frame)
    for errors in (pair_errors, relative_errors):
        for here, there in zip(errors(predicted, truth), errors(moved, truth), strict=True):
            assert torch.allclose(here.double(), there.double(), atol=1e-4)


def test_errors_among_other_views_depend_on_the_first_one_in_compat_only(spiral):
    without_first = [poses[1:] for poses in spiral]
    for here, there in zip(relative_errors(*spiral), relative_errors(*without_first), strict=True):
        assert torch.allclose(here[5:].double(), there.double(), atol=1e-6)
    assert not torch.allclose(pair_errors(*spiral)[1][5:], pair_errors(*without_first)[1], atol=0.1)


def test_perfect_poses_score_1_in_any_similarity_frame(spiral):
    truth = spiral[1]
    moved = truth.double() @ rigid_inverse(turned_and_moved(70, [3, -2, 1]).double())
    moved[:, :3, 3] *= 0.37
    for protocol in ("compat", "sane"):
        assert set(score_poses(moved.float(), truth, protocol).auc.values()) == {1.0}
