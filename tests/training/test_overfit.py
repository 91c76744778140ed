"""The proof that training trains: a tiny network learns one scene by heart. The longest test of training."""

import torch
from rooms import Rooms

from anyview.bench.metrics.poses import pair_errors
from anyview.training.recipes import find_recipe
from anyview.training.trainer import train
from anyview.training.validation import Answer
from anyview.types import TrueViews


def test_a_tiny_network_learns_a_scene_by_heart(tmp_path):
    scores: list[dict[str, float]] = []

    def score(answer: Answer, truth: TrueViews) -> dict[str, float]:
        depth = answer.depth * (truth.depth / answer.depth).median()
        ratio = torch.maximum(depth / truth.depth, truth.depth / depth)
        found = {"delta1": (ratio < 1.25).float().mean().item()}
        for name, cameras in (("head", answer.head_cameras), ("rays", answer.ray_cameras)):
            found[name] = pair_errors(cameras.world_to_camera, truth.cameras.world_to_camera)[0].max().item()
        scores.append(found)
        return found

    scene = Rooms(only=3)
    options = find_recipe("tiny", validate_every=400)
    assert train(options, scene, tmp_path, validation=scene, evaluators=[score], device="cpu") == "finished"
    assert scores[-1]["delta1"] > 0.99
    assert scores[-1]["head"] < 1
    assert scores[-1]["rays"] < 1
