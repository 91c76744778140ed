"""Procedural worlds as a source of scenes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from anyview.synth.dataset import batch_at
from anyview.synth.options import Split, SynthOptions
from anyview.types import TrueViews

NEAREST_OVERLAP = 0.7
"""Share of a view that the views before it see, where views are as near as can be."""


@dataclass(frozen=True)
class SynthSource:
    """Endless scenes of one split, rendered on ``device`` when they are asked for."""

    split: Split
    options: SynthOptions = field(default_factory=SynthOptions)
    """Size and number of views are the trainer's; `least_overlap` is that of views as far apart as can be."""
    device: str | torch.device = "cpu"

    @property
    def most_views(self) -> None:
        """Scenes have as many as are asked for."""

    def batch(self, indices: Sequence[int], views: int, height: int, width: int, spread: float) -> TrueViews:
        """Render scenes (`training.samples.Source`)."""
        overlap = NEAREST_OVERLAP + spread * (self.options.least_overlap - NEAREST_OVERLAP)
        options = replace(self.options, views=views, height=height, width=width, least_overlap=overlap)
        return batch_at(options, self.split, indices, self.device)
