"""Triangle meshes: what they measure, points on them, and their files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Float64, Int32, UInt8

from anyview.files import atomic_path

if TYPE_CHECKING:
    import trimesh

STAND_IN_SEED = 42


@dataclass(frozen=True)
class Mesh:
    """Triangles that share vertices."""

    vertices: Float64[np.ndarray, "vertices 3"]
    faces: Int32[np.ndarray, "faces 3"]
    """Indices of the corners."""
    colors: UInt8[np.ndarray, "vertices 3"] | None = None
    """sRGB, one for each vertex."""

    @property
    def is_watertight(self) -> bool:
        """Whether it encloses a volume: there are faces, and every edge belongs to exactly two of them."""
        edges = np.sort(self.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
        _, counts = np.unique(edges, axis=0, return_counts=True)
        return len(edges) > 0 and bool((counts == 2).all())

    def face_areas(self) -> Float64[np.ndarray, " faces"]:
        """Measure every triangle."""
        first, second, third = np.moveaxis(self.vertices[self.faces], 1, 0)
        return np.linalg.norm(np.cross(second - first, third - first), axis=-1) / 2


def sample_surface(mesh: Mesh, count: int, seed: int) -> Float64[np.ndarray, "points 3"]:
    """Draw points uniformly from the surface of a mesh; the same ones for the same mesh, count and seed.

    Raises:
        ValueError: the mesh has no area.
    """
    cumulative = mesh.face_areas().cumsum()
    if len(cumulative) == 0 or not 0 < cumulative[-1] < np.inf:
        raise ValueError(f"expected a mesh with an area to draw points from, got one of {len(mesh.faces)} faces")
    generator = np.random.default_rng(seed)
    drawn = np.searchsorted(cumulative, cumulative[-1] * generator.random(count), side="right")
    drawn = np.minimum(drawn, len(cumulative) - 1)  # where rounding reaches the end of the last face
    root, share = np.sqrt(generator.random(count)), generator.random(count)
    weights = np.stack([1 - root, root * (1 - share), root * share], -1)
    return np.einsum("pc,pcx->px", weights, mesh.vertices[mesh.faces[drawn]])


def stand_in_points(count: int) -> Float64[np.ndarray, "points 3"]:
    """Draw the random points in a cube that the published evaluator scores in place of a mesh without faces.

    For its "compat" mode only (benchmark 1.9, quirk 20): they look like a result and are none.
    """
    return np.random.default_rng(STAND_IN_SEED).uniform(-1, 1, (count, 3))


def read_mesh(path: str | Path) -> Mesh:
    """Read a mesh from PLY, OBJ, STL or whatever else trimesh knows; several parts become one.

    Raises:
        ValueError: there is no such file, it cannot be read, or it holds no faces.
    """
    import trimesh

    loaded = _load(path)
    if not isinstance(loaded, trimesh.Trimesh) or len(loaded.faces) == 0:
        raise ValueError(f"expected a mesh in {path}, got no faces")
    visual: Any = loaded.visual
    colors = np.array(visual.vertex_colors[:, :3], np.uint8) if visual.kind == "vertex" else None
    return Mesh(np.array(loaded.vertices, np.float64), np.array(loaded.faces, np.int32), colors)


def read_points(path: str | Path) -> Float64[np.ndarray, "points 3"]:
    """Read a point cloud, or the vertices of a mesh.

    Raises:
        ValueError: there is no such file, it cannot be read, or it holds no points.
    """
    points = np.array(getattr(_load(path), "vertices", ()), np.float64).reshape(-1, 3)
    if len(points) == 0:
        raise ValueError(f"expected points in {path}, got none")
    return points


def write_mesh(path: str | Path, mesh: Mesh, comments: Sequence[str] = ()) -> None:
    """Write a binary little-endian PLY file; positions as float32, which is what viewers expect."""
    vertex_type = [("position", "<f4", 3), ("color", "u1", 3)][: 1 if mesh.colors is None else 2]
    vertices = np.empty(len(mesh.vertices), vertex_type)
    vertices["position"] = mesh.vertices
    properties = [f"property float {axis}" for axis in "xyz"]
    if mesh.colors is not None:
        vertices["color"] = mesh.colors
        properties += [f"property uchar {channel}" for channel in ("red", "green", "blue")]
    faces = np.empty(len(mesh.faces), [("corners", "u1"), ("indices", "<i4", 3)])
    faces["corners"], faces["indices"] = 3, mesh.faces
    header = [
        *(f"comment {comment}" for comment in comments),
        f"element vertex {len(vertices)}",
        *properties,
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
    ]
    _write_ply(path, header, vertices.tobytes() + faces.tobytes())


def write_points(path: str | Path, points: Float[np.ndarray, "points 3"]) -> None:
    """Write a point cloud as binary little-endian PLY with double precision, as the benchmark keeps its clouds."""
    header = [f"element vertex {len(points)}", *(f"property double {axis}" for axis in "xyz")]
    _write_ply(path, header, points.astype("<f8").tobytes())


def _write_ply(path: str | Path, header: Sequence[str], body: bytes) -> None:
    lines = ["ply", "format binary_little_endian 1.0", *header, "end_header"]
    with atomic_path(path) as temporary:
        temporary.write_bytes("".join(line + "\n" for line in lines).encode() + body)


def _load(path: str | Path) -> "trimesh.Geometry":
    import trimesh

    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    try:
        loaded = trimesh.load(path, process=False)
        return loaded.to_mesh() if isinstance(loaded, trimesh.Scene) else loaded
    except (ValueError, IndexError, KeyError, TypeError, NotImplementedError) as error:  # what its readers stumble over
        raise ValueError(f"cannot read {path}: {' '.join(str(error).split())}") from error
