"""The demonstration: pictures of a synthetic room, or the user's own, through the whole chain to files and a report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from anyview.demo.report import write_report
from anyview.exporters import export
from anyview.files import atomic_path
from anyview.model.checkpoint import is_local
from anyview.options import ExportOptions, PredictOptions
from anyview.predictor import DepthAnything3, Progress
from anyview.synth.dataset import scene_at
from anyview.synth.options import SynthOptions
from anyview.types import Prediction, TrueViews

MODEL = "da3-nano"
FORMATS = ("glb", "ply", "depth_vis", "npz", "transforms")
ROOM = SynthOptions(kinds=("room",), rigs=("orbit",), views=4, height=224, width=280, least_overlap=0.5)
SCENE = 2
"""Of the test split, which no model has been trained on."""

Scorer = Callable[[Prediction, TrueViews], Mapping[str, str]]
"""Says how far a prediction is from the truth, in words."""


def run_demo(
    inputs: Sequence[str],
    output: Path,
    progress: Progress,
    say: Callable[[str], None],
    score: Scorer = lambda prediction, truth: {},
) -> tuple[Prediction, Mapping[str, Sequence[Path]]]:
    """Predict pictures with the bundled model and write files; return the prediction and the files by format.

    Rendered pictures come with their truth: the report draws it beside the prediction, with the scores. Where the
    package has no trained weights the network's are random, and the first line says so.
    """
    if is_local(MODEL):
        model = DepthAnything3.from_pretrained(MODEL, progress=progress)
    else:
        say(
            f"NOTE: no trained {MODEL} comes with this version: its weights are random, so the geometry below is "
            "meaningless. This run shows the chain, from pictures to files."
        )
        model = DepthAnything3.with_random_weights(MODEL)
    truth = None
    pictures = list(inputs)
    if not pictures:
        progress("rendering", 0, 1)
        truth = scene_at(ROOM, "test", SCENE)
        progress("rendering", 1, 1)
        pictures = [str(path) for path in write_pictures(truth, output / "pictures")]
    options = PredictOptions()
    if truth is not None:  # in its frame, pixel for pixel
        options = PredictOptions(output_resolution="input", reference_view="first")
    prediction = model.predict(pictures, options=options, progress=progress)
    written = dict(export(prediction, output, FORMATS, progress=lambda done, total: progress("exporting", done, total)))
    scores = score(prediction, truth) if truth is not None else {}
    shown = replace(ExportOptions(), confidence_percentile=20.0)
    written["report"] = [write_report(prediction, truth, scores, output / "report.png", shown)]
    return prediction, written


def write_pictures(truth: TrueViews, folder: Path) -> list[Path]:
    """Write a scene's pictures as PNG files."""
    from PIL import Image

    paths = []
    for index, picture in enumerate(truth.images):
        path = folder / f"room_{index}.png"
        with atomic_path(path) as temporary:
            Image.fromarray(picture.numpy()).save(temporary)
        paths.append(path)
    return paths
