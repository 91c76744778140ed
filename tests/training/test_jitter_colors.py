"""Colours change by the scene's number and nothing else; geometry never does."""

import torch

from anyview.training.augment import color_maps, jitter_colors


def pictures(value: tuple[int, int, int] = (100, 150, 50)) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.uint8).expand(3, 2, 4, 5, 3)


def changed(changes: list[float], color: list[float]) -> list[float]:
    affine = color_maps(torch.tensor(changes, dtype=torch.float32))
    return (affine[:, :3] @ torch.tensor(color) + affine[:, 3]).tolist()


def test_no_strength_is_no_change():
    assert torch.equal(jitter_colors(pictures(), (0, 1, 2), 0.0, 0), pictures())
    assert changed([0, 0, 0, 0], [0.25, 0.5, 0.75]) == [0.25, 0.5, 0.75]


def test_each_change_by_hand(assert_close):
    color = [0.2, 0.6, 0.4]
    grey = 0.299 * 0.2 + 0.587 * 0.6 + 0.114 * 0.4
    for changes, expected in (
        ([0.4, 0, 0, 0], [1.2 * value for value in color]),
        ([0, 1, 0, 0], [1.5 * (value - 0.5) + 0.5 for value in color]),
        ([0, 0, -1, 0], [grey + 0.5 * (value - grey) for value in color]),
    ):
        assert_close(torch.tensor(changed(changes, color)), torch.tensor(expected), 1e-5, reason="float32 sums")
    # A turn of the hue keeps greys, the sum of the channels and the distance from grey.
    turned = torch.tensor(changed([0, 0, 0, 1], color))
    assert_close(turned.sum(), torch.tensor(1.2), 1e-5, reason="float32 sums")
    assert_close((turned - 0.4).norm(), (torch.tensor(color) - 0.4).norm(), 1e-5, reason="float32 sums")
    assert_close(torch.tensor(changed([0, 0, 0, 1], [0.3] * 3)), torch.full((3,), 0.3), 1e-5, reason="float32 sums")
    assert (turned - torch.tensor(color)).abs().max() > 0.05


def test_the_scene_decides_the_change():
    together = jitter_colors(pictures(), (7, 8, 9), 1.0, 0)
    alone = jitter_colors(pictures()[:1], (8,), 1.0, 0)
    assert torch.equal(together[1:2], alone)
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(alone, jitter_colors(pictures()[:1], (8,), 1.0, 1))


def test_some_scenes_change_all_views_alike():
    images = pictures()[:1].expand(300, 2, 4, 5, 3)
    result = jitter_colors(images, range(300), 1.0, 0)
    alike = (result[:, 0] == result[:, 1]).flatten(1).all(1).float().mean()
    assert 0.2 < alike < 0.45
    untouched = (result == images).flatten(2).all(2).float().mean()
    assert 0.05 < untouched < 0.2
