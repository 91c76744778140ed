"""A user's own scenes and our synthetic ones: frames with cameras and depth, whose geometry is what the depth shows."""

import json
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8

from anyview.bench.datasets.files import need, need_scene, picture_reader, read_gray, size_reader
from anyview.bench.datasets.scene import BenchFrame, BenchScene, CloudTruth, TsdfRecipe
from anyview.bench.metrics.clouds import thin_to_voxels
from anyview.bench.options import TASKS, Task
from anyview.geometry.camera import unproject_to_world
from anyview.images.read import missing_path
from anyview.options import Protocol
from anyview.recordings.catalog import open_dataset
from anyview.recordings.scene import RealScene, SparseDepth, check_poses
from anyview.synth.dataset import scene_at
from anyview.synth.options import Split, SynthOptions
from anyview.types import Cameras

VOXELS_PER_DEPTH, TRUNCATION_VOXELS, THRESHOLDS_PER_DEPTH = 256, 5, 40
"""Of the median depth: at 2 m, voxels of 8 mm, a truncation of 4 cm and a threshold of 5 cm."""
SAMPLES = 200_000
"""Points on a fused surface."""
GEOMETRY: tuple[Task, ...] = ("recon_unposed", "recon_posed")
SCENE_JSON_LAYOUT = "scene.json with frames of file, K, w2c and depth, and depth_scale; or folders with one each"
SYNTH_LAYOUT = "SPLIT[/SCENES[/VIEWS[/SIDE]]], e.g. synth:test/4/6/224"


