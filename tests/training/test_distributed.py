"""Two processes do what one does, and one goes on where two stopped."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from rooms import Rooms, tiny
from safetensors.torch import load_file

from anyview.training.trainer import train

WHOLE = tiny(tokens_per_step=3 * 34, validate_every=1)  # three scenes: one process gets two, the other one
_LIGHT = tuple(replace(stage, dense_every=2, told_matches=0.5) for stage in WHOLE.stages)
CASES = {
    "ddp": WHOLE,
    "fsdp": replace(WHOLE, sharding="fsdp"),
    "ddp_without_all_maps": replace(WHOLE, stages=_LIGHT, match_weight=1.0, hint_weight=1.0),
}
SCRIPT = """
import os, signal, sys
sys.path[:0] = sys.argv[3:]
import torch
torch.set_num_threads(1)
from rooms import Rooms
from test_distributed import CASES
from anyview.training.trainer import train

class Stopped(Rooms):
    def batch(self, indices, *rest):
        if len(self.seen) >= 2 and os.environ["RANK"] == "1":  # one process is asked, both stop
            os.kill(os.getpid(), signal.SIGTERM)
        return super().batch(indices, *rest)

print(train(CASES[sys.argv[2]], Stopped(), os.path.join(*sys.argv[1:3]), validation=Rooms(), device="cpu"))
"""


@pytest.mark.parametrize("case", CASES)
def test_one_process_goes_on_where_two_stopped(case, tmp_path, assert_close):
    (tmp_path / "script.py").write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    run = subprocess.run(
        [*launch, str(tmp_path / "script.py"), str(tmp_path), case, *sys.path],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.count("interrupted") == 2
    options = replace(CASES[case], sharding="ddp")
    train(options, Rooms(), tmp_path / "one", validation=Rooms(), device="cpu")
    straight = load_file(tmp_path / "one" / "checkpoints" / "00000004.safetensors")
    folder = tmp_path / case
    assert [path.stem for path in (folder / "checkpoints").iterdir()] == ["00000003"]
    train(options, Rooms(), folder, validation=Rooms(), resume=True, device="cpu")
    resumed = load_file(folder / "checkpoints" / "00000004.safetensors")
    assert resumed.keys() == straight.keys()
    for name, expected in straight.items():
        assert_close(resumed[name], expected, 5e-2, reason="AdamW divides by the gradients' roots")
