"""Makes scenes ahead of time, in processes of their own."""

import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice

import torch

from anyview.synth.dataset import batch_at
from anyview.synth.options import Split, SynthOptions
from anyview.types import TrueViews

_AHEAD = 2
"""Batches in the making per worker."""


def prefetch(batches: Iterable[tuple[SynthOptions, Split, Sequence[int]]], workers: int) -> Iterator[TrueViews]:
    """Make batches, in order, in ``workers`` processes of one thread each, while the caller uses those before.

    Call it under ``if __name__ == "__main__"``: the processes are spawned. Errors of `batch_at` come out here.

    Raises:
        ValueError: there is less than one worker.
    """
    if workers < 1:
        raise ValueError(f"expected at least 1 worker, got {workers}")
    return _results(iter(batches), workers)


def _results(waiting: Iterator[tuple[SynthOptions, Split, Sequence[int]]], workers: int) -> Iterator[TrueViews]:
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=torch.set_num_threads, initargs=(1,))
    try:
        running: deque[Future[TrueViews]] = deque(
            pool.submit(batch_at, *job) for job in islice(waiting, _AHEAD * workers)
        )
        while running:
            yield running.popleft().result()
            running.extend(pool.submit(batch_at, *job) for job in islice(waiting, 1))
    finally:
        pool.shutdown(cancel_futures=True)
