from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from anyview.cli.fields import FLAT
from anyview.cli.stages import Stages
from anyview.options import RenderOptions

if TYPE_CHECKING:
    from torch import Tensor

    from anyview.types import Cameras, Gaussians

_VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv")


@dataclass(frozen=True)
class Render:
    """Fly through a predicted scene: Gaussians, or depth and colour, to a video."""

    result: tyro.conf.Positional[Path]
    """A results.npz, or a gaussians.ply, ours or another program's."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("fly.mp4")
    """Video to write (.mp4, .mov, .mkv)."""
    size: str | None = None
    """Width and height of the pictures, as 1280x720; default: those of the scene's own maps."""
    keyframes: Path | None = None
    """JSON file of keyframes to fly through, instead of a path (docs/gaussians.md)."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1."""
    render: Annotated[RenderOptions, FLAT] = field(default_factory=RenderOptions)

    def run(self) -> None:
        """Film a flight through a saved scene."""
        from anyview.devices import keep_freed_memory, resolve_device
        from anyview.exporters.gaussians_video import even_size, flight_frames, panel_width, rounding_note
        from anyview.files import check_folder
        from anyview.images.video import write_video
        from anyview.render.keyframes import read_keyframes
        from anyview.render.paths import camera_path, find_focus, fit_cameras, frame_times, interpolate
        from anyview.render.rasterize import choose_backend
        from anyview.types import map_tensors

        options = self.render
        options.check()
        if self.output.suffix.lower() not in _VIDEO_SUFFIXES or self.output.is_dir():
            raise ValueError(f"expected the name of a video to write ({', '.join(_VIDEO_SUFFIXES)}), got {self.output}")
        asked = None if self.size is None else _size(self.size)
        device = resolve_device(self.device)
        choose_backend(options.backend, device)
        check_folder(self.output.parent)
        shown = _saved_scene(self.result, options)
        height, width = even_size(*(asked or shown.size))
        cameras = fit_cameras(shown.cameras, shown.size, (height, width))
        focus = find_focus(cameras, shown.gaussians.means)
        if self.keyframes is None:
            flight = camera_path(
                options.path, cameras, focus, options.frames, amplitude=options.amplitude, easing=options.easing
            )
        else:
            keys = read_keyframes(self.keyframes, cameras, height, width)
            flight = interpolate(keys, frame_times(options.frames, options.easing), turning_radius=focus.distance)
        keep_freed_memory()

        def to_device(tensor: "Tensor") -> "Tensor":
            return tensor.to(device)

        with Stages() as stages:
            frames = flight_frames(
                map_tensors(shown.gaussians, to_device),
                map_tensors(flight, to_device),
                height,
                width,
                options,
                stages.of("rendering"),
                near=focus.near,
            )
            write_video(self.output, frames, options.fps)
        for note in shown.notes:
            print(f"note: {note}")
        if rounded := rounding_note(*(asked or shown.size)):
            print(f"note: {rounded}")
        total = (height, panel_width(width, options.show))
        seconds = options.frames / options.fps
        print(f"wrote {self.output}: {options.frames} frames of {_times(total)}, {seconds:.3g} s")


@dataclass(frozen=True)
class _Shown:
    """A scene to fly through."""

    gaussians: "Gaussians"
    cameras: "Cameras"
    size: tuple[int, int]
    """Height and width of the pictures that the cameras belong to."""
    notes: tuple[str, ...]


def _saved_scene(path: Path, options: RenderOptions) -> _Shown:
    from anyview.exporters.gaussians_ply import read_gaussians_ply
    from anyview.exporters.npz import read_npz
    from anyview.render.paths import camera_outside
    from anyview.render.pixels import NOTE
    from anyview.render.scene import prune, scene_gaussians

    if not path.is_file():
        raise ValueError(f"{path} does not exist" if not path.exists() else f"{path} is a folder, not a file")
    if path.suffix.lower() == ".npz":
        prediction = read_npz(path)
        if prediction.cameras is None:
            reason = prediction.lacks.get("cameras", "they were not predicted")
            raise ValueError(f"a flight needs cameras, and this prediction has none: {reason}")
        notes = () if prediction.gaussians is not None else (NOTE,)
        height, width = prediction.depth.shape[1:]
        return _Shown(scene_gaussians(prediction, options), prediction.cameras, (height, width), notes)
    if path.suffix.lower() == ".ply":
        if options.color_rounds:
            raise ValueError(f"color_rounds needs the pictures, which {path} does not hold; give the results.npz")
        file = read_gaussians_ply(path)
        gaussians = prune(file.gaussians, None, options)
        if file.cameras is not None and file.size is not None:
            return _Shown(gaussians, file.cameras, file.size, ())
        size = (480, 640)
        note = f"{path} names no cameras, so the path starts from one that sees the whole scene along +z"
        return _Shown(gaussians, camera_outside(gaussians.means, *size), size, (note,))
    raise ValueError(f"expected a results.npz or a .ply of Gaussians, got {path}")


def _size(text: str) -> tuple[int, int]:
    """Read WIDTHxHEIGHT; return height and width."""
    width, _, height = text.lower().replace("×", "x").partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ValueError(f"expected a size as WIDTHxHEIGHT in pixels, like 1280x720; got {text!r}")
    return int(height), int(width)


def _times(size: tuple[int, int]) -> str:
    """Write a (height, width) as people do."""
    return f"{size[1]}×{size[0]}"
