"""All that a run has to remember, and the one file that it is kept in.

There is no more to it than weights, their average, the optimisers' moments and the number of the step: samples,
learning rate and augmentation are functions of the recipe and the step, and no generator of random numbers has a state.
The file holds whole tensors, so that a run can go on with another number of processes, sharded or not.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from anyview.files import atomic_path
from anyview.model.network import Network
from anyview.training.config import TrainOptions, options_to_json
from anyview.training.distributed import Team, distribute, split_like, whole
from anyview.training.objective import Objective
from anyview.training.optimizer import Optimizers, make_optimizer
from anyview.training.start import starting_network

FORMAT = "anyview-training-1"


@dataclass
class TrainState:
    """A run between two steps."""

    network: Network
    averaged: Network
    """The moving average of the network's weights: what is evaluated, and written at the end."""
    reader: nn.Module
    """The network, ready to run in its team."""
    averaged_reader: nn.Module
    optimizer: Optimizers
    step: int = 0
    """Steps done."""

    @classmethod
    def fresh(
        cls, options: TrainOptions, team: Team, objective: Objective, say: Callable[[str], None] = lambda line: None
    ) -> "TrainState":
        """Begin a recipe's run; ``say`` is told what becomes of a Gaussian head."""
        network = starting_network(options, say).to(team.device)
        averaged = copy.deepcopy(network).requires_grad_(False)
        leaves_out = any(stage.dense_every > 1 for stage in options.stages)
        reader = distribute(objective.reader(network, averaged=False), team, options.sharding, leaves_out=leaves_out)
        averaged_reader: nn.Module = objective.reader(averaged, averaged=True)
        if options.sharding == "fsdp":
            averaged_reader = distribute(objective.reader(averaged, averaged=True), team, "fsdp")
        # Sharding replaces parameters, so the optimiser comes last.
        return cls(network, averaged, reader, averaged_reader, make_optimizer(network, options, team.device))

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Give every tensor of the state its name; in place changes of them change the state."""
        yield from ((f"network.{name}", value) for name, value in self.network.state_dict().items())
        yield from ((f"averaged.{name}", value) for name, value in self.averaged.state_dict().items())
        for name, parameter in self.network.named_parameters():
            yield from ((f"{kind}.{name}", moment) for kind, moment in self.optimizer.moments(parameter).items())

    def save(self, path: Path, options: TrainOptions, team: Team) -> None:
        """Write the state; the team's first process writes for all."""
        tensors = {name: whole(tensor) for name, tensor in self.tensors()}
        if team.leads:
            metadata = {"format": FORMAT, "step": str(self.step), "options": options_to_json(options)}
            with atomic_path(path) as temporary:
                save_file(tensors, temporary, metadata=metadata)
        team.wait()

    def restore(self, path: Path) -> None:
        """Take over a state that `save` wrote.

        Raises:
            ValueError: the file is no such state, or of another network.
        """
        self.step = read_step(path)
        if self.step > 0:
            self.optimizer.make_moments()
        with torch.no_grad(), safe_open(path, framework="pt") as file:
            stored, own = set(file.keys()), dict(self.tensors())
            if stored != own.keys():
                strangers = ", ".join(sorted(stored ^ own.keys())[:3])
                raise ValueError(f"{path} is the state of another network: {strangers} is only in one of the two")
            for name, tensor in own.items():
                tensor.copy_(split_like(file.get_tensor(name), tensor))


def read_step(path: Path) -> int:
    """Return the number of steps behind a state.

    Raises:
        ValueError: the file is not a training state.
    """
    return int(_metadata(path)["step"])


def read_options(path: Path) -> str:
    """Return the options of the run that wrote a state, as JSON.

    Raises:
        ValueError: the file is not a training state.
    """
    return _metadata(path)["options"]


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a readable checkpoint of a training run ({error})") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} is not a checkpoint of a training run")
    return metadata
