"""The folder of a run: what lies where, and who may write into it.

options.json              the recipe as it runs
data.txt                  what it is trained on, as it was named
log.jsonl                 one line per entry, `journal`
checkpoints/00000500.safetensors   states to go on from, `state`
validation/00002000_4views.png     pictures
tensorboard/
model.safetensors         the result; a folder that has it holds a finished run
"""

import json
import shutil
from pathlib import Path

from anyview.files import atomic_path
from anyview.training.config import TrainOptions, differences, options_to_json
from anyview.training.state import read_options, read_step


class RunFolder:
    """Paths within a run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.options = path / "options.json"
        self.data = path / "data.txt"
        self.log = path / "log.jsonl"
        self.checkpoints = path / "checkpoints"
        self.validation = path / "validation"
        self.tensorboard = path / "tensorboard"
        self.model = path / "model.safetensors"

    def checkpoint(self, step: int) -> Path:
        """Return the path of the state after so many steps."""
        return self.checkpoints / f"{step:08d}.safetensors"

    def latest_checkpoint(self) -> Path | None:
        """Return the state after the most steps."""
        return max(self.checkpoints.glob("[0-9]*.safetensors"), default=None)

    def prune_checkpoints(self, keep: int) -> None:
        """Remove all but the last states."""
        for path in sorted(self.checkpoints.glob("[0-9]*.safetensors"))[:-keep]:
            path.unlink()

    def check(self, options: TrainOptions, data: str | None = None, *, resume: bool, overwrite: bool) -> None:
        """Refuse to write over a run that nobody said may be lost, and to go on with another recipe or other data.

        Raises:
            ValueError: saying what is there, and what to pass.
        """
        if resume and overwrite:
            raise ValueError("expected resume or overwrite, got both")
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"{self.path} is a file; expected a folder for the run")
        latest = self.latest_checkpoint()
        if not resume and not overwrite and (self.options.exists() or self.model.exists()):
            done = "a finished run" if self.model.exists() else "a run"
            after = f" (step {read_step(latest)})" if latest else ""
            raise ValueError(f"{self.path} holds {done}{after}; pass resume to go on, or overwrite to lose it")
        if resume and latest is not None:
            changed = differences(options, read_options(latest))
            if changed:
                raise ValueError(f"{latest} is of another recipe and cannot be resumed: {'; '.join(changed[:3])}")
            before = self.data.read_text().strip() if self.data.exists() else data
            if data is not None and data != before:
                way_out = f"pass that to go on; if both are the same scenes, remove {self.data}"
                raise ValueError(f"the data is {data}, was {before}: {way_out}")

    def prepare(self, options: TrainOptions, data: str | None = None, *, overwrite: bool) -> int:
        """Make the folder ready, and return the step that the run starts after.

        What a killed process left half-written is removed, and so is the log of steps that are to be done again.
        """
        if overwrite:
            for folder in (self.checkpoints, self.validation, self.tensorboard):
                shutil.rmtree(folder, ignore_errors=True)
            for file in (self.options, self.data, self.log, self.model):
                file.unlink(missing_ok=True)
        for leftover in (*self.path.glob(".*-*"), *self.checkpoints.glob(".*-*")):
            shutil.rmtree(leftover)
        latest = self.latest_checkpoint()
        step = read_step(latest) if latest else 0
        with atomic_path(self.options) as temporary:
            temporary.write_text(options_to_json(options) + "\n")
        if data is not None:
            with atomic_path(self.data) as temporary:
                temporary.write_text(data + "\n")
        if self.log.exists():
            self._cut_log(step)
        return step

    def _cut_log(self, step: int) -> None:
        """Keep the lines up to a step; the last may be half a line."""
        kept = []
        for line in self.log.read_text().splitlines(keepends=True):
            if not line.endswith("\n") or json.loads(line)["step"] > step:
                break
            kept.append(line)
        with atomic_path(self.log) as temporary:
            temporary.write_text("".join(kept))
