"""Each loss by hand, at its minimum, and where it may not look."""

import math

import pytest
import torch

from anyview.training.losses import (
    camera_loss,
    depth_loss,
    gradient_loss,
    mean_over,
    point_loss,
    ray_loss,
    weighted_by_confidence,
)


def test_depth_loss_by_hand(assert_close):
    # Two scenes of one view of 1 x 2 pixels.
    depth = torch.tensor([[[[1.5, 7.0]]], [[[2.0, 2.0]]]])
    truth = torch.tensor([[[[1.0, 3.0]]], [[[1.0, 4.0]]]])
    confidence = torch.tensor([[[[2.0, 5.0]]], [[[1.0, 3.0]]]])
    valid = torch.tensor([[[[True, False]]], [[[True, True]]]])
    first = 2 * 0.5 - 0.2 * math.log(2)
    second = (1 * 1.0 - 0.2 * 0 + 3 * 2.0 - 0.2 * math.log(3)) / 2
    assert_close(depth_loss(depth, confidence, truth, valid, 0.2), torch.tensor([first, second]))


def test_ray_loss_by_hand(assert_close):
    truth = torch.zeros(1, 1, 1, 2, 6)
    rays = truth.clone()
    rays[0, 0, 0, 0] = torch.tensor([0.1, -0.1, 0.2, 0.0, 0.3, -0.3])
    confidence = torch.tensor([[[[4.0, 1.5]]]])
    expected = (4 * 1.0 - 0.2 * math.log(4) - 0.2 * math.log(1.5)) / 2
    assert_close(ray_loss(rays, confidence, truth, 0.2), torch.tensor([expected]))


def test_point_loss_by_hand(assert_close):
    # Direction (0, 0, 1) from (1, 0, 0) at depth 2 is (1, 0, 2); the second pixel has no truth.
    rays = torch.tensor([0.0, 0, 1, 1, 0, 0]).expand(1, 1, 1, 2, 6)
    depth = torch.tensor([[[[2.0, 9.0]]]])
    truth = torch.tensor([0.5, 0.25, 3.0]).expand(1, 1, 1, 2, 3)
    valid = torch.tensor([[[[True, False]]]])
    assert_close(point_loss(depth, rays, truth, valid), torch.tensor([0.5 + 0.25 + 1.0]))


def test_camera_loss_by_hand(assert_close):
    truth = torch.tensor([[[0.0, 0, 0, 0, 0, 0, 1, 1, 1], [1.0, 2, 3, 0, 0, 1, 0, 1, 1]]])
    guess = truth.clone()
    guess[0, 0, :3] += torch.tensor([0.1, -0.2, 0.3])
    guess[0, 0, 7:] += 0.5
    guess[0, 1, 3:7] = torch.tensor([0.0, 0.1, 0.9, 0.0])
    expected = (0.6 + 0.5 * 1.0 + 0.2) / 2
    assert_close(camera_loss(guess, truth), torch.tensor([expected]))


def test_a_quaternion_and_its_negative_are_one_rotation(assert_close):
    truth = torch.tensor([[[0.0, 0, 0, 0.6, 0, 0, 0.8, 1, 1]]])
    guess = truth.clone()
    guess[..., 3:7] *= -1
    assert_close(camera_loss(guess, truth), torch.zeros(1))


def test_gradient_loss_by_hand(assert_close):
    truth = torch.zeros(1, 1, 2, 3)
    depth = torch.tensor([[[[0.0, 1.0, 3.0], [0.0, 1.0, 9.0]]]])
    valid = torch.tensor([[[[True, True, True], [True, True, False]]]])
    across = (1 + 2 + 1) / 3  # the pair with the invalid pixel does not count
    down = (0 + 0) / 2
    assert_close(gradient_loss(depth, truth, valid), torch.tensor([across + down]))


def test_shifting_depth_does_not_change_its_gradient(assert_close):
    truth = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    valid = torch.ones(truth.shape, dtype=torch.bool)
    assert_close(gradient_loss(truth + 1, truth, valid), torch.zeros(2), 1e-6, reason="differences of numbers near 1")


def test_scenes_without_valid_pixels_contribute_nothing():
    values = torch.full((2, 3), torch.inf, requires_grad=True)
    mean = mean_over(torch.zeros(2, 3, dtype=torch.bool), values)
    assert mean.tolist() == [0, 0]


@pytest.mark.parametrize("error", [0.05, 0.1, 0.15])
def test_the_best_confidence_is_the_weight_over_the_error(error):
    confidence = torch.linspace(1, 8, 70_001)
    best = confidence[weighted_by_confidence(torch.tensor(error).expand(70_001), confidence, 0.2).argmin()]
    assert abs(best.item() - 0.2 / error) < 1e-2
