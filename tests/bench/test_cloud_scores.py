import math
import sys

import numpy as np
import pytest

from anyview.bench.metrics.clouds import cloud_distances, f_scores, score_cloud, thin_to_voxels
from golden import fill


@pytest.mark.parametrize(("threshold", "voxel_size"), [(0.1, None), (0.05, 0.08)])
def test_cloud_scores_meet_the_reference(threshold, voxel_size, golden):
    stored = np.load(golden / "metrics.npz")
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


def test_f_scores_at_several_thresholds_are_those_at_each(lattice):
    moved = lattice[:60] + np.array([0.03, 0, 0.04])
    thresholds = np.array([0.01, 0.0501, 0.15, 0.3])
    curves = np.stack(f_scores(*cloud_distances(moved, lattice), thresholds), -1)
    for threshold, curve in zip(thresholds, curves, strict=True):
        scores = score_cloud(moved, lattice, threshold)
        assert curve.tolist() == [scores.precision, scores.recall, scores.f_score]
    assert curves[0].tolist() == [0, 0, 0]


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
