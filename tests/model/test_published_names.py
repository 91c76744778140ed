"""Parameter names, shapes and counts against the lists of what was published."""

import pytest

from anyview.model.checkpoint import DEAD_PARAMETERS, published_name
from anyview.model.config import PRESETS, config_from_json, config_to_json, find_preset
from anyview.model.network import build
from filled import SMALL_CONFIGS, alive_parameters, config_of, count, published_shapes

PUBLISHED = [name for name, preset in PRESETS.items() if preset.hub_id is not None]


def test_seven_presets_are_published():
    assert len(PUBLISHED) == 7


@pytest.mark.parametrize("name", [*PUBLISHED, *SMALL_CONFIGS])
def test_names_and_shapes_are_the_published_ones(name):
    config = config_of(name)
    state = build(config).state_dict()
    ours = {published_name(key, config): tuple(value.shape) for key, value in state.items()}
    assert len(ours) == len(state), "two parameters have the same published name"
    assert ours == alive_parameters(name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_presets_have_the_stated_number_of_parameters(name):
    assert count(published_shapes(name)) == PRESETS[name].parameters


@pytest.mark.parametrize("name", [name for name in PRESETS if name not in PUBLISHED])
def test_our_own_presets_have_the_stated_number_of_parameters(name):
    assert sum(parameter.numel() for parameter in build(PRESETS[name].config).parameters()) == PRESETS[name].parameters


def test_dead_parameters_are_the_ray_branch_that_nothing_reads():
    dead = [key.split("head.scratch.")[1] for key in published_shapes("da3-small") if DEAD_PARAMETERS.search(key)]
    necks = {f"output_conv1_aux.{level}.{layer}" for level in range(3) for layer in range(5)}
    readers = {f"output_conv2_aux.{level}.{layer}" for level in range(3) for layer in (0, 5)}
    assert {key.rsplit(".", 1)[0] for key in dead} == necks | readers
    assert len(dead) == 2 * len(necks | readers)


@pytest.mark.parametrize("name", ["da3mono-large", "da3metric-large"])
def test_monocular_networks_have_no_dead_parameters(name):
    assert alive_parameters(name) == published_shapes(name)


@pytest.mark.parametrize("name", PRESETS)
def test_configurations_survive_json(name):
    assert config_from_json(config_to_json(PRESETS[name].config)) == PRESETS[name].config


@pytest.mark.parametrize("text", ["{", "{}", '{"backbone": 3}', '{"any_view": {}, "metric": {}}'])
def test_what_is_no_configuration_is_refused(text):
    with pytest.raises(ValueError, match="not a network configuration"):
        config_from_json(text)


def test_unknown_presets_get_the_nearest_names():
    with pytest.raises(ValueError, match=r"unknown model 'da3-smal'; did you mean 'da3-small'"):
        find_preset("da3-smal")
