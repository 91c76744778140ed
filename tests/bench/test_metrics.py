import math
import sys

import numpy as np
import pytest
import torch

from anyview.bench.metrics.clouds import score_cloud, thin_to_voxels
from anyview.bench.metrics.depth import depth_scores
from anyview.bench.metrics.poses import area_under_curve, pair_errors, pose_aucs
from anyview.geometry.pose import rigid_inverse, rigid_transform
from golden import fill


@pytest.fixture(scope="module")
def stored(golden):
    return np.load(golden / "metrics.npz")


@pytest.mark.parametrize("case", range(4))
def test_aucs_meet_the_reference(case, stored):
    predicted, truth = (torch.from_numpy(stored[f"pose{case}.{name}"]) for name in ("predicted", "truth"))
    for threshold, auc in pose_aucs(predicted, truth).items():
        assert auc == pytest.approx(float(stored[f"pose{case}.auc{threshold:02}"]), abs=1e-12)


@pytest.mark.parametrize(("threshold", "auc"), [(3, 0.361111), (5, 0.466667), (15, 0.627778), (30, 0.694444)])
def test_area_under_the_curve_of_known_errors(threshold, auc):
    errors = torch.tensor([0, 0.5, 1, 1.5, 2, 2.999, 3, 3.0001, 10, 29.99, 30, 31], dtype=torch.float64)
    assert area_under_curve(errors, threshold) == pytest.approx(auc, abs=1e-6)


def test_one_view_has_no_area():
    assert all(math.isnan(auc) for auc in pose_aucs(torch.eye(4)[None], torch.eye(4)[None]).values())


def turned_and_moved(degrees: float, translation: list[float]) -> torch.Tensor:
    angle = math.radians(degrees)
    rotation = torch.tensor([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    return rigid_transform(rotation, torch.tensor(translation, dtype=torch.float32))


def test_errors_of_a_pair_by_hand():
    first, truth = torch.eye(4), turned_and_moved(10, [1, 0, 0])
    rotation, translation = pair_errors(
        torch.stack([first, turned_and_moved(17, [1, 1, 0])]), torch.stack([first, truth])
    )
    assert rotation.tolist() == pytest.approx([7], abs=1e-4)
    assert translation.tolist() == pytest.approx([45], abs=1e-4)
    _, opposite = pair_errors(torch.stack([first, turned_and_moved(10, [-2, 0, 0])]), torch.stack([first, truth]))
    assert opposite.tolist() == pytest.approx([0], abs=1e-4)


def test_no_baseline_is_an_error_of_90_degrees():
    poses = torch.stack([torch.eye(4), torch.eye(4), turned_and_moved(0, [1, 0, 0])])
    rotation, translation = pair_errors(poses, poses)
    assert rotation.tolist() == pytest.approx([0, 0, 0], abs=1e-4)
    assert translation.tolist() == pytest.approx([90, 0, 0], abs=1e-4)


def test_errors_do_not_depend_on_the_world_frame(stored):
    predicted, truth = (torch.from_numpy(stored[f"pose1.{name}"]).double() for name in ("predicted", "truth"))
    frame = turned_and_moved(33, [1, 2, 3]).double()
    moved = predicted @ rigid_inverse(frame)
    for here, there in zip(pair_errors(predicted, truth), pair_errors(moved, truth), strict=True):
        assert torch.allclose(here, there, atol=1e-4)


@pytest.mark.parametrize(("threshold", "voxel_size"), [(0.1, None), (0.05, 0.08)])
def test_cloud_scores_meet_the_reference(threshold, voxel_size, stored):
    clouds = fill.uniform("cloud-pred", (4000, 3)), fill.uniform("cloud-truth", (3000, 3))
    scores = score_cloud(*clouds, threshold, voxel_size)
    names = {
        "acc": "accuracy",
        "comp": "completeness",
        "overall": "overall",
        "precision": "precision",
        "recall": "recall",
        "fscore": "f_score",
    }
    for theirs, ours in names.items():
        expected = float(stored[f"cloud.threshold{threshold}.voxel{voxel_size}.{theirs}"])
        assert getattr(scores, ours) == pytest.approx(expected, abs=1e-9)


@pytest.fixture
def lattice() -> np.ndarray:
    steps = 0.1 * np.arange(10)
    x, y = np.meshgrid(steps, steps, indexing="ij")
    return np.stack([x.ravel(), y.ravel(), np.zeros(100)], -1)


@pytest.mark.parametrize(
    ("threshold", "voxel_size", "expected"),
    [
        (0.0501, None, (0.05, 0.12003678, 1, 0.6, 0.75)),
        (0.05, None, (0.05, 0.12003678, 0, 0, 0)),
        (0.06, 0.25, (0.04824045, 0.16791371, 1, 0.6, 0.75)),
    ],
)
def test_the_benchmarks_lattice(threshold, voxel_size, expected, lattice):
    scores = score_cloud(lattice[:60] + np.array([0.03, 0, 0.04]), lattice, threshold, voxel_size)
    found = (scores.accuracy, scores.completeness, scores.precision, scores.recall, scores.f_score)
    assert found == pytest.approx(expected, abs=1e-7)


def test_voxels_of_the_lattice(lattice):
    thin = thin_to_voxels(lattice, 0.25)
    assert len(thin) == 25
    assert np.unique(thin[:, 0].round(9)).tolist() == [0.05, 0.25, 0.5, 0.75, 0.9]


@pytest.mark.parametrize("empty", [0, 1])
def test_an_empty_cloud_scores_nothing(empty, lattice):
    clouds = [lattice, lattice]
    clouds[empty] = lattice[:0]
    scores = score_cloud(*clouds, threshold=1.0, voxel_size=0.1)
    assert (scores.accuracy, scores.completeness, scores.overall) == (math.inf,) * 3
    assert (scores.precision, scores.recall, scores.f_score) == (0, 0, 0)


def test_a_missing_scipy_is_named(lattice, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.spatial", None)
    with pytest.raises(ImportError, match=r"pip install \"anyview\[bench\]\""):
        score_cloud(lattice, lattice, threshold=1.0)


def test_depth_is_compared_up_to_scale():
    truth = torch.tensor([[1.0, 2.0, 4.0, 0.0, 5.0]])
    exact = depth_scores(3 * truth.clamp(min=0.1), truth)
    assert exact["delta1"] == 1
    assert exact["abs_rel"] == pytest.approx(0, abs=1e-12)
    one_off = depth_scores(torch.tensor([[1.0, 2.0, 4.0, 9.0, 10.0]]), truth)
    assert one_off["delta1"] == 0.75
    assert one_off["abs_rel"] == pytest.approx(0.25)
    assert all(np.isnan(value) for value in depth_scores(truth, torch.zeros_like(truth)).values())
