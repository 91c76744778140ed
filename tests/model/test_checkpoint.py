"""Networks survive the disk, and files that are not what they should be are refused by name."""

import copy
import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from anyview.model.checkpoint import DEAD_PARAMETERS, is_local, load, locate, save, save_published
from anyview.model.config import PRESETS
from anyview.model.network import build
from filled import SMALL_CONFIGS, aliases, config_of, filled, published_tensors, write_published_folder

pytestmark = pytest.mark.usefixtures("small_presets")


def assert_same_network(actual: nn.Module, expected: nn.Module) -> None:
    assert actual.config == expected.config
    ours, theirs = actual.state_dict(), expected.state_dict()
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        assert ours[name].dtype == torch.float32
        assert torch.equal(ours[name], value), name
    assert not actual.training


@pytest.mark.parametrize("name", SMALL_CONFIGS)
def test_published_folders_load(name, tmp_path):
    network, loaded_name = load(write_published_folder(tmp_path, name))
    assert loaded_name == name
    assert_same_network(network, filled(name))


@pytest.mark.parametrize("name", SMALL_CONFIGS)
def test_published_folders_survive_writing_and_loading(name, tmp_path):
    folder = save_published(filled(name), tmp_path / "folder", name=name)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    network, loaded_name = load(folder)
    assert loaded_name == name
    assert_same_network(network, filled(name))


def test_written_folders_hold_the_published_tensors(tmp_path):
    folder = save_published(filled("gaussian"), tmp_path / "folder", name="gaussian")
    written, published = load_file(folder / "model.safetensors"), published_tensors("gaussian")
    assert set(published) - set(written) == {name for name in published if DEAD_PARAMETERS.search(name)}
    for name, value in written.items():
        assert torch.equal(value, published[name]), name


def test_a_network_that_is_no_preset_has_no_published_folder(tmp_path):
    with pytest.raises(ValueError, match="the network is not a mono, and published folders know presets only"):
        save_published(filled("anyview"), tmp_path / "folder", name="mono")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", SMALL_CONFIGS)
def test_our_files_survive_writing_and_loading(name, tmp_path):
    path = save(filled(name), tmp_path / "network.safetensors", name="mine")
    network, loaded_name = load(path)
    assert loaded_name == "mine"
    assert_same_network(network, filled(name))


def test_our_files_can_hold_half_precision(tmp_path):
    path = save(filled("anyview"), tmp_path / "network.safetensors", name="mine", dtype=torch.float16)
    full = save(filled("anyview"), tmp_path / "full.safetensors", name="mine")
    assert path.stat().st_size < 0.55 * full.stat().st_size
    network, _ = load(path)
    expected = copy.deepcopy(filled("anyview")).half().float()
    assert_same_network(network, expected)


def test_dead_parameters_and_aliases_are_dropped(tmp_path):
    tensors = published_tensors("anyview")
    for name in aliases("anyview"):
        tensors[name] = torch.full((32,), torch.nan)
    dead = [name for name in tensors if DEAD_PARAMETERS.search(name)]
    assert len(dead) == 2 * (3 * 5 + 3 * 2 + 3)
    for name in dead:
        tensors[name] = torch.full_like(tensors[name], torch.nan)
    network, _ = load(write_published_folder(tmp_path, "anyview", tensors))
    assert_same_network(network, filled("anyview"))


KEY = "model.backbone.pretrained.blocks.2.attn.qkv.weight"


def without(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if name != KEY}


def with_one_more(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**tensors, "model.backbone.pretrained.mask_token": torch.zeros(1, 64)}


def with_one_transposed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**tensors, KEY: tensors[KEY].mT.contiguous()}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (without, f"{KEY} is missing"),
        (with_one_more, "model.backbone.pretrained.mask_token is unexpected"),
        (with_one_transposed, f"{KEY} has shape [64, 192] instead of [192, 64]"),
    ],
)
def test_a_folder_with_one_wrong_tensor_is_refused(change, problem, tmp_path):
    folder = write_published_folder(tmp_path, "anyview", change(published_tensors("anyview")))
    message = f"{folder / 'model.safetensors'} does not hold the weights of this network: {problem}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda tensors: {k: v for k, v in tensors.items() if k != "backbone.norm.bias"},
            "backbone.norm.bias is missing",
        ),
        (lambda tensors: {**tensors, "extra": torch.zeros(1)}, "extra is unexpected"),
        (
            lambda tensors: {**tensors, "backbone.norm.bias": torch.zeros(3)},
            "backbone.norm.bias has shape [3] instead of",
        ),
    ],
    ids=["missing", "unexpected", "misshapen"],
)
def test_a_file_of_ours_with_one_wrong_tensor_is_refused(change, problem, tmp_path):
    path = save(filled("mono"), tmp_path / "network.safetensors", name="mine")
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file(change(load_file(path)), path, metadata=metadata)
    with pytest.raises(ValueError, match=re.escape(problem)):
        load(path)


