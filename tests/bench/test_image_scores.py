import math
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from anyview.bench.metrics.images import lpips, lpips_lacks, ssim
from anyview.render.lpips import WEIGHTS as LPIPS_WEIGHTS
from anyview.render.psnr import psnr


def noise(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def test_psnr_by_hand():
    truth = torch.full((3, 4, 5), 0.5)
    assert psnr(truth + 0.1, truth) == pytest.approx(20, abs=1e-5)
    half = truth.clone()
    half[:, :2] += 0.01
    assert psnr(half, truth) == pytest.approx(40 + 10 * math.log10(2), abs=1e-4)
    assert psnr(truth, truth) == math.inf
    off, seen = truth.movedim(0, -1).clone(), torch.zeros(truth.shape[1:], dtype=torch.bool)
    off[:1] += 0.1
    seen[:1] = True
    assert psnr(off, truth.movedim(0, -1), seen) == pytest.approx(20, abs=1e-4)
    assert psnr(off, truth.movedim(0, -1), ~seen) == math.inf


def test_pictures_are_clipped():
    truth = torch.ones(3, 12, 12)
    assert psnr(truth + 3, truth) == math.inf
    assert ssim(truth + 3, truth) == pytest.approx(1)


def test_ssim_of_flat_pictures_is_that_of_their_brightness():
    expected = (2 * 0.2 * 0.6 + 0.01**2) / (0.2**2 + 0.6**2 + 0.01**2)
    assert ssim(torch.full((3, 20, 20), 0.2), torch.full((3, 20, 20), 0.6)) == pytest.approx(expected)


def ssim_of_a_window(x: torch.Tensor, y: torch.Tensor) -> float:
    """The definition, for one channel of 11 × 11 pixels."""
    weights = [[math.exp(-((i - 5) ** 2 + (j - 5) ** 2) / (2 * 1.5**2)) for j in range(11)] for i in range(11)]
    total = sum(map(sum, weights))

    def mean(values: torch.Tensor) -> float:
        return sum(weights[i][j] / total * values[i, j].item() for i in range(11) for j in range(11))

    x_mean, y_mean = mean(x), mean(y)
    covariance = mean((x - x_mean) * (y - y_mean))
    variances = mean((x - x_mean) ** 2) + mean((y - y_mean) ** 2)
    luminance = (2 * x_mean * y_mean + 1e-4) / (x_mean**2 + y_mean**2 + 1e-4)
    return luminance * (2 * covariance + 9e-4) / (variances + 9e-4)


def test_ssim_by_the_definition():
    x, y = noise(12, 13).double(), noise(12, 13, seed=1).double()
    windows = [
        ssim_of_a_window(x[channel, i : i + 11, j : j + 11], y[channel, i : i + 11, j : j + 11])
        for channel in range(3)
        for i in range(2)
        for j in range(3)
    ]
    assert ssim(x, y) == pytest.approx(sum(windows) / len(windows), abs=1e-9)


def test_ssim_falls_with_noise():
    truth = noise(32, 32)
    scores = [ssim(truth + level * (noise(32, 32, seed=1) - 0.5), truth) for level in (0, 0.1, 0.5)]
    assert scores[0] == pytest.approx(1)
    assert 1 > scores[1] > scores[2] > 0


def test_pictures_smaller_than_a_window_are_refused():
    with pytest.raises(ValueError, match=r"at least 11 pixels each way, got \(10, 30\)"):
        ssim(noise(10, 30), noise(10, 30))


def test_lpips_needs_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(ImportError, match="pip install lpips torchvision"):
        lpips(noise(16, 16), noise(16, 16))
    assert (
        lpips_lacks()
        == "LPIPS needs the packages lpips and torchvision, built for this torch: pip install lpips torchvision"
    )


class FakeDistance(torch.nn.Module):
    """Stands in for the package: its interface, and a distance that can be computed by hand."""

    def __init__(self, net: str, verbose: bool) -> None:
        super().__init__()
        assert (net, verbose) == ("vgg", False)

    def forward(self, first: torch.Tensor, second: torch.Tensor, normalize: bool) -> torch.Tensor:
        assert normalize  # from 0…1 to −1…1
        assert first.shape == (1, 3, 16, 16)
        return (first - second).abs().mean().view(1, 1, 1, 1)


def test_lpips_never_downloads(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "lpips", SimpleNamespace(LPIPS=FakeDistance))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    dark, light = torch.zeros(3, 16, 16), torch.full((3, 16, 16), 0.25)
    with pytest.raises(ValueError, match=rf"LPIPS needs torchvision's VGG weights in .*{LPIPS_WEIGHTS}, and they are"):
        lpips(dark, light)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / LPIPS_WEIGHTS).touch()
    assert lpips_lacks() is None
    assert lpips(dark, light) == pytest.approx(0.25)
    assert lpips(dark - 1, light) == pytest.approx(0.25)  # clipped to 0…1


def test_a_torchvision_for_another_torch_is_said(monkeypatch):
    """It raises a RuntimeError when it is imported, since its operators were not loaded."""

    class Broken(ModuleType):
        def __getattr__(self, name: str):
            raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setitem(sys.modules, "lpips", Broken("lpips"))
    with pytest.raises(ImportError, match="lpips and torchvision, built for this torch"):
        lpips(noise(16, 16), noise(16, 16))
