"""The tiled rasteriser beside the readable one, forward and backward, and pictures worked out by hand."""

import dataclasses
import math

import pytest
import torch

import anyview.render.tiles
from anyview.geometry.alignment import Similarity
from anyview.geometry.gaussians import transform_gaussians
from anyview.geometry.pose import matrix_from_quaternion_xyzw
from anyview.render.rasterize import rasterize
from anyview.render.reference import composite_reference
from anyview.render.splats import FAINTEST, Splats, splat
from anyview.render.tiles import composite
from anyview.types import Cameras, Gaussians

HEIGHT, WIDTH = 37, 45  # no multiples of the tile
BAND = 1e-6
"""Pixels where a splat is this close to being left out may go either way, and the colour jumps by 1/255 there."""


def to(values: Gaussians | Cameras, dtype: torch.dtype) -> Gaussians | Cameras:
    return type(values)(**{name: tensor.to(dtype) for name, tensor in vars(values).items()})


def settled(splats: Splats, height: int, width: int) -> torch.Tensor:
    """Pixels where rounding cannot decide whether a splat counts: the rest is the boundary band."""
    ys, xs = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    offsets = torch.stack([xs, ys], -1)[:, :, None] - splats.centers
    distance = torch.einsum("hwni,nij,hwnj->hwn", offsets, torch.linalg.inv(splats.covariances), offsets)
    alphas = splats.opacities * torch.exp(-distance / 2)
    counted = torch.where(alphas >= FAINTEST, alphas.clamp(max=0.999), 0)
    light = (1 - counted).cumprod(-1)
    return ((alphas - FAINTEST).abs() > BAND).all(-1) & ((light - 1e-4).abs() > BAND).all(-1)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_the_fast_one_equals_the_readable_one(seed, degree, random_gaussians, random_views, assert_close):
    gaussians, cameras = random_gaussians(150, degree, seed + 10 * degree), random_views(1 + seed, HEIGHT, WIDTH, seed)
    rendered = rasterize(to(gaussians, torch.float32), to(cameras, torch.float32), HEIGHT, WIDTH)
    for view in range(len(cameras)):
        splats = splat(gaussians, cameras[view], HEIGHT, WIDTH)
        color, depth, alpha = composite_reference(splats, HEIGHT, WIDTH)
        for ours, expected in zip(composite(splats, HEIGHT, WIDTH), (color, depth, alpha), strict=True):
            assert_close(ours, expected)  # in float64, to 1e-9
        good = settled(splats, HEIGHT, WIDTH)
        assert good.float().mean() > 0.99
        assert alpha[good].min() < 0.5 < alpha[good].max()
        assert (rendered.color[view] - color).abs()[good].max() < 1e-4
        assert (rendered.alpha[view] - alpha).abs()[good].max() < 1e-4
        seen = good & (alpha > 0)
        assert ((rendered.depth[view] - depth / alpha) / (depth / alpha)).abs()[seen].max() < 1e-4


def losses(layers: tuple[torch.Tensor, ...], weight: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return sum(
        (layer * (weight if layer.ndim == 2 else weight[..., None]) * noise.to(layer)).sum()
        for layer in layers
        for noise in [torch.randn(layer.shape, generator=generator, dtype=torch.float64)]
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-3)])
@pytest.mark.parametrize("degree", [0, 3])
def test_gradients_equal_those_of_the_readable_one(
    degree, dtype, tolerance, random_gaussians, random_views, assert_close
):
    gaussians, cameras = random_gaussians(200, degree, 5), random_views(1, HEIGHT, WIDTH, 5)
    good = settled(splat(gaussians, cameras[0], HEIGHT, WIDTH), HEIGHT, WIDTH).double()

    def gradients(function, dtype: torch.dtype) -> list[torch.Tensor]:
        leaves = [value.to(dtype).requires_grad_() for value in (*vars(gaussians).values(), *vars(cameras).values())]
        camera = Cameras(*leaves[5:])[0]
        layers = function(splat(Gaussians(*leaves[:5]), camera, HEIGHT, WIDTH), HEIGHT, WIDTH)
        return list(torch.autograd.grad(losses(layers, good.to(dtype)), leaves))

    for ours, expected in zip(gradients(composite, dtype), gradients(composite_reference, torch.float64), strict=True):
        assert expected.abs().max() > 0
        assert_close(ours, expected, tolerance, reason="what issue 7 asks for in float32")


