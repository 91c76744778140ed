"""Novel views of a model on unseen synthetic scenes, beside what needs no head: the table of docs/gaussians.md.

    python benchmarks/gaussians.py        # the bundled model, 16 scenes of each kind of the test split
    python benchmarks/gaussians.py --model runs/gaussians/model.safetensors --unit truth

Six views of a scene with known cameras, four of them shown, two held out. Rows: the nearest shown view as it is; the
colours of all shown views, moved by the model's depth (`bench.baselines`), and by the true one, which nobody has; a
Gaussian for each pixel at the model's depth; the Gaussians of the model's head, if it has one; these with colours
fitted to the shown pictures; and after some steps of fitting all they are (``--steps``). Holes are filled from beside,
in warped pictures and in rendered ones alike.

With ``--unit poses`` depth has the unit that the model itself finds, by its own poses beside the known ones. With
``--unit truth`` it gets the factor that fits the true depth best, one for each scene, which shows what Gaussians are
worth where the unit is right. Prints the table in Markdown; the last line on stdout is JSON: means over scenes of the
mean over held-out views of PSNR in dB, SSIM, and LPIPS where its weights are there; and by how many dB the head is
better than warping, scene by scene, with the standard error of that mean, where there are several scenes.
"""

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from anyview import DepthAnything3, PredictOptions
from anyview.bench.baselines import nearest_views, warp_by_depth
from anyview.bench.metrics.images import ssim
from anyview.geometry.alignment import fit_scale_l1
from anyview.geometry.pose import camera_centers
from anyview.render.colors import fit_colors
from anyview.render.holes import fill_behind
from anyview.render.lpips import open_lpips
from anyview.render.paths import find_focus
from anyview.render.pixels import COLOR_ROUNDS, pixel_gaussians
from anyview.render.psnr import psnr
from anyview.render.rasterize import rasterize
from anyview.render.refine import refine
from anyview.synth.dataset import scene_at
from anyview.synth.options import SynthOptions
from anyview.types import Cameras, Gaussians, TrueViews

KINDS = ("room", "street", "landscape", "still_life")
HEAD, FITTED, WARPED = "Gaussian head", "Gaussian head, colours fitted", "warped by the model's depth"
SHOWN, HELD_OUT = [0, 2, 3, 5], [1, 4]

Picture = Float[Tensor, "3 height width"]
Metric = Callable[[Picture, Picture], float]


class Seen(NamedTuple):
    """What a model says of the shown views, in the frame of the known cameras and the unit asked for."""

    depth: Float[Tensor, "views height width"]
    gaussians: Gaussians | None


