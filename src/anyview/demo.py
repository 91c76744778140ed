"""The demonstration: pictures of a synthetic room, or the user's own, through the whole chain to files."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from anyview.exporters import export
from anyview.files import atomic_path
from anyview.model.checkpoint import is_local
from anyview.options import PredictOptions
from anyview.predictor import DepthAnything3, Progress
from anyview.synth.dataset import scene_at
from anyview.synth.options import SynthOptions
from anyview.types import Prediction

MODEL = "da3-nano"
FORMATS = ("glb", "ply", "depth_vis", "npz")
ROOM = SynthOptions(kinds=("room",), rigs=("orbit",), views=4, height=252, width=336, augment=False)
SCENE = 2
"""Of the test split, which no model has been trained on."""


def run_demo(
    inputs: Sequence[str], output: Path, progress: Progress, say: Callable[[str], None]
) -> tuple[Prediction, Mapping[str, Sequence[Path]]]:
    """Predict pictures with the bundled model and write files; return the prediction and the files by format.

    While no trained weights come with the package, the network's weights are random, and the first line says so.
    """
    trained = is_local(MODEL)
    if trained:
        model = DepthAnything3.from_pretrained(MODEL, progress=progress)
    else:
        say(
            f"NOTE: no trained {MODEL} comes with this version: its weights are random, so the geometry below is "
            "meaningless. This run shows the chain, from pictures to files."
        )
        model = DepthAnything3.with_random_weights(MODEL)
    pictures = list(inputs) or [str(path) for path in write_room_pictures(output / "pictures")]
    prediction = model.predict(pictures, options=PredictOptions(resolution=ROOM.width), progress=progress)
    written = export(prediction, output, FORMATS, progress=lambda done, total: progress("exporting", done, total))
    return prediction, written


def write_room_pictures(folder: Path) -> list[Path]:
    """Render an unseen room and write its pictures as PNG files."""
    from PIL import Image

    paths = []
    for index, picture in enumerate(scene_at(ROOM, "test", SCENE).images):
        path = folder / f"room_{index}.png"
        with atomic_path(path) as temporary:
            Image.fromarray(picture.numpy()).save(temporary)
        paths.append(path)
    return paths
