"""Demo scenes, rendered when they are first asked for."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from anyview.files import atomic_path
from anyview.synth.options import Split, SynthOptions

VIEWS, HEIGHT, WIDTH = 4, 224, 280
SPLIT: Split = "test"
"""Of which no model has seen a scene in training."""


@dataclass(frozen=True)
class Example:
    """A scene that anyone can try."""

    title: str
    scenes: SynthOptions
    index: int


EXAMPLES = {
    "room": Example("A furnished room", SynthOptions(kinds=("room",), rigs=("orbit",), least_overlap=0.5), 2),
    "street": Example("A street", SynthOptions(kinds=("street",), rigs=("walk",)), 0),
    "landscape": Example("A landscape", SynthOptions(kinds=("landscape",), rigs=("walk",)), 0),
    "still_life": Example("Things on a table", SynthOptions(kinds=("still_life",), rigs=("orbit",)), 0),
}


def example_pictures(name: str, folder: Path, progress: Callable[[int, int], None]) -> list[Path]:
    """Return the pictures of an example, from ``folder/name``; render them where they are not there yet."""
    from PIL import Image

    from anyview.synth.dataset import scene_at

    target = folder / name
    if not target.is_dir():
        example = EXAMPLES[name]
        progress(0, 1)
        scene = scene_at(replace(example.scenes, views=VIEWS, height=HEIGHT, width=WIDTH), SPLIT, example.index)
        with atomic_path(target) as temporary:
            temporary.mkdir()
            for view, picture in enumerate(scene.images):
                Image.fromarray(picture.numpy()).save(temporary / f"{name}_{view}.png")
        progress(1, 1)
    return sorted(target.iterdir())
