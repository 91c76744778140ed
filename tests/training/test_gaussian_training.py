"""A Gaussian head is trained on a network that stays as it is: what moves, what is compared, what is refused."""

import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rooms import Rooms, tiny
from safetensors.torch import load_file

from anyview import DepthAnything3, PredictOptions
from anyview.geometry.alignment import fit_scale_l1
from anyview.images.preprocess import normalize
from anyview.model.checkpoint import load, save
from anyview.model.config import GaussianConfig, PyramidConfig
from anyview.model.gaussians import gaussians_from_raw, pixel_colors
from anyview.model.network import Network
from anyview.render.lpips import WEIGHTS
from anyview.render.rasterize import rasterize
from anyview.training import gaussian_objective
from anyview.training.config import Stage, TrainOptions, check_options
from anyview.training.gaussian_head import GaussianReader, with_gaussian_head
from anyview.training.gaussian_losses import color_loss, edge_loss, shape_loss
from anyview.training.gaussian_objective import LARGEST_UNIT_ERROR, GaussianObjective, draw_roles, units
from anyview.training.recipes import RECIPES
from anyview.training.start import starting_network
from anyview.training.trainer import train
from anyview.types import TrueViews, map_tensors

HEAD = GaussianConfig(pyramid=PyramidConfig(features=16, channels=(8, 8, 16, 16)), degree=1, reading="plain")


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    """Weights of a tiny network without a Gaussian head."""
    path = tmp_path_factory.mktemp("start") / "tiny.safetensors"
    save(starting_network(tiny(seed=4)), path, name="tiny")
    return path


def recipe(start: Path, **changes: object) -> TrainOptions:
    small = {
        "start": str(start),
        "name": "tiny",
        "gaussians": HEAD,
        "stages": (Stage(sizes=((28, 28),), views=(3, 3), spread=(0.5, 0.5)),),
        "steps": 4,
        "held_out": 1,
        "tokens_per_step": 30,
        "precision": "float32",
        "head_precision": "float32",
        "warm_up_steps": 1,
        "log_every": 1,
        "ahead": 0,
        "validation_size": (28, 28),
        "validation_scenes": 1,
        "validation_views": (2,),
    }
    options = replace(RECIPES["gaussians"], **{**small, **changes})
    check_options(options)
    return options


class Interrupted(Rooms):
    """Rooms whose second batch comes with a request to stop."""

    def batch(self, indices: Sequence[int], views: int, height: int, width: int, spread: float) -> TrueViews:
        if self.seen:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().batch(indices, views, height, width, spread)