def test_the_weights_of_another_network_are_refused(tmp_path):
    folder = write_published_folder(tmp_path, "mono", published_tensors("anyview"))
    with pytest.raises(ValueError, match=r"weights of this network: .+, .+, .+, and \d+ more such$"):
        load(folder)


def test_a_pickle_is_not_opened(tmp_path):
    path = tmp_path / "model.pth"
    torch.save(filled("mono").state_dict(), path)
    pickle_hint = "model.pth is a pickle, which can run any code when opened: only safetensors files are read"
    with pytest.raises(ValueError, match=pickle_hint):
        load(path)
    with pytest.raises(ValueError, match="config.json is missing; " + pickle_hint):
        load(tmp_path)


def test_a_pickle_called_safetensors_is_not_opened(tmp_path):
    folder = write_published_folder(tmp_path, "mono")
    torch.save(filled("mono").state_dict(), folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors is not a readable safetensors file"):
        load(folder)


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def write_config(text: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / "config.json").write_text(text)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (truncate, r"model\.safetensors is not a readable safetensors file"),
        (empty, r"model\.safetensors is not a readable safetensors file"),
        (write_config("{"), r"config\.json is not JSON"),
        (write_config("[]"), r"config\.json has no model_name"),
        (write_config('{"model": "da3-base"}'), r'config\.json has no model_name, e\.g\. "da3-base"'),
        (write_config('{"model_name": 3}'), r"config\.json has no model_name"),
        (write_config('{"model_name": "da3-bas"}'), r"unknown model 'da3-bas'; did you mean 'da3-base'"),
        (lambda folder: (folder / "config.json").unlink(), r"is no model folder: config\.json is missing"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"is no model folder: model\.safetensors is missing"),
    ],
)
def test_a_spoilt_folder_is_refused(spoil, message, tmp_path):
    folder = write_published_folder(tmp_path, "mono")
    spoil(folder)
    with pytest.raises(ValueError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_config_json_in_another_encoding_is_refused(tmp_path):
    folder = write_published_folder(tmp_path, "mono")
    (folder / "config.json").write_bytes(json.dumps({"model_name": "mono"}).encode("utf-16"))
    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
        load(folder)


def test_a_published_file_without_its_folder_is_refused(tmp_path):
    path = write_published_folder(tmp_path, "mono") / "model.safetensors"
    with pytest.raises(ValueError, match=r"does not say which network it holds .* config\.json"):
        load(path)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(ValueError, match=r"expected a model folder or a \.safetensors file, got .*notes\.txt"):
        load(path)


def test_a_spoilt_configuration_of_ours_is_refused(tmp_path):
    path = tmp_path / "network.safetensors"
    for contents in ("{}", "[]", "no JSON", '{"name": "mine", "config": "{}"}', '{"name": "mine"}'):
        save_file(filled("mono").state_dict(), path, metadata={"anyview-1": contents})
        with pytest.raises(ValueError, match="the metadata describe no network"):
            load(path)


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    tensors = published_tensors("anyview")
    tensors["model.head.norm.weight"] = torch.full_like(tensors["model.head.norm.weight"], math.nan)
    folder = write_published_folder(tmp_path, "anyview", tensors)
    with pytest.raises(ValueError, match=r"model\.head\.norm\.weight holds NaN or infinite values"):
        load(folder)


def test_two_writes_give_the_same_bytes(tmp_path):
    paths = [save(filled("anyview"), tmp_path / f"{index}.safetensors", name="mine") for index in range(4)]
    assert len({path.read_bytes() for path in paths}) == 1


def test_loading_leaves_nothing_on_the_meta_device(tmp_path):
    network, _ = load(write_published_folder(tmp_path, "nested"))
    assert {tensor.device.type for tensor in network.state_dict().values()} == {"cpu"}
    assert {tensor.device.type for tensor in network.buffers()} <= {"cpu"}


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = save(filled("mono"), tmp_path / "network.safetensors", name="mine")
    before = path.read_bytes()
    with pytest.raises(NotImplementedError, match="meta"):
        save(build(config_of("mono")), path, name="mine")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_paths_are_found(tmp_path):
    path = save(filled("mono"), tmp_path / "network.safetensors", name="mine")
    assert locate(path) == path
    assert locate(str(tmp_path)) == tmp_path


def test_bundled_presets_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr("anyview.model.checkpoint.BUNDLED", tmp_path)
    assert PRESETS["mono"].hub_id is None
    assert not is_local("mono")
    with pytest.raises(ValueError, match="the weights of mono are not part of this installation"):
        locate("mono")
    path = save(filled("mono"), tmp_path / "mono.safetensors", name="mono")
    assert locate("mono") == path
    assert is_local("mono")


@pytest.mark.parametrize("path", ["no/such/folder", "./nowhere", "missing.safetensors", "folder/missing.safetensors"])
def test_missing_paths_are_refused(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"^no such model folder or file: {re.escape(path)}$"):
        locate(path)


def test_unknown_names_get_the_nearest_ones():
    with pytest.raises(ValueError, match=r"unknown model 'da3-giand'; did you mean 'da3-giant'"):
        locate("da3-giand")
