import numpy as np
import pytest
import torch

from anyview.geometry.harmonics import evaluate, rotate_harmonics

BATCHES = [(), (2,), (3, 1, 2)]
P = torch.tensor([[0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=torch.float64)
"""e3nn's axes (y up) to ours, as spec 13 has it."""


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(vectors: torch.Tensor) -> torch.Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True)


def test_values_by_hand(assert_close):
    coefficients = torch.eye(16, dtype=torch.float64)
    at_x, at_y, at_z = (evaluate(coefficients, axis) for axis in torch.eye(3, dtype=torch.float64))
    assert_close(torch.stack([at_x[0], at_y[0], at_z[0]]), torch.full((3,), 0.28209479177387814, dtype=torch.float64))
    assert_close(at_x[1:4], torch.tensor([0, 0, -0.4886025119029199], dtype=torch.float64))
    assert_close(at_y[1:4], torch.tensor([-0.4886025119029199, 0, 0], dtype=torch.float64))
    assert_close(at_z[1:4], torch.tensor([0, 0.4886025119029199, 0], dtype=torch.float64))
    assert_close(at_z[4:9], torch.tensor([0, 0, 0.6307831305050401, 0, 0], dtype=torch.float64))


def test_the_basis_is_orthonormal(assert_close):
    """By Gauss-Legendre quadrature in z and equal steps around it, exact for products of two of degree 3."""
    nodes, weights = (torch.from_numpy(array) for array in np.polynomial.legendre.leggauss(8))
    angle = torch.arange(16, dtype=torch.float64) * torch.pi / 8
    radius = (1 - nodes**2).sqrt()
    sphere = torch.stack(
        [radius[:, None] * angle.cos(), radius[:, None] * angle.sin(), nodes[:, None].expand(8, 16)], -1
    )
    values = evaluate(torch.eye(16, dtype=torch.float64).expand(8, 16, 16, 16), sphere)
    gram = torch.einsum("zai,zaj,z->ij", values, values, weights) * torch.pi / 8
    assert_close(gram, torch.eye(16, dtype=torch.float64))


@pytest.mark.parametrize("count", [1, 4, 9, 16])
@pytest.mark.parametrize("batch", BATCHES)
def test_rotated_functions_have_rotated_values(count, batch, random_rotations, assert_close):
    coefficients, rotation, direction = noise(*batch, 3, count), random_rotations(*batch), unit(noise(*batch, 3))
    rotated = rotate_harmonics(coefficients, rotation)
    turned = (rotation @ direction[..., None])[..., 0]
    assert_close(evaluate(rotated, turned), evaluate(coefficients, direction))


def test_rotations_compose(random_rotations, assert_close):
    coefficients, one, two = noise(3, 16), random_rotations(seed=1), random_rotations(seed=2)
    in_turn = rotate_harmonics(rotate_harmonics(coefficients, one), two)
    assert_close(rotate_harmonics(coefficients, two @ one), in_turn)
    assert_close(rotate_harmonics(rotate_harmonics(coefficients, one), one.mT), coefficients)
    assert_close(rotate_harmonics(coefficients, torch.eye(3, dtype=torch.float64)), coefficients)


def test_degree_one_is_a_vector(random_rotations, assert_close):
    """Its coefficients are (−y, z, −x) of the gradient."""
    gradient, rotation = noise(3), random_rotations()

    def coefficients(vector: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.zeros(()).double(), -vector[1], vector[2], -vector[0]])[None]

    assert_close(rotate_harmonics(coefficients(gradient), rotation), coefficients(rotation @ gradient))


def real_generators(degree: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The generators of turns about x and y in e3nn's real basis of one degree."""
    m = torch.arange(-degree, degree, dtype=torch.float64)
    raising = torch.diag(-torch.sqrt(degree * (degree + 1) - m * (m + 1)), -1).to(torch.complex128)
    m = torch.arange(-degree + 1, degree + 1, dtype=torch.float64)
    lowering = torch.diag(torch.sqrt(degree * (degree + 1) - m * (m - 1)), 1).to(torch.complex128)
    m = torch.arange(-degree, degree + 1, dtype=torch.float64)
    about_x, about_y = 0.5 * (raising + lowering), torch.diag(1j * m)
    to_complex = torch.zeros(2 * degree + 1, 2 * degree + 1, dtype=torch.complex128)
    to_complex[degree, degree] = 1
    for order in range(1, degree + 1):
        to_complex[degree - order, degree + order] = 2**-0.5
        to_complex[degree - order, degree - order] = -1j * 2**-0.5
        to_complex[degree + order, degree + order] = (-1) ** order * 2**-0.5
        to_complex[degree + order, degree - order] = 1j * (-1) ** order * 2**-0.5
    to_complex = (-1j) ** degree * to_complex
    return tuple((to_complex.conj().T @ generator @ to_complex).real for generator in (about_x, about_y))


def wigner(degree: int, alpha: torch.Tensor, beta: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    about_x, about_y = real_generators(degree)
    first, second, third = (
        torch.linalg.matrix_exp(angle * generator)
        for angle, generator in ((alpha, about_y), (beta, about_x), (gamma, about_y))
    )
    return first @ second @ third


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_rotation_is_the_references_recipe(degree, random_rotations, assert_close):
    """D(α, −β, γ) of e3nn's angles of P⁻¹RP, R' = Ry(α) Rx(β) Ry(γ), spec 13."""
    rotation = random_rotations(seed=4)
    permuted = P.mT @ rotation @ P
    x, y, z = permuted[:, 1]
    alpha, beta, zero = torch.atan2(x, z), torch.arccos(y), torch.zeros(()).double()
    rest = wigner(1, alpha, beta, zero).mT @ permuted  # degree 1 of e3nn is the vector (x, y, z)
    gamma = torch.atan2(rest[0, 2], rest[0, 0])
    assert_close(wigner(1, alpha, beta, gamma), permuted)
    coefficients = torch.zeros(3, 16, dtype=torch.float64)
    part = slice(degree**2, (degree + 1) ** 2)
    coefficients[:, part] = noise(3, 2 * degree + 1)
    expected = coefficients[:, part] @ wigner(degree, alpha, -beta, gamma).mT
    assert_close(rotate_harmonics(coefficients, rotation)[:, part], expected)


def test_rounded_rotations_keep_the_length(random_rotations, assert_close):
    coefficients = noise(3, 9)
    rotated = rotate_harmonics(coefficients, 1.01 * random_rotations())
    assert_close(rotated[:, 4:].norm(), coefficients[:, 4:].norm())


@pytest.mark.parametrize("count", [2, 8, 25])
def test_wrong_numbers_of_coefficients_are_refused(count):
    with pytest.raises(ValueError, match=rf"1, 4, 9 or 16 harmonics .*, got {count}"):
        evaluate(torch.zeros(3, count), torch.tensor([0.0, 0, 1]))
    with pytest.raises(ValueError, match=f"got {count}"):
        rotate_harmonics(torch.zeros(3, count), torch.eye(3))
