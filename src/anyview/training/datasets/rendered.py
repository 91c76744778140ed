"""Synthetic scenes rendered ahead of time, for machines on which rendering takes as long as training.

    000012/images.npy             uint8 [scenes, views, height, width, 3]
    000012/depth.npy              float32 [scenes, views, height, width], z-depth in metres, 0 in the sky
    000012/world_to_camera.npy    float32 [scenes, views, 4, 4]
    000012/intrinsics.npy         float32 [scenes, views, 3, 3], pixels

A block of scenes is a folder that appears when it is complete, so several processes can write at once, a stopped one
goes on, and a run may train on what is there so far.
"""

import functools
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import torch

from anyview.files import atomic_path
from anyview.images.read import missing_path
from anyview.synth.dataset import batch_at
from anyview.synth.options import Split, SynthOptions
from anyview.training.datasets.scene import Frame, RealScene

SCENES_PER_BLOCK = 16
SCENES_AT_ONCE = 2
"""More leave a processor's caches: 15.4 views/s of 140 × 140 with 2, 13.7 with 8, on one core."""
_ARRAYS = ("images", "depth", "world_to_camera", "intrinsics")


class RenderedLibrary:
    """Scenes that `render_blocks` wrote (`training.datasets.source.Library`)."""

    def __init__(self, path: Path) -> None:
        """Find the blocks that are complete.

        Raises:
            ValueError: there are none, or one lacks an array.
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


def render_blocks(
    options: SynthOptions,
    split: Split,
    folder: Path,
    *,
    first: int = 0,
    count: int,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Render scenes of a split into blocks below ``folder``; blocks that are there already stay.

    Call it under ``if __name__ == "__main__"`` where there are several workers: the processes are spawned.

    Raises:
        ValueError: ``first`` or ``count`` is no multiple of `SCENES_PER_BLOCK`, or there is less than one worker.
    """
    if first % SCENES_PER_BLOCK or count % SCENES_PER_BLOCK or count < SCENES_PER_BLOCK or first < 0:
        raise ValueError(f"expected scenes in multiples of {SCENES_PER_BLOCK}, got {count} from {first} on")
    if workers < 1:
        raise ValueError(f"expected at least 1 worker, got {workers}")
    blocks = range(first // SCENES_PER_BLOCK, (first + count) // SCENES_PER_BLOCK)
    open_blocks = [block for block in blocks if not (folder / f"{block:06d}").exists()]
    done = count - len(open_blocks) * SCENES_PER_BLOCK
    progress(done, count)
    if workers == 1:
        for block in open_blocks:
            render_block(options, split, folder, block)
            done += SCENES_PER_BLOCK
            progress(done, count)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        jobs = [pool.submit(render_block, options, split, folder, block) for block in open_blocks]
        try:
            for job in as_completed(jobs):
                job.result()
                done += SCENES_PER_BLOCK
                progress(done, count)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def render_block(options: SynthOptions, split: Split, folder: Path, block: int) -> None:
    """Render a block's scenes and write them."""
    first = block * SCENES_PER_BLOCK
    parts = [
        batch_at(options, split, range(start, start + SCENES_AT_ONCE))
        for start in range(first, first + SCENES_PER_BLOCK, SCENES_AT_ONCE)
    ]
    arrays = {
        "images": torch.cat([part.images for part in parts]),
        "depth": torch.cat([part.depth for part in parts]),
        "world_to_camera": torch.cat([part.cameras.world_to_camera for part in parts]),
        "intrinsics": torch.cat([part.cameras.intrinsics for part in parts]),
    }
    with atomic_path(folder / f"{block:06d}") as temporary:
        temporary.mkdir()
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array.numpy())


def _open(folder: Path, name: str) -> np.ndarray:
    path = folder / f"{name}.npy"
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} is missing or not a readable array ({error})") from error
