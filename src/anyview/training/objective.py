"""What a run teaches: how its network runs, what that is compared with, and how it is scored."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from anyview.model.network import Network
from anyview.training.samples import Sample, Source
from anyview.training.validation import Evaluator, Validation
from anyview.types import TrueViews

Terms = Mapping[str, Float[Tensor, " batch"]]


class Objective(Protocol):
    """What the trainer has to know of a recipe's losses."""

    def reader(self, network: Network, *, averaged: bool) -> nn.Module:
        """Prepare a network to be run, the trained one or its moving average."""

    def terms(self, reader: nn.Module, truth: TrueViews, sample: Sample) -> Terms:
        """Run a network on a batch, and compute every loss term of every scene."""

    def weigh(self, terms: Terms) -> Float[Tensor, " batch"]:
        """Sum a scene's loss terms with the recipe's weights."""

    def validate(
        self, reader: nn.Module, source: Source, evaluators: Sequence[Evaluator], device: torch.device
    ) -> Validation:
        """Score a network on validation scenes."""