def test_gradients_equal_finite_differences(random_gaussians, random_views):
    gaussians, cameras = random_gaussians(3, 1, 2, size=0.5), random_views(1, 6, 9, 2)

    def color(*values: torch.Tensor) -> torch.Tensor:
        return rasterize(Gaussians(*values), cameras, 6, 9).color

    inputs = [value.clone().requires_grad_() for value in vars(gaussians).values()]
    assert torch.autograd.gradcheck(color, inputs, eps=1e-7, atol=1e-5, fast_mode=True)


def front(depth: float, opacity: float, color: tuple[float, float, float], size: float = 1e4) -> Gaussians:
    """A Gaussian so wide that it hides equally much everywhere."""
    return Gaussians(
        torch.tensor([[0.0, 0, depth]]),
        torch.tensor([[size, size, 0.0]]),
        torch.tensor([[1.0, 0, 0, 0]]),
        ((torch.tensor([color]) - 0.5) / 0.28209479)[..., None],
        torch.tensor([opacity]),
    )


def together(*parts: Gaussians) -> Gaussians:
    return Gaussians(
        **{f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in dataclasses.fields(Gaussians)}
    )


CAMERA = Cameras(torch.eye(4)[None], torch.tensor([[[20.0, 0, 8], [0, 20, 6], [0, 0, 1]]]))


def test_two_layers_by_hand():
    red, green = front(2, 0.5, (1, 0, 0)), front(4, 0.4, (0, 1, 0))
    for scene in (together(red, green), together(green, red)):  # depth decides, not the order
        seen = rasterize(scene, CAMERA, 12, 16, background=(0.0, 0.0, 1.0))
        assert seen.color[0, 3, 5].tolist() == pytest.approx([0.5, 0.5 * 0.4, 0.5 * 0.6], abs=1e-5)
        assert seen.alpha.flatten().tolist() == pytest.approx([0.7] * 12 * 16, abs=1e-5)
        assert seen.depth[0, 3, 5].item() == pytest.approx((0.5 * 2 + 0.2 * 4) / 0.7, abs=1e-5)


def test_one_splat_by_hand():
    seen = rasterize(front(2, 0.8, (1, 1, 1), size=0.2), CAMERA, 12, 16)
    variance = (20 * 0.2 / 2) ** 2 + 0.3
    for x, y in ((7, 5), (10, 6), (12, 9)):
        squared = (x + 0.5 - 8) ** 2 + (y + 0.5 - 6) ** 2
        assert seen.alpha[0, y, x].item() == pytest.approx(0.8 * math.exp(-squared / (2 * variance)), abs=1e-6)


def test_a_pixel_closes_before_the_splat_that_would_darken_it():
    """As published renderers do: at 1 − 0.95³ = 0.99988 open, a fourth of 0.95 would leave less than 1e-4."""
    layers = [front(depth, 0.95, (1, 1, 1)) for depth in (1, 2, 3, 4)]
    assert rasterize(together(*layers), CAMERA, 12, 16).alpha[0, 0, 0].item() == pytest.approx(1 - 0.05**3, abs=1e-6)
    opaque = rasterize(front(1, 1.0, (1, 1, 1)), CAMERA, 12, 16)
    assert opaque.alpha[0, 0, 0].item() == pytest.approx(0.999, abs=1e-6)


def test_nothing_is_background_without_depth():
    nothing = front(-1, 0.5, (1, 0, 0))
    seen = rasterize(nothing, CAMERA, 12, 16, background=(0.1, 0.2, 0.3))
    assert seen.color[0, 0, 0].tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert not seen.depth.any()
    assert not seen.alpha.any()
    means = nothing.means.clone().requires_grad_()
    rasterize(dataclasses.replace(nothing, means=means), CAMERA, 12, 16).color.sum().backward()
    assert not means.grad.any()


def test_views_do_not_influence_each_other(random_gaussians, random_views):
    gaussians, cameras = random_gaussians(100), random_views(3, HEIGHT, WIDTH)
    all_views = rasterize(gaussians, cameras, HEIGHT, WIDTH)
    assert torch.equal(all_views.color[1:2], rasterize(gaussians, cameras[1:2], HEIGHT, WIDTH).color)


