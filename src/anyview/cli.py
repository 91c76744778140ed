"""The command line. Options come from the dataclasses; each command only wires libraries together."""

import io
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from anyview.bench.options import BenchOptions, TableFormat, Task
from anyview.exporters import FORMATS
from anyview.model.config import PRESETS
from anyview.options import ExportOptions, PredictOptions, RenderOptions, StreamOptions
from anyview.synth.options import Split, SynthOptions

if TYPE_CHECKING:
    import torch

    from anyview.predictor import DepthAnything3
    from anyview.streaming.report import StreamReport
    from anyview.training.validation import Answer
    from anyview.types import Cameras, Gaussians, Prediction, Scene, TrueViews

    Results = tuple[Iterable[tuple[Path, Prediction]], torch.device]

_Flat = tyro.conf.arg(name="")
_VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv")
_FORMATS_HELP = "What to write, separated by commas. " + "; ".join(f"{n}: {f.description}" for n, f in FORMATS.items())


@dataclass(frozen=True)
class Predict:
    """Turn photos, folders, videos, COLMAP projects or transforms.json into depth, cameras and point clouds."""

    inputs: tyro.conf.Positional[tuple[str, ...]]
    """Pictures, patterns, folders, videos, COLMAP projects, transforms.json: one scene."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder to write into."""
    model: Annotated[str, tyro.conf.arg(aliases=["-m"])] = "da3-base"
    """A preset (`anyview models`), a hub repository, a model folder or file."""
    formats: Annotated[str, tyro.conf.arg(aliases=["-f"], help=_FORMATS_HELP)] = "glb,depth_vis,npz"
    separate: bool = False
    """The pictures have nothing to do with each other: predict each by itself, into a folder of its name."""
    cameras: Literal["use", "intrinsics", "ignore"] = "use"
    """What to take from a project that knows its cameras."""
    image_folder: Path | None = None
    """Pictures of a COLMAP project, where they are not beside it in images/."""
    frames_per_second: float = 1.0
    """Frames to take from videos."""
    max_frames: int | None = None
    """Largest number of frames to take from a video, spread over its length."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the backbone."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    offline: bool = False
    """Never download."""
    batch_size: int = 4
    """Pictures at a time, with --separate."""
    predict: Annotated[PredictOptions, _Flat] = field(default_factory=PredictOptions)
    export: Annotated[ExportOptions, _Flat] = field(default_factory=ExportOptions)


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
    render: Annotated[RenderOptions, _Flat] = field(default_factory=RenderOptions)


@dataclass(frozen=True)
class Stream:
    """Turn a long video, a camera or a growing folder into one trajectory and point cloud, in bounded memory."""

    source: tyro.conf.Positional[str]
    """A folder, a pattern, a video, the number of a camera (0), an address (rtsp://, http://, …)."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the run: intermediate results, and what is written."""
    model: Annotated[str, tyro.conf.arg(aliases=["-m"])] = "da3-base"
    """A preset (`anyview models`), a hub repository, a model folder or file; any-view ones."""
    formats: Annotated[str, tyro.conf.arg(aliases=["-f"])] = "tum,cloud"
    """What to write, separated by commas: tum, kitti, colmap, transforms, cloud, mesh, depth (docs/streaming.md)."""
    resume: bool = False
    """Go on with the run in the output folder."""
    watch: bool = False
    """Wait for more pictures in the folder."""
    known_poses: Path | None = None
    """Poses that are known, of all frames or some: a TUM or KITTI file, or a COLMAP project."""
    intrinsics: str | None = None
    """Known intrinsics as FX,FY,CX,CY in pixels of the source's pictures."""
    frames_per_second: float | None = None
    """Of a video, how many frames to take; of a folder, how many there are. Default: all; 30."""
    write_every_s: float = 10.0
    """Seconds between updates of the trajectory file while the stream runs."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the backbone."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    offline: bool = False
    """Never download."""
    stream: Annotated[StreamOptions, _Flat] = field(default_factory=StreamOptions)


@dataclass(frozen=True)
class Models:
    """List the models: parameters, what they can do, licence, and whether they are on this machine."""


@dataclass(frozen=True)
class Convert:
    """Convert weights between published folders and our single file, which holds its own configuration."""

    source: tyro.conf.Positional[str]
    """A preset, hub repository, folder or file."""
    destination: tyro.conf.Positional[Path]
    """A file NAME.safetensors (ours), or a folder (published layout)."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """What parameters are stored in, in our format; they load as float32."""
    offline: bool = False
    """Never download."""


@dataclass(frozen=True)
class Demo:
    """Show the whole way, from pictures to a point cloud, on generated pictures or on yours."""

    inputs: tyro.conf.Positional[tuple[str, ...]] = ()
    """Your own pictures; none: generated ones."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("out/demo")
    """Folder to write into."""


@dataclass(frozen=True)
class Synth:
    """Look at the synthetic worlds that models are trained on, or render them ahead of training."""

    action: tyro.conf.Positional[Literal["preview", "render"]]
    """preview: write a contact sheet of pictures, depth and normals. render: write scenes to train on
    (anyview train --data rendered:FOLDER); what is there already stays."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """PNG file to write (preview), or folder (render)."""
    split: Split = "train"
    """Which of the streams, whose scenes never meet."""
    first: int = 0
    """Index of the first scene."""
    count: int | None = None
    """Scenes; default: 4 to show, 1,024 to render."""
    workers: int = 1
    """Processes that render, of one thread each."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1."""
    scenes: Annotated[SynthOptions, _Flat] = field(default_factory=SynthOptions)


@dataclass(frozen=True)
class Train:
    """Train a network by a recipe, on synthetic worlds or on your data; torchrun starts several processes."""

    recipe: tyro.conf.Positional[str]
    """nano, nano-gpu, student, finetune, tiny (docs/training.md)."""
    overrides: tyro.conf.Positional[tuple[str, ...]] = ()
    """Options of the recipe to change, as NAME=VALUE: steps=1000 peak_rate=5e-4."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("runs/train")
    """Folder of the run: checkpoints, log, pictures, and at the end model.safetensors."""
    data: str | None = None
    """Real data as LAYOUT:PATH; default: synthetic worlds."""
    validation_data: str | None = None
    """Scenes that training does not show; default: synthetic worlds' own validation split, none for real data."""
    resume: bool = False
    """Go on with the run in the output folder."""
    overwrite: bool = False
    """Remove the run in the output folder."""
    device: str = "auto"
    """auto, cpu, cuda."""


@dataclass(frozen=True)
class Bench:
    """Score a model on the benchmark, or show the scores of runs (docs/benchmark.md)."""

    task: tyro.conf.Positional[Task | Literal["tables"]]
    """What to score, or tables: show what is in the folders of runs."""
    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Folders of runs, for tables."""
    data: tuple[str, ...] = ()
    """Where data sets are, as NAME:PATH; da3-bench:PATH for the folder with all of the published benchmark."""
    model: Annotated[str, tyro.conf.arg(aliases=["-m"])] = "da3-base"
    """A preset, hub repository, folder or file; or a rival: constant, colmap, vggt, mapanything, moge,
    depth-anything-2."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("runs/bench")
    """Folder of the run; with tables the folder that plots are drawn into."""
    bench: Annotated[BenchOptions, _Flat] = field(default_factory=BenchOptions)
    processes: int = 1
    """Processes to share the scenes between, on different GPUs where there are several."""
    cluster: bool = False
    """Start the processes on the machines of a Ray cluster that share this folder."""
    format: TableFormat = "text"
    """Of the printed tables."""
    published: bool = False
    """Show the paper's numbers of the same data sets too."""
    plots: bool = False
    """Draw curves, bars and the worst scenes into plots/ of the output folder."""
    resolution: int | None = None
    """Longer side in pixels that Depth Anything 3 models see; default: what the model is made for."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the backbone."""
    offline: bool = False
    """Never download."""


Command = (
    Annotated[Predict, tyro.conf.subcommand("predict")]
    | Annotated[Render, tyro.conf.subcommand("render")]
    | Annotated[Stream, tyro.conf.subcommand("stream")]
    | Annotated[Models, tyro.conf.subcommand("models")]
    | Annotated[Convert, tyro.conf.subcommand("convert")]
    | Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Synth, tyro.conf.subcommand("synth")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Bench, tyro.conf.subcommand("bench")]
)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return the exit code: 0, or 2 where one line on stderr says what was wrong.

    1 is for what was done and did not all succeed: scenes of a benchmark that failed.
    """
    command = tyro.cli(
        Command,
        prog="anyview",
        description="3D space from any number of views.",
        args=arguments,
        config=(tyro.conf.OmitSubcommandPrefixes,),
    )
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # no terminal's alphabet may end a run
    try:
        with warnings.catch_warnings():
            # Phones take pictures that Pillow warns of; it refuses those of twice that size.
            warnings.filterwarnings("ignore", "Image size .* exceeds limit")
            return _RUN[type(command)](command) or 0
    except (ValueError, ImportError, OSError, MemoryError) as error:
        print(f"anyview: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("anyview: interrupted", file=sys.stderr)
        return 130


def predict(command: Predict) -> None:
    """Predict a scene, or each of its pictures, and write files."""
    from anyview.devices import keep_freed_memory, resolve_device
    from anyview.exporters import check_request, export
    from anyview.model.checkpoint import find

    formats = [name.strip() for name in command.formats.split(",") if name.strip()]
    if not command.inputs:
        raise ValueError("no pictures given; see anyview predict --help")
    if not formats:
        raise ValueError(f"no format given; known: {', '.join(FORMATS)}")
    check_request(command.output, formats, command.export)
    _spare_inputs(command.inputs, command.output, formats)
    options = replace(command.predict, features=_features(command, formats), gaussians=_gaussians(command, formats))
    options.check()
    resolve_device(command.device)
    find(command.model)  # a misspelt name should not have to wait for thousands of pictures
    with Stages() as stages:
        run = _each if command.separate else _together
        keep_freed_memory()
        results, device = run(command, options, stages)
        for folder, prediction in results:
            written = export(prediction, folder, formats, command.export, stages.of("exporting"))
            stages.pause()
            _summarise(prediction, written)
    print(f"took {stages.summary()} on {device}")


def _together(command: Predict, options: PredictOptions, stages: "Stages") -> "Results":
    scene = _scene(command, stages)
    model = _model(command, stages)
    intrinsics = None
    if scene.cameras is not None and command.cameras == "intrinsics":
        intrinsics, scene = scene.cameras.intrinsics, replace(scene, cameras=None)
    prediction = model.predict(scene, intrinsics=intrinsics, options=options, progress=stages)
    return [(command.output, prediction)], model.device


def _each(command: Predict, options: PredictOptions, stages: "Stages") -> "Results":
    from anyview.exporters.names import file_stems
    from anyview.images.read import list_pictures
    from anyview.images.sources import are_pictures

    images: Any
    if are_pictures(command.inputs):
        images = list(command.inputs)
        names = [listed.name for listed in list_pictures(images)]
    else:
        images = _scene(command, stages)
        names = [picture.name for picture in images.pictures]
    model = _model(command, stages)
    each = model.predict_each(images, batch_size=command.batch_size, options=options, progress=stages)
    folders = [command.output / stem for stem in file_stems(names)]
    return zip(folders, each, strict=True), model.device


def _scene(command: Predict, stages: "Stages") -> "Scene":
    from anyview.images.sources import read_scene

    scene = read_scene(
        list(command.inputs),
        frames_per_second=command.frames_per_second,
        max_frames=command.max_frames,
        image_folder=command.image_folder,
        use_cameras=command.cameras != "ignore",
        progress=stages.of("reading"),
    )
    stages.pause()
    return scene


def _model(command: Predict | Stream, stages: "Stages") -> "DepthAnything3":
    from anyview.predictor import DepthAnything3

    return DepthAnything3.from_pretrained(
        command.model,
        device=command.device,
        dtype=command.dtype,
        revision=command.revision,
        offline=command.offline,
        progress=stages,
    )


def render(command: Render) -> None:
    """Film a flight through a saved scene."""
    from anyview.devices import keep_freed_memory, resolve_device
    from anyview.exporters.gaussians_video import even_size, flight_frames, panel_width
    from anyview.files import check_folder
    from anyview.images.video import write_video
    from anyview.render.keyframes import read_keyframes
    from anyview.render.paths import camera_path, find_focus, fit_cameras, frame_times, interpolate
    from anyview.render.rasterize import choose_backend

    options = command.render
    options.check()
    if command.output.suffix.lower() not in _VIDEO_SUFFIXES or command.output.is_dir():
        raise ValueError(f"expected the name of a video to write ({', '.join(_VIDEO_SUFFIXES)}), got {command.output}")
    asked = None if command.size is None else _size(command.size)
    device = resolve_device(command.device)
    choose_backend(options.backend, device)
    check_folder(command.output.parent)
    shown = _saved_scene(command.result, options)
    height, width = even_size(*(asked or shown.size))
    cameras = fit_cameras(shown.cameras, shown.size, (height, width))
    focus = find_focus(cameras, shown.gaussians.means)
    if command.keyframes is None:
        flight = camera_path(
            options.path, cameras, focus, options.frames, amplitude=options.amplitude, easing=options.easing
        )
    else:
        keys = read_keyframes(command.keyframes, cameras, height, width)
        flight = interpolate(keys, frame_times(options.frames, options.easing), turning_radius=focus.distance)
    keep_freed_memory()
    with Stages() as stages:
        frames = flight_frames(
            _on(shown.gaussians, device), _on(flight, device), height, width, options, stages.of("rendering")
        )
        write_video(command.output, frames, options.fps)
    for note in shown.notes:
        print(f"note: {note}")
    if (height, width) != (asked or shown.size):
        print(f"note: videos have even sides, so {_times(asked or shown.size)} became {_times((height, width))}")
    total = (height, panel_width(width, options.show))
    seconds = options.frames / options.fps
    print(f"wrote {command.output}: {options.frames} frames of {_times(total)}, {seconds:.3g} s")


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
        file = read_gaussians_ply(path)
        gaussians = prune(file.gaussians, None, options)
        if file.cameras is not None and file.size is not None:
            return _Shown(gaussians, file.cameras, file.size, ())
        size = (480, 640)
        note = f"{path} names no cameras, so the path starts from one that sees the whole scene along +z"
        return _Shown(gaussians, camera_outside(gaussians.means, *size), size, (note,))
    raise ValueError(f"expected a results.npz or a .ply of Gaussians, got {path}")


def _on(values: Any, device: "torch.device") -> Any:
    """Move a dataclass of tensors to a device."""
    return replace(values, **{name: tensor.to(device) for name, tensor in vars(values).items()})


def _size(text: str) -> tuple[int, int]:
    """Read WIDTHxHEIGHT; return height and width."""
    width, _, height = text.lower().replace("×", "x").partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ValueError(f"expected a size as WIDTHxHEIGHT in pixels, like 1280x720; got {text!r}")
    return int(height), int(width)


def _times(size: tuple[int, int]) -> str:
    """Write a (height, width) as people do."""
    return f"{size[1]}×{size[0]}"


def stream(command: Stream) -> None:
    """Run a stream to its end, and write its results while it runs and then."""
    from anyview.devices import keep_freed_memory, resolve_device
    from anyview.model.checkpoint import find
    from anyview.streaming import stream as start
    from anyview.streaming import write_outputs
    from anyview.streaming.outputs import check_formats
    from anyview.streaming.sources import open_source
    from anyview.streaming.trajectory import read_known_poses

    formats = [name.strip() for name in command.formats.split(",") if name.strip()]
    check_formats(command.output, formats)
    command.stream.check()
    intrinsics = None if command.intrinsics is None else _intrinsics(command.intrinsics)
    known = None if command.known_poses is None else read_known_poses(command.known_poses)
    resolve_device(command.device)
    find(command.model)
    source = open_source(
        command.source, command.stream, frames_per_second=command.frames_per_second, watch=command.watch
    )
    keep_freed_memory()
    with Stages() as stages:
        run = start(
            _model(command, stages),
            source,
            command.stream,
            folder=command.output,
            resume=command.resume,
            known_poses=known,
            intrinsics=intrinsics,
        )
        written_at = time.monotonic()
        with run:
            try:
                for window in run:
                    stages.note("streaming", window.report.frames_read, _state(window.report))
                    if "tum" in formats and time.monotonic() - written_at > command.write_every_s:
                        write_outputs(run, command.output, ["tum"])
                        written_at = time.monotonic()
            except KeyboardInterrupt:
                stages.pause()
                print(f"stopped; anyview stream … -o {command.output} --resume goes on", file=sys.stderr)
                raise
            written = write_outputs(run, command.output, formats, stages.of("writing"))
            stages.pause()
            _summarise_stream(run.report, written)


def _state(report: "StreamReport") -> str:
    loops = f"{report.loops_believed} of {report.loops_found} loops"
    return f"{report.frames_per_second:.2f} frames/s, scale ±{report.scale_drift:.1%}, {loops}"


def _summarise_stream(report: "StreamReport", written: Mapping[str, Path]) -> None:
    print(
        f"{report.frames_read} frames read, {report.frames_kept} kept, {report.frames_passed_over} passed over "
        f"(nothing had moved), in {report.windows} windows"
    )
    print(f"{_state(report)} found and believed; worst seam: {report.least_inliers:.0%} of the points agree")
    gpu = f", {report.gpu_bytes / 2**30:.1f} GiB on the GPU" if report.gpu_bytes else ""
    print(f"memory {report.memory_bytes / 2**30:.1f} GiB{gpu}, disk {report.disk_bytes / 2**20:.1f} MiB")
    for fault in report.faults:
        print(f"source: {fault}")
    for path in written.values():
        print(f"wrote {path}")


def _intrinsics(text: str) -> list[list[float]]:
    """Read FX,FY,CX,CY."""
    try:
        focal_x, focal_y, center_x, center_y = (float(word) for word in text.split(","))
    except ValueError as error:
        raise ValueError(f"expected intrinsics as FX,FY,CX,CY, got {text!r}") from error
    return [[focal_x, 0.0, center_x], [0.0, focal_y, center_y], [0.0, 0.0, 1.0]]


def models(_command: Models) -> None:
    """Print a table of the presets."""
    from anyview.model.checkpoint import is_local

    rows = [("model", "parameters", "licence", "here", "what it does")]
    for name, preset in PRESETS.items():
        here = "yes" if is_local(name) else "no"
        rows.append((name, f"{preset.parameters / 1e6:,.1f} M", preset.licence, here, preset.summary))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def convert(command: Convert) -> None:
    """Read weights in either layout and write them in the one that the destination names."""
    import torch

    from anyview.files import check_folder
    from anyview.model.checkpoint import PICKLE_SUFFIXES, load, locate, save, save_published

    ours = command.destination.suffix == ".safetensors"
    if command.destination.suffix in PICKLE_SUFFIXES:
        raise ValueError(f"expected a name that ends in .safetensors, or a folder; got {command.destination}")
    check_folder(command.destination.parent if ours else command.destination)
    source = locate(command.source, offline=command.offline)
    if not ours and command.dtype != "float32":
        raise ValueError(f"published folders hold float32, not {command.dtype}; a .safetensors file can hold it")
    if command.destination.exists() and command.destination.resolve() == source.resolve():
        raise ValueError(f"{command.destination} is the source")
    with Stages() as stages:
        network, name = load(source, stages.of("loading"))
    if ours:
        save(network, command.destination, name=name, dtype=getattr(torch, command.dtype))
    else:
        save_published(network, command.destination, name=name)
    print(f"wrote {name} to {command.destination}")


def demo(command: Demo) -> None:
    """Run the demonstration."""
    from anyview.demo import FORMATS, run_demo
    from anyview.files import check_folder

    check_folder(command.output)
    _spare_inputs(command.inputs, command.output, FORMATS)
    with Stages() as stages:
        prediction, written = run_demo(command.inputs, command.output, stages, print, _describe_errors)
        stages.pause()
    _summarise(prediction, written)
    print(f"took {stages.summary()}")


def synth(command: Synth) -> None:
    """Write a contact sheet."""
    import numpy as np
    from PIL import Image

    from anyview.devices import resolve_device
    from anyview.files import atomic_path, check_folder
    from anyview.synth.preview import contact_sheet

    count = command.count
    if command.action == "render":
        _render(command, 1024 if count is None else count)
        return
    count = 4 if count is None else count
    if command.output.suffix.lower() != ".png" or command.output.is_dir():
        raise ValueError(f"expected the name of a PNG file to write, got {command.output}")
    if count < 1 or command.first < 0:
        raise ValueError(f"expected scenes from 0 on, at least 1; got {count} from {command.first} on")
    check_folder(command.output.parent)
    device = resolve_device(command.device)
    sheets = []
    with Stages() as stages:
        for index in range(count):
            stages("rendering", index, count)
            sheets.append(contact_sheet(command.scenes, command.split, [command.first + index], device))
        stages("rendering", count, count)
    with atomic_path(command.output) as temporary:
        Image.fromarray(np.concatenate(sheets)).save(temporary)
    print(f"wrote {command.output}, {count} scenes: pictures, depth (near is bright), normals")


def _render(command: Synth, count: int) -> None:
    from anyview.files import check_folder
    from anyview.synth.blocks import render_blocks

    check_folder(command.output)
    with Stages() as stages:
        render_blocks(
            command.scenes,
            command.split,
            command.output,
            first=command.first,
            count=count,
            workers=command.workers,
            progress=stages.of("rendering"),
        )
    print(f"{command.output} holds scenes {command.first} to {command.first + count - 1} of the {command.split} split")


def train(command: Train) -> None:
    """Train, with the benchmark's scores on validation scenes."""
    from anyview.devices import resolve_device
    from anyview.files import check_folder
    from anyview.recordings.catalog import open_dataset
    from anyview.training import trainer
    from anyview.training.config import find_recipe
    from anyview.training.recorded import SceneSource
    from anyview.training.synthetic import SynthSource

    options = find_recipe(command.recipe, **dict(_override(text) for text in command.overrides))
    check_folder(command.output)
    device = resolve_device(command.device)

    def source(data: str | None, split: Split) -> Any:
        return SynthSource(split, device=device) if data is None else SceneSource(open_dataset(data))

    synthetic_validation = command.data is None and command.validation_data is None
    validates = synthetic_validation or command.validation_data is not None
    outcome = trainer.train(
        options,
        source(command.data, "train"),
        command.output,
        validation=source(command.validation_data, "validation") if validates else None,
        evaluators=[_score_depth_and_poses],
        resume=command.resume,
        overwrite=command.overwrite,
        device=command.device,
        say=partial(print, flush=True),
    )
    where = command.output / "model.safetensors" if outcome == "finished" else f"{command.output}; --resume goes on"
    print(f"{outcome}: {where}")


