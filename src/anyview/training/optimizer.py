"""How weights move: AdamW and Muon, their learning rate over time, and the moving average of the weights."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from anyview.model.network import Network
from anyview.training.config import TrainOptions

WITHOUT_DECAY = ("class_token", "camera_token", "position_embedding")


_MOMENTS = {"step": "steps", "exp_avg": "first_moment", "exp_avg_sq": "second_moment", "momentum_buffer": "momentum"}
"""The names that PyTorch's optimisers have for what they remember of a parameter, and ours."""


class Optimizers:
    """Optimisers that each move some of a network's parameters, as one."""

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        self.parts = tuple(parts)
        self._part_of = {
            parameter: part for part in self.parts for group in part.param_groups for parameter in group["params"]
        }

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all."""
        return [group for part in self.parts for group in part.param_groups]

    def step(self) -> None:
        """Move all parameters."""
        for part in self.parts:
            part.step()

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for part in self.parts:
            part.zero_grad()

    def moments(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """Return what is remembered of a parameter, by our names; nothing before the first step."""
        if parameter not in self._part_of:
            return {}
        state = self._part_of[parameter].state.get(parameter, {})
        return {ours: state[theirs] for theirs, ours in _MOMENTS.items() if theirs in state}

    def make_moments(self) -> None:
        """Make, as zeros, what the first step would make."""
        for parameter, part in self._part_of.items():
            if "momentum" in part.defaults:
                part.state[parameter] = {"momentum_buffer": torch.zeros_like(parameter)}
                continue
            part.state[parameter] = {
                "step": torch.tensor(0.0, device=parameter.device if part.defaults["fused"] else None),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }


def make_optimizer(network: Network, options: TrainOptions, device: torch.device) -> Optimizers:
    """Make the optimisers of the trainable parameters, in groups by weight decay and by rate.

    A group's ``rate_factor`` is its part of the learning rate. With ``matrices="muon"`` the matrices of the backbone's
    blocks are Muon's (Jordan et al., 2024): their updates are orthogonal, and as large as AdamW's on average, so that
    one learning rate serves both.
    """
    groups: dict[tuple[bool, float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and not name.endswith(WITHOUT_DECAY)
            factor = options.backbone_rate if name.startswith("backbone.") else 1.0
            by_muon = options.matrices == "muon" and name.startswith("backbone.blocks.") and parameter.ndim == 2
            groups.setdefault((by_muon, options.weight_decay if decays else 0.0, factor), []).append(parameter)

    def chosen(by_muon: bool) -> list[dict[str, Any]]:
        return [
            {"params": parameters, "weight_decay": decay, "rate_factor": factor}
            for (is_muon, decay, factor), parameters in groups.items()
            if is_muon == by_muon
        ]

    rate, fused = options.peak_rate, device.type == "cuda"
    parts: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(chosen(by_muon=False), lr=rate, betas=options.betas, fused=fused)
    ]
    if options.matrices == "muon":
        if not hasattr(torch.optim, "Muon"):
            raise ValueError(f"matrices='muon' needs PyTorch 2.9 or newer, this is {torch.__version__}")
        parts.append(torch.optim.Muon(chosen(by_muon=True), lr=rate, adjust_lr_fn="match_rms_adamw"))
    return Optimizers(parts)


def learning_rate(options: TrainOptions, step: int) -> float:
    """Rise linearly over the first steps, then fall along half a cosine to the final rate at the end."""
    if step < options.warm_up_steps:
        return options.peak_rate * (step + 1) / options.warm_up_steps
    progress = (step - options.warm_up_steps) / max(1, options.steps - options.warm_up_steps)
    return options.final_rate + (options.peak_rate - options.final_rate) * (1 + math.cos(math.pi * progress)) / 2


def set_learning_rate(optimizer: Optimizers, rate: float) -> None:
    """Give every group its part of a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate_factor"]


def update_average(averaged: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the averaged weights towards the trained ones; early on by more, so that they forget where they began."""
    decay = min(decay, (1 + step) / (10 + step))
    move = get_ema_multi_avg_fn(decay)
    pairs = zip(averaged.parameters(), network.parameters(), strict=True)
    trained = [(average, weight) for average, weight in pairs if weight.requires_grad]
    move([average for average, _ in trained], [weight for _, weight in trained], None)
