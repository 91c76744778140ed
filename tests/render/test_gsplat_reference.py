"""Our rasteriser beside gsplat's own PyTorch reference, on the processor, where the package is installed.

gsplat lists the pairs of pixel and splat, and multiplies up the light, in CUDA; both are a few lines here. Everything
that can differ, projection, harmonics and compositing, is gsplat's.
"""

import dataclasses
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from anyview.geometry.pose import camera_centers
from anyview.render.rasterize import rasterize
from anyview.render.splats import BLUR, FAINTEST, NEAR
from anyview.types import Cameras, Gaussians

HEIGHT, WIDTH = 24, 32


def weights_of_alphas(alphas: Tensor, ray_indices: Tensor, n_rays: int) -> tuple[Tensor, Tensor]:
    """Multiply up what earlier splats of a pixel let through; pairs come pixel by pixel, nearest first."""
    first = torch.zeros_like(ray_indices)
    first[1:] = (ray_indices[1:] != ray_indices[:-1]).cumsum(0)
    place = torch.arange(len(alphas)) - torch.searchsorted(ray_indices, ray_indices)
    let_through = torch.ones(n_rays, int(place.max()) + 2, dtype=alphas.dtype)
    let_through = let_through.index_put((ray_indices, place + 1), 1 - alphas)
    before = let_through.cumprod(-1)[ray_indices, place]
    return alphas * before, before


def sums_along_rays(weights: Tensor, values: Tensor | None, ray_indices: Tensor, n_rays: int) -> Tensor:
    """Add up weighted values of every pixel."""
    rows = weights[:, None] if values is None else weights[:, None] * values
    return torch.zeros(n_rays, rows.shape[1], dtype=rows.dtype).index_add(0, ray_indices, rows)


@pytest.fixture
def gsplat_reference(monkeypatch):
    module = pytest.importorskip("gsplat.cuda._torch_impl")
    scan = SimpleNamespace(render_weight_from_alpha=weights_of_alphas, accumulate_along_rays=sums_along_rays)
    monkeypatch.setitem(sys.modules, "nerfacc", scan)
    return module


def gsplat_layers(reference, gaussians: Gaussians, cameras: Cameras) -> tuple[Tensor, Tensor, Tensor]:
    """Colour on black, the sum of weight times depth, and alpha, as gsplat has them."""
    spread, _ = reference._quat_scale_to_covar_preci(
        torch.nn.functional.normalize(gaussians.quaternions_wxyz, dim=-1), gaussians.scales, compute_preci=False
    )
    radii, centers, depths, conics, _ = reference._fully_fused_projection(
        gaussians.means,
        spread,
        cameras.world_to_camera,
        cameras.intrinsics,
        WIDTH,
        HEIGHT,
        eps2d=BLUR,
        near_plane=NEAR,
    )
    degree = round(gaussians.harmonics.shape[-1] ** 0.5) - 1
    directions = gaussians.means - camera_centers(cameras.world_to_camera)[0]
    colors = (reference._spherical_harmonics(degree, directions, gaussians.harmonics.mT) + 0.5).clamp(min=0)
    order = depths[0].argsort(stable=True)
    order = order[(radii[0, order] > 0).all(-1)]
    with torch.no_grad():
        rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
        pixels = torch.stack([columns, rows], -1).flatten(0, 1) + 0.5
        x, y = (pixels[:, None] - centers[0, order]).unbind(-1)
        a, b, c = conics[0, order].unbind(-1)
        strength = gaussians.opacities[order] * (-0.5 * (a * x * x + c * y * y) - b * x * y).exp()
        pixel, splat = (strength >= FAINTEST).nonzero().unbind(-1)
    features = torch.cat([colors, depths[0, :, None]], -1)
    drawn, alphas = reference.accumulate(
        centers, conics, gaussians.opacities[None], features[None], order[splat], pixel, pixel * 0, WIDTH, HEIGHT
    )
    return drawn[0, ..., :3], drawn[0, ..., 3], alphas[0, ..., 0]


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_pictures_and_gradients_are_those_of_gsplat(
    degree, gsplat_reference, random_gaussians, random_views, assert_close
):
    gaussians, cameras = random_gaussians(120, degree, seed=degree), random_views(1, HEIGHT, WIDTH)
    cameras.intrinsics[:, 0, 1] = 0  # gsplat knows no skew
    # So faint that no pixel closes, which gsplat's lists know and its compositing does not.
    gaussians = dataclasses.replace(gaussians, opacities=0.3 * gaussians.opacities)
    found = {}
    for name in ("ours", "gsplat"):
        leaves = Gaussians(**{key: value.clone().requires_grad_() for key, value in vars(gaussians).items()})
        if name == "ours":
            seen = rasterize(leaves, cameras, HEIGHT, WIDTH)
            layers = seen.color[0], seen.depth[0] * seen.alpha[0].clamp(min=1e-10), seen.alpha[0]
        else:
            layers = gsplat_layers(gsplat_reference, leaves, cameras)
        generator = torch.Generator().manual_seed(3)
        loss = sum((layer * torch.randn(layer.shape, generator=generator, dtype=layer.dtype)).sum() for layer in layers)
        found[name] = [layer.detach() for layer in layers], torch.autograd.grad(loss, list(vars(leaves).values()))
    assert found["gsplat"][0][2].max() < 1 - 1e-4
    assert found["gsplat"][0][2].mean() > 0.1
    for ours, theirs in zip(found["ours"][0], found["gsplat"][0], strict=True):
        assert_close(ours, theirs, 1e-4, reason="what issue 7 asks for; gsplat's constants have eight digits")
    for ours, theirs in zip(found["ours"][1], found["gsplat"][1], strict=True):
        assert_close(ours, theirs, 1e-3, reason="what issue 7 asks for")
