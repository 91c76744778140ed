"""What ``anyview bench`` does, without its words: runs on one or more processes, tables and plots of runs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from anyview.bench import processes
from anyview.bench.options import PASS_OF, BenchOptions, Task
from anyview.bench.plots import write_plots
from anyview.bench.results import Outcome, RunFolder
from anyview.bench.rivals.catalog import open_rival
from anyview.bench.runner import Progress, check_packages, find_work, run
from anyview.bench.summary import write_summaries
from anyview.bench.tables import Table, comparison, read_run, scenes, side_by_side
from anyview.devices import Precision
from anyview.files import check_folder


def run_bench(
    task: Task,
    data: Sequence[str],
    model: str,
    output: Path,
    options: BenchOptions,
    *,
    device: str = "auto",
    dtype: Precision = "auto",
    resolution: int | None = None,
    offline: bool = False,
    parallel: int = 1,
    cluster: bool = False,
    progress: Progress = lambda *_: None,
) -> list[Outcome]:
    """Predict and score; return the outcomes of this run's scenes, those of all processes.

    Raises:
        ValueError: data, model, folder or options do not fit; nothing has been predicted then.
        ImportError: a package is missing.
    """
    if parallel < 1:
        raise ValueError(f"expected at least 1 process, got {parallel}")
    if (parallel > 1 or cluster) and options.shard != "1/1":
        raise ValueError(f"shard {options.shard} is one of several processes already; leave out --processes or --shard")
    options.parsed_shard()
    check_folder(output)
    work = find_work(data, task, options)
    check_packages(task)
    if parallel == 1 and not cluster:
        rival = open_rival(
            model,
            device=device,
            dtype=dtype,
            resolution=resolution,
            offline=offline,
            refine_steps=options.refine_steps,
        )
        return run(work, rival, options, RunFolder(output, adopt=options.adopt), progress)
    parts = processes.shards(parallel)
    gpus = processes.devices(device, parallel)
    arguments = [
        (task, tuple(data), model, output, options, part, gpu, dtype, resolution, offline)
        for part, gpu in zip(parts, gpus, strict=True)
    ]
    if cluster:
        each = processes.run_on_cluster(_run_shard, arguments, gpus=0.0 if device == "cpu" else 1.0)
    else:
        each = processes.run_on_processes(_run_shard, arguments)
    write_summaries(RunFolder(output), options)
    by_scene = {(outcome.dataset, outcome.scene): outcome for outcomes in each for outcome in outcomes}
    return [by_scene[item.scene.dataset, item.scene.name] for item in work]


def _run_shard(
    task: Task,
    data: Sequence[str],
    model: str,
    output: Path,
    options: BenchOptions,
    shard: str,
    device: str,
    dtype: Precision,
    resolution: int | None,
    offline: bool,
) -> list[Outcome]:
    """Work on one part of the scenes, in a process of its own."""
    return run_bench(
        task,
        data,
        model,
        output,
        replace(options, shard=shard),
        device=device,
        dtype=dtype,
        resolution=resolution,
        offline=offline,
    )


def show(folders: Sequence[Path], *, published: bool = False, details: bool = True) -> list[Table]:
    """Make the tables of runs: means side by side, scenes side by side, then every scene of each run with all metrics.

    Raises:
        ValueError: a folder holds no run or no scores, or their protocols differ.
    """
    if not folders:
        raise ValueError("no runs given; give the folders that anyview bench wrote")
    runs = [read_run(folder) for folder in folders]
    tables = comparison(runs, published=published) + side_by_side(runs)
    return tables + [table for one in runs for table in scenes(one)] if details else tables


def draw(folders: Sequence[Path], output: Path) -> list[Path]:
    """Draw the plots of runs into a folder."""
    runs = [read_run(folder) for folder in folders]

    def preview(number: int, outcome: Outcome) -> UInt8[np.ndarray, "height width 3"] | None:
        file = RunFolder(folders[number]).preview(outcome.dataset, outcome.scene, PASS_OF[outcome.task])
        return np.asarray(Image.open(file).convert("RGB")) if file.is_file() else None

    return write_plots(runs, output, preview)
