from pathlib import Path

from anyview.exporters.depth_vis import depth_pictures
from anyview.images.video import write_video
from anyview.options import ExportOptions
from anyview.types import Prediction


def write(prediction: Prediction, folder: Path, options: ExportOptions) -> list[Path]:
    """Write ``depth_video.mp4``: each view's picture beside its depth, in one range of depths for all views."""
    path = folder / "depth_video.mp4"
    write_video(path, depth_pictures(prediction, common_range=True), options.fps)
    return [path]
