"""The benchmarks run and print what they promise; what they measure is not asserted."""

import json
import subprocess
import sys
from pathlib import Path

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
