from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from anyview.exporters.colors import spectral
from anyview.exporters.depth_vis import GAP, NO_DEPTH, DepthRange, depth_range
from anyview.geometry.camera import project
from anyview.images.video import write_video
from anyview.options import CameraPath, ExportOptions, Panels, RenderOptions
from anyview.render.paths import camera_path, find_focus, fit_cameras
from anyview.render.rasterize import rasterize
from anyview.render.scene import scene_gaussians
from anyview.types import Cameras, Gaussians, Prediction

FRAMES_PER_PAIR, FEWEST_FRAMES, MOST_FRAMES = 8, 48, 240
_OPAQUE = 0.5
"""Where less than this of the background is hidden, there is no depth to show."""


def write(prediction: Prediction, folder: Path, options: ExportOptions) -> list[Path]:
    """Write ``gaussians_video.mp4``: a flight through the cameras, colour beside depth; of one view a small circle."""
    assert prediction.cameras is not None
    path = folder / "gaussians_video.mp4"
    gaussians = scene_gaussians(prediction, options)
    height, width = prediction.depth.shape[1:]
    size = even_size(height, width)
    cameras = fit_cameras(prediction.cameras, (height, width), size)
    frames = min(max(FRAMES_PER_PAIR * (len(cameras) - 1), FEWEST_FRAMES), MOST_FRAMES)
    kind: CameraPath = "through" if len(cameras) > 1 else "wander"
    focus = find_focus(cameras, gaussians.means)
    flight = camera_path(kind, cameras, focus, frames)
    shown = flight_frames(gaussians, flight, *size, RenderOptions(show="both"), near=focus.near)
    write_video(path, shown, options.fps)
    return [path]


def even_size(height: int, width: int) -> tuple[int, int]:
    """Round a size up to even numbers, which is what videos want."""
    return height + height % 2, width + width % 2


def rounding_note(height: int, width: int) -> str | None:
    """Say what a size is rounded to, if it is."""
    rows, columns = even_size(height, width)
    if (rows, columns) == (height, width):
        return None
    return f"videos have even sides, so {width}×{height} became {columns}×{rows}"


def flight_frames(
    gaussians: Gaussians,
    cameras: Cameras,
    height: int,
    width: int,
    options: RenderOptions,
    progress: Callable[[int, int], None] | None = None,
    *,
    near: float,
) -> Iterator[UInt8[np.ndarray, "height total_width 3"]]:
    """Render what the cameras see, one frame after the other; depth has one range of colours for all frames.

    ``near``: Gaussians nearer to a camera are not drawn (`render.paths.Focus.near`).
    """
    shown = _range_of_flight(gaussians, cameras, height, width) if options.show != "color" else None
    for frame in range(len(cameras)):
        if progress:
            progress(frame, len(cameras))
        with torch.no_grad():
            view = rasterize(
                gaussians,
                cameras[frame : frame + 1],
                height,
                width,
                background=options.background,
                backend=options.backend,
                near=near,
            )
        color = (view.color[0].clamp(0, 1) * 255).round().byte().cpu().numpy()
        if shown is None:
            yield color
            continue
        depth = _depth_colors(view.depth[0].cpu(), view.alpha[0].cpu(), shown)
        gap = np.full((height, GAP, 3), 255, np.uint8)
        yield depth if options.show == "depth" else np.concatenate([color, gap, depth], 1)
    if progress:
        progress(len(cameras), len(cameras))


def panel_width(width: int, show: Panels) -> int:
    """Return the width of a frame that shows pictures of a width."""
    return 2 * width + GAP if show == "both" else width


def _range_of_flight(gaussians: Gaussians, cameras: Cameras, height: int, width: int) -> DepthRange:
    """Take the range of the Gaussians that a few of the frames have in their pictures."""
    some = cameras[:: max(len(cameras) // 8, 1)]
    pixels, depth = project(gaussians.means, some)
    inside = ((pixels > 0) & (pixels < pixels.new_tensor([width, height]))).all(-1) & (depth > 0)
    return depth_range(depth.cpu().numpy(), inside.cpu().numpy())


def _depth_colors(
    depth: Float[Tensor, "height width"], alpha: Float[Tensor, "height width"], shown: DepthRange
) -> UInt8[np.ndarray, "height width 3"]:
    seen = (alpha >= _OPAQUE).numpy()
    colors = spectral(shown.place(np.where(seen, depth.numpy(), np.float32(shown.far))))
    colors[~seen] = NO_DEPTH
    return colors
