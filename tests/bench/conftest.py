import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fake_sets
import numpy as np
import pytest
import torch

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


def turn(axis: tuple[float, float, float], degrees: float) -> np.ndarray:
    """Rotation about an axis of any length (Rodrigues)."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = math.radians(degrees)
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def world_to_camera(rotation: np.ndarray, center: np.ndarray) -> np.ndarray:
    """From a camera-to-world rotation and the camera's centre."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation.T, -rotation.T @ center
    return pose


@pytest.fixture(scope="session")
def spiral() -> tuple[torch.Tensor, torch.Tensor]:
    """The benchmark's trajectory example (A.1): predicted and true poses, float32."""
    frame = turn((0.2, 1, 0.5), 40)
    predicted, truth = [], []
    for i in range(6):
        rotation = turn((0, 1, 0.1), 12 * i)
        center = np.array([2 * math.cos(0.4 * i), 0.15 * i**2, 2 * math.sin(0.4 * i)])
        drift = np.array([0.03 * i, -0.02 * i, 0.01 * i**2])
        truth.append(world_to_camera(rotation, center))
        predicted.append(
            world_to_camera(
                frame @ rotation @ turn((1, 0.3, -0.2), 0.7 * i), frame @ (0.5 * (center + drift)) + np.array([1, 2, 3])
            )
        )
    return torch.tensor(np.stack(predicted)).float(), torch.tensor(np.stack(truth)).float()
