import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from anyview.bench.options import BenchOptions, TableFormat, Task
from anyview.cli.fields import FLAT
from anyview.cli.stages import Stages


@dataclass(frozen=True)
class Bench:
    """Score a model on the benchmark, or show the scores of runs (docs/benchmark.md)."""

    task: tyro.conf.Positional[Task | Literal["tables"]]
    """What to score, or tables: show what is in the folders of runs."""
    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Folders of runs, for tables."""
    data: tuple[str, ...] = ()
    """Where data sets are, as NAME:PATH; da3-bench:PATH for the folder with all of the published benchmark."""
    model: Annotated[str, tyro.conf.arg(aliases=["-m"])] = "da3-base"
    """A preset, hub repository, folder or file; or a rival: constant, colmap, nearest-view, warp:MODEL, vggt,
    mapanything, moge, depth-anything-2."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("runs/bench")
    """Folder of the run; with tables the folder that plots are drawn into."""
    bench: Annotated[BenchOptions, FLAT] = field(default_factory=BenchOptions)
    processes: int = 1
    """Processes to share the scenes between, on different GPUs where there are several."""
    cluster: bool = False
    """Start the processes on the machines of a Ray cluster that share this folder."""
    format: TableFormat = "text"
    """Of the printed tables."""
    published: bool = False
    """Show the paper's numbers of the same data sets too."""
    plots: bool = False
    """Draw curves, bars and the worst scenes into plots/ of the output folder."""
    resolution: int | None = None
    """Longer side in pixels that Depth Anything 3 models see; default: what the model is made for."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the backbone."""
    offline: bool = False
    """Never download."""

    def run(self) -> int:
        """Score, print the run's tables, and return 1 if a scene failed."""
        from anyview.bench.command import draw, run_bench, show
        from anyview.bench.tables import render

        outcomes = []
        if self.task == "tables":
            if self.data:
                raise ValueError("tables shows runs that are there; leave out --data, or name a task to score")
            folders = list(self.runs)
        else:
            if self.runs:
                raise ValueError(f"{self.task} takes no folders of runs; data is given with --data NAME:PATH")
            with Stages() as stages:
                outcomes = run_bench(
                    self.task,
                    self.data,
                    self.model,
                    self.output,
                    self.bench,
                    device=self.device,
                    dtype=self.dtype,
                    resolution=self.resolution,
                    offline=self.offline,
                    parallel=self.processes,
                    cluster=self.cluster,
                    progress=stages,
                )
            folders = [self.output]
        print(render(show(folders, published=self.published), self.format))
        if self.plots:
            for path in draw(folders, self.output / "plots"):
                print(f"drew {path}", file=sys.stderr)
        failed = [outcome for outcome in outcomes if outcome.reason is not None]
        if failed:
            print(f"{len(failed)} of {len(outcomes)} scenes failed", file=sys.stderr)
        return 1 if failed else 0
