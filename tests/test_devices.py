"""Devices, precisions and memory, on machines that are pretended."""

import inspect
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from anyview import devices
from anyview.devices import available_memory, keep_freed_memory, resolve_device, resolve_dtype

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_the_fastest_device(cuda, mps, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert resolve_device() == torch.device(expected)


@pytest.mark.parametrize("device", ["cpu", CPU])
def test_a_device_that_is_there_is_taken(device):
    assert resolve_device(device) == CPU


@pytest.mark.parametrize("device", ["abacus", "cpu:x", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(ValueError, match=f"^device '{device}' cannot be used here: ") as caught:
        resolve_device(device)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((7, 0), torch.float16), ((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)],
)
def test_cuda_gets_the_half_precision_it_has_in_hardware(capability, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert resolve_dtype("auto", CUDA) == expected


@pytest.mark.parametrize("device", [CPU, MPS])
def test_other_devices_get_full_precision(device):
    assert resolve_dtype("auto", device) == torch.float32


@pytest.mark.parametrize("device", [CPU, CUDA])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", torch.float64, torch.bfloat16])
def test_an_asked_for_precision_is_taken(dtype, device):
    assert resolve_dtype(dtype, device) == (getattr(torch, dtype) if isinstance(dtype, str) else dtype)


def test_an_unknown_precision_is_refused():
    unchecked = inspect.unwrap(resolve_dtype)  # the suite's checks of types come before
    with pytest.raises(ValueError, match=r"^unknown precision 'bfloat'; did you mean 'bfloat16'"):
        unchecked("bfloat", CPU)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Pretend files of the system: absolute paths lie below a folder."""
    monkeypatch.setattr(devices, "Path", lambda path: tmp_path / Path(path).relative_to("/"))

    def write(path: str, text: str) -> None:
        file = tmp_path / Path(path).relative_to("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    return write


MEMINFO = "MemTotal:       8000000 kB\nMemFree:         100000 kB\nMemAvailable:   2000000 kB\nBuffers: 5 kB\n"


def test_the_system_says_what_is_available(machine):
    machine("/proc/meminfo", MEMINFO)
    assert available_memory(CPU) == 2_000_000 * 1024


def test_a_container_may_have_less(machine):
    machine("/proc/meminfo", MEMINFO)
    machine("/sys/fs/cgroup/memory.max", "1000000000\n")
    machine("/sys/fs/cgroup/memory.current", "400000000\n")
    assert available_memory(CPU) == 600_000_000


def test_a_container_may_have_no_limit(machine):
    machine("/proc/meminfo", MEMINFO)
    machine("/sys/fs/cgroup/memory.max", "max\n")
    machine("/sys/fs/cgroup/memory.current", "400000000\n")
    assert available_memory(CPU) == 2_000_000 * 1024


@pytest.mark.usefixtures("machine")
def test_other_systems_do_not_say():
    assert available_memory(CPU) is None


def test_cuda_counts_what_its_cache_holds(monkeypatch):
    """5 free, and 3 reserved of which 2 are in use."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5, 10))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2)
    assert available_memory(CUDA) == 6


def test_freed_memory_is_kept_where_the_library_can(monkeypatch):
    """In a process of its own: it concerns all of it."""
    script = "from anyview.devices import keep_freed_memory; print(keep_freed_memory())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(platform.libc_ver()[0] == "glibc")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert keep_freed_memory() is False
