"""Gaussians of exact depth and colour give the pictures back, in whatever frame and unit the cameras are."""

import dataclasses

import pytest
import torch

from anyview.geometry.alignment import Similarity
from anyview.geometry.gaussians import covariances
from anyview.geometry.pose import matrix_from_quaternion_xyzw
from anyview.options import GaussianOptions
from anyview.render.pixels import COLOR_ROUNDS, OPACITY, SIZE, THICKNESS, pixel_gaussians
from anyview.render.rasterize import RenderedViews, rasterize
from anyview.render.scene import scene_gaussians
from anyview.synth.dataset import scene_at
from anyview.synth.options import SynthOptions
from anyview.types import Cameras, Placement, Prediction, TrueViews

FROM_DEPTH = GaussianOptions(pixel_gaussians=True)


@pytest.fixture(scope="module")
def room() -> TrueViews:
    options = SynthOptions(kinds=("room",), rigs=("handheld",), views=2, height=60, width=80, augment=False)
    return scene_at(options, "test", 0)


def prediction_of(views: TrueViews, **changes: object) -> Prediction:
    count, height, width = views.depth.shape
    perfect = Prediction(
        images=views.images,
        depth=views.depth,
        units="metres",
        model="perfect",
        names=tuple(map(str, range(count))),
        placements=(Placement(height, width),) * count,
        cameras=views.cameras,
    )
    return dataclasses.replace(perfect, **changes)


def psnr(image: torch.Tensor, truth: torch.Tensor) -> float:
    return float(-10 * (image.clamp(0, 1) - truth / 255).square().mean().log10())


def seen_from_its_cameras(prediction: Prediction) -> RenderedViews:
    assert prediction.cameras is not None
    return rasterize(scene_gaussians(prediction, FROM_DEPTH), prediction.cameras, *prediction.depth.shape[1:])


def test_a_perfect_prediction_gives_its_pictures_back_in_any_frame_and_unit(room):
    """As predicted, and as if known cameras had been given, in another frame and unit."""
    turn = matrix_from_quaternion_xyzw(torch.tensor([0.3, -0.5, 0.2, 0.8]))
    move = Similarity(torch.tensor(37.0), turn, torch.tensor([5.0, -3.0, 100.0]))
    moved = Cameras(move.apply_to_poses(room.cameras.world_to_camera), room.cameras.intrinsics)
    seen = seen_from_its_cameras(prediction_of(room))
    moved_seen = seen_from_its_cameras(prediction_of(room, cameras=moved, depth=room.depth * 37, units="caller"))
    there = room.depth > 0
    for rendered, depth in ((seen, room.depth), (moved_seen, 37 * room.depth)):
        assert min(psnr(color, image) for color, image in zip(rendered.color, room.images, strict=True)) > 30
        assert ((rendered.depth - depth) / depth).abs()[there].median() < 0.02
        assert rendered.alpha[there].mean() > 0.99
    assert psnr(moved_seen.color, 255 * seen.color) > 45


def test_one_pixel_by_hand(assert_close):
    """The wall z = 2, straight ahead: a disc in it, as large as the pixel's picture on the wall."""
    camera = Cameras(torch.eye(4)[None], torch.tensor([[[10.0, 0, 1.5], [0, 10, 1.5], [0, 0, 1]]]))
    image = torch.full((1, 3, 3, 3), 51, dtype=torch.uint8)
    depth, valid = torch.full((1, 3, 3), 2.0), torch.ones(1, 3, 3, dtype=torch.bool)
    gaussians = pixel_gaussians(image, depth, camera, valid, color_rounds=0)
    assert_close(gaussians.means[4], torch.tensor([0.0, 0, 2]))
    assert_close(gaussians.means[5], torch.tensor([0.2, 0, 2]))
    size = SIZE * 2 / 10
    assert_close(covariances(gaussians)[4], torch.diag(torch.tensor([size, size, THICKNESS * size]).square()))
    assert_close(0.5 + 0.28209479 * gaussians.harmonics[:, :, 0], torch.full((9, 3), 0.2))
    assert gaussians.opacities.tolist() == pytest.approx([OPACITY] * 9)


def test_a_slanted_pixel_is_stretched_along_the_slope(assert_close):
    """Of the plane z = 2 + x, seen at 45 degrees, a pixel covers √2 as much in the direction of the slope."""
    camera = Cameras(torch.eye(4)[None], torch.tensor([[[100.0, 0, 1.5], [0, 100, 1.5], [0, 0, 1]]]))
    slope = (torch.arange(3) - 1.0) / 100
    depth = (2 / (1 - slope)).expand(1, 3, 3)
    image = torch.zeros(1, 3, 3, 3, dtype=torch.uint8)
    gaussians = pixel_gaussians(image, depth, camera, torch.ones(1, 3, 3, dtype=torch.bool))
    size = SIZE * 2 / 100
    along = torch.tensor([1.0, 0, 1]) / 2**0.5
    spread = along @ covariances(gaussians)[4] @ along
    assert_close(spread.sqrt(), torch.tensor(size * 2**0.5), 1e-3, reason="normals come from differences of depth")


def test_colours_are_fitted_to_the_pictures(room):
    """Pictures come back better with every round; a wrong depth hides what is behind, which keeps its colour."""
    images, depth, cameras = room.images, room.depth, room.cameras
    rounds = [pixel_gaussians(images, depth, cameras, depth > 0, color_rounds=count) for count in (0, 1, 2, 4)]
    scores = [psnr(rasterize(fitted, cameras, *depth.shape[1:]).color, images) for fitted in rounds]
    assert scores == sorted(scores)
    assert scores[COLOR_ROUNDS] > scores[0] + 2
    wrong = depth.clone()
    wrong[1] *= 0.5  # the second view's pixels float before the first view's
    hidden = pixel_gaussians(images, wrong, cameras, depth > 0)
    count = int((depth[0] > 0).sum())
    seen = rasterize(hidden, cameras[:1], *depth.shape[1:])
    covered = (seen.depth[0] < 0.9 * depth[0])[depth[0] > 0]
    assert covered.float().mean() > 0.3
    moved = (hidden.harmonics - rounds[0].harmonics)[:count, :, 0].abs().amax(-1)
    assert moved[covered].mean() < 0.7 * moved[~covered].mean()


def test_masked_pixels_make_none_and_sky_does(room):
    mask = torch.ones_like(room.depth, dtype=torch.bool)
    mask[:, :10] = False
    sky = torch.zeros_like(mask)
    sky[:, :, :20] = True
    gaussians = scene_gaussians(prediction_of(room, mask=mask, sky=sky), FROM_DEPTH)
    assert len(gaussians.means) == int(((room.depth > 0) & mask).sum())
