"""Gaussians of a stream, in bounded number: the network's own where it has any, else of depth and colour."""

from collections.abc import Iterator
from dataclasses import fields

import torch

from anyview.geometry.alignment import Similarity
from anyview.geometry.gaussians import select_gaussians, transform_gaussians
from anyview.render.merging import merge_by_voxel
from anyview.render.pixels import pixel_gaussians
from anyview.streaming.cloud import VOXELS_PER_DEPTH, sure_pixels
from anyview.streaming.frames import PosedViews, StreamFrame
from anyview.streaming.network import NetworkPredictor
from anyview.streaming.seams import align_views
from anyview.types import Gaussians, Picture

PENDING_GAUSSIANS = 200_000
"""Gaussians that wait to be merged."""


class GaussianCloud:
    """Adds up Gaussians, merged voxel by voxel; voxels double where there would be too many.

    Each merge weighs what was there like what is new, so later views of a place count for more than earlier ones.
    """

    def __init__(self, most_gaussians: int) -> None:
        self.most_gaussians = most_gaussians
        self.voxel_size: float | None = None
        """A `VOXELS_PER_DEPTH`-th of the typical depth of the first views."""
        self._parts: list[Gaussians] = []
        self._pending = 0

    def add(self, gaussians: Gaussians, typical_depth: float) -> None:
        """Add Gaussians of some views in the world."""
        if self.voxel_size is None:
            self.voxel_size = typical_depth / VOXELS_PER_DEPTH
        self._parts.append(gaussians)
        self._pending += len(gaussians.means)
        if self._pending > PENDING_GAUSSIANS:
            self._merge()

    def gaussians(self) -> Gaussians:
        """Return all of them.

        Raises:
            ValueError: there are none.
        """
        if not any(len(part.means) for part in self._parts):
            raise ValueError("no Gaussian is left to write: no pixel is sure")
        self._merge()
        return self._parts[0]

    def _merge(self) -> None:
        assert self.voxel_size is not None
        merged = merge_by_voxel(_joined(self._parts), self.voxel_size)
        while len(merged.means) > self.most_gaussians:
            self.voxel_size *= 2
            merged = merge_by_voxel(merged, self.voxel_size)
        self._parts, self._pending = [merged], 0


def fuse_gaussians(parts: Iterator[PosedViews], predictor: NetworkPredictor | None, most_gaussians: int) -> Gaussians:
    """Fuse Gaussians of the sure pixels of views in the world, some of one window at a time.

    Args:
        parts: As stored, where the world has them now.
        predictor: Predicts each part once more, with Gaussians, which are brought onto the views by their points and
            cameras. None: each pixel becomes a flat Gaussian.
        most_gaussians: Largest number of them.

    Raises:
        ValueError: no pixel is sure.
    """
    cloud = GaussianCloud(most_gaussians)
    for views in parts:
        chosen = torch.stack([sure_pixels(*maps) for maps in zip(views.depth, views.confidence, strict=True)])
        if not chosen.any():
            continue
        if predictor is None:
            gaussians = pixel_gaussians(views.images, views.depth, views.cameras, chosen)
        else:
            gaussians = select_gaussians(_predicted(views, predictor), chosen.flatten())
        placed = gaussians.means.isfinite().all(-1) & gaussians.scales.isfinite().all(-1)
        cloud.add(select_gaussians(gaussians, placed), float(views.depth[chosen].median()))
    return cloud.gaussians()


def _predicted(views: PosedViews, predictor: NetworkPredictor) -> Gaussians:
    frames = [StreamFrame(view, float(view), Picture(views.images[view].numpy(), "")) for view in range(len(views))]
    again, gaussians = predictor.predict_gaussians(frames)
    found = align_views(again, views).similarity
    onto = Similarity(*(part.to(gaussians.means) for part in (found.scale, found.rotation, found.translation)))
    return transform_gaussians(gaussians, onto)


def _joined(parts: list[Gaussians]) -> Gaussians:
    return Gaussians(**{field.name: torch.cat([getattr(p, field.name) for p in parts]) for field in fields(Gaussians)})
