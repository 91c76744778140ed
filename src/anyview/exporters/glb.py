from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from anyview.exporters.colors import index_color
from anyview.exporters.points import PointCloud, extent, point_cloud
from anyview.files import atomic_path
from anyview.geometry.camera import unproject_pixels
from anyview.geometry.pose import rigid_inverse
from anyview.options import ExportOptions
from anyview.types import Cameras, Prediction

if TYPE_CHECKING:
    import trimesh

OPENGL_FROM_OPENCV = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))


def write(prediction: Prediction, folder: Path, options: ExportOptions) -> list[Path]:
    """Write ``scene.glb``: the chosen points in their colours, and each camera as a wire frustum of its own hue.

    The geometry is in world coordinates of the prediction. Every node carries the transform to the usual viewing frame
    (y up, as the first camera stands, the points' median in the origin), so viewers show it upright and readers that
    want the world leave it out. The scene's extras say unit and model.
    """
    import trimesh

    assert prediction.cameras is not None
    cloud = point_cloud(prediction, options)
    to_viewer = viewing_transform(cloud, prediction.cameras)
    scene = trimesh.Scene(metadata={"units": prediction.units, "model": prediction.model})
    points = trimesh.PointCloud(cloud.positions.numpy(), cloud.colors.numpy())
    scene.add_geometry(points, node_name="points", geom_name="points", transform=to_viewer)
    if options.show_cameras:
        height, width = prediction.depth.shape[1:]
        frusta = frustum_edges(prediction.cameras, height, width, options.camera_size * extent(cloud)).numpy()
        for view, edges in enumerate(frusta):
            name = f"camera_{view:04d}"
            wires = _wires(edges, index_color(view, len(frusta)))
            wires.metadata["picture"] = prediction.names[view]
            scene.add_geometry(wires, node_name=name, geom_name=name, transform=to_viewer)
    path = folder / "scene.glb"
    with atomic_path(path) as temporary:
        temporary.write_bytes(scene.export(file_type="glb"))
    return [path]


def viewing_transform(cloud: PointCloud, cameras: Cameras) -> Float64[np.ndarray, "4 4"]:
    """World -> viewer: axes of the first camera in OpenGL's convention, the points' median in the origin (spec 14)."""
    transform = OPENGL_FROM_OPENCV @ cameras.world_to_camera[0].double()
    seen = cloud.positions.double() @ transform[:3, :3].mT + transform[:3, 3]
    transform[:3, 3] -= torch.from_numpy(np.median(seen.numpy(), axis=0))
    return transform.numpy()


def frustum_edges(cameras: Cameras, height: int, width: int, size: float) -> Float[Tensor, "views 8 2 3"]:
    """Outline cameras in the world: four edges from the centre to the picture, ``size`` away, and its border."""
    corners = torch.tensor([[0.0, 0], [width, 0], [width, height], [0, height]])
    picture = unproject_pixels(corners.expand(len(cameras), 4, 2), cameras.intrinsics) * size
    to_world = rigid_inverse(cameras.world_to_camera)
    picture = picture @ to_world[:, :3, :3].mT + to_world[:, None, :3, 3]
    centers = to_world[:, None, :3, 3].expand_as(picture)
    return torch.cat([torch.stack([centers, picture], 2), torch.stack([picture, picture.roll(-1, 1)], 2)], 1)


def _wires(edges: Float[np.ndarray, "edges 2 3"], color: tuple[int, int, int]) -> "trimesh.path.Path3D":
    """Lines as they are; `trimesh.load_path` would join them into paths, for which it needs SciPy."""
    import trimesh

    lines = [
        trimesh.path.entities.Line([2 * edge, 2 * edge + 1], color=np.array([*color, 255], np.uint8))
        for edge in range(len(edges))
    ]
    return trimesh.path.Path3D(entities=lines, vertices=edges.reshape(-1, 3), process=False)
