"""A point cloud of bounded size from any number of views: one point per voxel."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from anyview.exporters.points import PointCloud
from anyview.geometry.camera import unproject_to_world
from anyview.types import Cameras

VOXELS_PER_DEPTH = 200
"""The first voxels' side is the typical depth of the first view divided by this."""
BITS = 21
"""Of each coordinate of a voxel, counted from the first point; three of them make a key."""
PENDING_POINTS = 400_000
"""Points that wait to be merged, since every merge sorts all voxels."""
SURE_SHARE = 0.5
"""Pixels whose confidence, less 1, is below this part of the view's median are left out."""


class VoxelCloud:
    """Adds up points voxel by voxel, weighted with confidence; voxels double where there would be too many."""

    def __init__(self, most_points: int, voxel_size: float | None = None) -> None:
        self.most_points = most_points
        self.voxel_size = voxel_size
        self._origin: Float[np.ndarray, " 3"] | None = None
        """The first point: coordinates far from 0, as those of maps are, leave voxels as many bits as others."""
        self._keys: Int64[np.ndarray, " voxels"] = np.empty(0, np.int64)
        self._sums: Float[np.ndarray, "voxels 7"] = np.empty((0, 7))
        """Weight, and weighted position and colour."""
        self._pending: list[Float[np.ndarray, "points 7"]] = []

    def add(
        self,
        image: UInt8[Tensor, "height width 3"],
        depth: Float[Tensor, "height width"],
        confidence: Float[Tensor, "height width"],
        camera: Cameras,
    ) -> None:
        """Add the surer pixels of a view."""
        chosen = sure_pixels(depth, confidence)
        if not chosen.any():
            return
        if self.voxel_size is None:
            self.voxel_size = float(depth[chosen].median()) / VOXELS_PER_DEPTH
        double = Cameras(camera.world_to_camera.double(), camera.intrinsics.double())
        points = unproject_to_world(depth.double(), double)[chosen]
        if self._origin is None:
            self._origin = points[0].numpy()
        points = points - torch.from_numpy(self._origin)
        weight = (confidence[chosen] - 1).clamp(min=1e-3)
        rows = torch.cat([weight[:, None], weight[:, None] * points, weight[:, None] * image[chosen].float()], -1)
        self._pending.append(rows.double().numpy())
        if sum(map(len, self._pending)) > PENDING_POINTS:
            self._merge()

    def points(self) -> PointCloud:
        """Return one point for each voxel, with the mean position and colour of what fell into it."""
        self._merge()
        weight = self._sums[:, :1]
        origin = np.zeros(3) if self._origin is None else self._origin
        confidence = 1 + weight[:, 0]
        return PointCloud(
            positions=torch.from_numpy(origin + self._sums[:, 1:4] / weight).float(),
            colors=torch.from_numpy((self._sums[:, 4:] / weight).round().clip(0, 255)).to(torch.uint8),
            confidence=torch.from_numpy(confidence).float(),
        )

    def _merge(self) -> None:
        if self._pending:
            rows = np.concatenate([self._sums, *self._pending])
            self._pending = []
            self._keys, self._sums = self._by_voxel(rows)
        while len(self._keys) > self.most_points:
            assert self.voxel_size is not None
            self.voxel_size *= 2
            self._keys, self._sums = self._by_voxel(self._sums)

    def _by_voxel(
        self, rows: Float[np.ndarray, "points 7"]
    ) -> tuple[Int64[np.ndarray, " voxels"], Float[np.ndarray, "voxels 7"]]:
        assert self.voxel_size is not None
        cells = np.floor(rows[:, 1:4] / rows[:, :1] / self.voxel_size).astype(np.int64)
        limit = 1 << (BITS - 1)
        inside = (np.abs(cells) < limit).all(-1)  # farther than a million voxels is no surface any more
        cells, rows = cells[inside] + limit, rows[inside]
        keys = (cells[:, 0] << 2 * BITS) | (cells[:, 1] << BITS) | cells[:, 2]
        order = keys.argsort(kind="stable")
        keys, starts = np.unique(keys[order], return_index=True)
        return keys, np.add.reduceat(rows[order], starts) if len(starts) else np.empty((0, 7))


def sure_pixels(
    depth: Float[Tensor, "height width"], confidence: Float[Tensor, "height width"]
) -> Bool[Tensor, "height width"]:
    """Pixels that are worth a point: those with a prediction, and not much less sure than the view's others."""
    valid = (confidence >= 1) & depth.isfinite() & (depth > 0)
    if not valid.any():
        return valid
    certainty = confidence - 1
    return valid & (certainty >= SURE_SHARE * certainty[valid].median())
