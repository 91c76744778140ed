"""What readers of the published benchmark share: a place on disk, the published scenes of it, and a protocol."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from anyview.bench.datasets.files import need_scene, published_scenes
from anyview.bench.datasets.scene import BenchScene
from anyview.bench.options import Task
from anyview.options import Protocol


class PublishedSet(ABC):
    """One data set of the benchmark, in the layout in which it is published."""

    dataset: str
    layout: str
    """Below the root, for errors."""
    published: Collection[str] = ()
    """Scenes, in the published order; none where a file of the data set says which."""
    scene_root = "."
    """Folder below the root that the scenes' folders lie in."""
    tasks: tuple[Task, ...] = ("pose", "recon_unposed", "recon_posed")

    def __init__(self, root: Path, protocol: Protocol) -> None:
        self.root, self.compat = root, protocol == "compat"

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return published_scenes(self.root / self.scene_root, self.published, self.layout)

    def scenes(self) -> tuple[str, ...]:
        """Name the scenes that are there."""
        return self._names

    def load(self, name: str) -> BenchScene:
        """Find a scene's files; pictures and truth are read later.

        Raises:
            ValueError: there is no such scene, or files of it are missing.
        """
        scene = self._load(need_scene(name, self._names, self.dataset))
        there, of = len(self._names), len(self.published)
        return replace(scene, notes=(*scene.notes, f"{there} of the {of} published scenes")) if there < of else scene

    def check_geometry(self, scene: BenchScene) -> None:
        """See that the files are there that say where depth counts.

        Raises:
            ValueError: one is missing.
        """
        self.refuse_missing([file for frame in scene.frames for file in frame.valid_files if not file.is_file()])

    @abstractmethod
    def _load(self, name: str) -> BenchScene:
        """Find the files of a scene that is there."""

    def refuse_missing(self, missing: list[Path]) -> None:
        """Refuse files that a scene lacks; "compat" leaves their frames out (quirk 2).

        Raises:
            ValueError: naming the first, and the layout.
        """
        if missing and not self.compat:
            others = f", and {len(missing) - 1} others" if len(missing) > 1 else ""
            raise ValueError(f"{missing[0]} is missing{others}; expected {self.layout}")
