"""Means over scenes, and over how many of how many; a scene that failed is never averaged away silently."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from anyview.bench.options import BenchOptions, Task
from anyview.bench.results import Outcome, RunFolder, write_json
from anyview.bench.single import mean_scores

PARTED = ("diode", "moge")
"""Data sets whose scenes are named PART/…, and whose parts have means of their own."""


@dataclass(frozen=True)
class Mean:
    """The scores of a data set at a task: means over the scenes (or pictures) that did not fail."""

    dataset: str
    task: Task
    metrics: Mapping[str, float]
    scored: int
    total: int

    @property
    def is_complete(self) -> bool:
        """Whether no scene failed."""
        return self.scored == self.total


def mean_of(outcomes: Sequence[Outcome]) -> list[Mean]:
    """Average scenes by data set and task, in the order in which they come; a metric over the scenes that have it."""
    groups: dict[tuple[str, Task], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.dataset, outcome.task), []).append(outcome)
    means = []
    for (dataset, task), members in groups.items():
        scored = [outcome for outcome in members if outcome.reason is None]
        pictures = [dict(picture) for outcome in scored for picture in outcome.pictures]
        if pictures:
            metrics = mean_scores(pictures)
        else:
            names = dict.fromkeys(name for outcome in scored for name in outcome.metrics)
            metrics = {
                name: float(np.mean([outcome.metrics[name] for outcome in scored if name in outcome.metrics]))
                for name in names
            }
        means.append(Mean(dataset, task, metrics, len(scored), len(members)))
    return means


def means_of_parts(outcomes: Sequence[Outcome]) -> list[Mean]:
    """Average the parts of data sets whose parts are scored by themselves too, as ``diode indoors``."""
    named = [replace(o, dataset=f"{o.dataset} {o.scene.partition('/')[0]}") for o in outcomes if o.dataset in PARTED]
    means = mean_of(sorted(named, key=lambda outcome: outcome.dataset))
    several = {dataset for dataset in PARTED if sum(mean.dataset.startswith(f"{dataset} ") for mean in means) > 1}
    return [mean for mean in means if mean.dataset.partition(" ")[0] in several]


def write_summaries(folder: RunFolder, options: BenchOptions) -> None:
    """Write every data set's scores in the published form; "sane" ones also say over how many scenes."""
    outcomes = folder.outcomes()
    for mean in mean_of(outcomes):
        members = [outcome for outcome in outcomes if (outcome.dataset, outcome.task) == (mean.dataset, mean.task)]
        document: dict[str, Any] = {
            outcome.scene: dict(outcome.metrics) for outcome in members if outcome.reason is None
        }
        document["mean"] = dict(mean.metrics)
        if options.protocol == "sane":
            document["mean_over"] = {"scenes": mean.scored, "of": mean.total}
            parts = means_of_parts(members)
            if parts:
                document["mean_of_parts"] = {part.dataset.partition(" ")[2]: dict(part.metrics) for part in parts}
            document["failed"] = {outcome.scene: outcome.reason for outcome in members if outcome.reason is not None}
        write_json(folder.metrics(mean.dataset, mean.task), document)
