"""How long something takes, and how much memory."""

import resource
import time
from contextlib import suppress
from pathlib import Path

import torch

CLEAR_REFS = Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""Written there, it makes Linux forget the largest memory that the process has had."""


class Measurement:
    """Seconds and peak memory between entering and leaving: of the GPU if there is one, else of the process.

    Where the system does not reset its peak, that of the whole process so far is given.
    """

    def __enter__(self) -> "Measurement":
        self.seconds, self.peak_bytes, self.device = 0.0, 0, "cpu"
        if torch.cuda.is_available():
            self.device = torch.cuda.get_device_name()
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        else:
            with suppress(OSError):  # not Linux, or a container that does not allow it
                CLEAR_REFS.write_text(RESET_PEAK)
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            self.peak_bytes = torch.cuda.max_memory_allocated()
        else:
            self.peak_bytes = _peak_of_process()
        self.seconds = time.perf_counter() - self._start


def _peak_of_process() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