@pytest.mark.parametrize("side", [3, 4, 8])
@pytest.mark.parametrize(("pairs", "splats", "values"), [(1, 7, 64), (50, 16, 1 << 12), (1 << 22, 1000, 1 << 20)])
def test_how_work_is_cut_makes_no_difference(
    pairs, splats, values, side, monkeypatch, random_gaussians, random_views, assert_close
):
    seen = splat(random_gaussians(300), random_views(1, HEIGHT, WIDTH)[0], HEIGHT, WIDTH)
    expected = composite(seen, HEIGHT, WIDTH)
    monkeypatch.setattr(anyview.render.tiles, "_PAIRS_AT_ONCE", pairs)
    monkeypatch.setattr(anyview.render.tiles, "_SPLATS_AT_ONCE", splats)
    monkeypatch.setattr(anyview.render.tiles, "_VALUES_AT_ONCE", {"cpu": values})
    monkeypatch.setattr(anyview.render.tiles, "_SIDES", (side, side))
    for actual, wanted in zip(composite(seen, HEIGHT, WIDTH), expected, strict=True):
        assert_close(actual, wanted)


def test_a_moved_principal_point_moves_the_picture(random_gaussians, random_views, assert_close):
    """A crop that starts 8 pixels to the right and 16 below sees a part of the same picture."""
    gaussians, cameras = random_gaussians(100), random_views(1, HEIGHT, WIDTH)
    crop = cameras.intrinsics.clone()
    crop[:, :2, 2] -= torch.tensor([8.0, 16])
    whole = rasterize(gaussians, cameras, HEIGHT, WIDTH)
    part = rasterize(gaussians, Cameras(cameras.world_to_camera, crop), HEIGHT - 16, WIDTH - 8)
    assert_close(
        part.alpha, whole.alpha[:, 16:, 8:], 0.05, reason="splats far outside of the crop have another margin there"
    )


def test_a_moved_world_looks_the_same(random_gaussians, random_views, assert_close):
    """Gaussians and cameras in another frame and unit, as with known cameras and metric scale."""
    gaussians, cameras = random_gaussians(100, 3), random_views(2, HEIGHT, WIDTH)
    turn = matrix_from_quaternion_xyzw(torch.tensor([0.2, 0.7, -0.4, 0.5], dtype=torch.float64))
    similarity = Similarity(torch.tensor(3.0).double(), turn, torch.tensor([1.0, -2, 3], dtype=torch.float64))
    moved = Cameras(similarity.apply_to_poses(cameras.world_to_camera), cameras.intrinsics)
    before = rasterize(gaussians, cameras, HEIGHT, WIDTH)
    after = rasterize(transform_gaussians(gaussians, similarity), moved, HEIGHT, WIDTH)
    assert_close(after.color, before.color)
    assert_close(after.alpha, before.alpha)
    assert_close(after.depth, 3 * before.depth)


def test_bad_requests_are_refused(random_gaussians, random_views, monkeypatch):
    gaussians, cameras = random_gaussians(2), random_views(1, 4, 4)
    with pytest.raises(ValueError, match="expected pictures of at least 1×1 pixels, got 4×0"):
        rasterize(gaussians, cameras, 0, 4)
    with pytest.raises(ValueError, match="expected at least one camera, got none"):
        rasterize(gaussians, cameras[:0], 4, 4)
    with pytest.raises(
        ValueError, match="gsplat renders on CUDA only, and the Gaussians are on cpu; backend 'torch' can"
    ):
        rasterize(gaussians, cameras, 4, 4, backend="gsplat")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs gsplat: pip install \"anyview\[gaussians\]\""):
        anyview.render.rasterize.choose_backend("gsplat", torch.device("cuda"))
    assert anyview.render.rasterize.choose_backend("auto", torch.device("cuda")) == "torch"


@pytest.mark.gpu
def test_gsplat_and_ours_draw_the_same(random_gaussians, random_views):
    pytest.importorskip("gsplat")
    gaussians, cameras = to(random_gaussians(500), torch.float32), to(random_views(2, HEIGHT, WIDTH), torch.float32)
    cameras.intrinsics[:, 0, 1] = 0
    gaussians = Gaussians(**{name: value.cuda() for name, value in vars(gaussians).items()})
    cameras = Cameras(**{name: value.cuda() for name, value in vars(cameras).items()})
    ours, theirs = (rasterize(gaussians, cameras, HEIGHT, WIDTH, backend=name) for name in ("torch", "gsplat"))
    for layer in ("color", "depth", "alpha"):
        different = (getattr(ours, layer) - getattr(theirs, layer)).abs() > 1e-4
        assert different.float().mean() < 1e-3
