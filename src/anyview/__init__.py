"""anyview: 3D space from any number of views."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anyview.exporters import export as export
    from anyview.options import ExportOptions as ExportOptions
    from anyview.options import PredictOptions as PredictOptions
    from anyview.options import StreamOptions as StreamOptions
    from anyview.predictor import DepthAnything3 as DepthAnything3
    from anyview.streaming import stream as stream
    from anyview.types import Cameras as Cameras
    from anyview.types import Gaussians as Gaussians
    from anyview.types import Prediction as Prediction

__version__ = "0.1.0"

_HOMES = {
    "Cameras": "anyview.types",
    "DepthAnything3": "anyview.predictor",
    "ExportOptions": "anyview.options",
    "Gaussians": "anyview.types",
    "PredictOptions": "anyview.options",
    "Prediction": "anyview.types",
    "StreamOptions": "anyview.options",
    "export": "anyview.exporters",
    "stream": "anyview.streaming",
}
__all__ = [
    "Cameras",
    "DepthAnything3",
    "ExportOptions",
    "Gaussians",
    "PredictOptions",
    "Prediction",
    "StreamOptions",
    "export",
    "stream",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: ``anyview --help`` needs no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'anyview' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
