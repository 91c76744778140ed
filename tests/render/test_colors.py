"""Colours that give the pictures back."""

import dataclasses

import pytest
import torch

from anyview.geometry.harmonics import colors_of_harmonics, evaluate
from anyview.render.colors import fit_colors
from anyview.render.pixels import pixel_gaussians
from anyview.render.psnr import psnr
from anyview.render.rasterize import rasterize
from anyview.types import Cameras, Gaussians, map_tensors

NEAR = 0.01
CAMERA = Cameras(torch.eye(4)[None], torch.tensor([[[10.0, 0, 3.5], [0, 10, 1.5], [0, 0, 1]]]))


def two_pixels() -> tuple[Gaussians, torch.Tensor, torch.Tensor]:
    """Gaussians of two pixels far apart, their picture, and which pixels they are."""
    image = torch.zeros(1, 3, 7, 3, dtype=torch.uint8)
    image[0, 1, 1], image[0, 1, 5] = 100, 50
    depth, valid = torch.full((1, 3, 7), 2.0), torch.zeros(1, 3, 7, dtype=torch.bool)
    valid[0, 1, 1] = valid[0, 1, 5] = True
    return pixel_gaussians(image, depth, CAMERA, valid, color_rounds=0), image, valid


def grey(gaussians: Gaussians) -> Gaussians:
    return dataclasses.replace(gaussians, harmonics=torch.zeros_like(gaussians.harmonics))


def test_a_round_by_hand(assert_close):
    """Nothing else covers them, so each is missing alpha times its difference, and gets one and a half of that."""
    gaussians, image, valid = two_pixels()
    light = rasterize(gaussians, CAMERA, 3, 7).alpha[0, 1, [1, 5]]
    colors = torch.tensor([100.0, 50.0]) / 255
    once = fit_colors(grey(gaussians), image, CAMERA, 1, near=NEAR, valid=valid)
    expected = 0.5 + 1.5 * light * (colors - 0.5)
    assert_close(colors_of_harmonics(once.harmonics[..., 0]), expected[:, None].expand(2, 3))
    many = fit_colors(grey(gaussians), image, CAMERA, 60, near=NEAR, valid=valid)
    assert_close(colors_of_harmonics(many.harmonics[..., 0]), colors[:, None].expand(2, 3))


def test_what_is_let_through_counts_as_right(assert_close):
    gaussians, image, valid = two_pixels()
    faint = dataclasses.replace(gaussians, opacities=torch.tensor([0.4, 0.6]))
    fitted = fit_colors(faint, image, CAMERA, 60, near=NEAR, valid=valid)
    assert_close(fitted.harmonics, gaussians.harmonics)


def test_pixels_that_do_not_count_pull_nothing():
    gaussians, image, valid = two_pixels()
    other = torch.where(valid[..., None], image, 255)
    one, two = (fit_colors(gaussians, shown, CAMERA, 2, near=NEAR, valid=valid) for shown in (image, other))
    assert torch.equal(one.harmonics, two.harmonics)
    pulled = fit_colors(gaussians, other, CAMERA, 2, near=NEAR)
    assert (pulled.harmonics > one.harmonics).all()


def test_two_views_of_one_gaussian_agree_on_the_mean(assert_close):
    """It looks the same from both, so each colour is right by half."""
    gaussians, image, valid = two_pixels()
    both = Cameras(CAMERA.world_to_camera.repeat(2, 1, 1), CAMERA.intrinsics.repeat(2, 1, 1))
    pictures = torch.cat([image, torch.zeros_like(image)])
    fitted = fit_colors(gaussians, pictures, both, 60, near=NEAR, valid=valid.repeat(2, 1, 1))
    assert_close(colors_of_harmonics(fitted.harmonics[:, 0, 0]), torch.tensor([50.0, 25.0]) / 255)


