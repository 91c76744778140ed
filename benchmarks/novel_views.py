"""PSNR of held-out and shown views of synthetic rooms: Gaussians of true depth and colour, and baselines.

    python benchmarks/novel_views.py --scenes 4

Rooms of the test split with six views each, four of them shown. True depth stands for a perfect prediction: what is
missing is what no picture shows, which Gaussians leave black and the baselines fill, and what Gaussians blur. The last
line on stdout is JSON: PSNR in dB, the mean over views, then over scenes: of shown views where there is depth (a window
has none), of held-out views, and of those the pixels alone that some picture shows; the number of Gaussians; and the
mean error of depth in parts of it, of shown views.
"""

import argparse
import json
import statistics
from collections import defaultdict

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from anyview.bench.baselines import nearest_views, warp_by_depth
from anyview.render.colors import fit_colors
from anyview.render.merging import merge_by_voxel
from anyview.render.paths import find_focus
from anyview.render.pixels import COLOR_ROUNDS, pixel_gaussians
from anyview.render.psnr import psnr
from anyview.render.rasterize import rasterize
from anyview.render.refine import refine
from anyview.synth.dataset import scene_at
from anyview.synth.options import SynthOptions

SHOWN, HELD_OUT = [0, 2, 3, 5], [1, 4]


def main() -> None:
    """Measure, and print JSON."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    stream = SynthOptions(kinds=("room",), views=6, height=options.height, width=options.width, augment=False)
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for index in range(options.scenes):
        views = scene_at(stream, "test", index)
        images, depth, cameras = views.images[SHOWN], views.depth[SHOWN], views.cameras[SHOWN]
        hidden, targets = views.images[HELD_OUT], views.cameras[HELD_OUT]
        whole = pixel_gaussians(images, depth, cameras, depth > 0)
        seen_by_some = rasterize(whole, targets, options.height, options.width).alpha > 0.5
        answers = {
            "nearest view": nearest_views(images, cameras, targets),
            "warped by depth": warp_by_depth(images, depth, cameras, targets),
        }
        for name, answer in answers.items():
            scores[name]["held_out_psnr"].append(mean_psnr(answer, hidden))
            scores[name]["held_out_seen_psnr"].append(mean_psnr(answer, hidden, seen_by_some))
        rows = {"pixel Gaussians": whole}
        # One pixel at the median depth, and multiples of it.
        pixel = float((depth[depth > 0] / cameras.intrinsics[0, 0, 0]).median())
        near = find_focus(cameras, whole.means).near
        for size in options.voxels:
            merged = merge_by_voxel(whole, size * pixel)
            rows[f"merged, voxel {size:g} pixels"] = merged
            fitted = fit_colors(merged, images, cameras, COLOR_ROUNDS, near=near, valid=depth > 0)
            rows[f"merged, voxel {size:g} pixels, colours fitted"] = fitted
        if options.steps:
            rows[f"refined, {options.steps} steps"] = refine(whole, images, cameras, options.steps)
        for name, gaussians in rows.items():
            score = scores[name]
            score["gaussians"].append(len(gaussians.means))
            seen = rasterize(gaussians, cameras, options.height, options.width)
            there = depth > 0
            score["shown_psnr"].append(mean_psnr(to_bytes(seen.color), images, there))
            score["depth_error"].append(float(((seen.depth - depth).abs() / depth)[there].mean()))
            hidden_seen = rasterize(gaussians, targets, options.height, options.width)
            score["held_out_psnr"].append(mean_psnr(to_bytes(hidden_seen.color), hidden))
            score["held_out_seen_psnr"].append(mean_psnr(to_bytes(hidden_seen.color), hidden, seen_by_some))
        print(f"scene {index + 1} of {options.scenes}", flush=True)
    means = {
        name: {key: round(statistics.mean(values), 4) for key, values in row.items()} for name, row in scores.items()
    }
    for name, row in means.items():
        print(name, row)
    shown = [round(value, 1) for value in scores["pixel Gaussians"]["shown_psnr"]]
    print("shown views, pixel Gaussians, scene by scene:", *shown)
    print(json.dumps({"scenes": options.scenes, "size": f"{options.width}x{options.height}", "rows": means}))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=4)
    parser.add_argument("--height", type=int, default=168)
    parser.add_argument("--width", type=int, default=224)
    parser.add_argument(
        "--voxels", type=float, nargs="*", default=[0.5, 1.0, 2.0], help="in pixels at the median depth"
    )
    parser.add_argument("--steps", type=int, default=0, help="steps of refinement; 0: no such row")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def to_bytes(color: Float[Tensor, "views height width 3"]) -> UInt8[Tensor, "views height width 3"]:
    """Round colours to what a picture holds."""
    return (color.clamp(0, 1) * 255).round().byte()


def mean_psnr(
    answers: UInt8[Tensor, "views height width 3"],
    truth: UInt8[Tensor, "views height width 3"],
    where: Bool[Tensor, "views height width"] | None = None,
) -> float:
    """Mean over views; ``where`` leaves out pixels."""
    used = torch.ones(truth.shape[:-1], dtype=torch.bool) if where is None else where
    return statistics.mean(map(psnr, answers / 255, truth / 255, used))


if __name__ == "__main__":
    main()
