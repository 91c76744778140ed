"""A walk through a synthetic room: its pictures and its truth, and how well a stream has found both.

Used by `benchmarks/streaming.py`. Rendering is the slow part, so a walk is kept in a file.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch

from anyview.bench.metrics.trajectories import score_trajectory
from anyview.files import atomic_path
from anyview.geometry.camera import intrinsics_from_field_of_view, unproject_to_world
from anyview.geometry.pose import camera_centers, rigid_inverse
from anyview.geometry.robust_alignment import fit_similarity_robustly
from anyview.streaming import Stream
from anyview.streaming.cloud import sure_pixels
from anyview.streaming.frames import PosedViews, StreamFrame, WindowGeometry, WindowPredictor
from anyview.streaming.injected import path_length
from anyview.streaming.outputs import stored_frames
from anyview.synth.cameras import look_at
from anyview.synth.dataset import scene_seed
from anyview.synth.renderer import render
from anyview.synth.rooms import room
from anyview.synth.world import stack_layouts
from anyview.types import Cameras

PIXEL_STRIDE = 3
"""Of the rows and columns whose points are compared."""
CELL_M = 0.25
"""Side of the pieces of a wall, or of whatever stands there, of which sheets are told apart."""


@dataclass(frozen=True)
class Walk:
    """Frames of a camera in a room, with their truth in metres."""

    pictures: torch.Tensor
    depth: torch.Tensor
    normals: torch.Tensor
    """World space."""
    solid: torch.Tensor
    cameras: Cameras

    def frames(self, count: int | None = None) -> Iterator[np.ndarray]:
        """Yield pictures one by one."""
        yield from self.pictures[:count].numpy()


class TrueGeometry:
    """The walk's truth with a hundredth of noise on depth, each window in a unit of its own: what stitching leaves."""

    name = "true geometry"

    def __init__(self, walk: Walk) -> None:
        self.walk = walk

    def predict_window(
        self, frames: Sequence[StreamFrame], known: Cameras | None = None, known_views: Sequence[int] = ()
    ) -> WindowGeometry:
        """Take the frames' truth by their index."""
        index = [frame.index for frame in frames]
        generator = torch.Generator().manual_seed(index[0])
        unit = float((0.3 * torch.randn(1, generator=generator)).exp())
        true = self.walk.depth[index]
        depth = unit * true * (1 + 0.01 * torch.randn(true.shape, generator=generator))
        cameras = self.walk.cameras[index]
        poses = cameras.world_to_camera @ rigid_inverse(cameras.world_to_camera[:1])
        poses[:, :3, 3] *= unit
        images = torch.from_numpy(np.stack([frame.picture.pixels for frame in frames]))
        views = PosedViews(images, depth, 2.0 * (true > 0), Cameras(poses, cameras.intrinsics))
        return WindowGeometry(views, torch.zeros(len(frames), 1))


class Remembering:
    """Predicts the same window once, whoever asks for it."""

    def __init__(self, predictor: WindowPredictor) -> None:
        self.predictor, self.name = predictor, predictor.name
        self._windows: dict[bytes, WindowGeometry] = {}

    def predict_window(
        self, frames: Sequence[StreamFrame], known: Cameras | None = None, known_views: Sequence[int] = ()
    ) -> WindowGeometry:
        """Look for the same pictures with the same known cameras; ask the predictor where there are none."""
        asked = hashlib.sha256(repr(tuple(known_views)).encode())
        for frame in frames:
            asked.update(repr(frame.picture.pixels.shape).encode() + frame.picture.pixels.tobytes())
        for numbers in () if known is None else (known.world_to_camera, known.intrinsics):
            asked.update(numbers.numpy().tobytes())
        key = asked.digest()
        if key not in self._windows:
            self._windows[key] = self.predictor.predict_window(frames, known, known_views)
        return self._windows[key]


def load_walk(frames: int, resolution: int, folder: Path, index: int = 0) -> Walk:
    """Read a walk, a lap and a tenth through a room of the test split, from a folder, or render it first."""
    path = folder / f"walk-{index}-{frames}-{resolution}.pt"
    if not path.exists():
        walk = render_walk(frames, resolution, index)
        with atomic_path(path) as temporary:
            torch.save({**vars(walk), "cameras": (walk.cameras.world_to_camera, walk.cameras.intrinsics)}, temporary)
    parts = torch.load(path)
    return Walk(**{**parts, "cameras": Cameras(*parts["cameras"])})


