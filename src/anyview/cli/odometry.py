from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from anyview.bench.options import TableFormat
from anyview.cli.fields import FLAT
from anyview.cli.loading import load_model
from anyview.cli.stages import Stages
from anyview.options import StreamOptions


@dataclass(frozen=True)
class Odometry:
    """Stream sequences whose true trajectories are known, and say how far off the found ones are: ATE and RPE."""

    sequences: tyro.conf.Positional[tuple[Path, ...]]
    """TUM or KITTI sequences, folders with scene.json and images/, or folders of these."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder with a run for each sequence: trajectory.txt, errors.json, intermediate results."""
    model: Annotated[str, tyro.conf.arg(aliases=["-m"])] = "da3-base"
    """A preset (`anyview models`), a hub repository, a model folder or file; any-view ones."""
    fit: Literal["sim3", "se3", "none"] = "sim3"
    """What to fit to the true positions before comparing: similarities, rigid motions (metric models), or nothing."""
    resume: bool = False
    """Go on with the runs in the output folder."""
    format: TableFormat = "text"
    """Of the printed table."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the backbone."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    offline: bool = False
    """Never download."""
    stream: Annotated[StreamOptions, FLAT] = field(default_factory=StreamOptions)

    def run(self) -> None:
        """Stream all sequences, and print a table."""
        from anyview.bench.datasets.sequences import find_sequences
        from anyview.bench.odometry import errors_table, evaluate
        from anyview.bench.tables import render
        from anyview.devices import keep_freed_memory, resolve_device
        from anyview.files import check_folder
        from anyview.model.checkpoint import find

        check_folder(self.output)
        self.stream.check()
        resolve_device(self.device)
        find(self.model)
        sequences = [sequence for path in self.sequences for sequence in find_sequences(path)]
        keep_freed_memory()
        with Stages() as stages:
            every = evaluate(
                sequences,
                load_model(self, stages),
                self.stream,
                self.output,
                fit=self.fit,
                resume=self.resume,
                progress=lambda name, report: stages.note(name, report.frames_read, ""),
            )
        print(render([errors_table(every)], self.format))
