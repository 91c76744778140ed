"""A surface of bounded size from the stored frames of a stream, one frame in memory at a time."""

import statistics
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anyview.exporters.mesh import MOST_BLOCKS, TRUNCATION, VOXELS_ACROSS
from anyview.exporters.points import PointCloud, extent
from anyview.fusion.mesh import Mesh
from anyview.fusion.tsdf import BLOCK, Tsdf
from anyview.geometry.camera import focal_lengths
from anyview.streaming.cloud import sure_pixels
from anyview.streaming.frames import PosedViews

SAMPLED_FRAMES = 50
"""Frames whose pixels' widths say how fine a surface can be."""


def fuse_mesh(frames: Iterator[PosedViews], cloud: PointCloud, widths: list[float]) -> tuple[Mesh, float]:
    """Fuse frames (in world units, one at a time) into a surface; also return the voxels' size.

    A voxel is a 256th of the cloud's extent, or the median of the pixels' ``widths`` if that is larger, and grows until
    the blocks that the cloud's surface fills are few enough. Needs the extra ``mesh``.

    Raises:
        ValueError: no surface is left.
    """
    voxel_size = max(extent(cloud) / VOXELS_ACROSS, statistics.median(widths))
    while count_blocks(cloud.positions, voxel_size) > MOST_BLOCKS:
        voxel_size *= 2**0.5
    volume = Tsdf(voxel_size, TRUNCATION * voxel_size)
    for frame in frames:
        depth, camera = frame.depth[0], frame.cameras[0]
        dense = depth / focal_lengths(camera.intrinsics).mean() <= TRUNCATION * voxel_size
        chosen = torch.where(sure_pixels(depth, frame.confidence[0]) & dense, depth, 0.0)
        volume.integrate(
            chosen.numpy(), camera.intrinsics.numpy(), camera.world_to_camera.numpy(), frame.images[0].numpy()
        )
    mesh = volume.mesh()
    if len(mesh.faces) == 0:
        raise ValueError(f"no surface is left to write as a mesh: with voxels of {voxel_size:.3g} nothing was fused")
    return mesh, voxel_size


def count_blocks(points: Float[Tensor, "points 3"], voxel_size: float) -> int:
    """Count the blocks of voxels that lie within the truncation of points."""
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
    corners = points[:, None] + TRUNCATION * voxel_size * signs
    return len(np.unique(torch.floor(corners / (BLOCK * voxel_size)).long().flatten(0, 1).numpy(), axis=0))


def pixel_width(frame: PosedViews) -> float | None:
    """Return the median width of a frame's sure pixels where they meet the surface; None where it has none."""
    sure = sure_pixels(frame.depth[0], frame.confidence[0])
    if not sure.any():
        return None
    return float(frame.depth[0][sure].median() / focal_lengths(frame.cameras.intrinsics[0]).mean())