def render_walk(frames: int, resolution: int, index: int = 0) -> Walk:
    """Render a lap and a tenth around a room of the test split."""
    height = resolution * 3 // 4 // 14 * 14
    world = stack_layouts([room(Random(scene_seed(0, "test", index)))])
    low, high = world.stand[0, :3].double(), world.stand[0, 3:6].double()
    angle = 2 * math.pi * 1.1 * torch.arange(frames, dtype=torch.float64) / (frames - 1)
    around = torch.stack([angle.cos(), angle.sin(), 0 * angle], -1)
    position = (low + high) / 2 + 0.35 * (high - low) * around
    ahead = torch.stack([-angle.sin(), angle.cos(), -0.15 + 0 * angle], -1)
    poses = look_at(position, position + ahead + 0.7 * around, torch.zeros_like(angle)).float()
    view = torch.tensor([2 * math.atan(math.tan(0.6) * height / resolution), 1.2]).expand(frames, 2)
    cameras = Cameras(poses, intrinsics_from_field_of_view(view, height, resolution))
    parts = [
        render(world, Cameras(poses[None, i : i + 1], cameras.intrinsics[None, i : i + 1]), height, resolution)
        for i in range(frames)
    ]
    color = torch.cat([part.color[0] for part in parts])
    brightness = color[::50].clamp(max=4).mean()
    normals = torch.cat([part.normals[0] for part in parts])
    return Walk(
        pictures=(255 * (1 - torch.exp(-0.4 * color / brightness)).clamp(0, 1).pow(1 / 2.2)).byte(),
        depth=torch.cat([part.depth[0] for part in parts]),
        normals=normals @ poses[:, None, :3, :3],
        solid=torch.cat([part.solid[0] for part in parts]),
        cameras=cameras,
    )


def score_path(run: Stream, world_to_camera: torch.Tensor) -> dict[str, float]:
    """Compare a stream's cameras with the true ones of its frames, and with a camera that stands still."""
    rows = run.all_frames()
    true = Cameras(world_to_camera[rows.index].double(), rows.intrinsics)
    found = score_trajectory(run.scene.world_cameras(rows).world_to_camera, true.world_to_camera)
    length = path_length(true)
    centers = camera_centers(true.world_to_camera)
    return {
        "frames": len(rows),
        "path_length": length,
        "ate": found.ate,
        "ate_percent": 100 * found.ate / length,
        "ate_percent_still": 100 * float((centers - centers.mean(0)).square().sum(-1).mean().sqrt()) / length,
        "rpe_translation": found.rpe_translation,
        "rpe_rotation_degrees": found.rpe_rotation,
    }


def score_surfaces(run: Stream, walk: Walk) -> dict[str, float]:
    """Measure how far apart windows put one and the same surface, in centimetres.

    The stream's points are brought onto the true ones by one robust similarity. Where several windows see one piece of
    a surface, its sheets lie from the least to the largest of their mean offsets along the true normal.
    """
    rows = run.all_frames()
    found, true, normals, pieces, windows, depth = [], [], [], [], [], []
    pick = (slice(PIXEL_STRIDE // 2, None, PIXEL_STRIDE),) * 2
    for row, frame in enumerate(stored_frames(run)):
        index = int(rows.index[row])
        chosen = (sure_pixels(frame.depth[0], frame.confidence[0]) & (walk.depth[index] > 0))[pick]
        true_points = unproject_to_world(walk.depth[index], walk.cameras[index])[pick][chosen].double()
        found.append(unproject_to_world(frame.depth[0], frame.cameras[0])[pick][chosen].double())
        true.append(true_points)
        normals.append(walk.normals[index][pick][chosen].double())
        cells = torch.floor(true_points / CELL_M).long()
        pieces.append(torch.cat([walk.solid[index][pick][chosen][:, None].long(), cells], -1))
        windows.append(torch.full((len(cells),), int(rows.owner[row])))
        depth.append(walk.depth[index][pick][chosen].double())
    points, truth = torch.cat(found), torch.cat(true)
    some = slice(None, None, max(1, len(points) // 50_000))
    weights = torch.ones(len(points[some])).double()
    fit = fit_similarity_robustly(points[some], truth[some], weights, torch.cat(depth)[some])
    error = fit.similarity.apply(points) - truth
    offsets = (error * torch.cat(normals)).sum(-1)
    keys = torch.cat([torch.cat(pieces), torch.cat(windows)[:, None]], -1)
    sheets, which = keys.unique(dim=0, return_inverse=True)
    count = torch.bincount(which).double()
    mean = torch.zeros(len(sheets)).double().index_add_(0, which, offsets) / count
    several = count >= 5  # single pixels are no sheet
    places, place = sheets[several, :4].unique(dim=0, return_inverse=True)
    highest = torch.full((len(places),), -torch.inf).double().scatter_reduce_(0, place, mean[several], "amax")
    lowest = torch.full((len(places),), torch.inf).double().scatter_reduce_(0, place, mean[several], "amin")
    distance = (highest - lowest)[torch.bincount(place) >= 2]
    return {
        "cloud_error_cm": 100 * float(error.norm(dim=-1).median()),
        "sheets_cm": 100 * float(distance.median()),
        "sheets_p90_cm": 100 * float(distance.quantile(0.9)),
        "pieces": len(distance),
    }
