"""Adapters of other groups' packages, with stand-ins that have the interface which those document.

A stand-in checks what it is given and answers with the truth in its package's own conventions, so that an adapter that
converts wrongly, transposes or forgets to normalise does not score perfectly.
"""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import fake_sets
import numpy as np
import pytest
import torch

from anyview.bench.options import BenchOptions
from anyview.bench.predicting import question_of
from anyview.bench.results import RunFolder
from anyview.bench.rivals.catalog import open_rival
from anyview.bench.runner import find_work, run

SIDES = (392, 518)
"""Height and width that pictures of 48 × 64 have at a longer side of 518 and sides in multiples of 14."""


@pytest.fixture
def room(tmp_path):
    """A room of four views, as a task's work."""
    fake_sets.write_scene_json(tmp_path / "data")

    def work(task: str):
        return find_work([f"scene_json:{tmp_path / 'data'}"], task, BenchOptions())

    return work


def install(monkeypatch, name: str, **members: Any) -> None:
    """Make a module and its parents importable."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        path = ".".join(parts[:end])
        if path not in sys.modules:
            monkeypatch.setitem(sys.modules, path, ModuleType(path))
    for member, value in members.items():
        setattr(sys.modules[name], member, value)


def truth_of(scene, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """World to camera, intrinsics and depth of a scene's frames at another size."""
    poses = scene.world_to_camera().astype(np.float64)
    matrices = np.diag([width / 64, height / 48, 1]) @ scene.corner_intrinsics()
    depth = fake_sets.box_depth(1.0)
    maps = [depth(pose, matrix, height, width, 0.5) for pose, matrix in zip(poses, matrices, strict=True)]
    return poses, matrices, np.stack(maps)


class Network:
    """What the packages' models have in common."""

    loaded: list[str]
    scene: Any

    @classmethod
    def from_pretrained(cls, checkpoint: str) -> "Network":
        cls.loaded = [checkpoint]
        return cls()

    def to(self, device: torch.device) -> "Network":
        self.loaded.append(str(device))
        return self

    def eval(self) -> "Network":
        self.loaded.append("eval")
        return self


