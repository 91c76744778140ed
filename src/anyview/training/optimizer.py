"""How weights move: AdamW, its learning rate over time, and the moving average of the weights."""

import math

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from anyview.model.network import Network
from anyview.training.config import TrainOptions

WITHOUT_DECAY = ("class_token", "camera_token", "position_embedding")


def make_optimizer(network: Network, options: TrainOptions, device: torch.device) -> torch.optim.AdamW:
    """Make AdamW over the trainable parameters, in groups by weight decay and by rate; ``rate_factor`` is a group's."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and not name.endswith(WITHOUT_DECAY)
            factor = options.backbone_rate if name.startswith("backbone.") else 1.0
            groups.setdefault((options.weight_decay if decays else 0.0, factor), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": decay, "rate_factor": factor}
            for (decay, factor), parameters in groups.items()
        ],
        lr=options.peak_rate,
        betas=options.betas,
        fused=device.type == "cuda",
    )


def learning_rate(options: TrainOptions, step: int) -> float:
    """Rise linearly over the first steps, then fall along half a cosine to the final rate at the end."""
    if step < options.warm_up_steps:
        return options.peak_rate * (step + 1) / options.warm_up_steps
    progress = (step - options.warm_up_steps) / max(1, options.steps - options.warm_up_steps)
    return options.final_rate + (options.peak_rate - options.final_rate) * (1 + math.cos(math.pi * progress)) / 2


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its part of a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate_factor"]


def update_average(averaged: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the averaged weights towards the network's; early on by more, so that they forget where they began."""
    decay = min(decay, (1 + step) / (10 + step))
    move = get_ema_multi_avg_fn(decay)
    move(list(averaged.parameters()), list(network.parameters()), None)
