import numpy as np
import pytest
import torch

from anyview.bench.alignment import align_to_truth
from anyview.geometry.alignment import umeyama, umeyama_ransac
from anyview.geometry.pose import camera_centers, rigid_inverse, rigid_transform


def test_plain_umeyama_of_the_benchmarks_trajectory(spiral):
    similarity, _ = umeyama(*(camera_centers(poses).double() for poses in spiral))
    assert similarity.scale.item() == pytest.approx(2.0255925, abs=1e-6)
    assert similarity.translation.tolist() == pytest.approx([0.7382154, -4.8437763, -5.8980307], abs=1e-5)


def test_ransac_of_the_benchmarks_trajectory(spiral):
    found = align_to_truth(*(poses.double() for poses in spiral), "compat")
    assert found.method == "ransac"
    assert found.similarity.scale.item() == pytest.approx(2.0065086, abs=1e-6)
    assert found.similarity.translation.tolist() == pytest.approx([0.7294420, -4.7329522, -5.8777965], abs=1e-5)
    rows = [[0.7490325, 0.3163321, -0.5821377], [-0.2239606, 0.9478232, 0.2268761], [0.6235319, -0.0395617, 0.7807963]]
    np.testing.assert_allclose(found.similarity.rotation, rows, atol=1e-5)


@pytest.mark.parametrize("case", [1, 2, 3])
def test_compat_meets_the_reference(case, golden):
    stored = np.load(golden / "metrics.npz")
    predicted, truth = (torch.from_numpy(stored[f"pose{case}.{name}"]).double() for name in ("predicted", "truth"))
    found = align_to_truth(predicted, truth, "compat").similarity
    for name in ("scale", "rotation", "translation"):
        np.testing.assert_allclose(getattr(found, name), stored[f"align{case}.ransac.{name}"], atol=1e-6)
    np.testing.assert_allclose(found.apply_to_poses(predicted), stored[f"align{case}.ransac.aligned"], atol=1e-6)


def test_the_draws_are_the_benchmarks():
    draws = np.random.default_rng(42)
    assert [draws.choice(np.arange(8), 4, replace=False).tolist() for _ in range(3)] == [
        [3, 0, 6, 4],
        [3, 1, 0, 4],
        [3, 6, 4, 1],
    ]


def test_truth_on_itself_has_scale_1(spiral):
    for protocol in ("compat", "sane"):
        assert align_to_truth(spiral[1], spiral[1], protocol).similarity.scale.item() == pytest.approx(1, abs=2e-7)


def cameras_at(centers: torch.Tensor, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    rotations = torch.linalg.qr(torch.randn(len(centers), 3, 3, generator=generator, dtype=torch.float64))[0]
    rotations = rotations * torch.linalg.det(rotations)[:, None, None]
    return rigid_inverse(rigid_transform(rotations, centers))


def looping(noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Two dense rounds of a circle: every position has a neighbour that is not its own."""
    angles = torch.linspace(0, 4 * torch.pi, 40, dtype=torch.float64)
    centers = torch.stack([angles.cos(), 0.001 * angles, angles.sin()], -1)
    generator = torch.Generator().manual_seed(0)
    moved = centers + noise * torch.randn(centers.shape, generator=generator, dtype=torch.float64)
    return cameras_at(moved), cameras_at(centers)


def test_the_inlier_threshold_is_that_of_partners_in_sane():
    source, target = (camera_centers(poses) for poses in looping(0.3))
    nearest, _ = umeyama_ransac(source, target, "nearest")
    matched, _ = umeyama_ransac(source, target, "matched")
    residuals = [(fit.apply(source) - target).norm(dim=-1) for fit in (nearest, matched)]
    assert not torch.allclose(*residuals)
    assert residuals[1].square().mean() < residuals[0].square().mean()
    expected = align_to_truth(*looping(0.3), "sane").similarity
    assert torch.equal(expected.scale, matched.scale)


def test_an_outlier_has_no_say():
    truth = cameras_at(torch.randn(12, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    centers = camera_centers(truth) / 2
    centers[4] += 100
    predicted = cameras_at(centers)
    for protocol in ("compat", "sane"):
        assert align_to_truth(predicted, truth, protocol).similarity.scale.item() == pytest.approx(2, abs=1e-9)


@pytest.mark.parametrize("views", [1, 2])
def test_few_views_are_refused_in_compat_and_aligned_by_their_rotations_in_sane(views):
    truth = cameras_at(torch.tensor([[0.0, 0, 0], [2, 0, 0]], dtype=torch.float64)[:views])
    predicted = truth.clone()
    predicted[:, :3, 3] /= 4
    with pytest.raises(ValueError, match=f"at least 3 points, got {views}"):
        align_to_truth(predicted, truth, "compat")
    found = align_to_truth(predicted, truth)
    assert found.method == "rotations"
    assert found.scale_known == (views == 2)
    torch.testing.assert_close(found.similarity.apply_to_poses(predicted), truth)


def test_a_straight_line_is_aligned_by_rotations_in_sane():
    truth = cameras_at(torch.arange(12, dtype=torch.float64)[:, None] * torch.tensor([1.0, 2, 3]))
    predicted = truth.clone()
    predicted[:, :3, 3] /= 4
    found = align_to_truth(predicted, truth)
    assert found.method == "rotations"
    torch.testing.assert_close(found.similarity.apply_to_poses(predicted), truth)


def test_a_nearly_straight_line_passes_in_compat():
    steps = torch.arange(6, dtype=torch.float64)[:, None]
    bend = 1e-5 * torch.tensor([[0.0], [1], [3], [1], [-2], [0]], dtype=torch.float64)
    truth = cameras_at(steps * torch.tensor([1.0, 0, 0]) + bend * torch.tensor([0.0, 1, 0]))
    assert align_to_truth(truth, truth, "compat").method == "ransac"
    assert align_to_truth(truth, truth).method == "rotations"
    on_a_line = cameras_at(steps * torch.tensor([1.0, 0, 0]))
    with pytest.raises(ValueError, match="6 camera centres lie on a line"):
        align_to_truth(on_a_line, on_a_line, "compat")
