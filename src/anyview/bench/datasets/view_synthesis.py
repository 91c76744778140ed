"""Sets for view synthesis: DL3DV, Tanks and Temples, MegaDepth (benchmark 3.1).

All are COLMAP projects, or ``transforms.json`` with pictures (DL3DV). Every eighth picture is to be rendered from
twelve of the others, chosen far apart.
"""

from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from anyview.bench.datasets.files import need_scene
from anyview.bench.datasets.scene import BenchFrame, BenchScene
from anyview.bench.options import Task
from anyview.bench.sampling import choose_context, choose_targets
from anyview.images.colmap import find_models, read_colmap
from anyview.images.read import missing_path
from anyview.images.transforms import read_transforms
from anyview.options import Protocol
from anyview.types import Scene

TANKS_SCENES = ("Barn", "Caterpillar", "Church", "Ignatius", "Meetingroom", "Truck")
MEGADEPTH_SCENES = tuple(f"{number}" for number in range(5000, 5019))
LAYOUT = "SCENE/ with a COLMAP model (sparse/0 or colmap/sparse/0) and images/, or with transforms.json"
CONTEXT_VIEWS = 12
SIZE = (270, 480)
"""(height, width) of rendered pictures."""
LARGEST_LOSS = 0.35
"""Pictures that lose more of their area than this when they are cut to `SIZE`'s aspect are left out."""


class ViewSynthesis:
    """Scenes with context and target views at a place on disk. COLMAP models need the extra ``colmap``."""

    tasks: tuple[Task, ...] = ("view_syn",)

    def __init__(self, dataset: str, published: tuple[str, ...] | None, root: Path, _protocol: Protocol) -> None:
        """``published``: the scenes that count; None: all that are there."""
        self.dataset, self.published, self.root = dataset, published, root

    @cached_property
    def _folders(self) -> dict[str, Path]:
        if not self.root.is_dir():
            raise ValueError(missing_path(self.root))
        folders = {path.name: path for path in sorted(self.root.iterdir()) if path.is_dir() and _kind(path)}
        if self.published is not None:
            folders = {name: folders[name] for name in self.published if name in folders}
        if not folders:
            raise ValueError(f"{self.root} holds none of the scenes of {self.dataset}; expected {LAYOUT}")
        return folders

    def scenes(self) -> tuple[str, ...]:
        """Name the scenes that are there."""
        return tuple(self._folders)

    def load(self, name: str) -> BenchScene:
        """Read a scene's cameras and choose its context and targets: frames are the context, then the targets.

        Raises:
            ValueError: there is no such scene, its files are missing, or it has too few pictures.
        """
        folder = self._folders[need_scene(name, self.scenes(), self.dataset)]
        scene = self._read(folder)
        assert scene.cameras is not None
        order = sorted(range(len(scene.pictures)), key=lambda index: scene.pictures[index].name)
        kept = [index for index in order if lost_area(*scene.pictures[index].pixels.shape[:2]) <= LARGEST_LOSS]
        if len(kept) <= CONTEXT_VIEWS:
            raise ValueError(
                f"{folder}: expected more than {CONTEXT_VIEWS} pictures of a fitting aspect, got {len(kept)}"
            )
        poses = scene.cameras.world_to_camera.numpy()
        targets = choose_targets(len(kept))
        others = [position for position in range(len(kept)) if position not in set(targets)]
        context = [others[i] for i in choose_context(poses[[kept[other] for other in others]], CONTEXT_VIEWS)]
        frames = tuple(_frame(scene, kept[position]) for position in (*context, *targets))
        left_out = len(order) - len(kept)
        return BenchScene(
            dataset=self.dataset,
            name=name,
            frames=frames,
            pixel_origin="corner",
            targets=tuple(range(len(context), len(frames))),
            notes=(f"{left_out} pictures of another aspect left out",) if left_out else (),
        )

    def _read(self, folder: Path) -> Scene:
        kind = _kind(folder)
        if kind == "transforms":
            return read_transforms(folder)
        project = folder / "colmap" if find_models(folder / "colmap") else folder
        images = next((folder / name for name in ("images_4", "images") if (folder / name).is_dir()), None)
        return read_colmap(project, image_folder=images)


def _kind(folder: Path) -> str | None:
    if (folder / "transforms.json").is_file():
        return "transforms"
    return "colmap" if find_models(folder) or find_models(folder / "colmap") else None


def lost_area(height: int, width: int) -> float:
    """Part of a picture's area that cutting it to the aspect of `SIZE` takes away."""
    aspect, wanted = width / height, SIZE[1] / SIZE[0]
    return 1 - min(aspect / wanted, wanted / aspect)


def _frame(scene: Scene, index: int) -> BenchFrame:
    assert scene.cameras is not None
    picture: Any = scene.pictures[index]
    height, width = picture.pixels.shape[:2]
    return BenchFrame(
        name=picture.name,
        read_picture=lambda: picture.pixels,
        read_size=partial(tuple, (height, width)),
        world_to_camera=scene.cameras.world_to_camera[index].numpy().astype(np.float32),
        intrinsics=scene.cameras.intrinsics[index].numpy().astype(np.float32),
    )
