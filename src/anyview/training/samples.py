"""What a training step looks at: pictures' size, number of views, scenes. All of it follows from (seed, step)."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from anyview.model.config import PATCH
from anyview.training.config import Stage, TrainOptions
from anyview.types import TrueViews


@runtime_checkable
class Source(Protocol):
    """Scenes whose geometry is known, numbered without end; the same number is always the same scene."""

    @property
    def most_views(self) -> int | None:
        """The most views that a scene has; None: as many as are asked for."""

    def batch(self, indices: Sequence[int], views: int, height: int, width: int, spread: float) -> TrueViews:
        """Return scenes, on any device, with one batch dimension.

        ``spread`` says how far apart their views are: from 0, as near as the source has them, to 1, as far.
        """


@dataclass(frozen=True)
class Sample:
    """One training step's scenes, all with as many views of the same size."""

    step: int
    indices: tuple[int, ...]
    """Numbers of the scenes, which no other step has."""
    known_cameras: tuple[bool, ...]
    """For each scene, whether the network is told its cameras."""
    known_views: tuple[int, ...] | None
    """The views whose cameras it is told there, the first one among them; None: all."""
    told_matches: tuple[bool, ...]
    """For each scene, whether the network is told its matches."""
    dense: bool
    """Whether depth and rays take part."""
    views: int
    height: int
    width: int
    spread: float

    def share(self, rank: int, processes: int) -> "Sample":
        """Return the part of the sample that one of several processes works on."""
        mine = slice(rank, None, processes)
        return replace(
            self,
            indices=self.indices[mine],
            known_cameras=self.known_cameras[mine],
            told_matches=self.told_matches[mine],
        )

    def __str__(self) -> str:
        scenes = ", ".join(map(str, self.indices))
        return f"step {self.step}, {self.views} views of {self.height}x{self.width}, scenes {scenes}"


def draw_sample(options: TrainOptions, step: int) -> Sample:
    """Draw a step's sample: a size, then as many views as the stage and the budget allow, then scenes to fill it."""
    draw = random.Random(f"sample {options.seed} {step}")
    stage = stage_at(options, step)
    height, width = draw.choice(stage.sizes)
    views = draw.randint(stage.views[0], most_views(options, stage, height, width))
    scenes = options.tokens_per_step // (views * tokens_of(height, width))
    first = step * largest_batch(options)
    told = random.Random(f"told {options.seed} {step}")
    return Sample(
        step=step,
        indices=tuple(range(first, first + scenes)),
        known_cameras=tuple(draw.random() < options.known_cameras for _ in range(scenes)),
        known_views=draw_known_views(options, step, views),
        told_matches=tuple(told.random() < stage.told_matches for _ in range(scenes)),
        dense=step % stage.dense_every == 0,
        views=views,
        height=height,
        width=width,
        spread=draw.uniform(*stage.spread),
    )


def draw_known_views(options: TrainOptions, step: int, views: int) -> tuple[int, ...] | None:
    """Draw which views' cameras a step tells, where it tells any: all (None), or the first one and some others."""
    draw = random.Random(f"known views {options.seed} {step}")
    if views == 1 or draw.random() >= options.known_in_part:
        return None
    others = draw.sample(range(1, views), draw.randint(0, views - 2))
    return (0, *sorted(others))


def stage_at(options: TrainOptions, step: int) -> Stage:
    """Return the stage that a step belongs to."""
    return next((stage for stage in options.stages if step < stage.until * options.steps), options.stages[-1])


def tokens_of(height: int, width: int) -> int:
    """Tokens of one view: its patches and the camera."""
    return (height // PATCH) * (width // PATCH) + 1


def most_views(options: TrainOptions, stage: Stage, height: int, width: int) -> int:
    """Return how many views of a size a stage may show, within the token budget."""
    return min(stage.views[1], options.tokens_per_step // tokens_of(height, width))


def largest_batch(options: TrainOptions) -> int:
    """Return the most scenes that any step of a run can have."""
    return max(
        options.tokens_per_step // (stage.views[0] * tokens_of(*size))
        for stage in options.stages
        for size in stage.sizes
    )


def check_views(options: TrainOptions, source: Source, validation: Source | None) -> None:
    """Refuse scenes of fewer views than some sample, or the validation, shows.

    Raises:
        ValueError: saying how many views are needed, and how many there are.
    """
    needed = max(most_views(options, stage, height, width) for stage in options.stages for height, width in stage.sizes)
    hidden = 0 if options.gaussians is None else options.held_out
    for what, scenes, views in (
        ("training", source, needed),
        ("validation", validation, max(options.validation_views) + hidden),
    ):
        if scenes is not None and scenes.most_views is not None and scenes.most_views < views:
            raise ValueError(f"{what}: no scene has {views} frames; the most that one has is {scenes.most_views}")


def check_budget(options: TrainOptions, processes: int = 1) -> None:
    """Refuse a token budget that some sample does not fit into, or that leaves a process without a scene.

    Raises:
        ValueError: naming the size, and the budget that it needs.
    """
    for stage in options.stages:
        for height, width in stage.sizes:
            tokens, budget = tokens_of(height, width), options.tokens_per_step
            fewest, most = stage.views[0], most_views(options, stage, height, width)
            if most < fewest:
                raise ValueError(
                    f"a batch of {fewest} views of {height}x{width} takes {fewest * tokens} tokens and cannot fit "
                    f"into tokens_per_step = {budget}"
                )
            if budget // (most * tokens) < processes:
                raise ValueError(
                    f"{processes} processes need {processes} scenes of {most} views of {height}x{width}, which take "
                    f"{processes * most * tokens} tokens and cannot fit into tokens_per_step = {budget}"
                )
