"""Which Gaussians of a prediction are shown: pruned by confidence and opacity, merged by cubes."""

import dataclasses

import pytest
import torch

from anyview.geometry.gaussians import covariances
from anyview.options import GaussianOptions
from anyview.render.merging import merge_by_voxel
from anyview.render.rasterize import rasterize
from anyview.render.scene import scene_gaussians
from anyview.types import Cameras, Gaussians, Placement, Prediction

QUATERNION = torch.tensor([1.0, 0, 0, 0])


def row(opacities: list[float], x: list[float] | None = None) -> Gaussians:
    """Gaussians in a row, whose red says which they are."""
    count = len(opacities)
    means = torch.zeros(count, 3)
    means[:, 0] = torch.tensor(x or [float(index) for index in range(count)])
    return Gaussians(
        means=means,
        scales=torch.tensor([0.1, 0.2, 0.3]).repeat(count, 1),
        quaternions_wxyz=QUATERNION.repeat(count, 1),
        harmonics=torch.arange(count).float()[:, None, None].expand(count, 3, 1).clone(),
        opacities=torch.tensor(opacities),
    )


def prediction(shown: Gaussians | None, width: int, /, **changes: object) -> Prediction:
    plain = Prediction(
        images=torch.zeros(1, 1, width, 3, dtype=torch.uint8),
        depth=torch.ones(1, 1, width),
        units="arbitrary",
        model="test",
        names=("a",),
        placements=(Placement(1, width),),
        confidence=1 + torch.arange(width).float().view(1, 1, width),
        cameras=Cameras(torch.eye(4)[None], torch.eye(3)[None]),
        gaussians=shown,
    )
    return dataclasses.replace(plain, **changes)


def kept(result: Gaussians) -> list[int]:
    return result.harmonics[:, 0, 0].int().tolist()


def test_all_are_kept_unless_asked():
    gaussians = row([0.0, 0.5, 1.0])
    shown = scene_gaussians(prediction(gaussians, 3), GaussianOptions())
    assert torch.equal(shown.means, gaussians.means)


def test_opacity_and_confidence_prune():
    scene = prediction(row([0.9, 0.1, 0.5, 0.9, 0.2]), 5)
    assert kept(scene_gaussians(scene, GaussianOptions(least_opacity=0.5))) == [0, 2, 3]
    assert kept(scene_gaussians(scene, GaussianOptions(gaussian_percentile=50.0))) == [2, 3, 4]
    assert kept(scene_gaussians(scene, GaussianOptions(gaussian_percentile=50.0, least_opacity=0.5))) == [2, 3]


def test_confidence_prunes_gaussians_of_pixels_too():
    mask = torch.tensor([[[True, False, True, True]]])
    scene = prediction(None, 4, mask=mask, images=torch.arange(12, dtype=torch.uint8).view(1, 1, 4, 3))
    assert len(scene_gaussians(scene, GaussianOptions(pixel_gaussians=True)).means) == 3
    chosen = scene_gaussians(scene, GaussianOptions(pixel_gaussians=True, gaussian_percentile=50.0))
    reds = 255 * (0.5 + 0.28209479 * chosen.harmonics[:, 0, 0])
    assert reds.tolist() == pytest.approx([6, 9], abs=2)  # fitted


def test_gaussians_that_are_not_finite_are_dropped():
    broken = row([0.5] * 6)
    broken.means[0, 1], broken.scales[2, 0], broken.quaternions_wxyz[3, 3] = torch.nan, torch.inf, torch.nan
    broken.harmonics[4, 2, 0], broken.opacities[5] = torch.nan, torch.nan
    assert kept(scene_gaussians(prediction(broken, 6), GaussianOptions())) == [1]


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"least_opacity": 0.95}, "no Gaussian is left: all 2 are dropped by confidence or opacity"),
        ({"gaussians": None}, {}, "has no Gaussians: they were not predicted; pixel_gaussians makes some of depth"),
        (
            {"gaussians": None, "lacks": {"gaussians": "da3-base has no Gaussian head"}},
            {},
            "has no Gaussians: da3-base has no Gaussian head",
        ),
        (
            {"gaussians": None, "cameras": None, "lacks": {"cameras": "mono models have none"}},
            {"pixel_gaussians": True},
            "Gaussians of depth and colour need cameras, and this prediction has none: mono models have none",
        ),
        (
            {"confidence": None},
            {"gaussian_percentile": 5.0},
            "needs a confidence for every Gaussian, and there is none",
        ),
        (
            {"gaussians": row([0.5] * 3)},
            {"gaussian_percentile": 5.0},
            "resolution of the Gaussians, of which there are 3, for 2 pixels: predict with output_resolution='network'",
        ),
        ({}, {"gaussian_percentile": 101.0}, "gaussian_percentile must be 0 to 100, got 101.0"),
        ({}, {"least_opacity": -0.1}, "least_opacity must be 0 to 1, got -0.1"),
        ({}, {"voxel_size": float("nan")}, "voxel_size must be 0 or above, got nan"),
    ],
)
def test_what_cannot_be_shown_is_refused(changes, options, message):
    with pytest.raises(ValueError, match=message):
        scene_gaussians(prediction(row([0.5, 0.9]), 2, **changes), GaussianOptions(**options))


