"""The hub is asked for two files, and what goes wrong there is said in one line. Nothing here uses a network."""

import huggingface_hub
import pytest
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

from anyview.model.checkpoint import is_local, load, locate
from anyview.model.config import PRESETS
from filled import write_published_folder

HTTP_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]
"""What the hub's HTTP client raises when a connection fails."""


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Serve a folder as any repository; return what was asked for."""
    asked = []

    def download(repository, filename, *, revision=None, local_files_only=False):
        asked.append((repository, filename, revision, local_files_only))
        return str(tmp_path / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return asked


def failing(error):
    def download(*_args, **_options):
        raise error

    return download


@pytest.mark.usefixtures("small_presets")
def test_a_repository_is_a_published_folder(hub, tmp_path):
    write_published_folder(tmp_path, "anyview")
    folder = locate("somebody/some-model.v1", revision="abc123")
    assert folder == tmp_path
    assert hub == [("somebody/some-model.v1", name, "abc123", False) for name in ("config.json", "model.safetensors")]
    assert load(folder)[1] == "anyview"


def test_a_preset_is_its_repository(hub):
    locate("da3-base", offline=True)
    assert hub[0] == ("depth-anything/DA3-BASE", "config.json", None, True)
    assert is_local("da3-base")


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (LocalEntryNotFoundError("not in the cache\nsecond line"), "not in the cache"),
        (OfflineModeIsEnabled("offline mode is enabled"), "offline mode is enabled"),
        (OSError("disk full"), "disk full"),
        (OSError(), "OSError"),
        (HTTP_ERROR("no route"), "no route"),
    ],
    ids=["cache", "offline", "disk", "silent", "connection"],
)
def test_failures_say_which_file_and_how_to_get_it(error, cause, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", failing(error))
    expected = (
        rf"^cannot get config\.json of depth-anything/DA3-SMALL \({cause}\); on a machine with a network run "
        r"`hf download depth-anything/DA3-SMALL config\.json model\.safetensors --local-dir FOLDER` "
        r"and pass FOLDER as the model$"
    )
    with pytest.raises(ValueError, match=expected):
        locate("da3-small")
    assert not is_local("da3-small")


def test_only_the_missing_file_is_named(hub, monkeypatch):
    serve = huggingface_hub.hf_hub_download

    def download(repository, filename, **options):
        if filename == "model.safetensors":
            raise LocalEntryNotFoundError("not there")
        return serve(repository, filename, **options)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(ValueError, match=r"^cannot get model\.safetensors of depth-anything/DA3-SMALL"):
        locate("da3-small")


def test_every_published_preset_is_asked_for_under_its_own_name(hub):
    for name, preset in PRESETS.items():
        if preset.hub_id is not None:
            locate(name)
    ids = [preset.hub_id for preset in PRESETS.values() if preset.hub_id is not None]
    assert [repository for repository, filename, *_ in hub if filename == "config.json"] == ids
    assert len(set(ids)) == len(ids)