def final_state(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoints" / "00000004.safetensors")


def test_two_steps_and_two_more_are_four_to_the_bit_and_the_head_alone_moves(start, tmp_path):
    options = recipe(start, mirror=0.5, tokens_per_step=15)
    assert train(options, Rooms(), tmp_path / "straight", validation=Rooms(), device="cpu") == "finished"
    assert train(options, Interrupted(), tmp_path / "parts", device="cpu") == "interrupted"
    assert train(options, Rooms(), tmp_path / "parts", resume=True, device="cpu") == "finished"
    straight, parts = final_state(tmp_path / "straight"), final_state(tmp_path / "parts")
    assert straight.keys() == parts.keys()
    assert all(torch.equal(straight[name], parts[name]) for name in straight)

    network, name = load(tmp_path / "straight" / "model.safetensors")
    assert name == "tiny"
    assert network.config.gaussians == HEAD
    before = load(start)[0].state_dict()
    for key, value in network.state_dict().items():
        if not key.startswith("gaussian_head."):
            assert torch.equal(value, before[key]), key
    first = starting_network(options).state_dict()
    moved = [key for key, value in network.state_dict().items() if not torch.equal(value, first[key])]
    assert set(moved) == {key for key in first if key.startswith("gaussian_head.")}
    assert not any(name.startswith("first_moment.backbone") for name in straight)

    entries = [json.loads(line) for line in (tmp_path / "straight" / "log.jsonl").read_text().splitlines()]
    assert {"loss", "color", "perception", "shape", "transparency", "gradient_norm"} <= entries[0].keys()
    assert 5 < entries[-1]["2views/psnr"] < 60
    assert [path.name for path in (tmp_path / "straight" / "validation").iterdir()] == ["00000004_2views.png"]


def test_a_head_learns_a_scene_by_heart(start, tmp_path):
    """Shapes of a network that knows nothing become right, and held-out views are seen better."""
    stage = Stage(sizes=((28, 28),), views=(4, 4), spread=(0.5, 0.5))
    # The unit by this network's poses is far off, so no cameras are told.
    options = recipe(
        start, stages=(stage,), steps=60, tokens_per_step=20, peak_rate=1e-2, known_cameras=0.0, held_out=1
    )
    train(options, Rooms(only=3), tmp_path, device="cpu")
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    color, shape = ([entry[name] for entry in log] for name in ("color", "shape"))
    assert sum(color[-5:]) < 0.8 * sum(color[:5])
    assert sum(shape[-5:]) < 0.8 * sum(shape[:5])


def test_light_that_gaussians_let_through_costs(start, tmp_path):
    """What is put behind would make up for it."""
    stage = Stage(sizes=((28, 28),), views=(3, 3), spread=(0.2, 0.2))
    ends = []
    for weight in (0.0, 1.0):
        options = recipe(
            start, stages=(stage,), steps=20, peak_rate=1e-2, known_cameras=0.0, opacity_weight=weight, shape_weight=0.0
        )
        train(options, Rooms(only=3), tmp_path / str(weight), device="cpu")
        log = [json.loads(line) for line in (tmp_path / str(weight) / "log.jsonl").read_text().splitlines()]
        light = [entry["transparency"] for entry in log if "transparency" in entry]
        assert all(0 <= value <= 1 for value in light)
        ends.append(sum(light[-5:]) / 5)
    assert ends[1] < 0.9 * ends[0]


def test_the_unit_of_validation_is_that_of_predictions(start, assert_close):
    """Scenes in a unit of their own, a network whose poses are far off: nothing of the truth but cameras is used."""
    network = with_gaussian_head(load(start)[0], HEAD, 0)
    truth = Rooms(scale=7.0).batch((2,), 3, 28, 28, 0.8)
    known, valid = torch.ones(1, dtype=torch.bool), truth.depth > 0
    reading = GaussianReader(network)(normalize(truth.images), truth.cameras, known)
    unit = units(reading, truth, valid, known, bounded=False)
    model = DepthAnything3(network, "tiny", device="cpu", dtype="float32")
    asked = PredictOptions(resolution=28, reference_view="first", output_resolution="network")
    prediction = model.predict(list(truth.images[0].numpy()), truth.cameras[0], options=asked)
    assert_close(unit * reading.depth[0], prediction.depth)

    scale = fit_scale_l1(reading.depth.flatten(), truth.depth.flatten(), valid.flatten().float())
    assert not scale / LARGEST_UNIT_ERROR < unit < scale * LARGEST_UNIT_ERROR
    bounded = units(reading, truth, valid, known, bounded=True)
    assert_close(bounded, unit.clamp(scale / LARGEST_UNIT_ERROR, scale * LARGEST_UNIT_ERROR))


def test_an_untrained_head_shows_the_pictures(start):
    """Depth of a wall, colours of the pixels: from its own camera a picture looks as it is."""
    network = with_gaussian_head(load(start)[0], HEAD, 0)
    truth = Rooms().batch((1,), 1, 56, 56, 0.5)
    images = normalize(truth.images)
    with torch.no_grad():
        raw = network.gaussian_head(network.read_tokens(images).taps, images)
    config = network.config.gaussians
    gaussians = gaussians_from_raw(raw, truth.depth, truth.cameras, config, colors=pixel_colors(images))
    assert 0.85 < gaussians.opacities.mean() < 0.95
    one = map_tensors(gaussians, lambda tensor: tensor[0])
    error = (rasterize(one, truth.cameras[0], 56, 56).color - truth.images[0] / 255).square().mean()
    assert -10 * error.log10() > 20


def test_networks_keep_the_head_that_they_have(start):
    network = with_gaussian_head(load(start)[0], HEAD, 0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    again: Network = with_gaussian_head(network, HEAD, 1)
    assert all(torch.equal(value, before[name]) for name, value in again.state_dict().items())
    with pytest.raises(ValueError, match=r"expected a Gaussian head as .*degree=2.*, and the network has .*degree=1"):
        with_gaussian_head(network, replace(HEAD, degree=2), 0)


def test_recipes_say_what_becomes_of_a_head(start, tmp_path):
    path, said = tmp_path / "headed.safetensors", []
    headed = with_gaussian_head(load(start)[0], HEAD, 7)
    save(headed, path, name="tiny")
    network = starting_network(tiny(start=str(path)), said.append)
    assert network.gaussian_head is None
    assert network.config == load(start)[0].config
    assert all(parameter.requires_grad for parameter in network.backbone.blocks.parameters())

    network = starting_network(recipe(path), said.append)
    weights = network.gaussian_head.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in headed.gaussian_head.state_dict().items())
    assert said == [
        f"{path} has a Gaussian head, which the recipe tiny leaves out",
        f"{path} has a Gaussian head, which is trained further",
    ]
    said.clear()
    starting_network(recipe(start), said.append)
    assert said == []


def test_views_have_roles():
    seen = [draw_roles(5, 2, 0, number) for number in range(200)]
    assert all(sorted([*roles.shown, *roles.held_out]) == [0, 1, 2, 3, 4] for roles in seen)
    assert seen[3] == draw_roles(5, 2, 0, 3)
    assert {view for roles in seen for view in roles.held_out} == {0, 1, 2, 3, 4}


def test_losses_by_hand(assert_close):
    truth = torch.zeros(2, 1, 8, 8, 3)
    half = truth.clone()
    half[0, 0, :, 4:] = 0.6  # an edge of 0.6 in eight rows, among 8 × 7 differences across
    assert_close(color_loss(half, truth), torch.tensor([0.18, 0.0]))
    # 1/7 at full size, 1/3 at half, 1 at a quarter of it; nothing down.
    assert_close(edge_loss(half, truth), torch.tensor([0.6 * (1 / 7 + 1 / 3 + 1), 0.0]))
    depth, true = torch.full((1, 1, 2, 2), 3.0), torch.tensor([[[[2.0, 4.0], [3.0, 0.0]]]])
    assert_close(shape_loss(depth, true, true > 0), torch.tensor([(0.5 + 0.25 + 0) / 3]))


def test_the_loss_of_shape_knows_no_scale(assert_close):
    # In parts of the truth 2, 4, 4 and 6: the median, weighted with themselves, is 4, so 1/2, 1, 1 and 3/2 are left.
    true = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 2, 2)
    depth = (torch.tensor([2.0, 4.0, 4.0, 6.0]).view(1, 1, 2, 2) * true).requires_grad_()
    valid = torch.ones_like(true, dtype=torch.bool)
    loss = shape_loss(depth, true, valid)
    assert_close(loss, torch.tensor([(0.5 + 0 + 0 + 0.5) / 4]))
    assert_close(shape_loss(2 * depth, true, valid), loss)
    assert_close(shape_loss(true, true, valid), torch.tensor([0.0]))
    assert_close(shape_loss(depth, true, ~valid), torch.tensor([0.0]))  # nothing to compare
    # What is too near moves away and what is too far comes nearer, by 1 / (4 values × 4 × the true depth).
    assert_close(torch.autograd.grad(loss.sum(), depth)[0].flatten(), torch.tensor([-1 / 16, 0, 0, 1 / 64]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"held_out": 3}, "held_out must be at least 1 and below the fewest views, 3; got 3"),
        ({"jitter": 0.5}, "expected jitter=0, got 0.5"),
        ({"known_in_part": 0.5}, "expected known_in_part=0, got 0.5"),
        (
            {"stages": (Stage(sizes=((28, 28),), views=(3, 3), told_matches=0.5),)},
            "no use for told_matches: expected 0.0 in every stage, got 0.5",
        ),
        (
            {"stages": (Stage(sizes=((28, 28),), views=(3, 3), dense_every=4),)},
            "no use for dense_every: expected 1 in every stage, got 4",
        ),
        ({"match_weight": 0.1}, "expected match_weight=0"),
        ({"sharding": "fsdp"}, "expected sharding='ddp'"),
    ],
)
def test_options_without_sense_are_refused(start, changes, message):
    with pytest.raises(ValueError, match=message):
        recipe(start, **changes)


def test_lpips_without_weights_is_refused(start, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", SimpleNamespace(LPIPS=None))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(ValueError, match=f"LPIPS needs torchvision's VGG weights in .*{WEIGHTS}"):
        GaussianObjective(recipe(start, perception="lpips"))


def test_lpips_runs_where_the_pictures_are(start, monkeypatch):
    asked = []

    def fake(device="cpu"):
        asked.append(str(device))
        return lambda one, other: (one - other).flatten(1).mean(1)

    monkeypatch.setattr(gaussian_objective, "open_lpips", fake)
    objective = GaussianObjective(recipe(start, perception="lpips"))
    pictures = torch.zeros(2, 3, 8, 8, 3, device="meta")  # as on a GPU: not where the weights are read
    assert objective._perception(pictures, pictures).shape == (2,)
    assert asked == ["cpu", "meta"]
