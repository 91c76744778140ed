import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anyview.exporters import FORMATS

if TYPE_CHECKING:
    from anyview.types import Prediction

_UNITS = {
    "metres": "metres",
    "caller": "the unit of the given cameras",
    "arbitrary": "an arbitrary unit, the same in all views",
    "canonical": "canonical units (times focal length in pixels / 300: metres)",
}


def summarise(prediction: "Prediction", written: Mapping[str, Sequence[Path]]) -> None:
    """Print what was predicted, and the files that were written of it, by format."""
    views, height, width = prediction.depth.shape
    depth = prediction.depth[prediction.valid()]
    print(f"{views} view{'s' if views > 1 else ''} of {width}×{height} pixels with {prediction.model}")
    if len(depth):
        low, middle, high = depth.min(), depth.median(), depth.max()
        print(f"depth {low:.3g} to {high:.3g}, median {middle:.3g}, in {_UNITS[prediction.units]}")
    else:
        print("no pixel has a depth: all are masked, or the network gave no positive, finite values")
    for note in prediction.notes:
        print(f"note: {note}")
    if prediction.gaussians is None and any("gaussians" in FORMATS[name].needs for name in FORMATS.keys() & written):
        from anyview.render.pixels import NOTE

        print(f"note: {NOTE}")
    if "gaussians_video" in written:
        from anyview.exporters.gaussians_video import rounding_note

        if rounded := rounding_note(height, width):
            print(f"note: {rounded}")
    if "mesh" in written:
        from anyview.exporters.mesh import describe

        print(describe(written["mesh"][0]))
    for paths in written.values():
        size = sum(path.stat().st_size for path in paths) / 1e6
        first = paths[0] if len(paths) == 1 else f"{len(paths)} files in {Path(os.path.commonpath(paths))}"
        print(f"wrote {first} ({size:.1f} MB)")
