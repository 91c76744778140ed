import dataclasses
import json

import numpy as np
import pytest
import torch
from room_scene import distance_to_surface
from test_export import assert_same

from anyview.exporters import export
from anyview.exporters.npz import read_npz
from anyview.exporters.ply import read_ply
from anyview.exporters.points import point_cloud
from anyview.geometry.camera import unproject_to_world
from anyview.options import ExportOptions
from anyview.types import Cameras

KEEP_ALL = ExportOptions(confidence_percentile=0.0)


def test_npz_gives_back_the_prediction(room, full_room, tmp_path):
    mono = dataclasses.replace(room, cameras=None, confidence=None, lacks={"cameras": "one picture"}, names=("",) * 5)
    for prediction in (room, full_room, mono):
        path = export(prediction, tmp_path, "npz")["npz"][0]
        assert_same(prediction, read_npz(path))


def test_numpy_reads_npz_without_pickles(full_room, tmp_path):
    export(full_room, tmp_path, "npz")
    with np.load(tmp_path / "results.npz", allow_pickle=False) as file:
        assert file["units"] == "metres"
        assert file["names"].tolist() == list(full_room.names)
        assert file["metric_scale"] == 1.25
        assert file["features_11"].shape == (5, 6, 8, 20)
        cameras = Cameras(torch.from_numpy(file["world_to_camera"]), torch.from_numpy(file["intrinsics"]))
        points = unproject_to_world(torch.from_numpy(file["depth"]), cameras)
    assert distance_to_surface(points.view(-1, 3)).max() < 1e-4


def test_another_npz_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", depth=np.ones(3))
    with pytest.raises(ValueError, match=r"other.npz is not a results.npz of anyview: it has no images, model, names"):
        read_npz(tmp_path / "other.npz")


def test_ply_gives_back_the_points(room, tmp_path):
    cloud = point_cloud(room, ExportOptions(), normals=True)
    assert_same(cloud, read_ply(export(room, tmp_path, "ply")["ply"][0]))
    without = dataclasses.replace(room, confidence=None)
    assert read_ply(export(without, tmp_path, "ply")["ply"][0]).confidence is None


def test_trimesh_reads_the_ply(room, tmp_path):
    import trimesh

    path = export(room, tmp_path, "ply", KEEP_ALL)["ply"][0]
    cloud = trimesh.load(path)
    expected = unproject_to_world(room.depth, room.cameras).reshape(-1, 3)
    np.testing.assert_allclose(cloud.vertices, expected, atol=1e-6)
    np.testing.assert_array_equal(cloud.colors[:, :3], room.images.view(-1, 3))
    assert distance_to_surface(torch.from_numpy(np.array(cloud.vertices))).max() < 1e-4
    vertices = cloud.metadata["_ply_raw"]["vertex"]["data"]
    np.testing.assert_array_equal(vertices["confidence"], room.confidence.flatten())
    assert path.read_bytes().startswith(b"ply\nformat binary_little_endian 1.0\ncomment units metres\n")


def test_ply_normals_stand_on_the_rooms_walls(room, tmp_path):
    cloud = read_ply(export(room, tmp_path, "ply", KEEP_ALL)["ply"][0])
    back_wall = (cloud.positions[:, 2] - 4).abs() < 1e-4
    floor = ((cloud.positions[:, 1] - 1).abs() < 1e-4) & (cloud.positions[:, 2] < 3.5)
    for plane, normal in ((back_wall, [0.0, 0, -1]), (floor, [0.0, -1, 0])):
        upright = (cloud.normals[plane] @ torch.tensor(normal)) > 0.999
        assert upright.float().mean() > 0.95  # the rest lies at corners


def test_the_point_budget_holds(room, tmp_path):
    options = ExportOptions(max_points=1000, confidence_percentile=0.0)
    cloud = read_ply(export(room, tmp_path, "ply", options)["ply"][0])
    assert len(cloud.positions) == 1000
    assert distance_to_surface(cloud.positions).max() < 1e-4


@pytest.mark.parametrize("content", [b"", b"ply\nformat ascii 1.0\nelement vertex 0\nproperty float x\nend_header\n"])
def test_another_ply_is_refused(tmp_path, content):
    (tmp_path / "other.ply").write_bytes(content)
    with pytest.raises(ValueError, match=r"other.ply is not a point cloud that anyview wrote"):
        read_ply(tmp_path / "other.ply")


def test_transforms_lead_back_to_the_points(room, tmp_path):
    from PIL import Image

    paths = export(room, tmp_path, "transforms", KEEP_ALL)["transforms"]
    description = json.loads(paths[0].read_text())
    assert (description["w"], description["h"]) == (96, 72)
    assert "applied_transform" not in description
    for view, frame in enumerate(description["frames"]):
        with Image.open(paths[0].parent / frame["file_path"]) as image:
            np.testing.assert_array_equal(np.asarray(image), room.images[view])
        # By hand: the point that nerfstudio would put in front of a pixel, x right, y up, z backward.
        row, column, depth = 20, 30, float(room.depth[view, 20, 30])
        x = (column + 0.5 - frame["cx"]) / frame["fl_x"] * depth
        y = (row + 0.5 - frame["cy"]) / frame["fl_y"] * depth
        point = np.array(frame["transform_matrix"]) @ [x, -y, -depth, 1]
        expected = unproject_to_world(room.depth[view], room.cameras[view])[row, column]
        np.testing.assert_allclose(point[:3], expected, atol=1e-5)
        assert "mask_path" not in frame
    cloud = read_ply(paths[0].parent / description["ply_file_path"])
    assert distance_to_surface(cloud.positions).max() < 1e-4


def test_transforms_share_a_lens_and_show_masks(full_room, tmp_path):
    from PIL import Image

    paths = export(full_room, tmp_path, "transforms", ExportOptions(shared_intrinsics=True))["transforms"]
    description = json.loads(paths[0].read_text())
    assert description["fl_x"] == pytest.approx(0.94 * 96)  # the third of five
    for view, frame in enumerate(description["frames"]):
        assert "fl_x" not in frame
        with Image.open(paths[0].parent / frame["mask_path"]) as mask:
            np.testing.assert_array_equal(np.asarray(mask) > 0, full_room.mask[view])
