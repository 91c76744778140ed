"""Linear layers that run as convolutions, against PyTorch's own."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from anyview.model import layers


@pytest.mark.parametrize("shape", [(8, 24), (100, 24), (2, 50, 24), (1, 1, 70, 24)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_linear_is_a_matrix_product_forward_and_backward(
    shape: tuple[int, ...], dtype: torch.dtype, assert_close: Callable[..., None]
) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = layers.Linear(24, 40).to(dtype)
    tokens = torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True)
    expected = F.linear(tokens, layer.weight, layer.bias)
    pull = torch.randn(expected.shape, generator=generator, dtype=dtype)
    inputs = [tokens, layer.weight, layer.bias]

    found = layer(tokens)

    assert_close(found, expected)
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, pull), torch.autograd.grad(expected, inputs, pull), strict=True
    ):
        assert_close(ours, theirs)


def test_many_tokens_are_convolved_and_few_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    convolved = []
    convolution = F.conv2d
    monkeypatch.setattr(layers.F, "conv2d", lambda x, *rest: convolved.append(x.shape[-1]) or convolution(x, *rest))
    layer = layers.Linear(24, 40)
    layer(torch.zeros(layers.FEWEST_CONVOLVED - 1, 24))
    assert convolved == []
    layer(torch.zeros(2, layers.FEWEST_CONVOLVED, 24))
    assert convolved == [2 * layers.FEWEST_CONVOLVED]


def test_the_values_of_tokens_that_lie_apart_in_memory(assert_close: Callable[..., None]) -> None:
    layer = layers.Linear(24, 40)
    tokens = torch.randn(3, 24, 90, generator=torch.Generator().manual_seed(1)).transpose(1, 2)
    assert_close(layer(tokens), F.linear(tokens, layer.weight, layer.bias))
