"""The network that a run begins with."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from anyview.model.backbone import POSITION_GRID
from anyview.model.checkpoint import load, locate
from anyview.model.config import NetworkConfig
from anyview.model.heads import AnyViewHead
from anyview.model.network import Network, build, initialize
from anyview.training.config import TrainOptions
from anyview.training.gaussian_head import with_gaussian_head

POSITION_STRENGTH = 0.5
"""About the deviation of what an untrained patch embedding makes of normalised pictures."""


def starting_network(options: TrainOptions, say: Callable[[str], None] = lambda line: None) -> Network:
    """Load or make the network of a run; what no loss reaches is frozen: a Gaussian head, or all but that.

    A Gaussian head that the recipe's network has not is left out; one that is to be trained goes on from its weights.
    ``say`` is told either.

    Raises:
        ValueError: the weights cannot be loaded, are not those of the recipe's network, or not of an any-view network.
    """
    if options.start is None:
        assert options.network is not None, "check_options asks for a network or weights"
        network = build(options.network, "cpu")
        initialize(network, options.seed)
        if isinstance(network, Network) and network.config.is_any_view:
            ease_start(network)
    else:
        network, _ = load(locate(options.start))
        if isinstance(network, Network) and network.gaussian_head is not None:
            if options.gaussians is not None:
                say(f"{options.start} has a Gaussian head, which is trained further")
            elif isinstance(options.network, NetworkConfig) and options.network.gaussians is None:
                network.gaussian_head, network.config = None, replace(network.config, gaussians=None)
                say(f"{options.start} has a Gaussian head, which the recipe {options.recipe} leaves out")
        if options.network is not None and network.config != options.network:
            raise ValueError(f"the weights of {options.start} are not those of the recipe {options.recipe}'s network")
    if not isinstance(network, Network) or not network.config.is_any_view:
        raise ValueError(f"only any-view networks can be trained, and {options.start or options.name} is none")
    if options.gaussians is not None:
        with_gaussian_head(network, options.gaussians, options.seed)
    elif network.gaussian_head is not None:
        network.gaussian_head.requires_grad_(False)
    return network.train()


@torch.no_grad()
def ease_start(network: Network) -> None:
    """Give an untrained network what it would otherwise spend its first steps on.

    Its position table varies smoothly, so that what is learned about positions in small pictures holds in large ones,
    which read other places of the table. Its rays point forward.
    """
    width = network.config.backbone.width
    network.backbone.position_embedding[:, 1:] = POSITION_STRENGTH * position_waves(POSITION_GRID, width)
    assert isinstance(network.head, AnyViewHead)
    network.head.ray_reader.output.bias[2] = 1.0  # type: ignore[index]


def position_waves(side: int, channels: int) -> Float[Tensor, "places channels"]:
    """Sines and cosines of row and column, at channels / 4 wavelengths from 2π cells to twice the grid."""
    frequencies = torch.logspace(0, 1, channels // 4, base=math.pi / side)
    angles = torch.arange(side)[:, None] * frequencies
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows, columns = waves[:, None].expand(-1, side, -1), waves[None].expand(side, -1, -1)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)
