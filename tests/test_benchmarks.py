"""The benchmarks run, at toy size, and their last line is what machines read."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def last_line(script: str, *arguments: str) -> dict:
    """Run a benchmark on the smallest preset, in one thread, and read its result."""
    command = [sys.executable, str(BENCHMARKS / script), "--presets", "da3-nano", *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "da3-nano" in finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


def test_speed_times_every_stage() -> None:
    result = last_line("speed.py", *"--views 1 2 --height 56 --width 84 --rounds 1 --threads 1".split())
    (preset,) = result["results"]
    assert preset["load_seconds"] > 0
    assert [case["views"] for case in preset["cases"]] == [1, 2]
    for case in preset["cases"]:
        seconds = case["seconds"]
        assert set(seconds) == {"total", "processor", "backbone", "head", "camera", "export"}
        assert 0 < seconds["backbone"] + seconds["head"] + seconds["camera"] <= seconds["total"] + 1e-3


def test_speed_compares_variants_of_the_same_network() -> None:
    arguments = "--views 3 --height 56 --width 84 --rounds 2 --threads 1 --compare ours plain,matmul,frames=1".split()
    (result,) = last_line("speed.py", *arguments)["results"]
    assert result["first"]["variant"] == "ours"
    assert result["ratios"]["head"] < 1, "the ray branch costs time"
    # Other kernels, the same numbers.
    assert 0 < result["depth_difference"] < 1e-5


def test_speed_refuses_an_unknown_switch() -> None:
    command = [sys.executable, str(BENCHMARKS / "speed.py"), "--presets", "da3-nano", "--compare", "ours", "fast"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode != 0
    assert "unknown switch 'fast'; known: ours, plain, rays" in finished.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="resource usage is read the POSIX way")
def test_memory_measures_beside_the_estimate() -> None:
    result = last_line("memory.py", *"--views 2 --sizes 112 168 --outputs depth".split())
    (case,) = result["results"]
    assert case["peak_bytes"] > 2**20
    assert case["ratio"] == pytest.approx(case["estimated_bytes"] / case["peak_bytes"], abs=1e-3)
