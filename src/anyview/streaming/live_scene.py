"""What a viewer shows of a stream: points and cameras that grow and move, in bounded number."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from anyview.geometry.alignment import Similarity
from anyview.geometry.camera import field_of_view, unproject_to_world
from anyview.streaming.cloud import sure_pixels
from anyview.streaming.stream import StreamWindow

MOST_POINTS = 300_000
MOST_CAMERAS = 300
"""What a browser still turns smoothly. Beyond, every second point or camera is let go of, again and again."""
POINTS_PER_FRAME = 4000
"""At first."""
THUMBNAIL = 64
"""Width in pixels of the pictures in the drawn cameras."""


@dataclass(frozen=True)
class ShownCamera:
    """A camera of the page."""

    owner: int
    """The window it moves with."""
    world_to_camera: Float[Tensor, "4 4"]
    vertical_view: float
    """Field of view, in radians."""
    aspect: float
    """Width in parts of the height."""
    picture: UInt8[np.ndarray, "height width 3"]


class LiveScene:
    """Points and cameras to show, in bounded number: by window, since a correction moves all of a window's."""

    def __init__(self, most_points: int = MOST_POINTS, most_cameras: int = MOST_CAMERAS) -> None:
        self.most_points, self.most_cameras = most_points, most_cameras
        self.points: dict[int, Float[Tensor, "points 3"]] = {}
        """By window, in the world."""
        self.colors: dict[int, UInt8[Tensor, "points 3"]] = {}
        self.cameras: dict[int, ShownCamera] = {}
        """By frame, in the order of the source."""
        self.typical_depth = 0.0
        self._points_per_frame = POINTS_PER_FRAME
        self._every = 1
        self._frames = 0

    def add(self, window: StreamWindow) -> set[int]:
        """Take in a window's frames and corrections; return the windows whose points have changed."""
        changed = set(window.corrections)
        for moved, similarity in window.corrections.items():
            self._move(moved, similarity)
        for view in range(len(window)):
            owner = int(window.owners[view])
            self._add_points(window, view, owner)
            changed.add(owner)
            if self._frames % self._every == 0:
                self.cameras[int(window.frames[view])] = _shown_camera(window, view, owner)
            self._frames += 1
        if self._thin_out():
            changed = set(self.points)
        return changed

    def count_points(self) -> int:
        """Return how many points there are."""
        return sum(map(len, self.points.values()))

    def _move(self, window: int, similarity: Similarity) -> None:
        if window in self.points:
            self.points[window] = similarity.apply(self.points[window].double()).float()
        for frame, camera in self.cameras.items():
            if camera.owner == window:
                pose = similarity.apply_to_poses(camera.world_to_camera[None].double())[0]
                self.cameras[frame] = replace(camera, world_to_camera=pose.float())

    def _add_points(self, window: StreamWindow, view: int, owner: int) -> None:
        depth, camera = window.depth[view], window.cameras[view]
        chosen = sure_pixels(depth, window.confidence[view]).flatten().nonzero()[:, 0]
        chosen = chosen[:: max(1, -(-len(chosen) // self._points_per_frame))]
        if not self.typical_depth and len(chosen):
            self.typical_depth = float(depth.flatten()[chosen].median())
        points = unproject_to_world(depth, camera).flatten(0, 1)[chosen]
        colors = window.images[view].flatten(0, 1)[chosen]
        self.points[owner] = torch.cat([self.points[owner], points]) if owner in self.points else points
        self.colors[owner] = torch.cat([self.colors[owner], colors]) if owner in self.colors else colors

    def _thin_out(self) -> bool:
        """Keep to the limits; return whether points have gone."""
        while len(self.cameras) > self.most_cameras:
            self._every *= 2
            self.cameras = dict(list(self.cameras.items())[::2])
        too_many = self.count_points() > self.most_points
        while self.count_points() > self.most_points:
            self._points_per_frame = max(1, self._points_per_frame // 2)
            for part in (self.points, self.colors):
                part.update({window: rows[::2] for window, rows in part.items()})
        return too_many


def _shown_camera(window: StreamWindow, view: int, owner: int) -> ShownCamera:
    pixels = window.images[view].numpy()
    height, width = pixels.shape[:2]
    size = (THUMBNAIL, max(1, round(THUMBNAIL * height / width)))
    vertical = field_of_view(window.cameras.intrinsics[view], height, width)[0]
    picture = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return ShownCamera(owner, window.cameras.world_to_camera[view], float(vertical), width / height, picture)
