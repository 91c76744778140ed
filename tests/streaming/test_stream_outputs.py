"""What streams leave behind, read back by others."""

import json
import math

import numpy as np
import pytest
import torch

from anyview.exporters.depth_png import read_depth_png
from anyview.exporters.gaussians_ply import read_gaussians_ply
from anyview.exporters.ply import read_ply
from anyview.geometry.pose import camera_centers, rigid_inverse
from anyview.render.pixels import NOTE
from anyview.streaming import KnownPoses, stream, write_outputs
from anyview.streaming.cloud import VoxelCloud
from anyview.streaming.injected import BOX, box_depth
from anyview.streaming.mesh import count_blocks
from anyview.streaming.outputs import STREAM_FORMATS, stored_frames, stored_windows
from anyview.streaming.trajectory import every_position, read_kitti, read_known_poses, read_tum, write_kitti, write_tum
from anyview.types import Cameras


@pytest.fixture(scope="module")
def written(circling, options, tmp_path_factory):
    """A finished stream in a known world, with every output."""
    truth = circling(20, window_scale=0.3)
    folder = tmp_path_factory.mktemp("written")
    known = KnownPoses(by_index=dict(enumerate(truth.cameras.world_to_camera)))
    run = stream(truth, truth.frames(), options(cloud_points=3000), folder=folder, known_poses=known)
    list(run)
    return truth, run, folder, write_outputs(run, folder, list(STREAM_FORMATS))


def test_tum_holds_times_and_poses(written, assert_close):
    truth, _, _, paths = written
    times, poses = read_tum(paths["tum"])
    assert times == pytest.approx([index / 30 for index in range(20)], abs=1e-6)
    assert_close(poses, truth.cameras.world_to_camera, 1e-7, reason="nine digits are written")
    position = np.loadtxt(paths["tum"])[7, 1:4]
    assert np.allclose(position, camera_centers(truth.cameras.world_to_camera)[7], atol=1e-7)


def test_kitti_holds_a_row_for_every_frame(written, assert_close):
    truth, _, _, paths = written
    assert_close(read_kitti(paths["kitti"]), truth.cameras.world_to_camera, 1e-7, reason="ten digits are written")
    rows = np.loadtxt(paths["kitti"]).reshape(-1, 3, 4)
    assert np.allclose(rows[3] @ [0, 0, 0, 1], camera_centers(truth.cameras.world_to_camera)[3])


def test_frames_passed_over_stand_where_the_last_kept_one_does():
    poses = torch.arange(3.0)[:, None, None] * torch.ones(4, 4)
    assert every_position([1, 2, 5], poses, 8)[:, 0, 0].tolist() == [0, 0, 1, 1, 1, 2, 2, 2]


def test_kitti_goes_on_to_the_last_frame_of_a_source_that_stands_still(circling, options, tmp_path):
    truth = circling(10)
    frames = list(truth.frames())
    for resume in (False, True):
        with stream(truth, [*frames, *[frames[-1]] * 5], options(), folder=tmp_path, resume=resume) as run:
            list(run)
            poses = read_kitti(write_outputs(run, tmp_path, ["kitti"])["kitti"])
        assert len(poses) == 15
        assert torch.equal(poses[-1], poses[9])


def test_a_cloud_far_from_the_origin_is_the_same_cloud(circling):
    """By a million metres: counted from 0, no voxel of 2 cm would be within reach."""
    truth = circling(2)
    depth = box_depth(truth.cameras, 28, 42)
    clouds = []
    for shift in (0.0, 2.0**20):
        camera_to_world = rigid_inverse(truth.cameras.world_to_camera)
        camera_to_world[:, 0, 3] += shift
        cameras = Cameras(rigid_inverse(camera_to_world), truth.cameras.intrinsics)
        cloud = VoxelCloud(5000, voxel_size=0.02)
        for view in range(2):
            image = torch.zeros(28, 42, 3, dtype=torch.uint8)
            cloud.add(image, depth[view].float(), torch.full((28, 42), 2.0), cameras[view])
        clouds.append(cloud.points().positions)
    assert len(clouds[0]) > 1000
    assert abs(len(clouds[1]) - len(clouds[0])) <= 2  # a point on the border of two voxels
    middle = clouds[1].double().mean(0) - clouds[0].double().mean(0)
    assert torch.allclose(middle, torch.tensor([2.0**20, 0, 0]).double(), atol=0.1)


