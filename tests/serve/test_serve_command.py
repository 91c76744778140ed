"""`anyview serve`: what keeps it from starting is said in one line; options of jobs are those of the command line."""

import socket
import sqlite3
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest

from anyview.cli import main
from anyview.model.checkpoint import save
from anyview.model.config import PRESETS
from anyview.options import ExportOptions, PredictOptions
from anyview.serve.folders import Folders
from anyview.serve.jobs import JobStore
from anyview.serve.models import describe_models, offered_models
from anyview.serve.options import ServeOptions
from anyview.serve.requests import NOT_FROM_OUTSIDE, options_defaults, options_schema, parse_request
from filled import filled


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on stderr with which the command ends."""
    assert main(["serve", "--port", "0", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    [line] = captured.err.splitlines()
    return line


def test_a_used_port_is_refused(capsys, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        line = refusal(capsys, "--data", str(tmp_path / "data"), "--port", str(port))
    assert line == f"anyview: port {port} of 127.0.0.1 is in use; give another one with --port, or 0 for any"
    assert not (tmp_path / "data").exists()


def test_an_address_of_another_machine_is_refused(capsys, tmp_path):
    line = refusal(capsys, "--data", str(tmp_path / "data"), "--host", "192.0.2.1")
    assert line.startswith("anyview: cannot listen on port 0 of 192.0.2.1: ")


def test_a_data_folder_that_cannot_be_written_to_is_refused(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert "file is a file, not a folder" in refusal(capsys, "--data", str(tmp_path / "file"))
    if Path("/proc").is_dir():  # where not even root makes folders
        assert "cannot write into /proc/anyview" in refusal(capsys, "--data", "/proc/anyview")


def test_an_unknown_model_is_refused(capsys, tmp_path):
    line = refusal(capsys, "--data", str(tmp_path), "--models", "da3-nnao")
    assert line == "anyview: unknown model 'da3-nnao'; did you mean 'da3-nano' or 'da3-base' or 'da3-small'?"


def test_an_unknown_device_is_refused(capsys, tmp_path):
    assert "device 'gpu9' cannot be used here" in refusal(capsys, "--data", str(tmp_path), "--devices", "gpu9")


def test_tokens_that_cannot_be_read_are_refused(capsys, tmp_path):
    line = refusal(capsys, "--data", str(tmp_path), "--auth", "on", "--token-file", str(tmp_path / "none"))
    assert line == f"anyview: tokens cannot be read from {tmp_path / 'none'}: No such file or directory"


def test_a_data_folder_serves_one_server(capsys, tmp_path):
    Folders(tmp_path).make()
    with Folders(tmp_path).lock():
        assert "is in use by another server" in refusal(capsys, "--data", str(tmp_path))


def corrupt(path: Path) -> None:
    """Break a page in the middle of a database: its beginning says nothing of that."""
    store = JobStore(path)
    for _ in range(100):
        store.add("anna", "tiny", "{}" * 100)
    store.close()
    with path.open("r+b") as file:
        file.seek(2 * 4096)
        file.write(b"\xff" * 4096)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_bytes(b"no database" * 1000), "file is not a database"),
        (corrupt, "btreeInitPage"),
        (lambda path: path.mkdir(), "Is a directory"),
        (
            lambda path: sqlite3.connect(path).executescript("CREATE TABLE jobs (id TEXT)").connection.close(),
            "version 0",
        ),
    ],
    ids=["text", "broken", "folder", "of another version"],
)
def test_jobs_that_cannot_be_read_are_refused(capsys, tmp_path, spoil: Callable[[Path], None], reason: str):
    path = tmp_path / "jobs.sqlite3"
    spoil(path)
    line = refusal(capsys, "--data", str(tmp_path))
    assert line.startswith(f"anyview: the jobs in {path} cannot be read (")
    assert reason in line
    Folders(tmp_path).lock().close()  # nobody holds it any more


def test_jobs_that_cannot_be_written_are_refused(capsys, tmp_path, monkeypatch: pytest.MonkeyPatch):
    """A job that ran when the last server ended has to wait again, and the disk is full."""
    store = JobStore(tmp_path / "jobs.sqlite3")
    store.add("anna", "tiny", "{}")
    store.take(0.0)
    store.close()

    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(JobStore, "requeue", full)
    line = refusal(capsys, "--data", str(tmp_path))
    assert line == f"anyview: the jobs in {tmp_path / 'jobs.sqlite3'} cannot be written: database or disk is full"
    Folders(tmp_path).lock().close()  # nobody holds it any more


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"port": 70_000}, "port from 0 to 65535"),
        ({"devices": ()}, "at least one device"),
        ({"resolution": 13}, "resolution of at least 14"),
        *(({name: 0}, f"expected {name} of at least 1") for name in ("queue", "queue_per_token", "files", "views")),
        *(({name: 0}, f"expected {name} of at least 1") for name in ("streams_per_token", "points", "view_points")),
        *(({name: 0.0}, f"expected {name} above 0") for name in ("file_mib", "upload_mib", "megapixels", "video_s")),
        *(
            ({name: 0.0}, f"expected {name} above 0")
            for name in ("upload_stall_s", "upload_s", "job_s", "cancel_s", "keep_s")
        ),
        *(({name: float("inf")}, f"expected {name} above 0") for name in ("depth_wait_s", "disk_mib", "sweep_s")),
        ({"nice": -1}, "nice from 0 to 19"),
        ({"free_mib": -1.0}, "free_mib of 0 or above"),
        *(
            ({**where, "cors_origins": ("https://a.example",)}, "cors_origins need tokens")
            for where in ({}, {"auth": "off"}, {"host": "0.0.0.0", "auth": "off"})
        ),
    ],
)
def test_options_that_mean_nothing_are_refused(changes: dict[str, object], complaint: str):
    with pytest.raises(ValueError, match=complaint):
        replace(ServeOptions(), **changes).check()


def test_the_default_options_are_fine():
    ServeOptions().check()
    ServeOptions(auth="on", cors_origins=("https://a.example",)).check()


def test_other_sites_without_tokens_are_refused_in_one_line(capsys, tmp_path):
    line = refusal(capsys, "--data", str(tmp_path / "data"), "--cors-origins", "https://a.example")
    assert line == "anyview: cors_origins need tokens, or other sites could do here what they want: --auth on"
    assert not (tmp_path / "data").exists()


def test_options_of_jobs_are_those_of_the_dataclasses():
    schema, defaults = options_schema()["properties"], options_defaults()
    for name, kind in (("predict", PredictOptions), ("export", ExportOptions)):
        expected = {field.name: field.default for field in fields(kind) if field.name not in NOT_FROM_OUTSIDE}
        assert {key: tuple(v) if isinstance(v, list) else v for key, v in defaults[name].items()} == expected
        assert schema[name]["properties"].keys() == expected.keys()
        assert all(property["description"] for property in schema[name]["properties"].values())
    assert schema["predict"]["properties"]["resize"]["enum"][0] == "upper_bound_resize"
    assert schema["export"]["properties"]["fps"]["description"] == "Frames per second of written videos."


def test_what_a_job_asks_for_arrives():
    text = (
        '{"model": "b", "predict": {"resolution": 56, "rays": true, "features": [1, 2]}, "frames_per_second": 2.5,'
        ' "export": {"confidence_percentile": 10}, "formats": ["npz", "features", "npz"], "max_frames": 7}'
    )
    request = parse_request(text, ServeOptions(), ["a", "b"])
    assert request.model == "b"
    assert request.predict == PredictOptions(resolution=56, rays=True, features=(1, 2))
    assert request.export == ExportOptions(confidence_percentile=10.0)
    assert request.formats == ("npz", "features")
    assert (request.frames_per_second, request.max_frames) == (2.5, 7)
    assert parse_request("{}", ServeOptions(), ["a", "b"]).model == "a"


def test_a_format_of_gaussians_asks_the_model_for_them():
    asked = parse_request('{"formats": ["splat"]}', ServeOptions(), ["a"])
    assert asked.predict.gaussians
    of_pixels = parse_request('{"formats": ["splat"], "export": {"pixel_gaussians": true}}', ServeOptions(), ["a"])
    assert not of_pixels.predict.gaussians


def test_models_are_offered_by_name_without_their_paths(tmp_path):
    path = save(filled("anyview"), tmp_path / "our own.safetensors", name="tiny")
    offered = offered_models(["da3-nano", str(path)], offline=True)
    assert offered == {"da3-nano": "da3-nano", "our own": str(path)}
    described = {model.name: model for model in describe_models(offered)}
    assert described.keys() == {"our own", *PRESETS}
    assert (described["da3-nano"].default, described["our own"].default) == (True, False)
    assert described["da3-nano"].licence == "Apache-2.0"
    assert described["our own"].licence is None
    assert described["da3-large"].available is False
    assert described["da3nested-giant-large"].metric
    assert str(tmp_path) not in "".join(model.model_dump_json() for model in described.values())
    with pytest.raises(ValueError, match="two models are called our own"):
        offered_models([str(path), str(path)], offline=True)
    assert "da3-nano" in offered_models([], offline=True)


def test_paths_that_lead_to_a_model_are_no_names_for_users(tmp_path: Path):
    offered = ["tiny"]
    for name in (str(tmp_path), "../tiny.safetensors", "file:///etc/passwd", "da3-nano"):
        with pytest.raises(ValueError, match="unknown model"):
            parse_request(f'{{"model": "{name}"}}', ServeOptions(), offered)
