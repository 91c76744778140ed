"""Which view becomes the world frame, on tokens made by hand."""

import pytest
import torch

from anyview.model.reference_view import reference_first, select_reference_view, take_views


def at_angles(*degrees: float) -> torch.Tensor:
    """Unit tokens in a plane, at angles whose cosines are their similarities."""
    angles = torch.tensor(degrees).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


def of_norms(*norms: float) -> torch.Tensor:
    """Tokens that differ in nothing but their norms: each has a channel of its own."""
    return torch.diag(torch.tensor(norms, dtype=torch.float32))


def chosen(tokens: torch.Tensor, strategy: str) -> int:
    (index,) = select_reference_view(tokens[None], strategy).tolist()
    return index


@pytest.mark.parametrize(("views", "middle"), [(3, 1), (4, 2), (5, 2), (10, 5)])
def test_first_and_middle_go_by_position(views, middle):
    tokens = torch.randn(views, 8, generator=torch.Generator().manual_seed(0))
    assert chosen(tokens, "first") == 0
    assert chosen(tokens, "middle") == middle


def test_the_range_of_similarities_is_the_largest_one():
    """All are alike, so that the zero on the diagonal is the smallest: 1 and 2 are the most alike, 1 comes first."""
    assert chosen(at_angles(0, 50, 60, 85), "saddle_sim_range") == 1


def test_opposite_views_have_the_largest_range():
    """View 2 is near view 1 (cos 10° = 0.98) and opposite view 0 (cos 180° = −1): a range of 1.98, more than any."""
    assert chosen(at_angles(0, 170, 180, 90), "saddle_sim_range") == 2


def test_of_the_most_alike_two_the_first_is_taken_whatever_the_rounding():
    for seed in range(50):
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.randn(6, 64, generator=generator) + 3
        directions = torch.nn.functional.normalize(tokens.double(), dim=-1)
        similarity = (directions @ directions.mT).triu(1)
        assert chosen(tokens, "saddle_sim_range") == int(similarity.argmax()) // 6


def test_the_balanced_view_is_average_in_similarity():
    """Equal norms; two channels, so the variance of (cos a, sin a) is (cos a − sin a)² / 2.

    Mean similarity to the others: (cos 10 + cos 30 + cos 70) / 3 = 0.731 at 0°, (cos 10 + cos 20 + cos 60) / 3 = 0.808
    at 10°, (cos 30 + cos 20 + cos 40) / 3 = 0.857 at 30°, (cos 70 + cos 60 + cos 40) / 3 = 0.536 at 70°: as parts of
    their range 0.61, 0.85, 1, 0. Variances 0.5, 0.329, 0.067, 0.179: 1, 0.605, 0, 0.258. Norms: all 0. The sums of the
    distances from one half, without the norms' 0.5, are 0.61, 0.45, 1, 0.74.
    """
    assert chosen(at_angles(0, 10, 30, 70), "saddle_balanced") == 1


def test_the_balanced_view_has_an_average_norm():
    """The one nearest to halfway between the smallest and the largest is taken."""
    assert chosen(of_norms(1.0, 4.0, 3.2, 5.0), "saddle_balanced") == 2


def test_each_item_of_a_batch_has_its_own_reference():
    tokens = torch.stack([of_norms(1, 3, 5), of_norms(3, 1, 5), of_norms(1, 5, 3)])
    assert select_reference_view(tokens, "saddle_balanced").tolist() == [1, 0, 2]


@pytest.mark.parametrize("strategy", ["saddle_balanced", "saddle_sim_range"])
def test_the_choice_follows_the_view_not_its_place(strategy):
    tokens = torch.randn(7, 16, generator=torch.Generator().manual_seed(2)) + 1
    view = chosen(tokens, strategy)
    for seed in range(10):
        order = torch.randperm(7, generator=torch.Generator().manual_seed(seed))
        moved = chosen(tokens[order], strategy)
        if strategy == "saddle_balanced":
            assert order[moved] == view
        else:  # the two most alike tie
            directions = torch.nn.functional.normalize(tokens, dim=-1)
            pair = divmod(int((directions @ directions.mT).triu(1).argmax()), 7)
            assert order[moved] in pair


def test_the_reference_comes_first_and_the_others_keep_their_order():
    order = reference_first(torch.tensor([2, 0, 3]), 4)
    assert order.tolist() == [[2, 0, 1, 3], [0, 1, 2, 3], [3, 0, 1, 2]]


@pytest.mark.parametrize("rest", [(), (5,), (5, 2)])
def test_views_are_taken_and_put_back(rest):
    x = torch.randn(3, 4, *rest, generator=torch.Generator().manual_seed(0))
    order = reference_first(torch.tensor([2, 0, 3]), 4)
    taken = take_views(x, order)
    assert torch.equal(taken[0, 0], x[0, 2])
    assert torch.equal(taken[2, 1], x[2, 0])
    assert torch.equal(take_views(taken, order.argsort(dim=1)), x)
