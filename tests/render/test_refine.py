import pytest
import torch

from anyview.render.rasterize import rasterize
from anyview.render.refine import refine
from anyview.types import Gaussians


def test_a_few_steps_bring_the_pictures_nearer(random_gaussians, random_views):
    cameras = random_views(2, 16, 24)
    truth = random_gaussians(40, 1, size=0.3)
    images = (rasterize(truth, cameras, 16, 24).color.clamp(0, 1) * 255).round().byte()
    wrong = Gaussians(**{**vars(truth), "harmonics": torch.zeros_like(truth.harmonics), "means": truth.means + 0.05})
    kept = {name: value.clone() for name, value in vars(wrong).items()}
    calls: list[tuple[int, int]] = []
    refined = refine(wrong, images, cameras, 8, progress=lambda done, total: calls.append((done, total)))

    def error(gaussians: Gaussians) -> float:
        return float((rasterize(gaussians, cameras, 16, 24).color - images / 255).abs().mean())

    assert error(refined) < 0.9 * error(wrong)
    assert calls[0] == (0, 8)
    assert calls[-1] == (8, 8)
    assert all(torch.equal(kept[name], value) for name, value in vars(wrong).items())
    again = refine(wrong, images, cameras, 8)
    assert torch.equal(again.means, refined.means)


def test_no_steps_change_nothing(random_gaussians, random_views, assert_close):
    gaussians, cameras = random_gaussians(10), random_views(1, 8, 8)
    images = torch.zeros(1, 8, 8, 3, dtype=torch.uint8)
    same = refine(gaussians, images, cameras, 0)
    assert_close(same.means, gaussians.means)
    assert_close(same.scales, gaussians.scales)
    with pytest.raises(ValueError, match="expected 0 steps or more, got -1"):
        refine(gaussians, images, cameras, -1)
