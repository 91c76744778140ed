"""Holes in pictures take the colours beside them."""

import torch

from anyview.render.holes import fill_behind, fill_from_beside


def test_rings_of_unknown_pixels_take_the_mean_of_known_neighbours(assert_close):
    picture = torch.zeros(1, 5, 3)
    picture[0, 0], picture[0, 4] = 0.2, 0.6
    known = torch.tensor([[True, False, False, False, True]])
    assert_close(fill_from_beside(picture, known)[0, :, 0], torch.tensor([0.2, 0.2, 0.4, 0.6, 0.6]))
    assert not fill_from_beside(picture, torch.zeros_like(known)).isnan().any()


def test_what_is_opaque_stands_behind_what_is_not(assert_close):
    alpha = torch.tensor([[0.8, 0.25, 0.0]], requires_grad=True)
    color = (alpha.detach() * 0.5)[..., None].expand(1, 3, 3).clone().requires_grad_()
    filled = fill_behind(color, alpha)
    # Where it is opaque the picture shows 0.4 / 0.8 = 0.5, and so does all that is filled.
    assert_close(filled, torch.full((1, 3, 3), 0.5))
    by_color, by_alpha = torch.autograd.grad(filled.sum(), (color, alpha))
    assert_close(by_color, torch.ones(1, 3, 3))
    assert_close(by_alpha, torch.full((1, 3), -1.5))  # three channels of 0.5 that stay as they are