def bench(command: Bench) -> int:
    """Score, print the run's tables, and return 1 if a scene failed."""
    from anyview.bench.command import draw, run_bench, show
    from anyview.bench.tables import render

    outcomes = []
    if command.task == "tables":
        if command.data:
            raise ValueError("tables shows runs that are there; leave out --data, or name a task to score")
        folders = list(command.runs)
    else:
        if command.runs:
            raise ValueError(f"{command.task} takes no folders of runs; data is given with --data NAME:PATH")
        with Stages() as stages:
            outcomes = run_bench(
                command.task,
                command.data,
                command.model,
                command.output,
                command.bench,
                device=command.device,
                dtype=command.dtype,
                resolution=command.resolution,
                offline=command.offline,
                parallel=command.processes,
                cluster=command.cluster,
                progress=stages,
            )
        folders = [command.output]
    print(render(show(folders, published=command.published), command.format))
    if command.plots:
        for path in draw(folders, command.output / "plots"):
            print(f"drew {path}", file=sys.stderr)
    failed = [outcome for outcome in outcomes if outcome.reason is not None]
    if failed:
        print(f"{len(failed)} of {len(outcomes)} scenes failed", file=sys.stderr)
    return 1 if failed else 0


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


class Stages:
    """Progress bars on stderr, one stage after the other, and the time that each took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stage: str | None = None
        self._started = 0.0
        self._bar: Any = None

    def __enter__(self) -> "Stages":
        return self

    def __exit__(self, *_: object) -> None:
        self.pause()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` is done of a stage; the first call for another stage ends the last one."""
        from tqdm import tqdm

        if stage != self._stage:
            self.pause()
            self._stage, self._started = stage, time.perf_counter()
            self._bar = tqdm(
                desc=stage,
                total=total,
                bar_format="{desc:10} {bar:30} {n_fmt}/{total_fmt} {elapsed}{postfix}",
                # A log file wants a line now and then, a terminal motion.
                mininterval=0.1 if sys.stderr.isatty() else 10.0,
            )
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def note(self, stage: str, done: int, text: str) -> None:
        """Show how much of a stage without a known end is done, and a line about it."""
        self(stage, done, done)
        self._bar.set_postfix_str(text, refresh=False)

    def of(self, stage: str) -> Callable[[int, int], None]:
        """Progress of one stage, for callees that know of no others."""
        return partial(self, stage)

    def pause(self) -> None:
        """End the running stage."""
        if self._stage is not None:
            self._bar.close()
            elapsed = time.perf_counter() - self._started
            self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + elapsed
            self._stage = None

    def summary(self) -> str:
        """Say how long each stage took."""
        return ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in self.seconds.items())


