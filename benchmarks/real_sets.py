"""The bundled model, COLMAP and baselines on real sets, in one table for each task with time and memory.

    python benchmarks/real_sets.py DATA -o out/real                     # DATA holds folders with scene.json
    python benchmarks/real_sets.py DATA -o out/real --tasks pose depth --scenes pi3_room

A run that was ended goes on where it was. Other weights need another output folder. Every scene that fails has its
reason below the table; sets whose cameras cannot be right are left out and said. Prints the tables of docs/benchmark.md
in Markdown; the last line on stdout is JSON: task -> model -> scene -> metrics, seconds, bytes.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import torch

from anyview.bench.command import run_bench, show
from anyview.bench.datasets.generic import SceneJson
from anyview.bench.options import BenchOptions, Task
from anyview.bench.processes import run_on_processes
from anyview.bench.results import Outcome
from anyview.bench.runner import Progress
from anyview.bench.tables import TITLES, render
from anyview.options import nearest_names

MODEL = "MODEL"
"""Stands for --model in the lists below."""
RIVALS: dict[Task, tuple[str, ...]] = {
    "pose": (MODEL, "colmap", "constant"),
    "recon_unposed": (MODEL,),
    "recon_posed": (MODEL, "constant"),
    "depth": (MODEL, "constant"),
    "view_syn": (MODEL, f"warp:{MODEL}", "nearest-view"),
}
LEFT_OUT = {"slambook_icl5": "its cameras have a negative focal length, which is a mirror image"}


def main() -> None:
    """Run, and print tables and JSON."""
    options = parse_options()
    there = sorted(path.parent.name for path in options.data.glob("*/scene.json"))
    unknown = sorted(set(options.scenes or there) - set(there))
    if unknown:
        sys.exit(f"{options.data} has no set {unknown[0]!r}; {nearest_names(unknown[0], there)}")
    wanted = options.scenes or [name for name in there if name not in LEFT_OUT]
    report: dict[str, dict[str, dict[str, object]]] = {}
    for task in options.tasks:
        scenes = [name for name in wanted if supports(options.data / name / "scene.json", task)]
        report[task] = {}
        if not scenes:
            print(f"No set has the truth for {task}.")
            continue
        folders = []
        for rival in RIVALS[task]:
            model = rival.replace(MODEL, options.model)
            folder = options.output / model.replace(":", "-").replace("/", "-")
            # A process for each, since memory that one leaves behind would count as the next one's.
            arguments = (task, options.data, model, folder, tuple(scenes), options.device, options.threads)
            (outcomes,) = run_on_processes(ask, [arguments])
            print(file=sys.stderr)
            folders.append(folder)
            report[task][model] = {outcome.scene: said(outcome) for outcome in outcomes}
        tables = [table for table in show(folders, details=False) if table.title.startswith(TITLES[task])]
        print(render(tables, "markdown"), end="\n\n")
    for name, reason in LEFT_OUT.items():
        if name in there and name not in wanted:
            print(f"Left out: {name}, {reason}.")
    print(json.dumps(report))


def ask(
    task: Task, data: Path, model: str, folder: Path, scenes: tuple[str, ...], device: str, threads: int
) -> list[Outcome]:
    """Run one rival at one task."""
    torch.set_num_threads(threads)
    return run_bench(
        task,
        [f"scene_json:{data}"],
        model,
        folder,
        BenchOptions(scenes=scenes),
        device=device,
        progress=progress_of(f"{task} {model}"),
    )


def progress_of(what: str) -> Progress:
    """Return what says how far a run has come."""

    def show_progress(stage: str, done: int, of: int) -> None:
        print(f"\r{what}: {stage} {done}/{of}  ", end="", file=sys.stderr)

    return show_progress


def supports(file: Path, task: Task) -> bool:
    """Whether a set has the truth for a task."""
    return task in SceneJson(file.parent, "sane").tasks


def said(outcome: Outcome) -> dict[str, object]:
    """Return what is reported of a scene."""
    return {
        "reason": outcome.reason,
        "metrics": dict(outcome.metrics),
        "seconds": outcome.seconds,
        "peak_bytes": outcome.peak_bytes,
    }


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", default="da3-nano")
    parser.add_argument("--tasks", nargs="+", default=list(RIVALS), choices=get_args(Task))
    parser.add_argument("--scenes", nargs="+", help="default: all that have the truth for a task")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
