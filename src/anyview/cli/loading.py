from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anyview.cli.odometry import Odometry
    from anyview.cli.predict import Predict
    from anyview.cli.stages import Stages
    from anyview.cli.stream import Stream
    from anyview.predictor import DepthAnything3


def load_model(command: "Predict | Stream | Odometry", stages: "Stages") -> "DepthAnything3":
    """Load the model that a command names, in the precision and on the device that it asks for."""
    from anyview.predictor import DepthAnything3

    return DepthAnything3.from_pretrained(
        command.model,
        device=command.device,
        dtype=command.dtype,
        revision=command.revision,
        offline=command.offline,
        progress=stages,
    )
