"""Gaussians fitted to the pictures that they were predicted from, by gradient descent through the rasteriser."""

from collections.abc import Callable

import torch
from jaxtyping import UInt8
from torch import Tensor

from anyview.options import RenderBackend
from anyview.render.paths import find_focus
from anyview.render.rasterize import rasterize
from anyview.types import Cameras, Gaussians

_RATES = {"means": 2e-4, "scales": 5e-3, "quaternions_wxyz": 1e-3, "harmonics": 5e-3, "opacities": 2e-2}
"""Adam's steps; of means in parts of the distance to the scene, of scales and opacities for logarithms and logits."""
_LEAST = 1e-4
"""Opacities are kept this far from 0 and 1, and scales above this part of the distance to the scene times 0.01."""


def refine(
    gaussians: Gaussians,
    images: UInt8[Tensor, "views height width 3"],
    cameras: Cameras,
    steps: int,
    *,
    seed: int = 0,
    backend: RenderBackend = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Gaussians:
    """Take steps of Adam on the mean absolute difference of one picture at a time, drawn with the seed.

    Neither adds nor removes Gaussians. The arguments stay as they are.

    Raises:
        ValueError: the number of steps is negative.
    """
    if steps < 0:
        raise ValueError(f"expected 0 steps or more, got {steps}")
    focus = find_focus(cameras, gaussians.means)
    distance = focus.distance
    start = {
        "means": gaussians.means / distance,
        "scales": gaussians.scales.clamp(min=1e-2 * _LEAST * distance).log(),
        "quaternions_wxyz": gaussians.quaternions_wxyz,
        "harmonics": gaussians.harmonics,
        "opacities": gaussians.opacities.clamp(_LEAST, 1 - _LEAST).logit(),
    }
    leaves = {name: value.detach().clone().requires_grad_() for name, value in start.items()}
    adam = torch.optim.Adam([{"params": [leaves[name]], "lr": rate} for name, rate in _RATES.items()], eps=1e-15)
    generator = torch.Generator().manual_seed(seed)
    height, width = images.shape[1:3]
    for step in range(steps):
        if progress:
            progress(step, steps)
        view = int(torch.randint(len(images), (), generator=generator))
        fitted, camera = _assembled(leaves, distance), cameras[view : view + 1]
        seen = rasterize(fitted, camera, height, width, backend=backend, near=focus.near)
        loss = (seen.color[0] - images[view].to(seen.color) / 255).abs().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    if progress:
        progress(steps, steps)
    return _assembled({name: leaf.detach() for name, leaf in leaves.items()}, distance)


def _assembled(leaves: dict[str, Tensor], distance: float) -> Gaussians:
    return Gaussians(
        means=leaves["means"] * distance,
        scales=leaves["scales"].exp(),
        quaternions_wxyz=torch.nn.functional.normalize(leaves["quaternions_wxyz"], dim=-1),
        harmonics=leaves["harmonics"],
        opacities=leaves["opacities"].sigmoid(),
    )
