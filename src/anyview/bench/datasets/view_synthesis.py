"""Sets for view synthesis: DL3DV, Tanks and Temples, MegaDepth (benchmark 3.1), and any project like theirs.

All are COLMAP projects, or ``transforms.json`` with pictures. Which pictures are rendered from which is decided by
`synthesis.split_views`.
"""

from functools import cached_property
from pathlib import Path

import numpy as np

from anyview.bench.datasets.files import need_scene
from anyview.bench.datasets.scene import BenchFrame, BenchScene
from anyview.bench.options import Task
from anyview.images.colmap import find_models, likely_folders, list_colmap
from anyview.images.pinhole import KnownView
from anyview.images.read import missing_path
from anyview.images.transforms import list_transforms
from anyview.options import Protocol

TANKS_SCENES = ("Barn", "Caterpillar", "Church", "Ignatius", "Meetingroom", "Truck")
MEGADEPTH_SCENES = tuple(f"{number}" for number in range(5000, 5019))
LAYOUT = "SCENE/ with a COLMAP model (sparse/0 or colmap/sparse/0) and images/, or with transforms.json"
SIZE = (270, 480)
"""(height, width) of rendered pictures."""
PLACES = (".", "colmap", "nerfstudio", "gaussian_splat", "sparse/manhattan/0")
"""Where in a scene's folder its model or its ``transforms.json`` may lie."""


class ViewSynthesis:
    """Scenes at a place on disk. COLMAP models need the extra ``colmap``."""

    tasks: tuple[Task, ...] = ("view_syn",)

    def __init__(self, dataset: str, published: tuple[str, ...] | None, root: Path, _protocol: Protocol) -> None:
        """``published``: the scenes that count; None: all that are there."""
        self.dataset, self.published, self.root = dataset, published, root

    @cached_property
    def _folders(self) -> dict[str, Path]:
        if not self.root.is_dir():
            raise ValueError(missing_path(self.root))
        if self.published is None and _project(self.root):
            return {self.root.resolve().name: self.root}
        folders = {path.name: path for path in sorted(self.root.iterdir()) if path.is_dir() and _project(path)}
        if self.published is not None:
            folders = {name: folders[name] for name in self.published if name in folders}
        if not folders:
            raise ValueError(f"{self.root} holds none of the scenes of {self.dataset}; expected {LAYOUT}")
        return folders

    def scenes(self) -> tuple[str, ...]:
        """Name the scenes that are there."""
        return tuple(self._folders)

    def load(self, name: str) -> BenchScene:
        """Read a scene's cameras.

        Raises:
            ValueError: there is no such scene, or files of it are missing or broken.
        """
        folder = self._folders[need_scene(name, self.scenes(), self.dataset)]
        return BenchScene(
            dataset=self.dataset,
            name=name,
            frames=tuple(_frame(view) for view in _views(folder)),
            pixel_origin="corner",
            cut_to=None if self.dataset == "colmap" else SIZE,
        )


def _project(folder: Path) -> Path | None:
    """Return the ``transforms.json`` of a scene, or else the folder of its COLMAP model, if it has any."""
    for place in (folder / place for place in PLACES):
        if (place / "transforms.json").is_file():
            return place / "transforms.json"
        if models := find_models(place):
            return models[0]
    return None


def _views(folder: Path) -> list[KnownView]:
    project = _project(folder)
    assert project is not None
    if project.name == "transforms.json":
        return list_transforms(project)
    return list_colmap(project, [folder / "images_4", *likely_folders(folder, project)])


def _frame(view: KnownView) -> BenchFrame:
    return BenchFrame(
        name=view.name,
        read_picture=view.read,
        read_size=lambda: view.size,
        world_to_camera=view.world_to_camera.numpy().astype(np.float32),
        intrinsics=view.intrinsics.astype(np.float32),
    )
