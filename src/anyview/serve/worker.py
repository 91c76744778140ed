"""The process that predicts: one job after the other on one device. What ends it ends one job, not the server."""

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing import connection, parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from anyview.exporters import FORMATS, check_request, export
from anyview.serve import faults
from anyview.serve.content import Kind
from anyview.serve.examples import example_pictures
from anyview.serve.options import ServeOptions
from anyview.serve.requests import DEFAULT_FORMATS, JobRequest, one_line

if TYPE_CHECKING:
    from anyview.predictor import DepthAnything3
    from anyview.types import Cameras, Prediction, Scene

logger = logging.getLogger(__name__)
Tell = Callable[[str, int, int], None]
"""Called with a stage, how much of it is done, and how much there is to do."""
SHARES = {"rendering": 0.1, "loading": 0.1, "reading": 0.1, "predicting": 0.5, "exporting": 0.1, "viewing": 0.1}
"""Stages in their order, and how much of a job's time they are taken for."""


@dataclass(frozen=True)
class Input:
    """An uploaded file."""

    path: Path
    kind: Kind
    name: str
    """Fit to be shown."""


@dataclass(frozen=True)
class Task:
    """A job for the worker."""

    id: str
    request: JobRequest
    inputs: tuple[Input, ...]
    folder: Path
    """To write into; made by the worker, taken by the server once all is written."""


@dataclass(frozen=True)
class Progress:
    """How far the task is."""

    stage: str
    fraction: float
    """Of the whole job, 0 to 1."""


@dataclass(frozen=True)
class Ended:
    """The last word on a task."""

    views: int | None = None
    error: str | None = None
    cancelled: bool = False
    unforeseen: bool = False
    """Nobody knows what state this leaves the process and its device in: it ends."""


class Cancelled(Exception):
    """The server asked for the end of the task."""


def main(pipe: Connection, device: str, models: dict[str, str], examples: Path, limits: ServeOptions) -> None:
    """Serve the tasks that come through the pipe until it closes. Runs in a process of its own."""
    _end_with_the_server()
    if hasattr(os, "nice"):
        os.nice(limits.nice)
    os.umask(0o077)
    from anyview.devices import keep_freed_memory

    keep_freed_memory()
    worker = Worker(device, models, examples, limits)
    worker.model(next(iter(models)))
    pipe.send(None)
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        if isinstance(task, Task):  # anything else is the cancellation of a task that has just ended
            outcome = _outcome(worker, task, pipe)
            pipe.send(outcome)
            if outcome.unforeseen:
                return


def _outcome(worker: "Worker", task: Task, pipe: Connection) -> Ended:
    import torch

    told: list[Progress] = []

    def tell(stage: str, done: int, total: int) -> None:
        if pipe.poll():
            pipe.recv()
            raise Cancelled
        progress = Progress(stage, round(fraction_of(stage, done, total), 2))
        if progress not in told[-1:]:
            told.append(progress)
            pipe.send(progress)

    try:
        return Ended(views=worker.run(task, tell))
    except Cancelled:
        return Ended(cancelled=True)
    except MemoryError as error:
        return Ended(error=f"out of memory: {_without_paths(one_line(error), task)}")
    except torch.OutOfMemoryError:  # outside of the network, where it is a MemoryError
        return Ended(error="out of memory of the device: fewer views, or a lower resolution, take less")
    except (ValueError, ImportError, OSError) as error:
        return Ended(error=_without_paths(one_line(error), task))
    except Exception:  # the boundary: whatever it was, it is this job's fault and the next one's chance
        return Ended(error=faults.report(logger, f"job {task.id}"), unforeseen=True)


def _without_paths(text: str, task: Task) -> str:
    """Call files as the user did."""
    for file in task.inputs:
        text = text.replace(str(file.path), file.name)
    return text.replace(f"{task.folder}/", "").replace(str(task.folder), "the result")


def fraction_of(stage: str, done: int, total: int) -> float:
    """Say how much of a whole job is done when ``done`` of ``total`` is done of a stage."""
    before = 0.0
    for name, share in SHARES.items():
        if name == stage:
            return before + share * min(done / max(total, 1), 1.0)
        before += share
    return before


