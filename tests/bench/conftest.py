from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fake_sets
import pytest

from anyview.bench import runner
from anyview.bench.datasets import eth3d, generic, hiroom, scannetpp, seven_scenes
from anyview.bench.options import BenchOptions, Task
from anyview.bench.results import Outcome, RunFolder


@pytest.fixture(scope="session")
def fake_data(tmp_path_factory) -> Callable[..., Path]:
    """The folder of a fake data set, written once."""
    written: dict[str, Path] = {}

    def folder(name: str, protocol: str = "compat") -> Path:
        consistent = name == "eth3d" and protocol == "sane"
        key = f"{name} consistent" if consistent else name
        if key not in written:
            written[key] = tmp_path_factory.mktemp("data") / name
            written[key].mkdir()
            (fake_sets.write_eth3d_consistent if consistent else fake_sets.LAYOUTS[name].write)(written[key])
        return written[key]

    return folder


@pytest.fixture
def few_samples(monkeypatch) -> None:
    """Fewer points on surfaces: a tenth of the time, and scores that are as good for most questions."""
    for module in (eth3d, hiroom, scannetpp, seven_scenes):
        monkeypatch.setattr(module, "RECIPE", replace(module.RECIPE, samples=30_000))
    monkeypatch.setattr(generic, "SAMPLES", 30_000)


def perfect_run(
    data: str, dataset: str, task: Task, options: BenchOptions, folder: Path, **oracle: object
) -> list[Outcome]:
    """Score a model that knows the truth."""
    layout = fake_sets.LAYOUTS[dataset]
    work = runner.find_work([data], task, options)
    settings = {"size": layout.network_size, "compat": options.protocol == "compat", **oracle}
    model = fake_sets.Oracle([item.scene for item in work], layout.depth, **settings)
    return runner.run(work, model, options, RunFolder(folder))
