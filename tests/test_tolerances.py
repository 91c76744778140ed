"""The suite's one comparison of numbers refuses what it should."""

import numpy as np
import pytest
import torch


def test_the_dtype_sets_the_tolerance(assert_close):
    ones = torch.ones(4, dtype=torch.float64)
    assert_close(ones + 0.9e-9, ones)
    assert_close((ones + 0.9e-5).float(), ones)
    assert_close(ones.bfloat16(), ones + 0.9e-2)
    for dtype, error in [(torch.float64, 1.1e-9), (torch.float32, 1.2e-5), (torch.bfloat16, 1.6e-2)]:
        with pytest.raises(AssertionError, match="max difference"):
            assert_close((ones + error).to(dtype), ones)


def test_differences_count_in_parts_of_the_rms(assert_close):
    expected = np.array([100.0, -100.0, 0.0, 0.0])  # RMS 70.7
    assert_close(expected + 7e-8, expected)
    with pytest.raises(AssertionError, match=r"worst at \(2,\): 1e-07, expected 0"):
        assert_close(expected + np.array([0, 0, 1e-7, 0]), expected)
    with pytest.raises(AssertionError, match="max difference"):
        assert_close(torch.tensor([1e-8, 0.0], dtype=torch.float64), torch.zeros(2, dtype=torch.float64))


def test_whole_numbers_are_equal_or_not(assert_close):
    assert_close(torch.tensor([1, 2]), torch.tensor([1, 2]))
    with pytest.raises(AssertionError, match="max difference"):
        assert_close(torch.tensor([True, False]), torch.tensor([True, True]))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nothing_equals_what_is_not_finite(assert_close, value):
    with pytest.raises(AssertionError, match="1 of 2 values are not finite"):
        assert_close(torch.tensor([1.0, value]), torch.ones(2))
    with pytest.raises(AssertionError, match="expected values are not finite"):
        assert_close(torch.tensor([1.0, value]), torch.tensor([1.0, value]))


def test_shapes_do_not_broadcast(assert_close):
    with pytest.raises(AssertionError, match=r"shape \(1, 2\), expected \(2,\)"):
        assert_close(torch.ones(1, 2), torch.ones(2))


def test_an_own_tolerance_gives_its_reason(assert_close):
    assert_close(torch.tensor(1.001), torch.tensor(1.0), 2e-3, reason="a fit to noisy points")
    with pytest.raises(TypeError, match="needs a reason"):
        assert_close(torch.tensor(1.0), torch.tensor(1.0), 1e-3)