_UNITS = {
    "metres": "metres",
    "caller": "the unit of the given cameras",
    "arbitrary": "an arbitrary unit, the same in all views",
    "canonical": "canonical units (times focal length in pixels / 300: metres)",
}


def _summarise(prediction: "Prediction", written: Mapping[str, Sequence[Path]]) -> None:
    views, height, width = prediction.depth.shape
    depth = prediction.depth[prediction.valid()]
    print(f"{views} view{'s' if views > 1 else ''} of {width}×{height} pixels with {prediction.model}")
    if len(depth):
        low, middle, high = depth.min(), depth.median(), depth.max()
        print(f"depth {low:.3g} to {high:.3g}, median {middle:.3g}, in {_UNITS[prediction.units]}")
    else:
        print("no pixel has a depth: all are masked, or the network gave no positive, finite values")
    for note in prediction.notes:
        print(f"note: {note}")
    if prediction.gaussians is None and any("gaussians" in FORMATS[name].needs for name in FORMATS.keys() & written):
        from anyview.render.pixels import NOTE

        print(f"note: {NOTE}")
    if "mesh" in written:
        from anyview.exporters.mesh import describe

        print(describe(written["mesh"][0]))
    for paths in written.values():
        size = sum(path.stat().st_size for path in paths) / 1e6
        first = paths[0] if len(paths) == 1 else f"{len(paths)} files in {Path(os.path.commonpath(paths))}"
        print(f"wrote {first} ({size:.1f} MB)")


