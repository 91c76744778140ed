"""anyview bench from the command line, on fake folders with a small model of random weights."""

import contextlib
import io
import json
import re

import fake_pictures
import fake_sets
import pytest
from PIL import Image

from anyview.bench.tables import TITLES
from anyview.cli import main
from anyview.model.checkpoint import save
from anyview.model.config import PRESETS
from anyview.model.network import build, initialize


@pytest.fixture(scope="module")
def nano(tmp_path_factory):
    network = build(PRESETS["da3-nano"].config, "cpu")
    initialize(network, 0)
    path = tmp_path_factory.mktemp("model") / "nano.safetensors"
    save(network, path, name="da3-nano")
    return path


def bench(*arguments: object) -> tuple[int, str, list[str]]:
    """Exit code, standard output, and the lines on standard error that are no progress."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        code = main(["bench", *map(str, arguments)])
    lines = [line for line in errors.getvalue().replace("\r", "\n").splitlines() if line.strip()]
    return code, output.getvalue(), [line for line in lines if "predicting" not in line and "scoring" not in line]


def refused(*arguments: object) -> str:
    code, output, errors = bench(*arguments)
    assert (code, output) == (2, "")
    (line,) = errors
    return line.removeprefix("anyview: ")


@pytest.mark.usefixtures("few_samples")
@pytest.mark.parametrize("dataset", fake_sets.LAYOUTS)
def test_published_layouts_run_with_the_bundled_model(dataset, fake_data, tmp_path, monkeypatch):
    """All that a set has the truth for. What the model says of coarse noise may be too large to be fused."""
    pytest.importorskip("open3d")
    monkeypatch.setattr("anyview.bench.geometry.available_memory", lambda _: 2**27)
    frames = 0 if dataset == "dtu" else 3
    # Farther than ScanNet++ is fused, or than DTU's scans know the surface.
    too_large = "far larger than the scene|the surface is empty|no predicted point lies near the truth"
    for task in ("pose", "recon_unposed", "recon_posed")[: 1 if dataset == "dtu64" else 3]:
        code, output, errors = bench(
            *(task, "--data", f"{dataset}:{fake_data(dataset)}", "-m", "da3-nano", "--offline", "-o", tmp_path / "run"),
            *("--resolution", 56, "--max-frames", frames, "--device", "cpu", "--format", "json"),
        )
        (table,) = [table for table in json.loads(output) if table["title"].startswith(f"da3-nano: {TITLES[task]}")]
        status = [row["status"] for row in table["rows"][:-1]]
        assert all(said == "ok" or re.search(too_large, said) for said in status), (task, status, errors)
        assert code == (0 if set(status) == {"ok"} else 1)
        assert task != "pose" or code == 0
        assert (tmp_path / "run" / "metric_results" / f"{dataset}_{task}.json").is_file()


@pytest.mark.parametrize("dataset", ["hiroom", "dtu64"])
def test_compat_runs_with_a_model(dataset, nano, fake_data, tmp_path):
    code, output, errors = bench(
        *("pose", "--data", f"{dataset}:{fake_data(dataset)}", "-m", nano, "-o", tmp_path, "--protocol", "compat"),
        *("--resolution", 56, "--max-frames", 3, "--device", "cpu"),
    )
    assert (code, errors) == (0, [])
    assert "mean over 1 of 1 scenes" in output


@pytest.mark.usefixtures("few_samples")
def test_geometry_runs_with_a_model_in_both_modes(nano, fake_data, tmp_path, monkeypatch):
    """Random weights see no baseline, and the true one makes their scene huge: that is said instead of tried."""
    pytest.importorskip("open3d")
    monkeypatch.setattr("anyview.bench.geometry.available_memory", lambda _: 2**27)
    for task in ("recon_unposed", "recon_posed"):
        for protocol in ("sane", "compat"):
            code, output, errors = bench(
                task,
                *("--data", f"hiroom:{fake_data('hiroom')}", "--model", nano, "-o", tmp_path / protocol),
                *("--protocol", protocol, "--resolution", 56, "--device", "cpu", "--format", "json"),
            )
            status = json.loads(output)[-1]["rows"][0]["status"]
            assert code == (0 if status == "ok" else 1), (output, errors)
            assert status == "ok" or "the aligned depth is far larger than the scene" in status


def test_runs_are_compared_with_plots(nano, tmp_path):
    (tmp_path / "data").mkdir()
    fake_sets.write_scene_json(tmp_path / "data")
    data = f"scene_json:{tmp_path / 'data'}"
    for model, name in ((nano, "ours"), ("constant", "constant")):
        code, *_ = bench("pose", "--data", data, "-m", model, "-o", tmp_path / name, "--resolution", 56)
        assert code == 0
    code, output, errors = bench(
        "tables", tmp_path / "ours", tmp_path / "constant", "-o", tmp_path / "shown", "--plots", "--format", "markdown"
    )
    assert code == 0
    assert "| da3-nano | auc03 |" in output
    assert "| constant | auc30 |" in output
    drawn = sorted((tmp_path / "shown" / "plots").glob("*.png"))
    assert len(drawn) == len(errors) == 4
    for path in drawn:
        with Image.open(path) as image:
            image.verify()


def test_depth_of_single_pictures(nano, tmp_path):
    (tmp_path / "data").mkdir()
    fake_pictures.write_single_sintel(tmp_path / "data")
    code, output, _ = bench(
        *("depth", "--data", f"sintel:{tmp_path / 'data'}", "-m", nano, "-o", tmp_path / "run"),
        *("--resolution", 56, "--format", "csv", "--published"),
    )
    assert code == 0
    assert '"Teacher [arXiv v1, Table 4]",delta1' in output


def test_a_failed_scene_makes_the_exit_code_1(tmp_path):
    pytest.importorskip("pycolmap")
    (tmp_path / "data").mkdir()
    fake_sets.write_scene_json(tmp_path / "data", count=2, depth=False)
    for index in range(2):
        Image.new("RGB", (64, 48), (90, 90, 90 + index)).save(tmp_path / "data" / "room" / "images" / f"{index}.png")
    code, output, errors = bench(
        "pose", "--data", f"scene_json:{tmp_path / 'data'}", "-m", "colmap", "-o", tmp_path / "r"
    )
    assert code == 1
    assert errors == ["1 of 1 scenes failed"]
    assert "failed (COLMAP found no reconstruction of 2 pictures)" in output
    assert "mean over 0 of 1 scenes" in output


def test_refusals(fake_data, tmp_path):
    data = f"dtu64:{fake_data('dtu64')}"
    assert refused("pose", "-o", tmp_path / "r") == "no data given; say where it is with --data NAME:PATH"
    assert "holds none of the scenes; expected SCENE" in refused("pose", "--data", f"eth3d:{tmp_path}")
    assert "did you mean 'dtu64'" in refused("pose", "--data", f"dtu6:{tmp_path}")
    assert "no data set has a scene 'scan99'" in refused("pose", "--data", data, "--scenes", "scan99")
    assert "dtu64 has no truth for view_syn; it has it for pose" in refused("view_syn", "--data", data)
    assert "refinement steps are for view_syn, and this is pose" in refused("pose", "--data", data, "--refine-steps", 5)
    assert "expected at least 1 context view, got 0" in refused("pose", "--data", data, "--context-views", 0)
    assert "expected a shard as i/n" in refused("pose", "--data", data, "--shard", "5", "-m", "constant")
    assert "no runs given" in refused("tables")
    assert "is no folder of a benchmark run" in refused("tables", tmp_path)
    assert "takes no folders of runs" in refused("pose", tmp_path, "--data", data)
    assert "this rival needs the package vggt" in refused("pose", "--data", data, "-m", "vggt", "-o", tmp_path / "r")
    assert "colmap cannot be scored at recon_posed" in refused(
        *("recon_posed", "--data", f"hiroom:{fake_data('hiroom')}", "-m", "colmap", "-o", tmp_path / "r")
    )
    assert not (tmp_path / "r").exists()


@pytest.mark.real
def test_real_sets_score_with_colmap_and_a_model_in_one_table(nano, shared_data, tmp_path):
    data = f"scene_json:{shared_data / 'pi3_room'}"
    for model in (nano, "colmap"):
        bench("pose", "--data", data, "-m", model, "-o", tmp_path / str(model).rpartition("/")[2], "--resolution", 224)
    code, output, _ = bench("tables", tmp_path / "nano.safetensors", tmp_path / "colmap", "--format", "json")
    assert code == 0
    rows = json.loads(output)[0]["rows"]
    assert [row["model"] for row in rows] == ["da3-nano", "da3-nano", "colmap", "colmap"]
    assert all(row["s/scene"] > 0 and row["peak GiB"] > 0 for row in rows)