def recipe_of(frames: Sequence[BenchFrame]) -> TsdfRecipe:
    """Choose lengths by the median of the true depth."""
    depths = [frame.read_depth() for frame in frames if frame.read_depth is not None]
    known = np.concatenate([depth[depth > 0][:: max(1, depth.size // 10_000)] for depth in depths])
    if not len(known):
        raise ValueError("no frame of the scene has depth")
    median = float(np.median(known))
    voxel = median / VOXELS_PER_DEPTH
    return TsdfRecipe(
        voxel_size=voxel,
        truncation=TRUNCATION_VOXELS * voxel,
        largest_depth=1e6 * median,
        threshold=median / THRESHOLDS_PER_DEPTH,
        evaluation_voxel=voxel,
        samples=SAMPLES,
    )


def points_of_depth(frames: Sequence[BenchFrame], voxel_size: float) -> Float[np.ndarray, "points 3"]:
    """Lift the true depth of all frames into the world, thinned to voxels; intrinsics are in our convention."""
    clouds = []
    for frame in frames:
        assert frame.read_depth is not None
        assert frame.world_to_camera is not None
        assert frame.intrinsics is not None
        depth = torch.from_numpy(np.ascontiguousarray(frame.read_depth(), np.float32))
        height, width = frame.read_size()
        scale = np.array([depth.shape[1] / width, depth.shape[0] / height, 1])[:, None]
        camera = Cameras(
            torch.from_numpy(frame.world_to_camera).float(), torch.from_numpy(scale * frame.intrinsics).float()
        )
        points = unproject_to_world(depth, camera)[depth > 0].double().numpy()
        if len(points):
            clouds.append(thin_to_voxels(points, voxel_size))
    return thin_to_voxels(np.concatenate(clouds), voxel_size) if clouds else np.empty((0, 3))


def depth_scene(dataset: str, name: str, frames: tuple[BenchFrame, ...]) -> BenchScene:
    """Make a scene whose truth is what its own depth shows, if it has any."""
    has_truth = all(frame.read_depth is not None and frame.world_to_camera is not None for frame in frames)
    recipe = lru_cache(maxsize=1)(lambda: recipe_of(frames))
    truth = CloudTruth(read=lambda: points_of_depth(frames, recipe().evaluation_voxel)) if has_truth else None
    return BenchScene(
        dataset=dataset,
        name=name,
        frames=frames,
        pixel_origin="corner",
        truth=truth,
        read_recipe=recipe if has_truth else None,
    )


def _valid(read_depth: Callable[[], Float[np.ndarray, "height width"]]) -> Any:
    return lambda: read_depth() > 0


class SceneJson:
    """Folders with a ``scene.json``: per frame the file, K, and where known w2c and depth."""

    def __init__(self, root: Path, _protocol: Protocol) -> None:
        self.root = root

    @cached_property
    def _documents(self) -> dict[str, dict[str, Any]]:
        if not self.root.is_dir():
            raise ValueError(missing_path(self.root))
        here = self.root / "scene.json"
        files = [here] if here.is_file() else sorted(self.root.glob("*/scene.json"))
        if not files:
            raise ValueError(f"{self.root} holds no scene; expected {SCENE_JSON_LAYOUT}")
        documents = {}
        for file in files:
            try:
                document = json.loads(file.read_text(encoding="utf-8"))
                complete = all({"file", "K"} <= frame.keys() for frame in document["frames"])
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"{file} is not such a file ({error!r}); expected {SCENE_JSON_LAYOUT}") from error
            if not complete:
                raise ValueError(f"{file}: expected file and K in every frame")
            documents[file.parent.name] = document | {"folder": file.parent}
        return documents

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What any of the scenes has the truth for."""
        tasks = {task for name in self._documents for task in self.tasks_of(name)}
        return tuple(task for task in TASKS if task in tasks)

    def tasks_of(self, name: str) -> tuple[Task, ...]:
        """What one scene has the truth for."""
        frames = self._documents[name]["frames"]
        poses, depths = (all(frame.get(key) is not None for frame in frames) for key in ("w2c", "depth"))
        tasks: list[Task] = ["pose", "view_syn"] if poses and len(frames) > 1 else []
        tasks += GEOMETRY if poses and depths and len(frames) > 1 else ()
        return (*tasks, "depth") if depths else tuple(tasks)

    def scenes(self) -> tuple[str, ...]:
        """Name the scenes that are there."""
        return tuple(self._documents)

    def load(self, name: str) -> BenchScene:
        """Find a scene's files.

        Raises:
            ValueError: there is no such scene, files are missing, or its cameras cannot be right.
        """
        document = self._documents[need_scene(name, self.scenes(), "scene_json")]
        folder: Path = document["folder"]
        if any(frame.get("dist") and any(frame["dist"]) for frame in document["frames"]):
            raise ValueError(
                f"{folder / 'scene.json'}: lens distortion is not supported; straighten the pictures first"
            )
        if all(frame.get("w2c") is not None for frame in document["frames"]):
            poses, matrices = ([frame[key] for frame in document["frames"]] for key in ("w2c", "K"))
            check_poses(folder / "scene.json", Cameras.from_arrays(poses, matrices))
        step = 1 / float(document["depth_scale"]) if document.get("depth_scale") else 0.0
        return depth_scene("scene_json", name, tuple(self._frame(folder, f, step) for f in document["frames"]))

    def _frame(self, folder: Path, frame: dict[str, Any], step: float) -> BenchFrame:
        picture = need(folder / frame["file"], SCENE_JSON_LAYOUT)
        read_depth = None
        if frame.get("depth") is not None:
            path = need(folder / frame["depth"], SCENE_JSON_LAYOUT)
            read_depth = partial(_read_steps, path, step)
        pose = frame.get("w2c")
        return BenchFrame(
            name=frame["file"],
            read_picture=picture_reader(picture),
            read_size=size_reader(picture),
            world_to_camera=None if pose is None else np.array(pose, np.float32),
            intrinsics=np.array(frame["K"], np.float32),
            read_valid=(lambda: None) if read_depth is None else _valid(read_depth),
            read_depth=read_depth,
        )


def _read_steps(path: Path, step: float) -> Float32[np.ndarray, "height width"]:
    return read_gray(path, np.uint16) * np.float32(step)


class Recordings:
    """Scenes of a layout that training reads too (`anyview.recordings`): COLMAP projects, folders of our own."""

    def __init__(self, layout: str, root: Path, _protocol: Protocol) -> None:
        self.layout, self._library = layout, open_dataset(f"{layout}:{root}")
        self._scenes = {}
        for number in range(len(self._library.frames)):
            scene = self._library.scene(number)
            self._scenes[scene.name] = scene

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Poses and view synthesis always; geometry and depth where depth is dense."""
        scene = next(iter(self._scenes.values()))
        dense = not isinstance(scene.read(0).depth, SparseDepth)
        return TASKS if dense else ("pose", "view_syn")

    def scenes(self) -> tuple[str, ...]:
        """Name the scenes that are there."""
        return tuple(self._scenes)

    def load(self, name: str) -> BenchScene:
        """Read the cameras of a scene.

        Raises:
            ValueError: there is no such scene, or files of it are missing or broken.
        """
        scene = self._scenes[need_scene(name, self.scenes(), self.layout)]
        return depth_scene(self.layout, name, tuple(_recorded_frame(scene, number) for number in range(len(scene))))


def _recorded_frame(scene: RealScene, number: int) -> BenchFrame:
    first = scene.read(number)
    size = first.pixels.shape[:2]

    def read_depth() -> Float[np.ndarray, "height width"]:
        depth = scene.read(number).depth
        assert not isinstance(depth, SparseDepth)
        return depth

    dense = not isinstance(first.depth, SparseDepth) and first.depth.shape == size
    return BenchFrame(
        name=f"{number:05d}",
        read_picture=lambda: scene.read(number).pixels,
        read_size=lambda: (size[0], size[1]),
        world_to_camera=scene.world_to_camera[number].numpy().astype(np.float32),
        intrinsics=first.intrinsics.astype(np.float32),
        read_valid=_valid(read_depth) if dense else lambda: None,
        read_depth=read_depth if dense else None,
    )


class Synthetic:
    """Scenes of our own worlds, made when they are needed; the same ones always."""

    tasks = TASKS

    def __init__(self, place: Path, _protocol: Protocol) -> None:
        split, *numbers = str(place).split("/")
        if not all(number.isdecimal() for number in numbers) or len(numbers) > 3:
            raise ValueError(f"expected synthetic data as {SYNTH_LAYOUT}, got {str(place)!r}")
        count, views, side = (*map(int, numbers), *(8, 8, 224)[len(numbers) :])
        self.split = cast(Split, split)  # `scene_seed` refuses others
        self.count = count
        self.options = SynthOptions(views=views, height=side, width=side)
        self._scene = lru_cache(maxsize=2)(lambda index: scene_at(self.options, self.split, index))

    def scenes(self) -> tuple[str, ...]:
        """Name the scenes of the split."""
        return tuple(f"{self.split}-{index:04d}" for index in range(self.count))

    def _picture(self, index: int, view: int) -> UInt8[np.ndarray, "height width 3"]:
        return self._scene(index).images[view].numpy()

    def load(self, name: str) -> BenchScene:
        """Make a scene.

        Raises:
            ValueError: there is no such scene or split.
        """
        index = int(need_scene(name, self.scenes(), "synth").rpartition("-")[2])
        cameras = self._scene(index).cameras

        def frame(view: int) -> BenchFrame:
            def read_depth() -> Float32[np.ndarray, "height width"]:
                return self._scene(index).depth[view].numpy()

            return BenchFrame(
                name=f"{view:04d}",
                read_picture=partial(self._picture, index, view),
                read_size=lambda: (self.options.height, self.options.width),
                world_to_camera=cameras.world_to_camera[view].numpy(),
                intrinsics=cameras.intrinsics[view].numpy(),
                read_valid=_valid(read_depth),
                read_depth=read_depth,
            )

        return depth_scene("synth", name, tuple(frame(view) for view in range(self.options.views)))
