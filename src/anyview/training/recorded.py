"""Real scenes as a source of training: which scene, which of its frames, cut to the size of the batch."""

import functools
import random
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from anyview.geometry.pose import camera_centers
from anyview.recordings.scene import Frame, Library, SparseDepth
from anyview.types import Cameras, TrueViews


class SceneSource:
    """Scenes of a library in an order that is shuffled anew each time all have been seen (`training.samples.Source`).

    Scenes with fewer frames than views are asked for, or that show nothing of known depth, give their turn to the next.
    """

    def __init__(self, library: Library, seed: int = 0, numbers: Collection[int] | None = None) -> None:
        """``numbers``: the scenes of the library to show; default: all."""
        self.library, self.seed = library, seed
        self.numbers = range(len(library.frames)) if numbers is None else numbers
        self.most_views = max(library.frames[number] for number in self.numbers)
        self._order = functools.lru_cache(maxsize=2)(self._draw_order)

    def batch(self, indices: Sequence[int], views: int, height: int, width: int, spread: float) -> TrueViews:
        """Read scenes.

        Raises:
            ValueError: a file is missing or broken, or no scene has enough frames.
        """
        scenes = [self._read(index, views, height, width, spread) for index in indices]
        return TrueViews(
            images=torch.stack([scene.images for scene in scenes]),
            depth=torch.stack([scene.depth for scene in scenes]),
            cameras=Cameras(
                torch.stack([scene.cameras.world_to_camera for scene in scenes]),
                torch.stack([scene.cameras.intrinsics for scene in scenes]),
            ),
        )

    def _read(self, index: int, views: int, height: int, width: int, spread: float) -> TrueViews:
        draw = random.Random(f"views {self.seed} {index}")
        for number in self._numbers(index, views):
            scene = self.library.scene(number)
            chosen = choose_views(scene.world_to_camera, views, spread, draw)
            fitted = [fit_frame(scene.read(frame), height, width) for frame in chosen]
            pixels, depth, intrinsics = (torch.from_numpy(np.stack(values)) for values in zip(*fitted, strict=True))
            if (depth > 0).any():
                return TrueViews(pixels, depth, Cameras(scene.world_to_camera[chosen].float(), intrinsics.float()))
        raise ValueError(f"no view of {height}x{width} pixels of any scene has depth")

    def _numbers(self, index: int, views: int) -> Iterator[int]:
        """Yield the scene whose turn it is, then those after it, in case that it shows nothing of known depth."""
        frames = self.library.frames
        epoch, place = divmod(index, len(self.numbers))
        order = self._order(epoch)
        turns = [order[(place + later) % len(order)] for later in range(len(order))]
        able = [number for number in turns if frames[number] >= views]
        if not able:
            raise ValueError(f"no scene has {views} frames; the most that one has is {self.most_views}")
        yield from able

    def _draw_order(self, epoch: int) -> tuple[int, ...]:
        draw = random.Random(f"order {self.seed} {epoch}")
        blocks = [[number for number in block if number in self.numbers] for block in self.library.blocks]
        for block in blocks:
            draw.shuffle(block)
        draw.shuffle(blocks)
        return tuple(number for block in blocks for number in block)


def split_scenes(library: Library, validation_share: float = 0.1, seed: int = 0) -> tuple[SceneSource, SceneSource]:
    """Return sources of training and of validation scenes that share none; at least one scene each.

    A library of a single scene has it in both: its validation says how well it is learned, not what for.
    """
    scenes = list(range(len(library.frames)))
    if len(scenes) == 1:
        return SceneSource(library, seed), SceneSource(library, seed)
    random.Random(f"split {seed}").shuffle(scenes)
    count = min(max(1, round(validation_share * len(scenes))), len(scenes) - 1)
    return SceneSource(library, seed, frozenset(scenes[count:])), SceneSource(library, seed, frozenset(scenes[:count]))


def choose_views(
    world_to_camera: Float[Tensor, "frames 4 4"], views: int, spread: float, draw: random.Random
) -> list[int]:
    """Draw a frame, then others from those nearest to it; ``spread`` 0 takes the nearest, 1 any.

    Near means close by, in parts of the median distance between cameras, and looking the same way, in right angles.
    """
    frames = len(world_to_camera)
    first = draw.randrange(frames)
    centers, forward = camera_centers(world_to_camera), world_to_camera[:, 2, :3]
    apart = (centers - centers[first]).norm(dim=-1)
    angle = (forward @ forward[first]).clamp(-1, 1).acos()
    far = apart / apart.median().clamp(min=1e-6) + angle / (torch.pi / 2)
    far[first] = -1
    near = far.argsort(stable=True)[1 : views + round(spread * (frames - views))].tolist()
    return [first, *draw.sample(near, views - 1)]


def fit_frame(
    frame: Frame, height: int, width: int
) -> tuple[UInt8[np.ndarray, "{height} {width} 3"], Float[np.ndarray, "{height} {width}"], Float[np.ndarray, "3 3"]]:
    """Cut the middle out of a frame and resize it; return picture, depth and intrinsics.

    Depth is never interpolated: a map is read at the centres of the new pixels, of sparse points the nearest stays.
    """
    import cv2

    full_height, full_width = frame.pixels.shape[:2]
    scale = max(height / full_height, width / full_width)
    rows, columns = min(full_height, round(height / scale)), min(full_width, round(width / scale))
    top, left = (full_height - rows) // 2, (full_width - columns) // 2
    scale_y, scale_x = height / rows, width / columns
    cut = frame.pixels[top : top + rows, left : left + columns]
    pixels = cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    placement = np.array([[scale_x, 0, -left * scale_x], [0, scale_y, -top * scale_y], [0, 0, 1]])
    if isinstance(frame.depth, SparseDepth):
        x = (frame.depth.pixels[:, 0] - left) * scale_x
        y = (frame.depth.pixels[:, 1] - top) * scale_y
        depth = scatter_depth(x, y, frame.depth.depth, height, width)
    else:
        depth_rows, depth_columns = frame.depth.shape
        y = ((np.arange(height) + 0.5) / scale_y + top) * depth_rows / full_height
        x = ((np.arange(width) + 0.5) / scale_x + left) * depth_columns / full_width
        depth = frame.depth[np.ix_(y.astype(int), x.astype(int))]
    return pixels, depth.astype(np.float32), placement @ frame.intrinsics


def scatter_depth(
    x: Float[np.ndarray, " points"],
    y: Float[np.ndarray, " points"],
    depth: Float[np.ndarray, " points"],
    height: int,
    width: int,
) -> Float[np.ndarray, "{height} {width}"]:
    """Put points into the pixels they fall into; the nearest stays, 0 is where none is."""
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (depth > 0)
    farthest_first = np.argsort(-depth[inside], kind="stable")
    place = (y[inside].astype(int) * width + x[inside].astype(int))[farthest_first]
    canvas = np.zeros(height * width, np.float32)
    canvas[place] = depth[inside][farthest_first]
    return canvas.reshape(height, width)
