from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from anyview.cli.fields import FLAT
from anyview.cli.stages import Stages
from anyview.synth.options import Split, SynthOptions


@dataclass(frozen=True)
class Synth:
    """Look at the synthetic worlds that models are trained on, or render them ahead of training."""

    action: tyro.conf.Positional[Literal["preview", "render"]]
    """preview: write a contact sheet of pictures, depth and normals. render: write scenes to train on
    (anyview train --data rendered:FOLDER); what is there already stays."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """PNG file to write (preview), or folder (render)."""
    split: Split = "train"
    """Which of the streams, whose scenes never meet."""
    first: int = 0
    """Index of the first scene."""
    count: int | None = None
    """Scenes; default: 4 to show, 1,024 to render."""
    workers: int = 1
    """Processes that render, of one thread each."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1."""
    scenes: Annotated[SynthOptions, FLAT] = field(default_factory=SynthOptions)

    def run(self) -> None:
        """Write a contact sheet."""
        import numpy as np
        from PIL import Image

        from anyview.devices import resolve_device
        from anyview.files import atomic_path, check_folder
        from anyview.synth.preview import contact_sheet

        count = self.count
        if self.action == "render":
            _render(self, 1024 if count is None else count)
            return
        count = 4 if count is None else count
        if self.output.suffix.lower() != ".png" or self.output.is_dir():
            raise ValueError(f"expected the name of a PNG file to write, got {self.output}")
        if count < 1 or self.first < 0:
            raise ValueError(f"expected scenes from 0 on, at least 1; got {count} from {self.first} on")
        check_folder(self.output.parent)
        device = resolve_device(self.device)
        sheets = []
        with Stages() as stages:
            for index in range(count):
                stages("rendering", index, count)
                sheets.append(contact_sheet(self.scenes, self.split, [self.first + index], device))
            stages("rendering", count, count)
        with atomic_path(self.output) as temporary:
            Image.fromarray(np.concatenate(sheets)).save(temporary)
        print(f"wrote {self.output}, {count} scenes: pictures, depth (near is bright), normals")


def _render(command: Synth, count: int) -> None:
    from anyview.files import check_folder
    from anyview.synth.blocks import render_blocks

    check_folder(command.output)
    with Stages() as stages:
        render_blocks(
            command.scenes,
            command.split,
            command.output,
            first=command.first,
            count=count,
            workers=command.workers,
            progress=stages.of("rendering"),
        )
    print(f"{command.output} holds scenes {command.first} to {command.first + count - 1} of the {command.split} split")
