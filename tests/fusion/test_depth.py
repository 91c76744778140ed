import cv2
import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from anyview.fusion.depth import (
    fusion_intrinsics,
    mask_depth,
    nearest_indices,
    prepare_depth,
    resize_linear,
    resize_nearest,
)

NETWORK_SIDES = range(14, 547, 14)
PICTURE_SIDES = [96, 120, 144, 160, 192, 240, 480, 640, 768, 960, 1024, 1200, 1440, 1600, 1920, 4032, 6048]


@pytest.mark.parametrize("target", PICTURE_SIDES)
def test_nearest_pixels_are_those_of_opencv_and_torch(target):
    for source in NETWORK_SIDES:
        numbers = np.arange(source, dtype=np.float32)[None]
        opencv = cv2.resize(numbers, (target, 1), interpolation=cv2.INTER_NEAREST)[0]
        np.testing.assert_array_equal(nearest_indices(source, target), opencv)
        ours = nearest_indices(source, target, "torch")
        theirs = interpolate(torch.from_numpy(numbers)[None], size=target, mode="nearest")[0, 0]
        np.testing.assert_array_equal(ours, theirs)


def test_the_two_rules_differ_somewhere():
    differing = [
        (source, target)
        for source in NETWORK_SIDES
        for target in PICTURE_SIDES
        if (nearest_indices(source, target) != nearest_indices(source, target, "torch")).any()
    ]
    assert differing


def test_maps_are_resized_by_rows_and_columns():
    depth = np.array([[1.0, 2.0], [3.0, 4.0]])
    expected = [[1, 1, 2, 2], [1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4], [3, 3, 4, 4]]
    assert resize_nearest(depth, 6, 4).tolist() == expected
    assert resize_nearest(np.stack([depth, depth]), 6, 4)[1].tolist() == expected


DEPTH = np.array([[1.0, np.nan, np.inf, -2.0, 0.0, 5.0]])
MASK = np.array([[True, True, True, True, True, False]])


def test_a_mask_in_both_protocols():
    np.testing.assert_array_equal(mask_depth(DEPTH, MASK, "sane"), [[1, 0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(mask_depth(DEPTH, MASK, "compat"), [[1, np.nan, np.nan, -2, 0, 0]])


@pytest.mark.parametrize("protocol", ["sane", "compat"])
def test_without_a_mask_positive_numbers_stay(protocol):
    np.testing.assert_array_equal(mask_depth(DEPTH, None, protocol), [[1, 0, 0, 0, 0, 5]])


def test_depth_is_resized_then_masked_then_scaled():
    depth = np.array([[1.0, 2.0]], np.float32)
    mask = np.array([[True, False, True, True], [True, True, True, False]])
    prepared = prepare_depth(depth, 2, 4, mask, 0.5, "sane")
    assert prepared.dtype == np.float32
    assert prepared.tolist() == [[0.5, 0, 1, 1], [0.5, 0.5, 1, 0]]


def test_linear_resizing_mixes_depth():
    assert resize_linear(np.array([[1.0, 3.0]]), 1, 3).tolist() == [[1, 2, 3]]
    assert resize_linear(np.array([[1.0], [3.0]], np.float32), 4, 1).tolist() == [[1], [1.5], [2.5], [3]]


def test_intrinsics_follow_the_size():
    intrinsics = np.array([[100.0, 0, 63], [0, 100, 42], [0, 0, 1]])
    sane = fusion_intrinsics(intrinsics, (84, 126), (96, 144), "sane")
    np.testing.assert_allclose(sane, [[800 / 7, 0, 72], [0, 800 / 7, 48], [0, 0, 1]])
    compat = fusion_intrinsics(np.stack([intrinsics] * 2), (84, 126), (96, 144), "compat")
    np.testing.assert_allclose(compat[1], [[800 / 7, 0, 72.5], [0, 800 / 7, 48.5], [0, 0, 1]])
    assert intrinsics[0, 2] == 63
