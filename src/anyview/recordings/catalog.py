"""Every layout that can be trained on, by name."""

from collections.abc import Callable
from pathlib import Path

from anyview.options import nearest_names
from anyview.recordings.colmap import read_colmap_projects, read_dl3dv
from anyview.recordings.folder import read_folders
from anyview.recordings.hypersim import read_hypersim
from anyview.recordings.rendered import RenderedLibrary
from anyview.recordings.scannetpp import read_scannetpp
from anyview.recordings.scene import Library
from anyview.recordings.shards import ShardLibrary
from anyview.recordings.tartanair import read_tartanair

LAYOUTS: dict[str, Callable[[Path], Library]] = {
    "folder": read_folders,
    "colmap": read_colmap_projects,
    "hypersim": read_hypersim,
    "tartanair": read_tartanair,
    "scannetpp": read_scannetpp,
    "dl3dv": read_dl3dv,
    "shards": ShardLibrary,
    "rendered": RenderedLibrary,
}


def open_dataset(data: str) -> Library:
    """Open ``LAYOUT:PATH``, or a path in our own folder layout.

    Raises:
        ValueError: there is no such layout (the nearest are offered), or what is at the path is not of that layout.
    """
    layout, colon, path = data.partition(":")
    if not colon:
        layout, path = "folder", data
    if layout not in LAYOUTS:
        raise ValueError(f"unknown layout of data {layout!r}; {nearest_names(layout, LAYOUTS)}")
    return LAYOUTS[layout](Path(path).expanduser())
