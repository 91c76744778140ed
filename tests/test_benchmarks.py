"""The benchmarks run and print what they promise; what they measure is not asserted."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from anyview.model.checkpoint import load, locate, save
from anyview.model.config import NANO_GAUSSIANS
from anyview.training.gaussian_head import with_gaussian_head

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def last_line(script: str, *arguments: str) -> dict:
    """JSON on the last line of a benchmark's output."""
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_speed_compares_two_variants_stage_by_stage():
    size = ["--preset", "da3-nano", "--views", "2", "--height", "28", "--width", "42", "--threads", "1"]
    report = last_line("speed.py", *size, "--rounds", "2", "--compare", "plain")
    assert set(report["stages_s"]) == {"ours", "plain"}
    for stages in report["stages_s"].values():
        assert {"backbone", "head", "camera", "forward", "processor"} == set(stages)
        assert 0 < stages["backbone"] + stages["head"] < stages["forward"]
        assert stages["camera"] > 0
    assert report["load_s"] > 0
    assert set(report["export_s"]) == {"npz", "depth_vis", "depth_png", "glb", "ply"}
    assert len(report["ratio"]["all"]) == len(report["processor_ratio"]["all"]) == 2


def test_speed_compares_any_two_variants():
    size = ["--preset", "da3-nano", "--views", "1", "--height", "140", "--width", "140", "--threads", "1"]
    report = last_line("speed.py", *size, "--rounds", "1", "--variant", "usual", "--compare", "ours", "--no-export")
    assert list(report["stages_s"]) == ["usual", "ours"]
    assert report["ratio"]["usual / ours"] == report["ratio"]["all"][0] > 0


def test_streaming_measures_memory_and_disk():
    report = last_line("streaming.py", "one-length", "30")
    assert report["frames"] == 30
    assert report["peak_mib"] > report["disk_mib"] > 0


def test_serve_loses_no_job():
    report = last_line("serve.py", "--clients", "10", "--seconds", "1", "--queue", "4")
    assert report["errors"] == []
    assert report["answers_5xx"] == report["jobs_lost"] == 0
    assert report["refused_429"] > 0
    assert report["jobs_ended"] == {"done": report["jobs_accepted"]}
    assert sum(report["jobs_done_by_token"].values()) == report["jobs_accepted"] > 0
    assert report["status_calls"] >= report["jobs_accepted"]
    assert report["server_memory_mib"]["largest"] > 0


def test_memory_puts_estimates_beside_peaks():
    report = last_line("memory.py", "--presets", "da3-nano", "--views", "2", "--sizes", "112x168", "--rays")
    assert [case["rays"] for case in report["cases"]] == [False, True]
    for case in report["cases"]:
        assert case["estimate_mib"] > 0
        assert case["peak_mib"] > 0


def test_rasterize_reports_time_and_memory():
    report = last_line(
        "rasterize.py", "--count", "500", "--size", "40x30", "--rounds", "1", "--threads", "1", "--reference"
    )
    assert 0 < report["splats"] <= 500
    for part in ("forward", "forward_backward", "reference_composite"):
        assert report[part]["seconds"] > 0
    assert report["peak_mib"] >= report["forward_peak_mib"] >= 0


def test_real_sets_are_put_into_tables(tmp_path):
    frames = []
    for index in range(2):
        pixels = np.random.default_rng(index).integers(0, 255, (48, 64, 3), np.uint8)
        (tmp_path / "data" / "room").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "data" / "room" / f"{index}.png")
        Image.fromarray(np.full((48, 64), 2000, np.uint16)).save(tmp_path / "data" / "room" / f"{index}-depth.png")
        matrix = [[60, 0, 32], [0, 60, 24], [0, 0, 1]]
        frames.append({"file": f"{index}.png", "K": matrix, "w2c": None, "depth": f"{index}-depth.png"})
    (tmp_path / "data" / "room" / "scene.json").write_text(json.dumps({"frames": frames, "depth_scale": 1000}))
    report = last_line("real_sets.py", str(tmp_path / "data"), "-o", str(tmp_path / "out"), "--tasks", "depth", "pose")
    assert set(report) == {"depth", "pose"}
    assert set(report["depth"]) == {"da3-nano", "constant"}
    said = report["depth"]["constant"]["room"]
    assert said["reason"] is None
    assert said["metrics"]["delta1"] == 1  # a wall
    assert said["seconds"] > 0
    assert report["pose"] == {}  # the set has no poses


def test_gaussians_puts_a_head_beside_warping(tmp_path):
    network, _ = load(locate("da3-nano"))
    save(with_gaussian_head(network, NANO_GAUSSIANS, 0), tmp_path / "headed.safetensors", name="headed")
    small = ["--kinds", "room", "--scenes", "2", "--side", "28", "--steps", "1"]
    report = last_line("gaussians.py", "--model", str(tmp_path / "headed.safetensors"), *small)
    rows = {name: row["room"]["psnr"] for name, row in report["rows"].items()}
    assert {"nearest view", "warped by the model's depth", "Gaussian head", "and 1 steps"} <= rows.keys()
    gain = report["head_minus_warped_psnr"]
    assert abs(gain["mean"] - (rows["Gaussian head"] - rows["warped by the model's depth"])) < 1e-3
    assert gain["standard_error"] > 0


def test_novel_views_scores_true_depth():
    size = ["--scenes", "1", "--height", "28", "--width", "42", "--voxels", "1", "--steps", "1"]
    rows = last_line("novel_views.py", *size)["rows"]
    assert {"nearest view", "warped by depth", "pixel Gaussians", "refined, 1 steps"} <= rows.keys()
    assert rows["pixel Gaussians"]["shown_psnr"] > 20


def test_bundled_puts_the_model_beside_a_constant(tmp_path):
    small = ["--kinds", "still_life", "--side", "28", "--scenes", "2", "--views", "2", "--workers", "1"]
    report = last_line("bundled.py", "-o", str(tmp_path), "--rivals", "ours", "constant", *small)
    assert set(report) == {"ours 2 still_life", "constant 2 still_life"}
    for scores in report.values():
        assert {"delta1", "abs_rel", "auc30_head"} <= scores.keys()
