"""What a user points at -> a scene: pictures, folders, videos, and projects that know their cameras."""

import itertools
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from anyview.images.budget import ReadingBudget
from anyview.images.colmap import find_models, read_colmap
from anyview.images.pool import Progress
from anyview.images.read import PictureSource, read_pictures, readable_name, unique_names
from anyview.images.transforms import read_transforms
from anyview.images.video import VIDEO_SUFFIXES, read_frames
from anyview.types import Picture, Scene


def read_scene(
    inputs: PictureSource | Sequence[Any],
    *,
    frames_per_second: float | None = None,
    max_frames: int | None = None,
    image_folder: str | Path | None = None,
    use_cameras: bool = True,
    progress: Progress | None = None,
) -> Scene:
    """Read a scene from anything that holds pictures, or from a sequence of such things, in that order.

    Beside what `read_pictures` takes: video files, of which ``frames_per_second`` and ``max_frames`` choose frames as
    in `read_frames`; COLMAP projects (`read_colmap`, with ``image_folder``); and ``transforms.json`` or folders that
    hold one (`read_transforms`). A folder with both pictures and such a model is the project, and COLMAP's comes first.
    ``use_cameras=False`` takes a project's pictures, undistorted, and forgets their cameras.

    Raises:
        ValueError: something cannot be read, or only some of the pictures have known cameras.
    """
    parts: list[Any] = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    if not parts:
        raise ValueError("no pictures given")
    kinds = [_kind(part) for part in parts]
    if image_folder is not None and "colmap" not in kinds:
        raise ValueError(f"an image folder ({image_folder}) belongs to a COLMAP project, and none is given")
    scenes = []
    for kind, group in itertools.groupby(zip(kinds, parts, strict=True), key=lambda pair: pair[0]):
        members = [part for _, part in group]
        if kind == "pictures":
            scenes.append(Scene(read_pictures(members, progress=progress), source="pictures"))
        elif kind == "video":
            scenes += [_read_video(part, frames_per_second, max_frames, progress) for part in members]
        elif kind == "colmap":
            scenes += [read_colmap(part, image_folder=image_folder, progress=progress) for part in members]
        else:
            scenes += [read_transforms(part, progress=progress) for part in members]
    return _joined(scenes if use_cameras else [replace(scene, cameras=None) for scene in scenes])


def are_pictures(inputs: Sequence[Any]) -> bool:
    """Whether inputs are nothing but pictures, so that they can be read a few at a time."""
    return all(_kind(part) == "pictures" for part in inputs)


def _kind(part: object) -> Literal["pictures", "video", "colmap", "transforms"]:
    if not isinstance(part, (str, os.PathLike)):
        return "pictures"
    path = Path(part).expanduser()
    if path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir():
        return "video"
    if path.is_dir() and find_models(path):
        return "colmap"
    if path.suffix.lower() == ".json" or (path / "transforms.json").is_file():
        return "transforms"
    return "pictures"


def _read_video(
    path: str | os.PathLike[str], frames_per_second: float | None, count: int | None, progress: Progress | None
) -> Scene:
    path = Path(path)
    frames = read_frames(path, frames_per_second=frames_per_second, count=count, progress=progress)
    stem = readable_name(path.stem)
    budget = ReadingBudget(None)
    pictures = [budget.take(Picture(frame.pixels, f"{stem}_{index:05d}")) for index, frame in enumerate(frames)]
    return Scene(tuple(pictures), source=f"video {path}")


def _joined(scenes: Sequence[Scene]) -> Scene:
    """Put scenes one after the other."""
    if len(scenes) == 1:
        return scenes[0]
    known = next((scene.source for scene in scenes if scene.cameras is not None), None)
    if known is not None:
        raise ValueError(
            f"{known} knows its cameras, so it must be given alone; or leave the cameras out "
            "(--cameras ignore, in Python use_cameras=False)"
        )
    pictures = [picture for scene in scenes for picture in scene.pictures]
    names = unique_names([picture.name for picture in pictures])
    return Scene(
        tuple(replace(picture, name=name) for picture, name in zip(pictures, names, strict=True)),
        source=", ".join(scene.source for scene in scenes),
    )
