"""LPIPS (Zhang et al. 2018), the perceptual distance of pictures, where its package and weights are there."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

WEIGHTS = "vgg16-397923af.pth"
"""torchvision's file of the VGG network that LPIPS compares features of."""

Distance = Callable[[Float[Tensor, "pictures 3 _ _"], Float[Tensor, "pictures 3 _ _"]], Float[Tensor, " pictures"]]


def open_lpips(device: torch.device | str = "cpu") -> Distance:
    """Return the distance of pictures from 0 to 1, with VGG features; differentiable. Downloads nothing.

    Needs the packages ``lpips`` and ``torchvision`` and the VGG weights in torch.hub's folder.

    Raises:
        ImportError: a package is missing.
        ValueError: the weights are.
    """
    try:
        from lpips import LPIPS
    except (ImportError, RuntimeError) as error:  # torchvision for another torch fails with the latter
        raise ImportError(
            "LPIPS needs the packages lpips and torchvision, built for this torch: pip install lpips torchvision"
        ) from error
    weights = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS
    if not weights.is_file():
        raise ValueError(f"LPIPS needs torchvision's VGG weights in {weights}, and they are not there")
    network = _load(LPIPS, str(device))
    return lambda one, other: network(one, other, normalize=True).flatten()


@lru_cache(maxsize=1)
def _load(make: Callable[..., torch.nn.Module], device: str) -> torch.nn.Module:
    """Read the network once: there are many pictures to compare."""
    return make(net="vgg", verbose=False).eval().requires_grad_(False).to(device)