def test_pycolmap_reads_the_cameras(written):
    import pycolmap

    truth, _, _, paths = written
    model = pycolmap.Reconstruction(paths["colmap"])
    assert model.num_images() == 20
    for image in model.images.values():
        index = int(image.name)
        assert np.allclose(image.cam_from_world().matrix(), truth.cameras.world_to_camera[index, :3], atol=1e-6)
        camera = model.cameras[image.camera_id]
        assert np.allclose(camera.calibration_matrix(), truth.cameras.intrinsics[index], atol=1e-4)


def test_colmap_and_tum_files_serve_as_known_poses(written):
    truth, _, folder, paths = written
    by_name = read_known_poses(folder / "colmap")
    assert torch.allclose(by_name.by_name["000004"], truth.cameras.world_to_camera[4])
    by_time = read_known_poses(paths["tum"])
    assert torch.allclose(by_time.look_up(-1, "", 5 / 30), truth.cameras.world_to_camera[5])
    assert torch.allclose(read_known_poses(paths["kitti"]).by_index[6], truth.cameras.world_to_camera[6])


def test_transforms_have_opengl_axes(written):
    truth, _, _, paths = written
    document = json.loads(paths["transforms"].read_text())
    frame = document["frames"][9]
    matrix = np.array(frame["transform_matrix"])
    camera_to_world = np.linalg.inv(truth.cameras.world_to_camera[9].numpy())
    assert np.allclose(matrix[:, 3], camera_to_world[:, 3])
    assert np.allclose(matrix[:3, 2], -camera_to_world[:3, 2])
    assert frame["file_path"] == "000009"
    assert (document["w"], document["units"]) == (42, "caller")


def test_depth_is_in_the_world_s_unit(written, assert_close):
    truth, _, _, paths = written
    files = sorted(paths["depth"].glob("*.png"))
    assert len(files) == 20
    depth, unit = read_depth_png(files[12])
    assert unit == "caller"
    expected = box_depth(truth.cameras[12:13], 28, 42)[0].float()
    assert_close(depth, expected, 1e-3, reason="half precision on disk")


def test_the_cloud_lies_on_the_walls_and_keeps_to_its_size(written):
    _, _, _, paths = written
    cloud = read_ply(paths["cloud"])
    assert 500 < len(cloud.positions) <= 3000
    walls = (cloud.positions.abs() / torch.tensor(BOX)).amax(-1)
    assert (walls > 0.9).all()
    assert walls.quantile(0.99) < 1.01


def test_the_mesh_lies_on_the_walls(written):
    import trimesh

    _, _, _, paths = written
    mesh = trimesh.load(paths["mesh"], process=False)
    assert len(mesh.faces) > 100
    walls = (np.abs(mesh.vertices) / BOX).max(-1)
    assert np.quantile(walls, 0.05) > 0.9
    assert np.quantile(walls, 0.95) < 1.1
    assert b"comment units caller" in paths["mesh"].read_bytes()[:300]


def test_gaussians_lie_on_the_walls_with_the_cameras_of_the_way(written):
    truth, _, _, paths = written
    file = read_gaussians_ply(paths["gaussians"])
    means = file.gaussians.means
    assert 500 < len(means) <= 3000
    walls = (means.abs() / torch.tensor(BOX)).amax(-1)
    assert (walls > 0.9).all()
    assert walls.quantile(0.99) < 1.01
    assert torch.allclose(file.cameras.world_to_camera.double(), truth.cameras.world_to_camera, atol=1e-5)
    assert file.size == (28, 42)
    assert f"comment {NOTE}\n".encode() in paths["gaussians"].read_bytes()[:10_000]