def main() -> None:
    """Predict, render, score."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    model = DepthAnything3.from_pretrained(options.model)
    metrics = available_metrics()
    scores: dict[str, dict[str, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    for kind in options.kinds:
        stream = SynthOptions(kinds=(kind,), views=6, height=options.side, width=options.side, augment=False)
        for index in range(options.scenes):
            truth = scene_at(stream, "test", index)
            hidden = truth.images[HELD_OUT]
            for name, answer in answers(model, truth, options).items():
                found = [score(metrics, one, other) for one, other in zip(answer, hidden, strict=True)]
                scores[name][kind].append({key: statistics.mean(view[key] for view in found) for key in metrics})
            print(f"{kind} {index + 1} of {options.scenes}", flush=True)
    print(table(scores, list(metrics)))
    means = {
        name: {kind: {key: round(value, 4) for key, value in mean_of(of_kind).items()} for kind, of_kind in row.items()}
        for name, row in scores.items()
    }
    report = {"model": model.name, "unit": options.unit, "scenes": options.scenes, "rows": means}
    if HEAD in scores and options.scenes * len(options.kinds) > 1:
        for row, key in ((HEAD, "head_minus_warped_psnr"), (FITTED, "fitted_minus_warped_psnr")):
            gain, error = paired(scores[row], scores[WARPED])
            print(f"{row} - {WARPED}: PSNR {gain:+.2f} dB, standard error {error:.2f} over scenes")
            report[key] = {"mean": round(gain, 4), "standard_error": round(error, 4)}
    print(json.dumps(report))


def answers(
    model: DepthAnything3, truth: TrueViews, options: argparse.Namespace
) -> dict[str, UInt8[Tensor, "targets height width 3"]]:
    """Answer with every row of the table."""
    images, cameras, targets = truth.images[SHOWN], truth.cameras[SHOWN], truth.cameras[HELD_OUT]
    seen = ask(model, truth, options)
    known = truth.depth[SHOWN]

    def drawn(gaussians: Gaussians) -> UInt8[Tensor, "targets height width 3"]:
        rendered = rasterize(gaussians, targets, *seen.depth.shape[1:])
        full = [fill_behind(color, alpha) for color, alpha in zip(rendered.color, rendered.alpha, strict=True)]
        return (torch.stack(full).clamp(0, 1) * 255).round().byte()

    rows = {
        "nearest view": nearest_views(images, cameras, targets),
        WARPED: warp_by_depth(images, seen.depth, cameras, targets),
        "warped by true depth": warp_by_depth(images, known, cameras, targets),
        "a Gaussian for each pixel": drawn(pixel_gaussians(images, seen.depth, cameras, seen.depth > 0)),
    }
    if seen.gaussians is not None:
        rows[HEAD] = drawn(seen.gaussians)
        near = find_focus(cameras, seen.gaussians.means).near
        rows[FITTED] = drawn(fit_colors(seen.gaussians, images, cameras, COLOR_ROUNDS, near=near))
        if options.steps:
            rows[f"and {options.steps} steps"] = drawn(refine(seen.gaussians, images, cameras, options.steps))
    return rows


def ask(model: DepthAnything3, truth: TrueViews, options: argparse.Namespace) -> Seen:
    """Ask the model about the shown views, whose cameras it is told."""
    asked = PredictOptions(resolution=options.side, reference_view="first", gaussians=model.abilities.gaussians)
    cameras = truth.cameras[SHOWN]
    prediction = model.predict(list(truth.images[SHOWN].numpy()), cameras, options=asked)
    depth, gaussians = prediction.depth, prediction.gaussians
    if options.unit == "poses":
        return Seen(depth, gaussians)
    known = truth.depth[SHOWN]
    factor = fit_scale_l1(depth.flatten(), known.flatten(), (known > 0).float().flatten())
    return Seen(depth * factor, None if gaussians is None else nearer(gaussians, cameras, factor))


def nearer(gaussians: Gaussians, cameras: Cameras, factor: Float[Tensor, ""]) -> Gaussians:
    """Move Gaussians along the rays of the cameras that they are of, whose depth is multiplied by a factor."""
    centers = camera_centers(cameras.world_to_camera).repeat_interleave(len(gaussians.means) // len(cameras), 0)
    means = centers + factor * (gaussians.means - centers)
    return replace(gaussians, means=means, scales=gaussians.scales * factor)


def available_metrics() -> dict[str, Metric]:
    """Return PSNR, SSIM, and LPIPS if it can be computed here."""
    metrics: dict[str, Metric] = {"psnr": psnr, "ssim": ssim}
    try:
        distance = open_lpips()
    except (ImportError, ValueError) as error:
        print(f"no LPIPS: {error}")
        return metrics
    return {**metrics, "lpips": lambda one, other: distance(one[None], other[None]).item()}


def score(
    metrics: dict[str, Metric], answer: UInt8[Tensor, "height width 3"], truth: UInt8[Tensor, "height width 3"]
) -> dict[str, float]:
    """Score one picture."""
    one, other = (picture.movedim(-1, 0) / 255 for picture in (answer, truth))
    return {name: metric(one, other) for name, metric in metrics.items()}


def mean_of(scenes: list[dict[str, float]]) -> dict[str, float]:
    """Average every score over scenes."""
    return {name: float(np.mean([scene[name] for scene in scenes])) for name in scenes[0]}


def paired(one: dict[str, list[dict[str, float]]], other: dict[str, list[dict[str, float]]]) -> tuple[float, float]:
    """Return the mean difference in PSNR over the same scenes, and its standard error; of two scenes at least."""
    pairs = [pair for kind in one for pair in zip(one[kind], other[kind], strict=True)]
    gains = [first["psnr"] - second["psnr"] for first, second in pairs]
    return statistics.mean(gains), statistics.stdev(gains) / len(gains) ** 0.5


def table(scores: dict[str, dict[str, list[dict[str, float]]]], metrics: list[str]) -> str:
    """Write a row for each way of answering: means over all scenes, then PSNR by kind."""
    kinds = list(next(iter(scores.values())))
    lines = [
        "| | " + " | ".join([name.upper() for name in metrics] + [f"PSNR {kind}" for kind in kinds]) + " |",
        "|" + "---|" * (1 + len(metrics) + len(kinds)),
    ]
    for name, row in scores.items():
        everything = mean_of([scene for scenes in row.values() for scene in scenes])
        cells = [f"{everything[key]:.2f}" if key == "psnr" else f"{everything[key]:.3f}" for key in metrics]
        cells += [f"{mean_of(row[kind])['psnr']:.2f}" for kind in kinds]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="da3-nano", help="a preset, folder or file")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--scenes", type=int, default=16, help="of each kind")
    parser.add_argument("--side", type=int, default=112, help="of the square pictures, a multiple of 14")
    parser.add_argument("--unit", choices=["poses", "truth"], default="poses")
    parser.add_argument(
        "--steps", type=int, default=0, help="of fitting Gaussians to the shown pictures; 0: no such row"
    )
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
