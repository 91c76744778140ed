import os
from collections.abc import Sequence
from pathlib import Path


def spare_inputs(inputs: Sequence[str], output: Path, formats: Sequence[str]) -> None:
    """Refuse to read from what an export replaces: a folder or video called as its format, somewhere in ``output``."""
    replaced = {name + suffix for name in formats for suffix in ("", ".mp4")}
    folder = Path(os.path.realpath(output))  # unlike `resolve` it bears links in circles
    for given in inputs:
        path = Path(os.path.realpath(Path(given).expanduser()))
        if path.is_relative_to(folder) and replaced & set(path.relative_to(folder).parts):
            raise ValueError(f"{given} would be replaced by what is written into {output}; give another output folder")
