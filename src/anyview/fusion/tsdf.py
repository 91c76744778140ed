"""Depth maps with cameras -> a surface, by averaging signed distances in a grid of voxels (Curless and Levoy 1996)."""

import functools
import warnings
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from anyview.fusion.mesh import Mesh

if TYPE_CHECKING:
    import open3d

BLOCK = 16
"""Voxels along the edge of a block, which is what memory is taken for at a time."""
SAMPLING = 4
"""Blocks are made where every fourth pixel, in rows and columns, has a surface within the truncation."""
KNOWN_WALL = (2440, 4680)
"""Vertices and faces that a flat wall must give (benchmark A.3)."""


class Tsdf:
    """A truncated signed distance field that grows where depth maps see surfaces: Open3D's ScalableTSDFVolume.

    Frames are averaged in the order in which they come; the same frames give the same mesh. Needs the extra ``mesh``.

    Args:
        voxel_size: edge of a voxel, in the unit of the depth.
        truncation: how far from a surface distances are kept, in the same unit; several voxels.
        max_depth: depth from here on is left out; None: none is.

    Raises:
        ValueError: a size is not positive.
        ImportError: Open3D is missing, or is of a version that does not fuse.
    """

    def __init__(self, voxel_size: float, truncation: float, max_depth: float | None = None) -> None:
        for name, value in (("voxel_size", voxel_size), ("truncation", truncation), ("max_depth", max_depth)):
            if value is not None and not value > 0:
                raise ValueError(f"expected a {name} above 0, got {value}")
        check_open3d()
        self.max_depth = max_depth
        self._volume = _new_volume(voxel_size, truncation)

    def integrate(
        self,
        depth: Float[np.ndarray, "height width"],
        intrinsics: Float[np.ndarray, "3 3"],
        world_to_camera: Float[np.ndarray, "4 4"],
        color: UInt8[np.ndarray, "height width 3"] | None = None,
    ) -> None:
        """Add one view.

        Args:
            depth: z-depth; 0, negative values, NaN and infinity mean none.
            intrinsics: as everywhere in this package, with pixel centres at half-integers; skew is ignored.
            world_to_camera: OpenCV axes.
            color: sRGB; None is black.
        """
        _integrate(self._volume, depth, intrinsics, world_to_camera, color, self.max_depth or np.inf)

    def mesh(self) -> Mesh:
        """Extract the surface with marching cubes, coloured; without faces if no view had any depth."""
        found = self._volume.extract_triangle_mesh()
        return Mesh(
            np.array(found.vertices, np.float64).reshape(-1, 3),
            np.array(found.triangles, np.int32).reshape(-1, 3),
            np.rint(255 * np.array(found.vertex_colors, np.float64)).astype(np.uint8).reshape(-1, 3),
        )


@functools.cache
def check_open3d() -> None:
    """Fuse a flat wall once per process, whose mesh is known: some versions of Open3D return an empty one silently.

    Raises:
        ImportError: Open3D is missing, or its version does not give that mesh.
    """
    open3d = _open3d()
    volume = _new_volume(0.0390625, 0.2)
    intrinsics = np.array([[120.0, 0, 72.5], [0, 120, 48.5], [0, 0, 1]])
    _integrate(volume, np.full((96, 144), 2, np.float32), intrinsics, np.eye(4), None, np.inf)
    mesh = volume.extract_triangle_mesh()
    found = (len(mesh.vertices), len(mesh.triangles))
    if found != KNOWN_WALL:
        raise ImportError(
            f"Open3D {open3d.__version__} does not fuse depth: a flat wall gave {found[0]} vertices and {found[1]} "
            f'faces, expected {KNOWN_WALL[0]} and {KNOWN_WALL[1]}; pip install "anyview[mesh]" brings one that does'
        )


def _new_volume(voxel_size: float, truncation: float) -> "open3d.pipelines.integration.ScalableTSDFVolume":
    integration = _open3d().pipelines.integration
    return integration.ScalableTSDFVolume(
        voxel_length=voxel_size, sdf_trunc=truncation, color_type=integration.TSDFVolumeColorType.RGB8
    )


def _integrate(
    volume: "open3d.pipelines.integration.ScalableTSDFVolume",
    depth: Float[np.ndarray, "height width"],
    intrinsics: Float[np.ndarray, "3 3"],
    world_to_camera: Float[np.ndarray, "4 4"],
    color: UInt8[np.ndarray, "height width 3"] | None,
    max_depth: float,
) -> None:
    open3d = _open3d()
    height, width = depth.shape
    colors = np.zeros((height, width, 3), np.uint8) if color is None else np.ascontiguousarray(color)
    view = open3d.geometry.RGBDImage.create_from_color_and_depth(
        open3d.geometry.Image(colors),
        open3d.geometry.Image(np.ascontiguousarray(depth, np.float32)),
        depth_scale=1.0,
        depth_trunc=max_depth,
        convert_rgb_to_intensity=False,
    )
    k = intrinsics.astype(np.float64)
    # Open3D counts pixel centres at whole numbers.
    pinhole = open3d.camera.PinholeCameraIntrinsic(width, height, k[0, 0], k[1, 1], k[0, 2] - 0.5, k[1, 2] - 0.5)
    volume.integrate(view, pinhole, world_to_camera.astype(np.float64))


def _open3d() -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImportWarning)  # it warns where there is no GPU
            import open3d
    except ImportError as error:
        raise ImportError(
            'fusing depth into a mesh needs open3d: pip install "anyview[mesh]" with Python 3.10 to 3.12'
        ) from error
    return open3d
