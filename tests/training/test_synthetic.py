"""Procedural worlds as the trainer asks for them."""

import pytest
import torch

from anyview.training.samples import Source
from anyview.training.synthetic import NEAREST_OVERLAP, SynthSource
from anyview.training.targets import make_targets
from anyview.types import TrueViews


@pytest.fixture
def asked(monkeypatch) -> list[float]:
    """The least overlaps that scenes are asked for with."""
    overlaps: list[float] = []

    def note(options, split, indices, device) -> TrueViews:
        overlaps.append(options.least_overlap)
        raise ValueError("enough")

    monkeypatch.setattr("anyview.training.synthetic.batch_at", note)
    return overlaps


def test_scenes_come_as_asked_for():
    source = SynthSource("train")
    assert isinstance(source, Source)
    both = source.batch((3, 4), 2, 42, 56, 0.5)
    assert both.images.shape == (2, 2, 42, 56, 3)
    assert make_targets(both).unit.isfinite().all()
    assert torch.equal(source.batch((4,), 2, 42, 56, 0.5).depth, both.depth[1:])
    assert not torch.equal(SynthSource("validation").batch((4,), 2, 42, 56, 0.5).depth, both.depth[1:])


def test_spread_lowers_the_overlap(asked):
    source = SynthSource("train")
    for spread in (0.0, 0.5, 1.0):
        with pytest.raises(ValueError, match="enough"):
            source.batch((0,), 2, 42, 42, spread)
    least = source.options.least_overlap
    assert asked == pytest.approx([NEAREST_OVERLAP, (NEAREST_OVERLAP + least) / 2, least])
