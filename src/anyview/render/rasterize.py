"""Gaussians -> pictures, depth and alpha, as cameras see them; differentiable in Gaussians and cameras."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from anyview.options import RenderBackend, nearest_names
from anyview.render.splats import BLUR, NEAR, splat
from anyview.render.tiles import composite
from anyview.types import Cameras, Gaussians


@dataclass(frozen=True)
class RenderedViews:
    """What cameras see of Gaussians."""

    color: Float[Tensor, "views height width 3"]
    """sRGB, 0 and above; more than 1 is brighter than white."""
    depth: Float[Tensor, "views height width"]
    """Expected z-depth: that of the splats, weighted as their colours; 0 where there are none."""
    alpha: Float[Tensor, "views height width"]
    """How much of the background is hidden, 0 to 1."""


def rasterize(
    gaussians: Gaussians,
    cameras: Cameras,
    height: int,
    width: int,
    *,
    background: Sequence[float] = (0.0, 0.0, 0.0),
    backend: RenderBackend = "auto",
    near: float = NEAR,
) -> RenderedViews:
    """Render Gaussians of one scene by splatting.

    Args:
        gaussians: without batch dimensions; harmonics of degree 0 to 3.
        cameras: one per picture, in pixels of the pictures, with any principal point.
        height: pixels.
        width: pixels.
        background: colour where nothing is, 0 to 1.
        backend: "torch" runs anywhere; "gsplat" needs CUDA and the package; "auto" takes gsplat where it can run.
        near: Gaussians with less z-depth are not drawn, in the unit of the scene; `splats.NEAR_PART` of the distance
            to what is seen suits all.

    Raises:
        ValueError: the picture has no pixels, there are no cameras, or gsplat cannot run here or with these cameras.
        ImportError: gsplat was asked for and is not installed.
    """
    if height < 1 or width < 1:
        raise ValueError(f"expected pictures of at least 1×1 pixels, got {width}×{height}")
    if not len(cameras):
        raise ValueError("expected at least one camera, got none")
    chosen = choose_backend(backend, gaussians.means.device)
    draw = _with_gsplat if chosen == "gsplat" else _with_torch
    color, depth, alpha = draw(gaussians, cameras, height, width, near)
    color = color + (1 - alpha[..., None]) * color.new_tensor(background)
    return RenderedViews(color, depth / alpha.clamp(min=1e-10), alpha)


def choose_backend(backend: RenderBackend, device: torch.device) -> Literal["torch", "gsplat"]:
    """Say what renders on a device.

    Raises:
        ValueError: gsplat was asked for without CUDA, or the name is unknown.
        ImportError: gsplat was asked for and is not installed.
    """
    from importlib.util import find_spec

    if backend not in get_args(RenderBackend):
        raise ValueError(f"unknown backend {backend!r}; {nearest_names(backend, get_args(RenderBackend))}")
    if backend == "torch":
        return "torch"
    installed = find_spec("gsplat") is not None
    if backend == "auto":
        return "gsplat" if installed and device.type == "cuda" else "torch"
    if device.type != "cuda":
        raise ValueError(f"gsplat renders on CUDA only, and the Gaussians are on {device.type}; backend 'torch' can")
    if not installed:
        raise ImportError("backend 'gsplat' needs gsplat: pip install \"anyview[gaussians]\"")
    return "gsplat"


_Layers = tuple[
    Float[Tensor, "views height width 3"], Float[Tensor, "views height width"], Float[Tensor, "views height width"]
]
"""Colour on black, sum of weight times depth, alpha."""


def _with_torch(gaussians: Gaussians, cameras: Cameras, height: int, width: int, near: float) -> _Layers:
    splats = (splat(gaussians, cameras[view], height, width, near=near) for view in range(len(cameras)))
    views = [composite(one, height, width) for one in splats]
    color, depth, alpha = (torch.stack(layer) for layer in zip(*views, strict=True))
    return color, depth, alpha


def _with_gsplat(gaussians: Gaussians, cameras: Cameras, height: int, width: int, near: float) -> _Layers:
    import gsplat

    if cameras.intrinsics[:, 0, 1].any():
        raise ValueError("gsplat knows no skewed pixels, and these cameras have some; backend 'torch' does")
    layers, alpha, _ = gsplat.rasterization(
        means=gaussians.means,
        quats=gaussians.quaternions_wxyz,
        scales=gaussians.scales,
        opacities=gaussians.opacities,
        colors=gaussians.harmonics.mT,
        viewmats=cameras.world_to_camera,
        Ks=cameras.intrinsics,
        width=width,
        height=height,
        near_plane=near,
        eps2d=BLUR,
        sh_degree=round(gaussians.harmonics.shape[-1] ** 0.5) - 1,
        packed=False,
        render_mode="RGB+D",
    )
    return layers[..., :3], layers[..., 3], alpha[..., 0]
