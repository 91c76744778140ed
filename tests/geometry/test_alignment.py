import math

import numpy as np
import pytest
import torch

from anyview.geometry.alignment import (
    Similarity,
    align_trajectories,
    fit_scale,
    fit_scale_and_shift,
    fit_scale_and_shift_l1,
    fit_scale_l1,
    umeyama,
    umeyama_ransac,
)
from anyview.geometry.pose import camera_centers, rigid_inverse, rigid_transform

BATCHES = [(), (2,), (3, 1, 2)]


@pytest.fixture(scope="session")
def random_similarity(random_rotations):
    def draw(*batch: int, seed: int = 0) -> Similarity:
        generator = torch.Generator().manual_seed(seed + 100)
        numbers = torch.rand(*batch, 4, generator=generator, dtype=torch.float64)
        return Similarity(0.3 + 3 * numbers[..., 0], random_rotations(*batch, seed=seed), 5 * numbers[..., 1:])

    return draw


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def assert_same(assert_close):
    def check(actual: Similarity, expected: Similarity, *tolerance, **reason) -> None:
        for name in ("scale", "rotation", "translation"):
            assert_close(getattr(actual, name), getattr(expected, name), *tolerance, **reason)

    return check


@pytest.mark.parametrize("batch", BATCHES)
def test_similarities_form_a_group(batch, random_similarity, assert_close, assert_same):
    one, two, three = (random_similarity(*batch, seed=seed) for seed in range(3))
    points = noise(*batch, 7, 3)
    assert_close(one.inverse().apply(one.apply(points)), points)
    assert_close(two.compose(one).apply(points), two.apply(one.apply(points)))
    assert_same(three.compose(two).compose(one), three.compose(two.compose(one)))
    assert_same(one.inverse().inverse(), one)


def test_a_similarity_by_hand(assert_close):
    quarter_turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    similarity = Similarity(torch.tensor(2.0), quarter_turn, torch.tensor([1.0, 1, 1]))
    assert_close(similarity.apply(torch.tensor([[1.0, 0, 0], [0, 3, 1]])), torch.tensor([[1.0, 3, 1], [-5, 1, 3]]))