class FakeVggt(Network):
    """README of facebookresearch/vggt: images [1, views, 3, H, W] from 0 to 1 -> pose_enc, depth, depth_conf."""

    def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        assert images.shape == (1, 4, 3, *SIDES)
        assert 0 <= images.min() < images.max() <= 1
        depth = torch.from_numpy(truth_of(self.scene, *SIDES)[2])[None, ..., None]
        return {"pose_enc": torch.arange(4.0)[None, :, None], "depth": 2 * depth, "depth_conf": 1 + depth[..., 0]}

    @classmethod
    def decode(cls, encoding: torch.Tensor, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """World to camera, 3×4, and pixels of the pictures given."""
        assert encoding[0, :, 0].tolist() == [0, 1, 2, 3]
        poses, matrices, _ = truth_of(cls.scene, *size)
        poses[:, :3, 3] *= 2
        return torch.from_numpy(poses[None, :, :3]), torch.from_numpy(matrices[None])


class FakeMapAnything(Network):
    """README of facebookresearch/map-anything: a list of views -> camera_poses to world, depth_z, intrinsics."""

    def infer(self, views: list[dict[str, Any]]) -> list[dict[str, torch.Tensor]]:
        poses, matrices, depth = truth_of(self.scene, *SIDES)
        answers = []
        for index, view in enumerate(views):
            assert view["data_norm_type"] == ["dinov2"]
            assert view["img"].shape == (1, 3, *SIDES)
            assert view["img"].min() < -1  # normalised: 0…1 would have no negative values
            answers.append(
                {
                    "camera_poses": torch.from_numpy(np.linalg.inv(poses[index]))[None],
                    "depth_z": torch.from_numpy(depth[index])[None, ..., None],
                    "intrinsics": torch.from_numpy(matrices[index])[None],
                }
            )
        return answers


class FakeMoGe(Network):
    """README of microsoft/MoGe: one picture [3, H, W] from 0 to 1 -> depth, infinite where there is none."""

    asked = 0

    def infer(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        assert image.shape == (3, 48, 64)
        assert 0 <= image.min() < image.max() <= 1
        depth = torch.from_numpy(truth_of(self.scene, 48, 64)[2][FakeMoGe.asked])
        FakeMoGe.asked += 1
        depth[0, 0] = torch.inf
        return {"depth": depth}


class Inputs(dict):
    """transformers' BatchFeature: a dictionary that moves."""

    def to(self, device: torch.device) -> "Inputs":
        return self


class FakeDepthAnything2(Network):
    """transformers' DepthAnythingForDepthEstimation: pixel_values -> predicted_depth, which is disparity."""

    asked = 0

    def __call__(self, pixel_values: torch.Tensor) -> SimpleNamespace:
        assert pixel_values.shape == (1, 3, 48, 64)
        depth = torch.from_numpy(truth_of(self.scene, 48, 64)[2][FakeDepthAnything2.asked])
        FakeDepthAnything2.asked += 1
        return SimpleNamespace(predicted_depth=(7 / depth + 0.3)[None])


class FakeProcessor:
    """transformers' image processor: channels come first."""

    @classmethod
    def from_pretrained(cls, checkpoint: str) -> "FakeProcessor":
        return cls()

    def __call__(self, images: np.ndarray, return_tensors: str) -> Inputs:
        assert (images.dtype, images.shape, return_tensors) == (np.uint8, (48, 64, 3), "pt")
        return Inputs(pixel_values=torch.tensor(images).permute(2, 0, 1)[None].float())


def opened(name: str):
    return open_rival(name, device="cpu", dtype="float32", resolution=None, offline=True)


def installed(monkeypatch, name: str, scene: Any) -> type[Network]:
    """Install a rival's stand-in, which knows a scene."""
    kind = {
        "vggt": FakeVggt,
        "mapanything": FakeMapAnything,
        "moge": FakeMoGe,
        "depth-anything-2": FakeDepthAnything2,
    }[name]
    monkeypatch.setattr(kind, "scene", scene, raising=False)
    if kind in (FakeMoGe, FakeDepthAnything2):
        monkeypatch.setattr(kind, "asked", 0)
    install(monkeypatch, "vggt.models.vggt", VGGT=FakeVggt)
    install(monkeypatch, "vggt.utils.pose_enc", pose_encoding_to_extri_intri=FakeVggt.decode)
    install(monkeypatch, "mapanything.models", MapAnything=FakeMapAnything)
    install(monkeypatch, "moge.model.v2", MoGeModel=FakeMoGe)
    stand_in = ModuleType("transformers")
    stand_in.AutoImageProcessor = FakeProcessor
    stand_in.AutoModelForDepthEstimation = FakeDepthAnything2
    monkeypatch.setitem(sys.modules, "transformers", stand_in)
    return kind


@pytest.mark.parametrize("name", ["vggt", "mapanything"])
def test_true_poses_and_depth_score_perfectly(name, room, monkeypatch, tmp_path):
    pytest.importorskip("open3d")
    monkeypatch.setattr("anyview.bench.datasets.generic.SAMPLES", 30_000)
    (item,) = room("pose")
    installed(monkeypatch, name, item.scene)
    rival = opened(name)
    assert rival.tasks == ("pose", "recon_unposed", "depth")
    (poses,) = run([item], rival, BenchOptions(), RunFolder(tmp_path / "run"))
    assert poses.metrics["auc03_exact"] > 0.99
    (geometry,) = run(room("recon_unposed"), rival, BenchOptions(), RunFolder(tmp_path / "run"))
    assert geometry.reason is None
    assert geometry.metrics["fscore"] > 0.99


@pytest.mark.parametrize("name", ["moge", "depth-anything-2"])
def test_true_depth_scores_perfectly(name, room, monkeypatch, tmp_path):
    (item,) = room("depth")
    installed(monkeypatch, name, item.scene)
    rival = opened(name)
    assert rival.tasks == ("depth",)
    (outcome,) = run([item], rival, BenchOptions(), RunFolder(tmp_path / "run"))
    assert outcome.reason is None
    assert outcome.metrics["delta1"] > 0.999  # MoGe's has a pixel without depth
    assert outcome.metrics["abs_rel"] < 1e-3


@pytest.mark.parametrize("name", ["vggt", "mapanything", "moge", "depth-anything-2"])
def test_a_checkpoint_of_ones_own_is_another_identity(name, room, monkeypatch):
    kind = installed(monkeypatch, name, room("pose")[0].scene)
    usual, own = opened(name), opened(f"{name}:group/other")
    assert kind.loaded == ["group/other", "cpu", "eval"]
    assert own.identity["checkpoint"] == "group/other"
    assert {key for key in usual.identity if usual.identity[key] != own.identity[key]} == {"checkpoint"}
    assert own.identity["version"] == "unknown"  # of a stand-in, which was never installed


def test_what_is_not_known_is_nought(room, monkeypatch):
    (item,) = room("depth")
    installed(monkeypatch, "moge", item.scene)
    said = opened("moge").answer(question_of(item.scene.select([0]), "unposed", "sane"))
    assert said.depth[0][0, 0] == 0
    assert np.isfinite(said.depth[0]).all()