class Worker:
    """A device with the model that was used last."""

    def __init__(self, device: str, models: dict[str, str], examples: Path, limits: ServeOptions) -> None:
        """``models``: offered name -> what `DepthAnything3.from_pretrained` takes."""
        self._device = device
        self._models = models
        self._examples = examples
        self._limits = limits
        self._loaded: tuple[str, DepthAnything3] | None = None

    def model(self, name: str, tell: Tell = lambda stage, done, total: None) -> "DepthAnything3":
        """Return a model on offer, loaded unless it was the last one used."""
        from anyview.predictor import DepthAnything3

        if self._loaded is None or self._loaded[0] != name:
            self._loaded = None  # before the next one needs the memory
            model = DepthAnything3.from_pretrained(self._models[name], device=self._device, offline=True, progress=tell)
            self._loaded = (name, model)
        return self._loaded[1]

    def run(self, task: Task, tell: Tell) -> int:
        """Do a task; return the number of views.

        Raises:
            ValueError: In one line, what is wrong with the pictures or with what was asked.
            Cancelled: From ``tell``.
        """
        request = task.request
        task.folder.mkdir(parents=True)
        check_request(task.folder, request.formats or (), request.export)
        scene = self._scene(task, tell)
        model = self.model(request.model, tell)
        cameras, intrinsics = known_cameras(request, len(scene.pictures))
        prediction = model.predict(scene, cameras, intrinsics=intrinsics, options=request.predict, progress=tell)
        # The bundled model has a name; others are called what this server calls them.
        prediction = replace(prediction, model=request.model)
        formats = DEFAULT_FORMATS if request.formats is None else request.formats
        if request.formats is None:
            formats = tuple(name for name in formats if all(getattr(prediction, n) for n in FORMATS[name].needs))
        export(prediction, task.folder, formats, request.export, lambda done, total: tell("exporting", done, total))
        self._write_view(prediction, task, formats, tell)
        return len(prediction)

    def _write_view(self, prediction: "Prediction", task: Task, formats: tuple[str, ...], tell: Tell) -> None:
        from anyview.serve.view import write_view

        write_view(
            prediction,
            task.folder,
            task.request.export,
            most_points=self._limits.view_points,
            mesh="mesh.ply" if "mesh" in formats else None,
            progress=lambda done, total: tell("viewing", done, total),
        )

    def _scene(self, task: Task, tell: Tell) -> "Scene":
        from anyview.images.read import unique_names
        from anyview.images.sources import read_scene
        from anyview.serve.video import check_video

        request, limits = task.request, self._limits
        if request.example is not None:
            paths = example_pictures(
                request.example, self._examples, lambda done, total: tell("rendering", done, total)
            )
            return read_scene(list(paths), progress=lambda done, total: tell("reading", done, total))
        videos = [file for file in task.inputs if file.kind == "video"]
        room = limits.views - (len(task.inputs) - len(videos))
        if room < 0 or (videos and room < len(videos)):
            raise ValueError(f"expected at most {limits.views} pictures and frames, got {len(task.inputs)} files")
        for file in videos:
            check_video(file.path, file.name, seconds=limits.video_s, megapixels=limits.megapixels)
        tell("reading", 0, 1)
        scene = read_scene(
            [file.path for file in task.inputs],
            frames_per_second=request.frames_per_second,
            max_frames=min(request.max_frames or limits.views, room // max(len(videos), 1) or 1),
            progress=lambda done, total: tell("reading", done, total),
        )
        shown = {file.path.stem: file.name for file in task.inputs}
        names = [_shown(picture.name, shown) for picture in scene.pictures]
        unique = unique_names(names)
        return replace(
            scene, pictures=tuple(replace(p, name=name) for p, name in zip(scene.pictures, unique, strict=True))
        )


def known_cameras(request: JobRequest, count: int) -> tuple["Cameras | None", object | None]:
    """Return the cameras of a request, or its intrinsics where it has no poses.

    Raises:
        ValueError: They are not as many as the pictures.
    """
    from anyview.types import Cameras

    for name in ("world_to_camera", "intrinsics"):
        given = getattr(request, name)
        if given is not None and len(given) != count:
            raise ValueError(f"expected {name} of {count} pictures, got {len(given)}")
    if request.world_to_camera is None:
        return None, request.intrinsics
    return Cameras.from_arrays(request.world_to_camera, request.intrinsics), None


def _shown(name: str, shown: dict[str, str]) -> str:
    """Name a picture as the user called its file: 0001.jpg and 0002_00017 begin with our names."""
    ours, rest = name[:4], name[4:]
    if rest.startswith("_"):
        return shown[ours].rpartition(".")[0] + rest
    return shown[ours]


def _end_with_the_server() -> None:
    """End this process when the one that started it ends, even in the middle of a network."""
    server = parent_process()
    assert server is not None

    def watch() -> None:
        connection.wait([server.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