@pytest.mark.parametrize("batch", BATCHES)
def test_moved_cameras_see_moved_points_alike(batch, random_cameras, random_similarity, assert_close):
    poses, similarity, points = (
        random_cameras(*batch, 4).world_to_camera,
        random_similarity(*batch),
        noise(*batch, 6, 3),
    )

    def seen(world_to_camera: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        return points[..., None, :, :] @ world_to_camera[..., :3, :3].mT + world_to_camera[..., None, :3, 3]

    moved = seen(similarity.apply_to_poses(poses), similarity.apply(points))
    assert_close(moved, similarity.scale[..., None, None, None] * seen(poses, points))


@pytest.mark.parametrize("batch", BATCHES)
def test_umeyama_finds_the_similarity(batch, random_similarity, assert_same):
    similarity, points = random_similarity(*batch), noise(*batch, 9, 3)
    found, determined = umeyama(points, similarity.apply(points))
    assert determined.shape == batch
    assert determined.all()
    assert_same(found, similarity)


def test_umeyama_of_flat_and_mirrored_points_is_a_rotation(random_similarity, assert_same):
    similarity, points = random_similarity(), noise(9, 3)
    flat = points * torch.tensor([1.0, 1, 0])
    found, determined = umeyama(flat, similarity.apply(flat))
    assert determined
    assert_same(found, similarity)
    mirrored, _ = umeyama(points, points * torch.tensor([1.0, 1, -1]))
    assert torch.linalg.det(mirrored.rotation) == pytest.approx(1)


def test_umeyama_minimises_the_squared_error(random_similarity):
    source, target = noise(8, 3), noise(8, 3, seed=1)
    weights = noise(8, seed=2).abs()
    best, _ = umeyama(source, target, weights)

    def error(similarity: Similarity) -> float:
        return (weights[:, None] * (similarity.apply(source) - target).square()).sum().item()

    for seed in range(20):
        small = random_similarity(seed=seed)
        nearly_identity, _ = umeyama(noise(8, 3), noise(8, 3) + 1e-3 * small.apply(noise(8, 3)))
        assert error(best) < error(nearly_identity.compose(best))


def test_weights_count_points(random_similarity, assert_same):
    source, target = noise(6, 3), noise(6, 3, seed=1)
    twice = torch.tensor([0, 0, 1, 2, 3, 4, 5, 5, 5])
    counted, _ = umeyama(source[twice], target[twice])
    weighted, _ = umeyama(source, target, torch.tensor([2.0, 1, 1, 1, 1, 3], dtype=torch.float64))
    assert_same(weighted, counted)


def test_without_scale(random_similarity, assert_close):
    points, similarity = noise(9, 3), random_similarity()
    found, _ = umeyama(points, similarity.apply(points), with_scale=False)
    assert found.scale == 1
    assert_close(found.rotation, similarity.rotation)
    moved_mean = found.apply(points).mean(0)
    assert_close(moved_mean, similarity.apply(points).mean(0))


def test_degenerate_points_are_reported_whatever_the_unit(random_similarity):
    line = noise(6, 1) * torch.tensor([1.0, 2, 3])
    nearly_line = line + 1e-5 * noise(6, 3, seed=1)
    bent_line = line + 1e-2 * noise(6, 3, seed=1)
    same = torch.ones(6, 3, dtype=torch.float64)
    points = torch.stack([line, nearly_line, bent_line, same])
    for unit in (1e-9, 1.0, 1e9):
        found, determined = umeyama(unit * points, unit * random_similarity().apply(points))
        assert determined.tolist() == [False, False, True, False]
        assert all(value.isfinite().all() for value in (found.scale, found.rotation, found.translation))


@pytest.mark.parametrize("case", [1, 2, 3])
def test_umeyama_meets_the_reference(case, golden):
    stored = np.load(golden / "metrics.npz")
    source, target = (torch.from_numpy(stored[f"pose{case}.{name}"]) for name in ("predicted", "truth"))
    for name, fit in (("plain", umeyama), ("ransac", umeyama_ransac)):
        found, determined = fit(camera_centers(source.double()), camera_centers(target.double()))
        assert determined
        aligned = {"aligned": found.apply_to_poses(source.double()), **vars(found)}
        for field, value in aligned.items():
            expected = stored[f"align{case}.{name}.{field}"]
            assert np.allclose(value.numpy(), expected, rtol=0, atol=1e-6), f"{name} {field}"


def trajectory_example() -> tuple[torch.Tensor, torch.Tensor]:
    """Truth and prediction (world to camera) of benchmark A.1."""

    def turn(axis: list[float], degrees: float) -> torch.Tensor:
        x, y, z = (torch.tensor(axis, dtype=torch.float64) / math.hypot(*axis)).tolist()
        cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
        return torch.linalg.matrix_exp(math.radians(degrees) * cross)

    world = turn([0.2, 1, 0.5], 40)
    truth, predicted = [], []
    for i in range(6):
        rotation = turn([0, 1, 0.1], 12 * i)
        center = [2 * math.cos(0.4 * i), 0.15 * i**2, 2 * math.sin(0.4 * i)]
        wobble = torch.tensor([0.03 * i, -0.02 * i, 0.01 * i**2], dtype=torch.float64)
        center = torch.tensor(center, dtype=torch.float64)
        truth.append(rigid_transform(rotation, center))
        predicted_center = world @ (0.5 * (center + wobble)) + torch.tensor([1.0, 2, 3], dtype=torch.float64)
        predicted.append(rigid_transform(world @ rotation @ turn([1, 0.3, -0.2], 0.7 * i), predicted_center))
    return rigid_inverse(torch.stack(truth)).float(), rigid_inverse(torch.stack(predicted)).float()


def test_the_benchmarks_trajectory_example():
    truth, predicted = (camera_centers(poses.double()) for poses in trajectory_example())
    plain, _ = umeyama(predicted, truth)
    assert plain.scale.item() == pytest.approx(2.0255925, abs=1e-6)
    assert plain.translation.tolist() == pytest.approx([0.7382154, -4.8437763, -5.8980307], abs=1e-5)
    robust, _ = umeyama_ransac(predicted, truth)
    assert robust.scale.item() == pytest.approx(2.0065086, abs=1e-6)
    assert robust.translation.tolist() == pytest.approx([0.7294420, -4.7329522, -5.8777965], abs=1e-5)
    assert robust.rotation[0].tolist() == pytest.approx([0.7490325, 0.3163321, -0.5821377], abs=1e-5)


def test_ransac_leaves_out_an_outlier(random_similarity, assert_same):
    similarity, source = random_similarity(), noise(20, 3)
    target = similarity.apply(source)
    target[3] += 50
    found, _ = umeyama_ransac(source, target)
    assert_same(found, similarity, 1e-6, reason="ten draws of half the points leave the outlier out")
    plain, _ = umeyama(source, target)
    assert (plain.apply(source) - similarity.apply(source)).abs().max() > 1


def test_ransac_needs_three_points():
    with pytest.raises(ValueError, match="at least 3 points, got 2"):
        umeyama_ransac(noise(2, 3), noise(2, 3))


def test_ransac_reports_a_line_and_coinciding_points():
    line = noise(12, 1) * torch.tensor([1.0, 2, 3])
    assert not umeyama_ransac(line, line)[1]
    found, determined = umeyama_ransac(torch.zeros_like(line), torch.zeros_like(line))
    assert not determined
    assert found.scale.isfinite()


@pytest.mark.parametrize(("views", "method"), [(3, "umeyama"), (9, "umeyama"), (10, "ransac"), (25, "ransac")])
def test_trajectories_are_aligned_by_centers(views, method, random_cameras, random_similarity, assert_same):
    source, similarity = random_cameras(views).world_to_camera, random_similarity()
    aligned = align_trajectories(source, similarity.apply_to_poses(source))
    assert aligned.method == method
    assert aligned.scale_known
    assert_same(aligned.similarity, similarity)


def on_a_line(poses: torch.Tensor, step: float) -> torch.Tensor:
    centers = step * torch.arange(float(len(poses)))[:, None] * torch.tensor([1.0, -2, 0.5]) + 3
    rotation = rigid_inverse(poses)[:, :3, :3]
    return rigid_inverse(rigid_transform(rotation, centers.double()))


@pytest.mark.parametrize(("views", "step"), [(2, 1.0), (5, 1.0), (12, 1.0), (2, 1e-3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_views_on_a_line(views, step, dtype, random_cameras, random_similarity, assert_same):
    source, similarity = on_a_line(random_cameras(views).world_to_camera, step), random_similarity()
    aligned = align_trajectories(source.to(dtype), similarity.apply_to_poses(source).to(dtype))
    assert aligned.method == "rotations"
    assert aligned.scale_known
    precision = 1e-9 if dtype == torch.float64 else 1e-5 if step == 1.0 else 1e-3
    assert_same(aligned.similarity, similarity, precision, reason="rounded centres over the distance between them")


@pytest.mark.parametrize("views", [1, 2, 12])
@pytest.mark.parametrize("rounding", [0, 1e-17])
def test_views_in_one_place(views, rounding, random_cameras, random_similarity, assert_close):
    source, similarity = on_a_line(random_cameras(views).world_to_camera, 0.0), random_similarity()
    target = similarity.apply_to_poses(source)
    source[:, :3, 3] = rounding * noise(views, 3)
    aligned = align_trajectories(source, target)
    assert aligned.method == "rotations"
    assert not aligned.scale_known
    assert aligned.similarity.scale == 1
    assert_close(aligned.similarity.rotation, similarity.rotation)
    assert_close(camera_centers(aligned.similarity.apply_to_poses(source)), camera_centers(target))


def test_rotations_are_averaged(random_cameras, random_rotations):
    source = on_a_line(random_cameras(2).world_to_camera, 1.0)
    wobble = torch.linalg.matrix_exp(torch.tensor([[0, -0.1, 0], [0.1, 0, 0], [0, 0, 0]], dtype=torch.float64))
    target = source.clone()
    target[0, :3, :3] = source[0, :3, :3] @ wobble
    target[1, :3, :3] = source[1, :3, :3] @ wobble.mT
    target[:, :3, 3] = -(target[:, :3, :3] @ camera_centers(source)[..., None])[..., 0]
    assert (align_trajectories(source, target).similarity.rotation - torch.eye(3)).abs().max() < 1e-9


def test_alignment_keeps_the_dtype(random_cameras):
    poses = random_cameras(4, dtype=torch.float32).world_to_camera
    assert align_trajectories(poses, poses).similarity.rotation.dtype == torch.float32
    assert align_trajectories(poses[:1], poses[:1]).similarity.scale.dtype == torch.float32


def test_scale_by_hand():
    source, target = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    assert fit_scale(source, target).item() == pytest.approx(11 / 5)
    assert fit_scale(source, target, torch.tensor([2.0, 0.0])).item() == pytest.approx(3)
    scale, shift = fit_scale_and_shift(source, target)
    assert (scale.item(), shift.item()) == pytest.approx((1, 2))


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("fit", [fit_scale, fit_scale_l1])
def test_scale_of_masked_depth(batch, fit, assert_close):
    scale = 1 + torch.rand(batch, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    source, weights = noise(*batch, 50).abs(), noise(*batch, 50, seed=1).abs()
    target = scale[..., None] * source
    target[..., :20], source[..., 10:30], weights[..., :30] = torch.nan, torch.nan, 0
    assert_close(fit(source, target, weights), scale)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("fit", [fit_scale_and_shift, fit_scale_and_shift_l1])
def test_scale_and_shift_of_masked_depth(batch, fit, assert_close):
    scale, shift = 1 + noise(*batch).abs(), noise(*batch, seed=2)
    source, weights = noise(*batch, 50).abs(), noise(*batch, 50, seed=1).abs()
    target = scale[..., None] * source + shift[..., None]
    target[..., :20], weights[..., :20] = torch.nan, 0
    found_scale, found_shift = fit(source, target, weights)
    assert_close(found_scale, scale)
    assert_close(found_shift, shift)


def test_robust_fits_ignore_outliers_and_others_do_not(assert_close):
    source = 1 + noise(200).abs()
    target = 2 * source
    target[:60] = 100
    assert_close(fit_scale_l1(source, target), torch.tensor(2.0, dtype=torch.float64))
    assert fit_scale(source, target) > 5
    scale, shift = fit_scale_and_shift_l1(source, target + 3)
    assert_close(
        torch.stack([scale, shift]),
        torch.tensor([2.0, 3], dtype=torch.float64),
        1e-3,
        reason="reweighting comes close to the minimum, not onto it",
    )


def test_l1_scale_minimises_the_absolute_error():
    source, target, weights = noise(31), noise(31, seed=1), noise(31, seed=2).abs()
    best = fit_scale_l1(source, target, weights)
    candidates = torch.cat([target / source, torch.linspace(-3, 3, 1001)])
    errors = (weights * (target - candidates[:, None] * source).abs()).sum(-1)
    assert (weights * (target - best * source).abs()).sum() <= errors.min() + 1e-12


@pytest.mark.parametrize("fit", [fit_scale_and_shift, fit_scale_and_shift_l1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_depths_determine_a_shift_only(fit, dtype):
    source, target = torch.full((1000,), 0.1, dtype=dtype), torch.linspace(1, 3, 1000, dtype=dtype)
    scale, shift = fit(source, target)
    assert scale == 0
    assert shift.item() == pytest.approx(2, abs=1e-2)


@pytest.mark.parametrize("fit", [fit_scale, fit_scale_l1, fit_scale_and_shift, fit_scale_and_shift_l1])
def test_nothing_to_fit_gives_nan(fit):
    values = torch.ones(2, 3)
    weights = torch.tensor([[0.0, 0, 0], [1, 1, 1]])
    result = fit(values, values, weights)
    scale = result[0] if isinstance(result, tuple) else result
    assert scale.isnan().tolist() == [True, False]
