import dataclasses
import sys

import numpy as np
import pytest
import torch
import trimesh
from room_scene import distance_to_surface

from anyview.exporters import check_request, export
from anyview.exporters.mesh import MOST_BLOCKS, TRUNCATION, automatic_voxel_size, count_blocks, describe, pixel_widths
from anyview.exporters.points import select_pixels
from anyview.fusion import tsdf
from anyview.options import ExportOptions
from anyview.types import Cameras, Placement, Prediction
from box_room import ROOM, render_room, room_cameras
from writable import WRITABLE

pytestmark = pytest.mark.skipif("mesh" not in WRITABLE, reason="Open3D below 0.20 has no wheel for this Python")

KEEP_ALL = ExportOptions(confidence_percentile=0.0)


def voxel_size(path) -> float:
    return float(path.read_bytes().partition(b"comment voxel_size ")[2].split()[0])


@pytest.fixture(scope="module")
def mesh_path(room, tmp_path_factory):
    return export(room, tmp_path_factory.mktemp("mesh"), "mesh", KEEP_ALL)["mesh"][0]


@pytest.fixture(scope="module")
def mesh(mesh_path) -> trimesh.Trimesh:
    return trimesh.load(mesh_path, process=False)


def exact_prediction(cameras: Cameras, depth: torch.Tensor, images: torch.Tensor) -> Prediction:
    views, height, width = depth.shape
    names, placements = tuple(f"{view}.png" for view in range(views)), (Placement(height, width),) * views
    return Prediction(images, depth, "metres", "exact", names, placements, cameras=cameras)


def test_an_empty_room_is_met_within_a_voxel(tmp_path):
    cameras = room_cameras(4, 84, 112)
    images, depth = render_room(cameras, 84, 112)
    path = export(exact_prediction(cameras, depth, images), tmp_path, "mesh")["mesh"][0]
    vertices = np.abs(trimesh.load(path, process=False).vertices)
    to_walls = np.abs(vertices - np.array(ROOM)).min(-1)
    assert to_walls.max() < voxel_size(path)
    assert np.median(to_walls) < 0.2 * voxel_size(path)


def test_furniture_is_met_but_for_skirts_behind_its_edges(mesh, mesh_path):
    distances = distance_to_surface(torch.tensor(mesh.vertices)) / voxel_size(mesh_path)
    assert distances.quantile(0.98) < 1
    assert distances.max() < TRUNCATION


def test_the_mesh_covers_what_was_seen(room, mesh):
    from scipy.spatial import KDTree

    from anyview.geometry.camera import unproject_to_world

    seen = unproject_to_world(room.depth, room.cameras).reshape(-1, 3)
    distances = KDTree(mesh.vertices).query(seen.numpy())[0]
    assert np.quantile(distances, 0.97) < 0.05  # a voxel and a half


def test_colours_are_those_of_the_pictures(room, mesh):
    near_ball = np.linalg.norm(mesh.vertices - [0.6, 0.3, 2.0], axis=-1) < 0.51
    red, green, blue = mesh.visual.vertex_colors[near_ball, :3].astype(float).mean(0)
    assert red > green + 50  # its tint is (200, 70, 70)
    assert red > blue + 50
    assert mesh.visual.vertex_colors[:, :3].max() <= room.images.max()


def test_an_independent_reader_agrees_with_what_is_said(mesh, mesh_path):
    header = mesh_path.read_bytes().partition(b"end_header")[0].decode().splitlines()
    assert header[2:6] == [
        "comment units metres",
        "comment model exact",
        f"comment voxel_size {voxel_size(mesh_path):.6g}",
        "comment watertight no",
    ]
    assert not mesh.is_watertight
    assert describe(mesh_path) == (
        f"mesh of {len(mesh.faces):,} faces, not watertight, voxels of {voxel_size(mesh_path):.6g} (metres)"
    )


def looking_at_a_ball(views: int = 14, size: int = 64) -> Prediction:
    """A ball of radius 1 from all sides, and nothing around it."""
    heights = torch.linspace(-1, 1, views + 2)[1:-1]
    turns = 2.4 * torch.arange(views)
    radius = (1 - heights.square()).sqrt()
    axes = torch.stack([radius * turns.cos(), heights, radius * turns.sin()], -1)
    right = torch.nn.functional.normalize(torch.linalg.cross(torch.tensor([[0.0, 1, 0]]).expand_as(axes), axes), dim=-1)
    rotation = torch.stack([right, torch.linalg.cross(axes, right), axes], 1)
    poses = torch.eye(4).repeat(views, 1, 1)
    poses[:, :3, :3], poses[:, 2, 3] = rotation, 4
    focal = 1.8 * size
    intrinsics = torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]]).expand(views, 3, 3)
    steps = (torch.arange(size) + 0.5 - size / 2) / focal
    length = 1 + steps[:, None].square() + steps.square()
    root = (16 - 15 * length).clamp(min=0).sqrt()
    depth = torch.where(16 - 15 * length > 0, (4 - root) / length, 0).expand(views, size, size)
    return exact_prediction(Cameras(poses, intrinsics), depth, torch.full((views, size, size, 3), 9, dtype=torch.uint8))


