"""Depth with cameras -> a triangle mesh, by fusion in a grid of voxels."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anyview.exporters.points import extent, point_cloud, select_pixels
from anyview.fusion.mesh import Mesh, write_mesh
from anyview.fusion.tsdf import BLOCK, SAMPLING, Tsdf
from anyview.geometry.camera import focal_lengths, unproject_to_world
from anyview.options import ExportOptions
from anyview.types import Prediction

VOXELS_ACROSS = 256
"""Voxels along the diagonal of the scene, where none is wider than that asks for."""
TRUNCATION = 5
"""Voxels on each side of a surface that keep its distance, as in the benchmark; wider pixels are not fused."""
MOST_BLOCKS = 8192
"""Of voxels, that the automatic size may fill: about 1 GB."""


def write(prediction: Prediction, folder: Path, options: ExportOptions) -> list[Path]:
    """Write ``mesh.ply``: the chosen pixels fused into one coloured surface in world coordinates.

    Comments in the file's header say unit, model, size of the voxels and whether the surface is watertight.

    Raises:
        ValueError: no surface is left.
    """
    chosen = select_pixels(prediction, options)
    voxel_size = options.mesh_voxel or automatic_voxel_size(prediction, options, chosen)
    mesh = fuse(prediction, chosen, voxel_size)
    if len(mesh.faces) == 0:
        pixel = float(pixel_widths(prediction)[chosen].median())
        raise ValueError(
            f"no surface is left to write as a mesh: with voxels of {voxel_size:.3g} nothing was fused; a pixel of the "
            f"depth maps is {pixel:.3g} wide where it meets the surface, and mesh_voxel should not be below that"
        )
    path = folder / "mesh.ply"
    comments = [
        f"units {prediction.units}",
        f"model {prediction.model}",
        f"voxel_size {voxel_size:.6g}",
        f"watertight {'yes' if mesh.is_watertight else 'no'}",
    ]
    write_mesh(path, mesh, comments)
    return [path]


def fuse(prediction: Prediction, chosen: Bool[Tensor, "views height width"], voxel_size: float) -> Mesh:
    """Fuse the depth of the chosen pixels, except of those wider than the truncation: they would make shreds."""
    assert prediction.cameras is not None
    dense = pixel_widths(prediction) <= TRUNCATION * voxel_size
    depth = torch.where(chosen & dense, prediction.depth, 0).numpy()
    volume = Tsdf(voxel_size, TRUNCATION * voxel_size)
    for view, image in enumerate(prediction.images.numpy()):
        camera = prediction.cameras[view]
        volume.integrate(depth[view], camera.intrinsics.numpy(), camera.world_to_camera.numpy(), image)
    return volume.mesh()


def automatic_voxel_size(
    prediction: Prediction, options: ExportOptions, chosen: Bool[Tensor, "views height width"]
) -> float:
    """Choose a 256th of the scene's extent, or the median width of a pixel on the surface if that is larger.

    Where this would fill more memory than `MOST_BLOCKS`, the size grows until it does not.
    """
    across = extent(point_cloud(prediction, options)) / VOXELS_ACROSS
    size = max(across, float(pixel_widths(prediction)[chosen].median()))
    while count_blocks(prediction, chosen, size) > MOST_BLOCKS:
        size *= 2**0.5
    return size


def count_blocks(prediction: Prediction, chosen: Bool[Tensor, "views height width"], voxel_size: float) -> int:
    """Count the blocks of voxels that `Tsdf` would fill."""
    assert prediction.cameras is not None
    dense = chosen & (pixel_widths(prediction) <= TRUNCATION * voxel_size)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
    blocks = np.zeros((0, 3), np.int64)
    for view in range(len(prediction)):
        sampled = unproject_to_world(prediction.depth[view], prediction.cameras[view])[::SAMPLING, ::SAMPLING]
        points = sampled[dense[view, ::SAMPLING, ::SAMPLING]]
        corners = points[:, None] + TRUNCATION * voxel_size * signs
        seen = torch.floor(corners / (BLOCK * voxel_size)).long().flatten(0, 1).numpy()
        blocks = np.unique(np.concatenate([blocks, seen]), axis=0)
    return len(blocks)


def pixel_widths(prediction: Prediction) -> Float[Tensor, "views height width"]:
    """Measure how wide a pixel is where it meets the surface, if that faces the camera."""
    assert prediction.cameras is not None
    return prediction.depth / focal_lengths(prediction.cameras.intrinsics).mean(-1)[:, None, None]


def describe(path: Path) -> str:
    """Say what a written mesh is, from its header."""
    with path.open("rb") as file:
        lines = [line.decode().split() for line in iter(file.readline, b"end_header\n")]
    said = {words[1]: " ".join(words[2:]) for words in lines if words[0] in ("comment", "element")}
    closed = "watertight" if said["watertight"] == "yes" else "not watertight"
    return f"mesh of {int(said['face']):,} faces, {closed}, voxels of {said['voxel_size']} ({said['units']})"
