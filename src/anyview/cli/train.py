from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from anyview.synth.options import Split, SynthOptions

if TYPE_CHECKING:
    from anyview.recordings.scene import Library
    from anyview.training.validation import Answer
    from anyview.types import TrueViews


@dataclass(frozen=True)
class Train:
    """Train a network by a recipe, on synthetic worlds or on your data; torchrun starts several processes."""

    recipe: tyro.conf.Positional[str]
    """nano, nano-gpu, student, finetune, gaussians, tiny (docs/training.md)."""
    overrides: tyro.conf.Positional[tuple[str, ...]] = ()
    """Options of the recipe to change, as NAME=VALUE: steps=1000 peak_rate=5e-4."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("runs/train")
    """Folder of the run: checkpoints, log, pictures, and at the end model.safetensors."""
    data: str | None = None
    """Real data as LAYOUT:PATH; default: synthetic worlds."""
    validation_data: str | None = None
    """Scenes that training does not show; default: synthetic worlds' own validation split, a tenth of the scenes of
    ``data``."""
    resume: bool = False
    """Go on with the run in the output folder."""
    overwrite: bool = False
    """Remove the run in the output folder."""
    device: str = "auto"
    """auto, cpu, cuda."""

    def run(self) -> None:
        """Train, with the benchmark's scores on validation scenes."""
        from anyview.devices import resolve_device
        from anyview.files import check_folder
        from anyview.recordings.catalog import open_dataset
        from anyview.recordings.rendered import RenderedLibrary
        from anyview.training import trainer
        from anyview.training.recipes import find_recipe
        from anyview.training.recorded import SceneSource, split_scenes
        from anyview.training.synthetic import SynthSource

        options = find_recipe(self.recipe, **dict(_override(text) for text in self.overrides))
        check_folder(self.output)
        device = resolve_device(self.device)

        def source(data: str | None, split: Split) -> Any:
            if data is None:
                # Gaussians have one colour for all views.
                return SynthSource(split, SynthOptions(augment=options.gaussians is None), device)
            return SceneSource(library(data))

        def library(data: str) -> "Library":
            found = open_dataset(data)
            if options.gaussians is not None and isinstance(found, RenderedLibrary) and found.augmented:
                problem = "views of changed colours do not show one scene"
                raise ValueError(f"{problem}: expected scenes rendered with --no-augment in {data}")
            return found

        shown: Any
        unseen: Any
        if self.data is not None and self.validation_data is None:
            shown, unseen = split_scenes(library(self.data))
        else:
            shown, unseen = source(self.data, "train"), source(self.validation_data, "validation")
        outcome = trainer.train(
            options,
            shown,
            self.output,
            validation=unseen,
            evaluators=[_score_depth_and_poses],
            data=self.data or "synthetic worlds",
            resume=self.resume,
            overwrite=self.overwrite,
            device=self.device,
            say=partial(print, flush=True),
        )
        where = self.output / "model.safetensors" if outcome == "finished" else f"{self.output}; --resume goes on"
        print(f"{outcome}: {where}")


def _override(text: str) -> tuple[str, Any]:
    """Read NAME=VALUE; values are Python's, and words that are none are strings."""
    import ast

    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"expected NAME=VALUE to change the recipe, got {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, {"true": True, "false": False}.get(value.lower(), value)


def _score_depth_and_poses(answer: "Answer", truth: "TrueViews") -> dict[str, float]:
    """Scores of one validation scene: depth up to scale; poses of the camera head and of the rays, 0 to 1."""
    from anyview.bench.metrics.depth import depth_scores
    from anyview.bench.metrics.poses import pose_aucs

    scores = depth_scores(answer.depth, truth.depth)
    if len(answer.depth) > 1:
        for name, cameras in (("head", answer.head_cameras), ("rays", answer.ray_cameras)):
            solved = bool(cameras.world_to_camera.isfinite().all())
            auc = pose_aucs(cameras.world_to_camera, truth.cameras.world_to_camera)[30] if solved else 0.0
            scores[f"auc30_{name}"] = auc
    return scores
