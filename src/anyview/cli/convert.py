from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from anyview.cli.stages import Stages


@dataclass(frozen=True)
class Convert:
    """Convert weights between published folders and our single file, which holds its own configuration."""

    source: tyro.conf.Positional[str]
    """A preset, hub repository, folder or file."""
    destination: tyro.conf.Positional[Path]
    """A file NAME.safetensors (ours), or a folder (published layout)."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """What parameters are stored in, in our format; they load as float32."""
    offline: bool = False
    """Never download."""

    def run(self) -> None:
        """Read weights in either layout and write them in the one that the destination names."""
        import torch

        from anyview.files import check_folder
        from anyview.model.checkpoint import PICKLE_SUFFIXES, load, locate, save, save_published

        ours = self.destination.suffix == ".safetensors"
        if self.destination.suffix in PICKLE_SUFFIXES:
            raise ValueError(f"expected a name that ends in .safetensors, or a folder; got {self.destination}")
        check_folder(self.destination.parent if ours else self.destination)
        source = locate(self.source, offline=self.offline)
        if not ours and self.dtype != "float32":
            raise ValueError(f"published folders hold float32, not {self.dtype}; a .safetensors file can hold it")
        if self.destination.exists() and self.destination.resolve() == source.resolve():
            raise ValueError(f"{self.destination} is the source")
        with Stages() as stages:
            network, name = load(source, stages.of("loading"))
        if ours:
            save(network, self.destination, name=name, dtype=getattr(torch, self.dtype))
        else:
            save_published(network, self.destination, name=name)
        print(f"wrote {name} to {self.destination}")
