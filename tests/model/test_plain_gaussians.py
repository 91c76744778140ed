"""Heads of our own are read plainly: numbers by hand, and what a camera sees of them."""

import json
from dataclasses import replace

import torch

from anyview.geometry.camera import project
from anyview.geometry.gaussians import covariances
from anyview.geometry.pose import matrix_from_quaternion_xyzw, rigid_inverse, rigid_transform
from anyview.images.preprocess import normalize
from anyview.model.config import NANO_GAUSSIANS, PRESETS, config_from_json, config_to_json
from anyview.model.gaussians import gaussians_from_raw, pixel_colors, pixel_depth
from anyview.model.network import build
from anyview.types import Cameras

HEIGHT, WIDTH = 4, 6
CONFIG = replace(NANO_GAUSSIANS, degree=1)


def some_raw(seed: int = 0) -> torch.Tensor:
    return torch.randn(1, 2, HEIGHT, WIDTH, CONFIG.channels, generator=torch.Generator().manual_seed(seed))


def some_cameras() -> Cameras:
    generator = torch.Generator().manual_seed(1)
    rotation = matrix_from_quaternion_xyzw(torch.randn(1, 2, 4, generator=generator))
    poses = rigid_inverse(rigid_transform(rotation, torch.randn(1, 2, 3, generator=generator)))
    return Cameras(poses, torch.tensor([[5.0, 0, 2.5], [0, 7, 2.2], [0, 0, 1]]).expand(1, 2, 3, 3))


def test_means_are_seen_at_their_pixels_and_depths(assert_close):
    raw, cameras, depth = some_raw(), some_cameras(), torch.full((1, 2, HEIGHT, WIDTH), 2.0)
    gaussians = gaussians_from_raw(raw, depth, cameras, CONFIG, colors=torch.zeros(1, 2, HEIGHT, WIDTH, 3))
    means = gaussians.means.unflatten(1, (2, HEIGHT * WIDTH))
    pixels, distance = project(means[0], cameras[0])
    row, column = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    expected = torch.stack([column + 0.5, row + 0.5], -1) + raw[0, ..., :2]
    assert_close(pixels.unflatten(1, (HEIGHT, WIDTH)), expected, 1e-4, reason="there and back")
    assert_close(distance.unflatten(1, (HEIGHT, WIDTH)), 2 * raw[0, ..., -2].exp(), 1e-4, reason="there and back")
    assert_close(pixel_depth(raw, depth, CONFIG), 2 * raw[..., -2].exp())


def test_shapes_turn_with_the_camera(assert_close):
    """A rotation in the camera's axes, then the camera's own."""
    raw, cameras, depth = some_raw(), some_cameras(), torch.full((1, 2, HEIGHT, WIDTH), 2.0)
    gaussians = gaussians_from_raw(raw, depth, cameras, CONFIG, colors=torch.zeros(1, 2, HEIGHT, WIDTH, 3))
    width = 0.1 * (1 / 5 + 1 / 7)  # of a pixel and its height, at distance 1
    sizes = 30 * torch.sigmoid(raw[..., 2:5]) * (2 * raw[..., -2:-1].exp()) * width
    local = matrix_from_quaternion_xyzw(raw[..., 5:9].roll(-1, -1)) * sizes[..., None, :]
    rotation = cameras.world_to_camera[..., :3, :3].mT[:, :, None, None]
    expected = (rotation @ local) @ (rotation @ local).mT
    assert_close(covariances(gaussians), expected.flatten(1, 3), 1e-4, reason="the smallest scale is left out here")


def test_colours_begin_at_the_pixels(assert_close):
    generator = torch.Generator().manual_seed(2)
    picture = torch.randint(0, 256, (1, 2, HEIGHT, WIDTH, 3), generator=generator).byte()
    colors = pixel_colors(normalize(picture))
    assert_close(colors, picture / 255)
    raw, depth = torch.zeros(1, 2, HEIGHT, WIDTH, CONFIG.channels), torch.ones(1, 2, HEIGHT, WIDTH)
    raw[..., 5] = 1
    gaussians = gaussians_from_raw(raw, depth, some_cameras(), CONFIG, colors=colors)
    assert_close(0.5 + 0.28209479 * gaussians.harmonics[0, ..., 0], (picture / 255).flatten(0, 3))
    assert not gaussians.harmonics[..., 1:].any()
    assert gaussians.opacities.unique().tolist() == [0.5]
    raw[..., 9] = 0.3 / 0.28209479  # red, of the harmonic of degree 0
    redder = gaussians_from_raw(raw, depth, some_cameras(), CONFIG, colors=colors)
    change = 0.28209479 * (redder.harmonics - gaussians.harmonics)[..., 0]
    assert_close(change, torch.tensor([0.3, 0, 0]).expand_as(change))


def test_a_pose_scale_makes_everything_larger(assert_close):
    raw, cameras, depth = some_raw(), some_cameras(), torch.full((1, 2, HEIGHT, WIDTH), 2.0)
    colors = torch.zeros(1, 2, HEIGHT, WIDTH, 3)
    one, three = (
        gaussians_from_raw(raw, depth, cameras, CONFIG, torch.tensor([scale]), colors=colors) for scale in (1.0, 3.0)
    )
    assert_close(three.means, 3 * one.means)
    assert_close(three.scales, 3 * one.scales)
    assert torch.equal(three.opacities, one.opacities)


def test_configurations_say_how_a_head_is_read():
    config = replace(PRESETS["da3-nano"].config, gaussians=CONFIG)
    assert config_from_json(config_to_json(config)) == config
    older = json.loads(config_to_json(PRESETS["da3-giant"].config))
    del older["gaussians"]["reading"]
    assert config_from_json(json.dumps(older)) == PRESETS["da3-giant"].config


def test_the_small_head_fits_beside_the_bundled_weights():
    network = build(replace(PRESETS["da3-nano"].config, gaussians=NANO_GAUSSIANS))
    assert 2 * sum(parameter.numel() for parameter in network.parameters()) < 20e6  # bytes in half precision