def _spare_inputs(inputs: Sequence[str], output: Path, formats: Sequence[str]) -> None:
    """Refuse to read from what an export replaces: a folder or video called as its format, somewhere in ``output``."""
    replaced = {name + suffix for name in formats for suffix in ("", ".mp4")}
    folder = Path(os.path.realpath(output))  # unlike `resolve` it bears links in circles
    for given in inputs:
        path = Path(os.path.realpath(Path(given).expanduser()))
        if path.is_relative_to(folder) and replaced & set(path.relative_to(folder).parts):
            raise ValueError(f"{given} would be replaced by what is written into {output}; give another output folder")


def _features(command: Predict, formats: Sequence[str]) -> tuple[int, ...]:
    if "features" in formats and not command.predict.features:
        raise ValueError("format 'features' needs --features with the numbers of backbone blocks, e.g. --features 11")
    return command.predict.features


def _gaussians(command: Predict, formats: Sequence[str]) -> bool:
    """Whether to ask the model for Gaussians: a format that shows them is reason enough."""
    wanted = any("gaussians" in FORMATS[name].needs for name in formats) and not command.export.pixel_gaussians
    return command.predict.gaussians or wanted


def _one_line(error: BaseException) -> str:
    """The message of an error, without line breaks."""
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}"
    return " ".join(str(error).split()) or type(error).__name__


_RUN: dict[type, Callable[[Any], int | None]] = {
    Predict: predict,
    Render: render,
    Stream: stream,
    Models: models,
    Convert: convert,
    Demo: demo,
    Synth: synth,
    Train: train,
    Bench: bench,
}