def test_two_in_a_cube_become_their_mixture(assert_close):
    pair = row([0.6, 0.2], x=[0.1, 0.5])
    one = merge_by_voxel(pair, 1.0)
    assert len(one.means) == 1
    assert_close(one.means[0], torch.tensor([0.75 * 0.1 + 0.25 * 0.5, 0, 0]))
    assert one.opacities.item() == pytest.approx(1 - 0.4 * 0.8)
    assert one.harmonics[0, 0, 0].item() == pytest.approx(0.25)
    expected = torch.tensor([0.1**2 + 0.75 * 0.1**2 + 0.25 * 0.3**2, 0.2**2, 0.3**2])
    assert_close(covariances(one)[0], torch.diag(expected))


def test_those_alone_stay_as_they_are_and_order_is_kept():
    scattered = row([0.5, 0.6, 0.7, 0.8], x=[3.2, -0.1, 0.1, 3.4])
    merged = merge_by_voxel(scattered, 1.0)
    assert kept(merged) == [1, 1, 2]  # 0 and 3 together, colour between; then 1; then 2 across the cube's border
    assert merged.means[1:].tolist() == scattered.means[1:3].tolist()
    assert merged.scales[1:].tolist() == scattered.scales[1:3].tolist()
    assert merged.opacities[1:].tolist() == scattered.opacities[1:3].tolist()


def test_a_scene_seen_twice_merges_into_itself(random_gaussians, random_views):
    """Two copies of the same Gaussians, as from two views: the picture stays, half of them go."""
    gaussians = random_gaussians(60, 1, size=0.05)
    twice = Gaussians(**{name: torch.cat([value, value]) for name, value in vars(gaussians).items()})
    merged = merge_by_voxel(twice, 1e-6)
    assert len(merged.means) == 60
    cameras = random_views(1, 30, 40)
    difference = rasterize(merged, cameras, 30, 40).color - rasterize(twice, cameras, 30, 40).color
    assert difference.abs().mean() < 0.01


def test_a_mixture_has_the_mean_and_covariance_of_its_parts(random_gaussians, assert_close):
    """Turned anyhow: were the merged axes no right-handed frame, the covariance would not be right."""
    gaussians = random_gaussians(9)
    merged = merge_by_voxel(gaussians, 1e3)
    same = ((gaussians.means >= 0) == (gaussians.means[:1] >= 0)).all(-1)  # eight large cubes meet at the origin
    weights = gaussians.opacities[same] / gaussians.opacities[same].sum()
    mean = (weights[:, None] * gaussians.means[same]).sum(0)
    offsets = gaussians.means[same] - mean
    spread = covariances(gaussians)[same] + offsets[:, :, None] * offsets[:, None, :]
    assert same.sum() > 1
    assert_close(merged.means[0], mean)
    assert_close(covariances(merged)[0], (weights[:, None, None] * spread).sum(0))


def test_colours_are_fitted_to_what_is_left():
    """A white picture makes what is kept brighter; without cameras there is nothing to compare with."""
    ahead = row([0.9, 0.1, 0.9])
    ahead.means[:, 2] = 2
    scene = prediction(ahead, 3, images=torch.full((1, 1, 3, 3), 255, dtype=torch.uint8))
    plain = scene_gaussians(scene, GaussianOptions(least_opacity=0.5))
    fitted = scene_gaussians(scene, GaussianOptions(least_opacity=0.5, color_rounds=2))
    assert len(fitted.means) == 2
    assert (fitted.harmonics >= plain.harmonics).all()
    assert fitted.harmonics[0, 0, 0] > plain.harmonics[0, 0, 0]
    with pytest.raises(ValueError, match="color_rounds needs the cameras of the pictures"):
        scene_gaussians(dataclasses.replace(scene, cameras=None), GaussianOptions(color_rounds=1))
    with pytest.raises(ValueError, match="color_rounds must be 0 to 100, got 101"):
        scene_gaussians(scene, GaussianOptions(color_rounds=101))
