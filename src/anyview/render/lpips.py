"""LPIPS (Zhang et al. 2018), the perceptual distance of pictures, where its package and weights are there."""

from collections.abc import Callable
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
    except ImportError as error:
        raise ImportError("LPIPS needs the packages lpips and torchvision: pip install lpips torchvision") from error
    weights = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS
    if not weights.is_file():
        raise ValueError(f"LPIPS needs torchvision's VGG weights in {weights}, and they are not there")
    network = LPIPS(net="vgg", verbose=False).eval().requires_grad_(False).to(device)
    return lambda one, other: network(one, other, normalize=True).flatten()
