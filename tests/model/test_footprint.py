"""The estimate of memory: it grows with what is asked for, and is near what a process really takes."""

import subprocess
import sys
from pathlib import Path

import pytest

from anyview.model.config import PRESETS
from anyview.model.footprint import estimate_bytes
from filled import ANY_VIEW, GAUSSIAN, MONO, NESTED, SMALL_CONFIGS

STATUS = Path("/proc/self/status")
PARTS = [{"rays": False, "gaussians": False}, {"rays": True, "gaussians": False}, {"rays": True, "gaussians": True}]


@pytest.mark.parametrize("config", [*SMALL_CONFIGS.values(), *(preset.config for preset in PRESETS.values())])
def test_it_grows_with_views_and_resolution(config):
    by_views = [estimate_bytes(config, views, 280, 378) for views in (1, 2, 4, 8, 9, 16, 100)]
    by_size = [estimate_bytes(config, 4, 14 * side, 14 * side) for side in (2, 5, 10, 20, 36, 100)]
    for estimates in (by_views, by_size):
        assert estimates == sorted(set(estimates))
        assert all(type(estimate) is int for estimate in estimates)


@pytest.mark.parametrize("config", [GAUSSIAN, NESTED, PRESETS["da3-giant"].config])
def test_it_grows_with_what_is_asked_for(config):
    plain, rays, gaussians = (estimate_bytes(config, 4, 336, 504, **parts) for parts in PARTS)
    assert plain <= rays < gaussians


@pytest.mark.parametrize("config", [ANY_VIEW, MONO])
def test_it_is_smaller_for_heads_in_smaller_chunks(config):
    estimates = [estimate_bytes(config, 16, 336, 504, frames_at_once=frames) for frames in (1, 4, 8)]
    assert estimates == sorted(set(estimates))


def test_many_views_cost_their_tokens_and_maps_alone():
    """The heads work on a few views at a time, so that each view beyond these costs the same."""
    config = PRESETS["da3-base"].config
    costs = [estimate_bytes(config, views, 336, 504) for views in (100, 101, 102, 202)]
    assert costs[2] - costs[1] == pytest.approx(costs[1] - costs[0], rel=1e-3)
    assert costs[3] - costs[2] == pytest.approx(100 * (costs[1] - costs[0]), rel=1e-3)


SCRIPT = """
import torch
from anyview.model.config import PRESETS
from anyview.model.network import build, initialize

torch.set_num_threads(1)
network = build(PRESETS["da3-small"].config, "cpu")
initialize(network)

def peak_bytes():
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return 1024 * int(line.split()[1])

with torch.inference_mode():
    network(torch.zeros(1, 1, 3, 28, 28))
    before = peak_bytes()
    network(torch.zeros(1, 4, 3, 280, 378))
print(peak_bytes() - before)
"""


@pytest.mark.skipif(not STATUS.exists(), reason="the peak of a process's memory is read the Linux way")
def test_it_is_near_what_a_process_takes():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=True)
    measured = int(done.stdout)
    estimate = estimate_bytes(PRESETS["da3-small"].config, 4, 280, 378)
    assert 0.7 * measured < estimate < 2.5 * measured
