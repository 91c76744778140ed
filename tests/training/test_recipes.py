import math
from dataclasses import fields, replace

import pytest
import torch
from rooms import tiny

from anyview.model.config import PRESETS
from anyview.training.config import (
    MAY_CHANGE,
    Stage,
    TrainOptions,
    check_options,
    differences,
    options_to_json,
)
from anyview.training.objective import objective_of
from anyview.training.optimizer import learning_rate, make_optimizer, set_learning_rate, update_average
from anyview.training.recipes import RECIPES, find_recipe
from anyview.training.start import ease_start, starting_network
from anyview.training.state import Team, TrainState


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_makes_sense(name):
    assert RECIPES[name].recipe == name
    check_options(RECIPES[name])


def test_nano_trains_the_bundled_network():
    bundled = replace(PRESETS["da3-nano"].config, gaussians=None)
    assert find_recipe("nano").network == bundled
    assert replace(find_recipe("nano-gpu").network, resolution=112) == bundled


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"unknown recipe 'nanno'; did you mean 'nano'"):
        find_recipe("nanno")
    with pytest.raises(ValueError, match=r"unknown option 'step' of a recipe; did you mean 'steps'"):
        find_recipe("nano", step=3)
    with pytest.raises(ValueError, match="unknown option 'recipe'"):
        find_recipe("nano", recipe="mine")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be above 0, got 0"),
        ({"known_cameras": 1.5}, "known_cameras must lie between 0 and 1, got 1.5"),
        ({"known_in_part": -1.0}, "known_in_part must lie between 0 and 1, got -1.0"),
        ({"average_decay": 1.0}, "average_decay must be at least 0 and below 1"),
        ({"mirror": -0.1}, "mirror must lie between 0 and 1, got -0.1"),
        (
            {"stages": (Stage(sizes=((56, 56),), views=(1, 2), told_matches=2.0),)},
            "told_matches of a stage must lie between 0 and 1, got 2.0",
        ),
        (
            {"stages": (Stage(sizes=((56, 56),), views=(1, 2), dense_every=0),)},
            "dense_every of a stage must be at least 1, got 0",
        ),
        ({"matrices": "muon", "sharding": "fsdp"}, "Muon needs whole matrices"),
        ({"match_weight": 0.5, "sharding": "fsdp"}, "match_weight needs whole blocks"),
        (
            {"stages": (Stage(sizes=((56, 56),), views=(1, 2), dense_every=2),), "sharding": "fsdp"},
            "split weights are all trained in every step: expected sharding='ddp', or dense_every=1",
        ),
        ({"steps": "abc"}, "steps must be int, got 'abc'"),
        ({"steps": 1e3}, "steps must be int, got 1000.0"),
        ({"steps": True}, "steps must be int, got True"),
        ({"peak_rate": "high"}, "peak_rate must be float, got 'high'"),
        ({"start": 3}, r"start must be str \| None, got 3"),
        ({"validation_size": (56,)}, r"validation_size must be tuple\[int, int\], got \(56,\)"),
        ({"validation_size": [56, 56]}, r"validation_size must be tuple\[int, int\], got \[56, 56\]"),
        ({"sharding": "fspd"}, "sharding must be one of ddp, fsdp, got 'fspd'"),
        ({"matrices": "other"}, "matrices must be one of adamw, muon, got 'other'"),
        ({"head_precision": "float16"}, "head_precision must be one of float32, bfloat16, got 'float16'"),
        ({"stages": (Stage(sizes=(), views=(1, 2)),)}, "expected at least one size of pictures in every stage"),
        (
            {"stages": (Stage(sizes=((56, 56),), views=(1, 2), spread=(0.5, 1.5)),)},
            r"spread of a stage must lie between 0 and 1, the least first, got \(0.5, 1.5\)",
        ),
        ({"validation_views": ()}, r"validation_views must be numbers of views from 1 on, got \(\)"),
        ({"validation_views": (0, 2)}, r"validation_views must be numbers of views from 1 on, got \(0, 2\)"),
        ({"validation_spread": 1.5}, "validation_spread must lie between 0 and 1, got 1.5"),
        ({"ray_weight": -1.0}, "ray_weight must be 0 or above, got -1.0"),
        ({"depth_weight": math.nan}, "depth_weight must be 0 or above, got nan"),
        ({"warm_up_steps": -1}, "warm_up_steps must be 0 or above, got -1"),
        ({"network": None}, "expected a network to train, or start"),
        ({"stages": (Stage(sizes=((50, 56),), views=(1, 2)),)}, "multiples of 14, got 50x56"),
        ({"stages": (Stage(sizes=((56, 56),), views=(3, 2)),)}, r"fewest first, got \(3, 2\)"),
        ({"stages": ()}, "expected at least one stage"),
        (
            {"stages": (Stage(until=0.5, sizes=((56, 56),), views=(1, 2)), Stage(until=0.2, sizes=(), views=(1, 2)))},
            r"stages must end one after the other, got \[0.5, 0.2\]",
        ),
    ],
)
def test_options_without_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        find_recipe("tiny", **changes)


def test_whole_numbers_are_floats_too():
    assert find_recipe("tiny", clip=2).clip == 2.0
    assert isinstance(find_recipe("tiny", clip=2).clip, float)


