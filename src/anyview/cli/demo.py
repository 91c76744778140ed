from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from anyview.cli.inputs import spare_inputs
from anyview.cli.stages import Stages
from anyview.cli.summary import summarise

if TYPE_CHECKING:
    from anyview.types import Prediction, TrueViews


@dataclass(frozen=True)
class Demo:
    """Show the whole way, from pictures to a point cloud, on generated pictures or on yours."""

    inputs: tyro.conf.Positional[tuple[str, ...]] = ()
    """Your own pictures; none: generated ones."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("out/demo")
    """Folder to write into."""

    def run(self) -> None:
        """Run the demonstration."""
        from anyview.demo import FORMATS, run_demo
        from anyview.files import check_folder

        check_folder(self.output)
        spare_inputs(self.inputs, self.output, FORMATS)
        with Stages() as stages:
            prediction, written = run_demo(self.inputs, self.output, stages, print, _describe_errors)
            stages.pause()
        summarise(prediction, written)
        print(f"took {stages.summary()}")


def _describe_errors(prediction: "Prediction", truth: "TrueViews") -> dict[str, str]:
    """Say how far a prediction is from the truth: depth up to scale, and the poses."""
    from anyview.bench.metrics.depth import depth_scores
    from anyview.bench.metrics.poses import pair_errors, pose_aucs

    assert prediction.cameras is not None
    depth = depth_scores(prediction.depth, truth.depth)
    poses = prediction.cameras.world_to_camera, truth.cameras.world_to_camera
    rotation, translation = pair_errors(*poses)
    return {
        "depth within 25 %:": f"{depth['delta1']:.1%}",
        "mean relative error of depth:": f"{depth['abs_rel']:.1%}",
        "rotation between views off by": f"{rotation.mean():.1f}°",
        "direction between views off by": f"{translation.mean():.1f}°",
        "pose AUC@30:": f"{pose_aucs(*poses)[30]:.2f}",
    }
