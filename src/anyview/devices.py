"""Which device to run on, in which precision, and how much memory it has left."""

import ctypes
import platform
from pathlib import Path
from typing import Literal

import torch

from anyview.options import nearest_names

Precision = Literal["auto", "float32", "bfloat16", "float16"]
_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device called ``device``; "auto" takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        ValueError: There is no such device here.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.zeros(1, device=resolved).tolist()  # the device "meta" holds no values
    # By the device: unknown to PyTorch, not compiled in, or without values.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {str(device)!r} cannot be used here: {str(error).splitlines()[0]}") from error
    return resolved


def resolve_dtype(dtype: Precision | torch.dtype, device: torch.device) -> torch.dtype:
    """Return the precision of the backbone; "auto": bfloat16 or float16 on CUDA, float32 elsewhere.

    bfloat16 needs an NVIDIA GPU of compute capability 8 or above: older ones emulate it, slowly and in far more memory.

    Raises:
        ValueError: There is no such precision.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
    if dtype not in _PRECISIONS:
        raise ValueError(f"unknown precision {dtype!r}; {nearest_names(dtype, ['auto', *_PRECISIONS])}")
    return _PRECISIONS[dtype]


def keep_freed_memory() -> bool:
    """Have the C library keep freed memory for the next allocation; return whether it does.

    Memory fresh from the system is cleared page by page on first use, which costs a network on a CPU a tenth of its
    time. This concerns the whole process, so it is for programs to ask for, not for libraries. glibc only.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc, largest = ctypes.CDLL(None), 2**30
    trim_threshold, mmap_threshold = -1, -3
    return bool(libc.mallopt(mmap_threshold, largest) and libc.mallopt(trim_threshold, largest))


def available_memory(device: torch.device) -> int | None:
    """Bytes that can still be allocated on a device; None where the system does not say."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    limits = [limit for limit in (_system_available(), _control_group_available()) if limit is not None]
    return min(limits) if limits else None


def _system_available() -> int | None:
    """What Linux says can be allocated without swapping."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return kilobytes[0] * 1024 if kilobytes else None


def _control_group_available() -> int | None:
    """What the container's limit leaves, where there is one."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit, used = (folder / "memory.max").read_text().strip(), (folder / "memory.current").read_text().strip()
    except OSError:
        return None
    return None if limit == "max" else int(limit) - int(used)
