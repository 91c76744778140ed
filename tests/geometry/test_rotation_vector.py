"""Rotation vectors: by hand, round trips for any batch, and derivatives."""

import math

import pytest
import torch

from anyview.geometry.rotation_vector import (
    cross_matrix,
    right_jacobian_inverse,
    rotation_from_vector,
    vector_from_rotation,
)


def test_a_quarter_turn_about_z_takes_x_to_y(assert_close):
    turn = rotation_from_vector(torch.tensor([0.0, 0.0, math.pi / 2], dtype=torch.float64))
    assert_close(turn, torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64))


def test_the_cross_matrix_is_the_cross_product(assert_close):
    a, b = torch.tensor([1.0, 2, 3]), torch.tensor([-2.0, 0.5, 1])
    assert_close(cross_matrix(a) @ b, torch.linalg.cross(a, b))


@pytest.mark.parametrize("angle", [0.0, 1e-9, 0.9e-4, 1.1e-4, 0.5, 3.0, math.pi])
def test_vectors_round_trip(angle, assert_close):
    axis = torch.tensor([[2.0, -1, 2], [0, 0, 3], [1, 1, 1]], dtype=torch.float64)
    vectors = angle * axis / axis.norm(dim=-1, keepdim=True)
    rotation = rotation_from_vector(vectors)
    assert_close(rotation.mT @ rotation, torch.eye(3, dtype=torch.float64).expand(3, 3, 3))
    found = vector_from_rotation(rotation)
    # Half a turn is the same either way round.
    sign = torch.sign((found * vectors).sum(-1, keepdim=True)) if angle == math.pi else 1.0
    assert_close(sign * found, vectors, 1e-7, reason="half a turn is the worst place of arctangents")


@pytest.mark.parametrize("batch", [(), (2,), (3, 1, 2)])
def test_rotations_round_trip(batch, random_rotations, assert_close):
    rotation = random_rotations(*batch)
    assert_close(rotation_from_vector(vector_from_rotation(rotation)), rotation)


@pytest.mark.parametrize("length", [0.0, 1e-5, 0.7, 3.1])
def test_the_jacobian_adds_small_turns(length, assert_close):
    vector = length * torch.tensor([0.6, 0.0, -0.8], dtype=torch.float64)

    def turned(change: torch.Tensor, *, from_right: bool) -> torch.Tensor:
        base, small = rotation_from_vector(vector), rotation_from_vector(change)
        return vector_from_rotation(base @ small if from_right else small @ base)

    zero = torch.full((3,), 1e-7, dtype=torch.float64)
    jacobian = right_jacobian_inverse(vector)
    for from_right, expected in ((True, jacobian), (False, jacobian.mT)):
        change = turned(zero, from_right=from_right) - turned(-zero, from_right=from_right)
        assert_close(change / 2, expected @ zero, 1e-6, reason="a difference quotient")