def test_differences_name_what_shapes_the_result():
    stored = options_to_json(tiny())
    assert differences(tiny(), stored) == []
    assert differences(tiny(checkpoint_every=7, sharding="fsdp"), stored) == []
    assert differences(tiny(seed=3, clip=2.0), stored) == ["clip is 2.0, was 1.0", "seed is 3, was 0"]
    assert {field.name for field in fields(TrainOptions)} >= MAY_CHANGE


def test_the_learning_rate_rises_and_falls(assert_close):
    options = tiny(steps=110, warm_up_steps=10, peak_rate=1.0, final_rate=0.2)
    rates = [learning_rate(options, step) for step in range(110)]
    assert rates[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert rates[60] == pytest.approx((1 + 0.2) / 2)  # half of the cosine
    assert rates[35] == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi / 4)) / 2)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0.2 < rates[-1] < 0.201


def test_weights_decay_and_norms_do_not():
    network = starting_network(tiny())
    optimizer = make_optimizer(network, tiny(backbone_rate=0.1, weight_decay=0.05), torch.device("cpu"))
    names = {parameter: name for name, parameter in network.named_parameters()}
    groups = {
        names[parameter]: (group["weight_decay"], group["rate_factor"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert groups.keys() == set(names.values())
    assert groups["backbone.blocks.0.attention.qkv.weight"] == (0.05, 0.1)
    assert groups["backbone.blocks.0.attention.qkv.bias"] == (0.0, 0.1)
    assert groups["backbone.position_embedding"] == (0.0, 0.1)
    assert groups["backbone.camera_token"] == (0.0, 0.1)
    assert groups["backbone.norm.weight"] == (0.0, 0.1)
    assert groups["head.ray_neck.0.weight"] == (0.05, 1.0)
    assert groups["camera_encoder.blocks.0.mlp_scale"] == (0.0, 1.0)
    set_learning_rate(optimizer, 0.3)
    assert {round(group["lr"], 9) for group in optimizer.param_groups} == {0.3, 0.03}


def test_muon_moves_the_matrices_of_blocks_and_nothing_else():
    network = starting_network(tiny())
    optimizer = make_optimizer(network, tiny(matrices="muon"), torch.device("cpu"))
    names = {parameter: name for name, parameter in network.named_parameters()}
    adamw, muon = ({names[p] for group in part.param_groups for p in group["params"]} for part in optimizer.parts)
    assert adamw | muon == set(names.values())
    assert not adamw & muon
    assert len(muon) == 4 * len(network.backbone.blocks)
    assert all(name.startswith("backbone.blocks.") and name.endswith(".weight") for name in muon)
    before = {name: parameter.detach().clone() for parameter, name in names.items()}
    for parameter in names:
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    set_learning_rate(optimizer, 1e-2)
    optimizer.step()
    for parameter, name in names.items():
        change = (parameter - before[name]).norm() / parameter.numel() ** 0.5
        assert 1e-3 < change < 1.2e-2, name  # one rate serves both: Muon's updates are a fifth of it


def test_the_average_forgets_where_it_began(assert_close):
    network, averaged = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    for parameter in (*network.parameters(), *averaged.parameters()):
        torch.nn.init.constant_(parameter, 0.0)
    torch.nn.init.ones_(network.weight)
    update_average(averaged, network, 0.9, step=0)
    assert_close(averaged.weight.detach(), torch.tensor([[0.9]]))  # 1 - 1/10
    update_average(averaged, network, 0.9, step=1000)
    assert_close(averaged.weight.detach(), torch.tensor([[0.9 * 0.9 + 0.1]]))


def test_an_eased_start_looks_forward_and_has_a_smooth_table():
    network = starting_network(tiny())
    assert network.head.ray_reader.output.bias[:6].tolist() == [0, 0, 1, 0, 0, 0]
    table = network.backbone.position_embedding[0, 1:].unflatten(0, (37, 37))
    assert table.diff(dim=0).abs().mean() < 0.5 * table.std()
    assert table.flatten(0, 1).unique(dim=0).shape[0] == 37 * 37
    ease_start(network)  # twice is once
    assert torch.equal(network.backbone.position_embedding[0, 1:].unflatten(0, (37, 37)), table)


def test_only_any_view_networks_are_trained():
    with pytest.raises(ValueError, match="only any-view networks can be trained, and tiny is none"):
        starting_network(tiny(network=PRESETS["da3mono-large"].config))


def test_training_starts_from_a_checkpoint(tmp_path, assert_close):
    from anyview.model.checkpoint import save

    network = starting_network(tiny(seed=9))
    save(network, tmp_path / "mine.safetensors", name="mine")
    loaded = starting_network(tiny(network=None, start=str(tmp_path / "mine.safetensors")))
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), network.parameters(), strict=True))
    with pytest.raises(ValueError, match="are not those of the recipe tiny's network"):
        starting_network(tiny(network=PRESETS["da3-nano"].config, start=str(tmp_path / "mine.safetensors")))


def test_a_fresh_state_averages_its_own_network():
    state = TrainState.fresh(tiny(), Team(0, 1, torch.device("cpu")), objective_of(tiny()))
    for one, other in zip(state.network.parameters(), state.averaged.parameters(), strict=True):
        assert torch.equal(one, other)
        assert one.data_ptr() != other.data_ptr()
        assert not other.requires_grad
