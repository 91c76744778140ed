"""The bundled model on unseen synthetic scenes, beside a constant guess and COLMAP: the table of docs/training.md.

    python benchmarks/bundled.py -o out/bundled                 # 100 scenes of each kind; 1, 2, 3, 4 and 8 views
    python benchmarks/bundled.py -o out/bundled --rivals colmap --scenes 16 --views 4

Scenes of the validation split of 224 × 224 pixels (--side) are rendered once. δ1 is that of depth after one scale for
all views of a scene; AUC@30 is the benchmark's ("sane"). A view that COLMAP does not place counts as wrong, and so does
a scene that it does not reconstruct. Every answer is kept in the output folder, so that a stopped run goes on. Prints
the table in Markdown; the last line on stdout is JSON.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from anyview.bench.metrics.depth import depth_scores
from anyview.bench.metrics.poses import score_poses
from anyview.bench.rivals.colmap import Colmap
from anyview.bench.rivals.constant import Constant
from anyview.bench.rivals.ours import Ours
from anyview.bench.rivals.rival import Answer, Question, Rival
from anyview.options import PredictOptions
from anyview.recordings.rendered import RenderedLibrary
from anyview.synth.blocks import SCENES_PER_BLOCK, render_blocks
from anyview.synth.options import SynthOptions
from anyview.types import Picture

KINDS = ("room", "street", "landscape", "still_life")


def main() -> None:
    """Render, ask, score."""
    options = parse_options()
    rows = {}
    for rival in options.rivals:
        for views in options.views:
            if views == 1 and rival == "colmap":
                continue
            for kind in options.kinds:
                rows[rival, views, kind] = list(scores(options, rival, views, kind))
    print(table(rows, options))
    print(json.dumps({f"{rival} {views} {kind}": means(found) for (rival, views, kind), found in rows.items()}))


def scores(options: argparse.Namespace, rival: str, views: int, kind: str) -> Iterator[dict[str, float]]:
    """Yield the scores of one rival on the scenes of one kind, those that are known already first."""
    file = options.output / f"{rival}-{views}-{kind}.jsonl"
    known = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    yield from known[: options.scenes]
    if len(known) >= options.scenes:
        return
    folder = options.output / "scenes" / f"{kind}-{views}"
    synth = SynthOptions(kinds=(kind,), views=views, height=options.side, width=options.side)
    count = -(-options.scenes // SCENES_PER_BLOCK) * SCENES_PER_BLOCK
    render_blocks(synth, "validation", folder, count=count, workers=options.workers)
    library, asked = RenderedLibrary(folder), open_rivals(rival, options.model)
    with file.open("a") as results:
        for number in tqdm(range(len(known), options.scenes), f"{rival} {views} {kind}", file=sys.stderr):
            scene = library.scene(number)
            frames = [scene.read(view) for view in range(views)]
            depth = torch.from_numpy(np.stack([frame.depth for frame in frames]))
            found: dict[str, float] = {}
            for name, one in asked.items():
                pictures = tuple(Picture(frame.pixels, f"{view}.png") for view, frame in enumerate(frames))
                found |= score(name, one, Question(pictures=pictures), depth, scene.world_to_camera.float())
            results.write(json.dumps(found) + "\n")
            results.flush()
            yield found


def open_rivals(name: str, model: str) -> dict[str, Rival]:
    """Open a rival; ours answers twice, with cameras from its head and from its rays."""
    if name == "colmap":
        return {"head": Colmap()}
    if name == "constant":
        return {"head": Constant()}
    return {
        source: Ours(model, options=PredictOptions(reference_view="first", camera_source=source))
        for source in ("head", "rays")
    }


def score(
    name: str, rival: Rival, question: Question, depth: torch.Tensor, world_to_camera: torch.Tensor
) -> dict[str, float]:
    """Score an answer; what a rival does not give is left out, and where it gives up it has nothing right."""
    try:
        answer = rival.answer(question)
    except ValueError:
        answer = Answer(world_to_camera=np.full(world_to_camera.shape, np.nan, np.float32))
    found = {}
    if len(depth) > 1:
        assert answer.world_to_camera is not None
        poses = torch.from_numpy(answer.world_to_camera)
        found[f"auc30_{name}"] = score_poses(poses, world_to_camera).auc[30]
    if answer.depth is not None and name == "head":
        maps = torch.from_numpy(np.stack(answer.depth))[:, None]
        found |= depth_scores(torch.nn.functional.interpolate(maps, depth.shape[-2:], mode="bilinear")[:, 0], depth)
    return found


def means(found: list[dict[str, float]]) -> dict[str, float]:
    """Average every score over scenes."""
    return {name: round(float(np.nanmean([scene[name] for scene in found])), 4) for name in found[0]}


def table(rows: dict[tuple[str, int, str], list[dict[str, float]]], options: argparse.Namespace) -> str:
    """Write a row for each rival and number of views: means over all scenes, then by kind."""
    lines = [
        "| views | | δ1 | AbsRel | AUC@30 head | AUC@30 rays | "
        + " | ".join(f"δ1, AUC {kind}" for kind in options.kinds)
        + " |",
        "|" + "---|" * (6 + len(options.kinds)),
    ]
    for views in options.views:
        for rival in options.rivals:
            of_kinds = [rows[rival, views, kind] for kind in options.kinds if (rival, views, kind) in rows]
            if not of_kinds:
                continue
            everything = means([scene for scenes in of_kinds for scene in scenes])
            cells = [shown(everything, name) for name in ("delta1", "abs_rel", "auc30_head", "auc30_rays")]
            cells += [f"{shown(kind, 'delta1')}, {shown(kind, 'auc30_head')}" for kind in map(means, of_kinds)]
            lines.append(f"| {views} | {rival} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def shown(scores: dict[str, float], name: str) -> str:
    """Format a score in percent."""
    return f"{100 * scores[name]:.1f}" if name in scores else "–"


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", default="da3-nano")
    parser.add_argument(
        "--rivals", nargs="+", default=["ours", "constant", "colmap"], choices=["ours", "constant", "colmap"]
    )
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--side", type=int, default=224, help="of the square pictures; one for each output folder")
    parser.add_argument("--scenes", type=int, default=100, help="of each kind")
    parser.add_argument("--views", nargs="+", type=int, default=[1, 2, 3, 4, 8])
    parser.add_argument("--workers", type=int, default=2, help="processes that render")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    return options


if __name__ == "__main__":
    main()
