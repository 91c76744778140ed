"""What a run teaches: how its network runs, what that is compared with, and how it is scored."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from anyview.images.preprocess import normalize
from anyview.model.network import Network
from anyview.training.augment import jitter_colors, mirror_scenes
from anyview.training.config import TrainOptions
from anyview.training.gaussian_head import GaussianReader
from anyview.training.gaussian_objective import GaussianObjective
from anyview.training.samples import Sample, Source
from anyview.training.step import Reader, Terms, compare, told_shifts, weigh
from anyview.training.targets import make_targets
from anyview.training.validation import Evaluator, Validation, validate
from anyview.types import TrueViews


@runtime_checkable
class Objective(Protocol):
    """What the trainer has to know of a recipe's losses."""

    def reader(self, network: Network, *, averaged: bool) -> Reader | GaussianReader:
        """Prepare a network to be run, the trained one or its moving average."""

    def terms(self, reader: nn.Module, truth: TrueViews, sample: Sample) -> Terms:
        """Run a network on a batch, and compute every loss term of every scene."""

    def weigh(self, terms: Terms) -> Float[Tensor, " batch"]:
        """Sum a scene's loss terms with the recipe's weights."""

    def validate(
        self, reader: nn.Module, source: Source, evaluators: Sequence[Evaluator], device: torch.device
    ) -> Validation:
        """Score a network on validation scenes."""


class GeometryObjective:
    """Depth, rays and cameras of a whole network (paper, section 3.2)."""

    def __init__(self, options: TrainOptions) -> None:
        self.options = options

    def reader(self, network: Network, *, averaged: bool) -> Reader:
        """Prepare a network to be run; the averaged one in whole precision, and nothing of it is watched."""
        if averaged:
            return Reader(network)
        watches = self.options.match_weight > 0
        return Reader(network, getattr(torch, self.options.head_precision), watches_matches=watches)

    def terms(self, reader: nn.Module, truth: TrueViews, sample: Sample) -> Terms:
        """Run a network on all views, and compare what it says with the truth."""
        options, device = self.options, truth.depth.device
        with torch.no_grad():
            truth = mirror_scenes(truth, sample.indices, options.mirror, options.seed)
            targets = make_targets(truth)
            images = normalize(jitter_colors(truth.images, sample.indices, options.jitter, options.seed))
        known = torch.tensor(sample.known_cameras, device=device)
        told = None
        if any(sample.told_matches):
            told = told_shifts(targets, torch.tensor(sample.told_matches, device=device))
        reading = reader(images, truth.cameras, known, known_views=sample.known_views, told=told, dense=sample.dense)
        return compare(reading, targets, options.confidence_weight)

    def weigh(self, terms: Terms) -> Float[Tensor, " batch"]:
        """Sum a scene's loss terms with the recipe's weights."""
        return weigh(terms, self.options)

    def validate(
        self, reader: nn.Module, source: Source, evaluators: Sequence[Evaluator], device: torch.device
    ) -> Validation:
        """Score what a network says of validation scenes."""
        return validate(reader, source, evaluators, self.options, device)


def objective_of(options: TrainOptions) -> Objective:
    """Return what a recipe teaches."""
    return GeometryObjective(options) if options.gaussians is None else GaussianObjective(options)