def test_a_ball_from_all_sides_is_watertight(tmp_path):
    path = export(looking_at_a_ball(), tmp_path, "mesh", ExportOptions(mesh_voxel=0.06))["mesh"][0]
    ball = trimesh.load(path)
    assert ball.is_watertight
    assert ball.volume == pytest.approx(4 / 3 * np.pi, rel=0.05)  # silhouettes swell by less than a voxel
    assert ", watertight, voxels of 0.06 (metres)" in describe(path)


def test_filters_keep_pixels_out(room, mesh, tmp_path):
    mask = torch.zeros_like(room.depth, dtype=torch.bool)
    mask[:, :, :40] = True
    path = export(dataclasses.replace(room, mask=mask), tmp_path, "mesh", KEEP_ALL)["mesh"][0]
    assert 0 < len(trimesh.load(path, process=False).faces) < 0.7 * len(mesh.faces)


def test_the_voxel_grows_with_the_scene_and_never_falls_below_a_pixel(room):
    chosen = select_pixels(room, KEEP_ALL)
    size = automatic_voxel_size(room, KEEP_ALL, chosen)
    assert size == pytest.approx(pixel_widths(room)[chosen].median())  # 96 pixels are coarser than 256 voxels
    poses = room.cameras.world_to_camera.clone()
    poses[:, :3, 3] *= 10
    larger = dataclasses.replace(
        room, depth=10 * room.depth, cameras=Cameras(poses, room.cameras.intrinsics), confidence=None
    )
    assert automatic_voxel_size(larger, KEEP_ALL, chosen) == pytest.approx(10 * size, rel=1e-5)


def test_the_voxel_grows_where_points_are_scattered(room):
    depth = room.depth * torch.rand(room.depth.shape, generator=torch.Generator().manual_seed(0)).mul(6).exp()
    scattered = dataclasses.replace(room, depth=depth)
    chosen = select_pixels(scattered, KEEP_ALL)
    fine = pixel_widths(scattered)[chosen].median().item() / 20
    assert count_blocks(scattered, chosen, fine) < count_blocks(scattered, chosen, 4 * fine)  # more of it is fused
    size = automatic_voxel_size(scattered, KEEP_ALL, chosen)
    assert 0 < count_blocks(scattered, chosen, size) <= MOST_BLOCKS


def test_blocks_are_counted_as_open3d_makes_them():
    depth = torch.full((1, 32, 48), 2.0)
    cameras = Cameras(torch.eye(4)[None], torch.tensor([[[40.0, 0, 24], [0, 40, 16], [0, 0, 1]]]))
    wall = exact_prediction(cameras, depth, torch.zeros(1, 32, 48, 3, dtype=torch.uint8))
    # Voxels of 0.1 make blocks of 1.6 and a truncation of 0.5. Every fourth pixel from 0.5 to 44.5 is at x from -1.175
    # to 1.025, so blocks from floor(-1.675 / 1.6) = -2 to floor(1.525 / 1.6) = 0 are met; y from -0.775 to 0.625 meets
    # -1 and 0, and z from 1.5 to 2.5 meets 0 and 1.
    assert count_blocks(wall, wall.valid(), 0.1) == 3 * 2 * 2


def test_too_fine_voxels_are_refused(room, tmp_path):
    with pytest.raises(ValueError, match=r"with voxels of 0\.001 nothing was fused; a pixel .* is 0\.0\d+ wide"):
        export(room, tmp_path / "out", "mesh", ExportOptions(mesh_voxel=0.001))
    assert not (tmp_path / "out").exists()


def test_a_missing_open3d_names_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "open3d", None)
    tsdf.check_open3d.cache_clear()
    with pytest.raises(ImportError, match=r"a mesh needs open3d: pip install \"anyview\[mesh\]\" with Python 3\.10"):
        check_request(tmp_path, ["mesh"], ExportOptions())


def test_a_version_that_does_not_fuse_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    def broken() -> None:
        raise ImportError("Open3D 0.20.0 does not fuse depth")

    monkeypatch.setattr(tsdf, "check_open3d", broken)
    with pytest.raises(ImportError, match="does not fuse"):
        check_request(tmp_path, ["npz", "mesh"], ExportOptions())
