from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from anyview.cli.fields import FLAT
from anyview.cli.inputs import spare_inputs
from anyview.cli.loading import load_model
from anyview.cli.stages import Stages
from anyview.cli.summary import summarise
from anyview.exporters import FORMATS
from anyview.options import ExportOptions, PredictOptions

if TYPE_CHECKING:
    import torch

    from anyview.types import Prediction, Scene

    Results = tuple[Iterable[tuple[Path, Prediction]], torch.device]

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
    predict: Annotated[PredictOptions, FLAT] = field(default_factory=PredictOptions)
    export: Annotated[ExportOptions, FLAT] = field(default_factory=ExportOptions)

    def run(self) -> None:
        """Predict a scene, or each of its pictures, and write files."""
        from anyview.devices import keep_freed_memory, resolve_device
        from anyview.exporters import check_request, export
        from anyview.model.checkpoint import find

        formats = [name.strip() for name in self.formats.split(",") if name.strip()]
        if not self.inputs:
            raise ValueError("no pictures given; see anyview predict --help")
        if not formats:
            raise ValueError(f"no format given; known: {', '.join(FORMATS)}")
        check_request(self.output, formats, self.export)
        spare_inputs(self.inputs, self.output, formats)
        options = replace(self.predict, features=_features(self, formats), gaussians=_gaussians(self, formats))
        options.check()
        resolve_device(self.device)
        find(self.model)  # a misspelt name should not have to wait for thousands of pictures
        with Stages() as stages:
            run = _each if self.separate else _together
            keep_freed_memory()
            results, device = run(self, options, stages)
            for folder, prediction in results:
                written = export(prediction, folder, formats, self.export, stages.of("exporting"))
                stages.pause()
                summarise(prediction, written)
        print(f"took {stages.summary()} on {device}")


def _together(command: Predict, options: PredictOptions, stages: "Stages") -> "Results":
    scene = _scene(command, stages)
    model = load_model(command, stages)
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
    model = load_model(command, stages)
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


def _features(command: Predict, formats: Sequence[str]) -> tuple[int, ...]:
    if "features" in formats and not command.predict.features:
        raise ValueError("format 'features' needs --features with the numbers of backbone blocks, e.g. --features 11")
    return command.predict.features


def _gaussians(command: Predict, formats: Sequence[str]) -> bool:
    """Whether to ask the model for Gaussians: a format that shows them is reason enough."""
    wanted = any("gaussians" in FORMATS[name].needs for name in formats) and not command.export.pixel_gaussians
    return command.predict.gaussians or wanted
