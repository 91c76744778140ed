import json
import struct

import numpy as np
import pytest
import torch
import trimesh
from room_scene import distance_to_surface

from anyview.exporters import export
from anyview.exporters.colors import index_color
from anyview.exporters.points import point_cloud
from anyview.geometry.camera import unproject_to_world
from anyview.geometry.pose import camera_centers
from anyview.options import ExportOptions

KEEP_ALL = ExportOptions(confidence_percentile=0.0)


@pytest.fixture(scope="module")
def scene_path(room, tmp_path_factory):
    return export(room, tmp_path_factory.mktemp("glb"), "glb", KEEP_ALL)["glb"][0]


@pytest.fixture(scope="module")
def scene(scene_path):
    return trimesh.load(scene_path)


def test_points_are_those_of_the_world(room, scene):
    points = scene.geometry["points"]
    np.testing.assert_allclose(points.vertices, unproject_to_world(room.depth, room.cameras).reshape(-1, 3), atol=1e-6)
    np.testing.assert_array_equal(points.colors[:, :3], room.images.view(-1, 3))
    assert distance_to_surface(torch.from_numpy(np.array(points.vertices))).max() < 1e-4


def test_the_first_camera_looks_along_the_viewers_axes(room, scene):
    transform, _ = scene.graph["points"]
    shown = trimesh.transform_points(scene.geometry["points"].vertices, transform)
    np.testing.assert_allclose(np.median(shown, axis=0), 0, atol=1e-5)
    pose = room.cameras.world_to_camera[0].numpy()
    forward, down = pose[2, :3], pose[1, :3]
    np.testing.assert_allclose(transform[:3, :3] @ forward, [0, 0, -1], atol=1e-6)
    np.testing.assert_allclose(transform[:3, :3] @ down, [0, -1, 0], atol=1e-6)


def test_every_camera_is_a_frustum_of_the_right_size_and_place(room, scene, scene_path):
    low, high = np.percentile(scene.geometry["points"].vertices, [5, 95], axis=0)
    size = 0.03 * np.linalg.norm(high - low)
    centers = camera_centers(room.cameras.world_to_camera).numpy()
    for view in range(5):
        wires = scene.geometry[f"camera_{view:04d}"]
        distances = np.linalg.norm(np.unique(wires.vertices.round(6), axis=0) - centers[view], axis=1)
        assert distances.min() < 1e-5
        pose = room.cameras.world_to_camera[view].numpy()
        depths = np.unique((wires.vertices @ pose[2, :3] + pose[2, 3]).round(4))
        np.testing.assert_allclose(depths, [0, size], atol=2e-4)
        corners = wires.vertices @ pose[:3, :3].T + pose[:3, 3]
        pixels = (corners @ room.cameras.intrinsics[view].numpy().T)[corners[:, 2] > 0.5 * size]
        pixels = np.unique((pixels[:, :2] / pixels[:, 2:]).round(1), axis=0)
        np.testing.assert_allclose(pixels, [[0, 0], [0, 72], [96, 0], [96, 72]], atol=0.11)


def test_the_file_says_unit_model_and_the_cameras_colours(scene_path):
    content = scene_path.read_bytes()
    length = struct.unpack("<I", content[12:16])[0]
    tree = json.loads(content[20 : 20 + length])
    assert tree["scenes"][0]["extras"] == {"units": "metres", "model": "exact"}
    meshes = {mesh["name"]: mesh for mesh in tree["meshes"]}
    assert meshes["camera_0002"]["extras"] == {"picture": "room/2.jpg"}
    colors = tree["accessors"][meshes["camera_0002"]["primitives"][0]["attributes"]["COLOR_0"]]
    assert colors["max"] == colors["min"] == [*index_color(2, 5), 255]


def test_options_choose_points_and_hide_cameras(full_room, tmp_path):
    options = ExportOptions(max_points=800, show_cameras=False, sampling_seed=4)
    scene = trimesh.load(export(full_room, tmp_path, "glb", options)["glb"][0])
    assert list(scene.geometry) == ["points"]
    assert len(scene.geometry["points"].vertices) == 800
    np.testing.assert_allclose(scene.geometry["points"].vertices, point_cloud(full_room, options).positions, atol=1e-6)
