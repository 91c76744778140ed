"""One run on several processes, GPUs or machines: each takes every n-th scene of the same work."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any


def shards(count: int) -> tuple[str, ...]:
    """Name the parts of a run."""
    return tuple(f"{position}/{count}" for position in range(1, count + 1))


def devices(device: str, count: int) -> tuple[str, ...]:
    """Spread parts over the GPUs that are there; a named device takes all."""
    import torch

    gpus = torch.cuda.device_count()
    if device in ("auto", "cuda") and gpus:
        return tuple(f"cuda:{position % gpus}" for position in range(count))
    return (device,) * count


def run_on_processes(work: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Call ``work`` once per tuple of arguments, each in a fresh process of this machine; results in order.

    Raises:
        whatever ``work`` raises first.
    """
    with ProcessPoolExecutor(len(arguments), mp_context=get_context("spawn")) as pool:
        return list(pool.map(work, *zip(*arguments, strict=True)))


def run_on_cluster(work: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], gpus: float) -> list[Any]:
    """Call ``work`` once per tuple of arguments on the machines of a Ray cluster, which must share the folders.

    Raises:
        ImportError: Ray is not installed.
        whatever ``work`` raises first.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError('a run on a cluster needs ray: pip install "anyview[cluster]"') from error
    if not ray.is_initialized():
        ray.init(address="auto", ignore_reinit_error=True)
    remote = ray.remote(num_gpus=gpus)(work)
    try:
        return ray.get([remote.remote(*each) for each in arguments])
    except ray.exceptions.RayTaskError as error:  # its message is the worker's traceback
        raise error.cause from error