def test_higher_degrees_and_shapes_stay(assert_close):
    gaussians, image, valid = two_pixels()
    higher = torch.tensor([0.1, -0.2, 0.3]).expand(2, 3, 3)
    shiny = dataclasses.replace(gaussians, harmonics=torch.cat([gaussians.harmonics, higher], -1))
    before = map_tensors(shiny, torch.clone)
    fitted = fit_colors(shiny, image, CAMERA, 60, near=NEAR, valid=valid)
    straight = torch.nn.functional.normalize(fitted.means, dim=-1)
    assert_close((0.5 + evaluate(fitted.harmonics, straight))[:, 0], torch.tensor([100.0, 50.0]) / 255)
    assert torch.equal(fitted.harmonics[..., 1:], higher)
    for name, value in vars(before).items():
        assert torch.equal(getattr(shiny, name), value)  # arguments stay as they are
        if name != "harmonics":
            assert torch.equal(getattr(fitted, name), value)


def test_colours_keep_to_what_a_picture_holds():
    """A pixel that two views see white and black: neither more than white, nor farther beyond than it was."""
    gaussians, image, valid = two_pixels()
    beyond = dataclasses.replace(gaussians, harmonics=torch.full_like(gaussians.harmonics, 3.0))
    kept = fit_colors(beyond, torch.full_like(image, 255), CAMERA, 1, near=NEAR, valid=valid)
    assert kept.harmonics.max() < 3.0
    white = fit_colors(grey(gaussians), torch.full_like(image, 255), CAMERA, 1, near=NEAR, valid=valid)
    assert 0.99 < colors_of_harmonics(white.harmonics).min() <= colors_of_harmonics(white.harmonics).max() <= 1 + 1e-6
    opaque = dataclasses.replace(grey(gaussians), opacities=torch.ones(2), scales=10 * gaussians.scales)
    clamped = fit_colors(opaque, torch.full_like(image, 255), CAMERA, 1, near=NEAR, valid=valid)
    assert colors_of_harmonics(clamped.harmonics).max() == pytest.approx(1, abs=1e-6)


def test_inference_mode_changes_nothing():
    gaussians, image, valid = two_pixels()
    usual = fit_colors(gaussians, image, CAMERA, 2, near=NEAR, valid=valid)
    with torch.inference_mode():
        inferred = [map_tensors(one, torch.clone) for one in (gaussians, CAMERA)]
        again = fit_colors(inferred[0], image.clone(), inferred[1], 2, near=NEAR, valid=valid.clone())
    assert torch.equal(usual.harmonics, again.harmonics)
    assert not usual.harmonics.requires_grad


def test_what_is_not_drawn_keeps_its_colours():
    gaussians, image, valid = two_pixels()
    fitted = fit_colors(gaussians, 2 * image, CAMERA, 3, near=5.0, valid=valid)
    assert torch.allclose(fitted.harmonics, gaussians.harmonics, atol=1e-6)


def test_a_negative_number_of_rounds_is_refused():
    gaussians, image, _ = two_pixels()
    with pytest.raises(ValueError, match="expected 0 rounds or more, got -1"):
        fit_colors(gaussians, image, CAMERA, -1, near=NEAR)


def test_pictures_of_a_merged_scene_come_back_better():
    """Random Gaussians that lost their colours find them again in two pictures."""
    generator = torch.Generator().manual_seed(3)
    means = torch.rand(200, 3, generator=generator) * torch.tensor([1.2, 0.6, 0.5]) + torch.tensor([-0.6, -0.3, 1.5])
    true = Gaussians(
        means,
        torch.full((200, 3), 0.05),
        torch.tensor([1.0, 0, 0, 0]).repeat(200, 1),
        torch.rand(200, 3, 1, generator=generator) * 3 - 1.5,
        torch.full((200,), 0.8),
    )
    poses = torch.eye(4).repeat(2, 1, 1)
    poses[1, 0, 3] = 0.1
    cameras = Cameras(poses, torch.tensor([[30.0, 0, 20], [0, 30, 12], [0, 0, 1]]).repeat(2, 1, 1))
    images = (255 * rasterize(true, cameras, 24, 40).color).clamp(0, 255).round().byte()
    scores = []
    for rounds in (0, 2, 8, 32):
        seen = rasterize(fit_colors(grey(true), images, cameras, rounds, near=NEAR), cameras, 24, 40)
        scores.append(psnr(seen.color + (1 - seen.alpha[..., None]) * images / 255, images / 255))
    assert scores == sorted(scores)
    assert scores[-1] > scores[0] + 10
