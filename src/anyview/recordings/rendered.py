"""Synthetic scenes rendered ahead of time (`anyview.synth.blocks` writes them)."""

import functools
import json
from pathlib import Path

import numpy as np
import torch

from anyview.images.read import missing_path
from anyview.recordings.scene import Frame, RealScene

_ARRAYS = ("images", "depth", "world_to_camera", "intrinsics")


class RenderedLibrary:
    """Scenes that `synth.blocks.render_blocks` wrote (`recordings.scene.Library`)."""

    def __init__(self, path: Path) -> None:
        """Find the blocks that are complete.

        Raises:
            ValueError: there are none, one lacks an array, or its options cannot be read.
        """
        if not path.is_dir():
            raise ValueError(missing_path(path))
        self.folders = sorted(folder for folder in path.iterdir() if folder.is_dir() and folder.name.isdecimal())
        if not self.folders:
            raise ValueError(f"{path} holds no blocks of rendered scenes: expected 000000/images.npy and so on")
        shapes = [_open(folder, "images").shape for folder in self.folders]
        self.frames = tuple(views for scenes, views, *_ in shapes for _ in range(scenes))
        self._places = tuple((block, scene) for block, (scenes, *_) in enumerate(shapes) for scene in range(scenes))
        self.blocks = tuple((number,) for number in range(len(self.frames)))
        self.augmented = any(_augmented(folder) for folder in self.folders)
        """Whether the views of a scene are known to differ in colour; older blocks do not say."""
        self._arrays = functools.lru_cache(maxsize=None)(self._open_block)

    def scene(self, number: int) -> RealScene:
        """Return a scene.

        Raises:
            ValueError: its block lacks an array, or one is misshapen.
        """
        block, place = self._places[number]
        images, depth, world_to_camera, intrinsics = self._arrays(block)

        def read(frame: int) -> Frame:
            return Frame(
                np.asarray(images[place, frame]),
                np.asarray(intrinsics[place, frame], np.float64),
                np.asarray(depth[place, frame]),
            )

        name = f"{self.folders[block].name}/{place}"
        return RealScene(name, torch.from_numpy(np.array(world_to_camera[place], np.float64)), read)

    def _open_block(self, block: int) -> tuple[np.ndarray, ...]:
        folder = self.folders[block]
        images, depth, poses, intrinsics = (_open(folder, name) for name in _ARRAYS)
        scenes, views, height, width = images.shape[:4]
        wanted = ((scenes, views, height, width), (scenes, views, 4, 4), (scenes, views, 3, 3))
        for name, array, shape in zip(_ARRAYS[1:], (depth, poses, intrinsics), wanted, strict=True):
            if array.shape != shape:
                raise ValueError(f"{folder / name}.npy: expected the shape {list(shape)}, got {list(array.shape)}")
        return images, depth, poses, intrinsics


def _augmented(folder: Path) -> bool:
    path = folder / "options.json"
    try:
        return json.loads(path.read_text())["augment"] is True if path.exists() else False
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected the options that the block was rendered with ({error!r})") from error


def _open(folder: Path, name: str) -> np.ndarray:
    path = folder / f"{name}.npy"
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} is missing or not a readable array ({error})") from error
