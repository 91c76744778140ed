"""Maps at the resolution of the input pictures: shapes, masks, intrinsics."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from anyview.options import PredictOptions
from anyview.types import Cameras, Placement
from filled import filled_model
from golden import fill

NETWORK = PredictOptions(resolution=56)
INPUT = replace(NETWORK, output_resolution="input")


def picture(name: str, height: int = 84, width: int = 112) -> np.ndarray:
    return fill.image(name, height, width)


@pytest.mark.parametrize("name", ["anyview", "nested", "metric"])
def test_maps_have_the_size_of_the_pictures(name):
    images = [picture("a"), picture("b")]
    options = replace(INPUT, focal_length=100.0)
    prediction = filled_model(name).predict(images, options=options)
    for value in (prediction.depth, prediction.confidence, prediction.sky, prediction.canonical_depth):
        assert value is None or value.shape == (2, 84, 112)
    assert torch.equal(prediction.images, torch.from_numpy(np.stack(images)))
    assert prediction.mask is None
    assert prediction.placements == (Placement(84, 112),) * 2


def test_rays_and_features_keep_their_size():
    options = replace(INPUT, rays=True, features=(3,))
    prediction = filled_model("anyview").predict([picture("a")], options=options)
    assert prediction.rays.shape == (1, 24, 32, 6)
    assert prediction.features[3].shape == (1, 3, 4, 64)


def test_intrinsics_become_those_of_the_pictures(assert_close):
    model = filled_model("anyview")
    small = model.predict([picture("a", 84, 120)], options=NETWORK)
    full = model.predict([picture("a", 84, 120)], options=INPUT)
    assert small.depth.shape == (1, 42, 56)
    scale = torch.tensor([120 / 56, 84 / 42, 1.0]).diag()
    assert_close(full.cameras.intrinsics[0], scale @ small.cameras.intrinsics[0])
    assert torch.equal(full.cameras.world_to_camera, small.cameras.world_to_camera)


def test_given_intrinsics_come_back_as_they_were(assert_close):
    matrix = torch.tensor([[90.0, 0, 61], [0, 95, 40], [0, 0, 1]])
    prediction = filled_model("anyview").predict([picture("a", 84, 120)], intrinsics=matrix, options=INPUT)
    assert_close(prediction.cameras.intrinsics[0], matrix)


def test_given_cameras_come_back_as_they_were(assert_close):
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[1, 0, 3], poses[2, 1, 3] = 1.0, 2.0
    given = Cameras(poses, torch.tensor([[90.0, 0, 61], [0, 95, 40], [0, 0, 1]]).repeat(3, 1, 1))
    images = [picture(name, 84, 120) for name in "abc"]
    cameras = filled_model("anyview").predict(images, given, options=INPUT).cameras
    assert torch.equal(cameras.world_to_camera, given.world_to_camera)
    assert_close(cameras.intrinsics, given.intrinsics)


def test_depth_stays_within_what_the_network_said():
    model = filled_model("anyview")
    small, full = (model.predict([picture("a")], options=options).depth for options in (NETWORK, INPUT))
    blocks = full.unflatten(2, (56, 2)).unflatten(1, (42, 2)).mean((2, 4))
    assert ((blocks - small).abs() / small).median() < 0.1
    assert full.isfinite().all()
    assert (full > 0).all()


def test_what_was_cropped_away_has_no_prediction():
    options = replace(INPUT, resize="upper_bound_crop", resolution=60)
    prediction = filled_model("anyview").predict([picture("a", 90, 120)], options=options)
    # 120 × 90 became 60 × 45, then 56 × 42 in the middle: one row and two columns before, two rows and two after.
    expected = torch.zeros(1, 90, 120, dtype=torch.bool)
    expected[:, 2:86, 4:116] = True
    assert torch.equal(prediction.mask, expected)
    assert (prediction.depth[~expected] == 0).all()
    assert torch.equal(prediction.valid(), expected)


@pytest.mark.parametrize("mixed_sizes", ["crop", "pad"])
def test_mixed_sizes_lie_top_left(mixed_sizes):
    options = replace(INPUT, mixed_sizes=mixed_sizes)
    images = [picture("a", 84, 112), picture("b", 112, 84)]
    prediction = filled_model("anyview").predict(images, options=options)
    assert prediction.depth.shape == (2, 112, 112)
    assert torch.equal(prediction.images[0, :84], torch.from_numpy(images[0]))
    assert not prediction.images[0, 84:].any()
    expected = torch.zeros(2, 112, 112, dtype=torch.bool)
    if mixed_sizes == "pad":
        expected[0, :84], expected[1, :, :84] = True, True
    else:
        expected[0, :84, 14:98], expected[1, 14:98, :84] = True, True
    assert torch.equal(prediction.mask, expected)
    assert (prediction.valid() == expected).all()


def test_what_is_missing_stays_missing_for_the_same_reason():
    model = filled_model("anyview")
    small, full = (model.predict([picture("a")], options=options) for options in (NETWORK, INPUT))
    assert full.lacks == small.lacks
    assert full.units == small.units