def test_windows_are_read_back_whole(written):
    _, run, _, _ = written
    rows = run.all_frames()
    parts = list(stored_windows(run))
    assert [len(part) for part in parts] == torch.bincount(rows.owner).tolist()
    assert torch.equal(torch.cat([part.depth for part in parts]), torch.cat([f.depth for f in stored_frames(run)]))


def test_blocks_are_counted_by_hand():
    """Voxels of 1, blocks of 16, truncation 5: a point in a block's middle fills one, at its corner eight."""
    assert count_blocks(torch.tensor([[8.0, 8.0, 8.0]]), 1.0) == 1
    assert count_blocks(torch.tensor([[0.0, 16.0, 32.0]]), 1.0) == 8
    assert count_blocks(torch.tensor([[8.0, 8.0, 8.0], [8.0, 8.0, 15.0]]), 1.0) == 2


def test_a_voxel_holds_the_weighted_mean():
    """Two views of one plane; certainty 1 and 3, grey 0 and 100."""
    cloud = VoxelCloud(100, voxel_size=10.0)
    camera = Cameras(torch.eye(4), torch.tensor([[1.0, 0, 0.5], [0, 1, 0.5], [0, 0, 1]]))
    for depth, confidence, grey in ((1.0, 2.0, 0), (2.0, 4.0, 100)):
        image = torch.full((1, 1, 3), grey, dtype=torch.uint8)
        cloud.add(image, torch.full((1, 1), depth), torch.full((1, 1), confidence), camera)
    points = cloud.points()
    assert points.positions.tolist() == [[0.0, 0.0, 1.75]]
    assert points.colors.tolist() == [[75, 75, 75]]
    assert points.confidence.tolist() == [5.0]


def test_voxels_double_until_they_are_few_enough():
    cloud = VoxelCloud(4, voxel_size=1.0)
    camera = Cameras(torch.eye(4), torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]))
    depth = torch.ones(8, 8)
    cloud.add(torch.zeros(8, 8, 3, dtype=torch.uint8), depth, 2 * depth, camera)
    assert len(cloud.points().positions) == 4
    assert cloud.voxel_size == 4.0
    assert cloud.points().confidence.tolist() == [17.0] * 4


def test_unknown_formats_are_refused(written):
    _, run, folder, _ = written
    with pytest.raises(ValueError, match="unknown format 'tumm': did you mean 'tum'"):
        write_outputs(run, folder, ["tumm"])
    with pytest.raises(ValueError, match="no format given; known: tum, kitti"):
        write_outputs(run, folder, [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected 8 numbers a line .TUM. or 12 .KITTI., got 0"),
        ("1 2 3", "got 3"),
        ("0 1 2 3 0 0 0 1\n1 1 2 3 0 0 zero 1", "pose 2 holds what is no number"),
        ("0 1 2 3 0 0 0 nan", "expected 8 finite numbers for pose 1"),
    ],
)
def test_files_that_are_no_poses_are_refused(text, message, tmp_path):
    (tmp_path / "poses.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_known_poses(tmp_path / "poses.txt")


def test_folders_without_a_model_are_no_poses(tmp_path):
    with pytest.raises(ValueError, match="holds no COLMAP model"):
        read_known_poses(tmp_path)
    with pytest.raises(ValueError, match="no such path"):
        read_known_poses(tmp_path / "poses.txt")


def test_trajectories_round_trip(tmp_path, assert_close):
    """Ninety degrees about y, three to the right: the numbers of the line by hand."""
    turn = torch.tensor([[0.0, 0, 1, 3], [0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]], dtype=torch.float64)
    pose = torch.linalg.inv(turn)[None]
    write_tum(tmp_path / "tum.txt", [1.5], pose)
    half = f"{math.sqrt(0.5):.9g}"
    assert (tmp_path / "tum.txt").read_text().splitlines()[1] == f"1.500000 3 0 0 0 {half} 0 {half}"
    write_kitti(tmp_path / "kitti.txt", pose)
    assert_close(read_kitti(tmp_path / "kitti.txt"), pose)
    assert_close(read_tum(tmp_path / "tum.txt")[1], pose, 1e-8, reason="nine digits")
