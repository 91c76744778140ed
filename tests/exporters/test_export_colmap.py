import dataclasses

import numpy as np
import pycolmap
import pytest
import torch
from room_scene import distance_to_surface, room_prediction

from anyview.exporters import export
from anyview.exporters.tracks import find_tracks
from anyview.geometry.camera import project
from anyview.options import ExportOptions
from anyview.types import Cameras, Placement


def read(prediction, folder, **options) -> pycolmap.Reconstruction:
    export(prediction, folder, "colmap", ExportOptions(**options))
    return pycolmap.Reconstruction(folder / "colmap" / "sparse" / "0")


@pytest.fixture(scope="module")
def model(room, tmp_path_factory):
    return read(room, tmp_path_factory.mktemp("colmap"), max_tracks=2000)


def test_cameras_are_those_of_the_input_pictures(room, model):
    assert (model.num_images(), model.num_cameras(), model.num_reg_images()) == (5, 5, 5)
    for view in range(5):
        image = model.image(view + 1)
        assert image.name == f"room/{view}.jpg"
        np.testing.assert_allclose(image.cam_from_world().matrix(), room.cameras.world_to_camera[view, :3], atol=1e-6)
        camera = image.camera
        assert (camera.model.name, camera.width, camera.height) == ("PINHOLE", 192, 144)
        np.testing.assert_allclose(camera.calibration_matrix(), _doubled(room.cameras.intrinsics[view]), rtol=1e-6)


def test_tracks_are_real(room, model):
    assert 1000 < model.num_points3D() <= 2000
    points = torch.tensor(np.array([point.xyz for point in model.points3D.values()]))
    errors = distance_to_surface(points)
    assert errors.max() < 1e-5
    lengths = [point.track.length() for point in model.points3D.values()]
    assert min(lengths) >= 2
    assert np.mean(lengths) > 3
    for point in model.points3D.values():
        assert len({element.image_id for element in point.track.elements}) == point.track.length()


def test_keypoints_are_the_points_to_a_fraction_of_a_pixel(room, model):
    for image in model.images.values():
        for keypoint in image.points2D:
            if keypoint.has_point3D():
                pixel = image.project_point(model.point3D(keypoint.point3D_id).xyz)
                assert np.linalg.norm(pixel - keypoint.xy) < 0.05
    assert model.compute_mean_reprojection_error() < 1e-3


def test_points_have_the_colours_of_their_pixels(room):
    tracks = find_tracks(room, room.valid(), 500, seed=0)
    first = torch.tensor([int((tracks.track == track).nonzero()[0]) for track in range(len(tracks.positions))])
    assert (tracks.view.diff()[tracks.track.diff() == 0] > 0).all()
    pixels, _ = project(tracks.positions[:, None], room.cameras[tracks.view[first]])
    assert torch.allclose(pixels[:, 0], tracks.pixels[first], atol=0.05)
    seeds = (tracks.pixels % 1 - 0.5).abs().amax(-1) < 1e-6
    columns, rows = tracks.pixels[seeds].long().unbind(-1)
    assert torch.equal(tracks.track[seeds].unique(), torch.arange(len(tracks.positions)))
    assert torch.equal(room.images[tracks.view[seeds], rows, columns], tracks.colors[tracks.track[seeds]])


def test_hidden_points_are_no_observations(room):
    """Without the test of depth a projection into every view would do, through walls and all."""
    tracks = find_tracks(room, room.valid(), 3000, seed=0)
    columns, rows = tracks.pixels.long().unbind(-1)
    _, depth = project(tracks.positions[tracks.track][:, None], room.cameras[tracks.view])
    seen = room.depth[tracks.view, rows, columns]
    assert ((depth[:, 0] / seen - 1).abs() < 0.05).all()


def test_no_pixel_starts_two_tracks(room):
    tracks = find_tracks(room, room.valid(), 100_000, seed=0)
    seeds = (tracks.pixels % 1 - 0.5).abs().amax(-1) < 1e-6
    cells = torch.cat([tracks.view[:, None], tracks.pixels.long()], 1)[seeds]
    assert len(cells.unique(dim=0)) == len(cells)
    assert len(tracks.positions) < 0.5 * room.depth.numel()


def test_bundle_adjustment_leaves_exact_cameras_alone(model):
    before = {i: image.cam_from_world().matrix() for i, image in model.images.items()}
    lenses = {i: camera.params.copy() for i, camera in model.cameras.items()}
    adjusted = pycolmap.Reconstruction(model)
    options = pycolmap.BundleAdjustmentOptions()
    options.print_summary = False
    pycolmap.bundle_adjustment(adjusted, options)
    for i, image in adjusted.images.items():
        np.testing.assert_allclose(image.cam_from_world().matrix(), before[i], atol=1e-3)
    for i, camera in adjusted.cameras.items():
        np.testing.assert_allclose(camera.params, lenses[i], rtol=1e-3)


def test_bundle_adjustment_repairs_a_moved_camera(room, model):
    """The tracks carry information: a camera that was moved is brought back by them."""
    moved = pycolmap.Reconstruction(model)
    frame = moved.image(3).frame
    pose = frame.rig_from_world
    truth = pose.matrix()
    frame.rig_from_world = pycolmap.Rigid3d(pose.rotation, pose.translation + np.array([0.05, -0.03, 0.04]))
    options = pycolmap.BundleAdjustmentOptions()
    options.print_summary = False
    options.refine_focal_length = False
    pycolmap.bundle_adjustment(moved, options)
    moved.update_point_3d_errors()
    assert moved.compute_mean_reprojection_error() < 0.1
    relative = moved.image(3).cam_from_world().matrix() @ np.vstack([_inverse(moved.image(1)), [0, 0, 0, 1]])
    expected = truth @ np.vstack([_inverse(model.image(1)), [0, 0, 0, 1]])
    np.testing.assert_allclose(relative[:, :3], expected[:, :3], atol=5e-3)


def test_confidence_weights_the_points(room):
    """Two views that disagree by half a percent: the surer one decides."""
    farther = room.depth.clone()
    farther[1:] *= 1.005
    confidence = torch.ones_like(room.depth)
    confidence[0] = 1e6
    sure = dataclasses.replace(room, depth=farther, confidence=confidence)
    tracks = find_tracks(sure, room.valid(), 1000, seed=0)
    with_first = tracks.track[tracks.view == 0].unique()
    assert len(with_first) > 100
    assert distance_to_surface(tracks.positions[with_first]).quantile(0.95) < 1e-3
    even = find_tracks(dataclasses.replace(sure, confidence=None), room.valid(), 1000, seed=0)
    assert distance_to_surface(even.positions).median() > 3e-3


def test_one_lens_for_all_pictures_of_one_size(room, tmp_path):
    placements = (*room.placements[:4], Placement(288, 384, 0.25, 0.25))
    mixed = dataclasses.replace(room, placements=placements)
    model = read(mixed, tmp_path, shared_intrinsics=True, max_tracks=100)
    assert model.num_cameras() == 2
    assert [model.image(i).camera_id for i in range(1, 6)] == [1, 1, 1, 1, 2]
    median = room.cameras.intrinsics[:4].quantile(0.5, dim=0)
    np.testing.assert_allclose(model.camera(1).calibration_matrix(), _doubled(median), rtol=1e-6)
    assert (model.camera(2).width, model.camera(2).height) == (384, 288)


def test_crops_and_mixed_sizes_keep_the_geometry(room, tmp_path):
    """Other pictures behind the same maps: keypoints still project onto their points."""
    placements = (
        Placement(144, 192, 0.5, 0.5),
        Placement(72, 120, 1.0, 1.0, -13.0, 0.0),
        Placement(300, 200, 0.6, 0.6, -10.0, -50.0),
        Placement(72, 96),
        Placement(1440, 1920, 0.05, 0.05),
    )
    model = read(dataclasses.replace(room, placements=placements), tmp_path, max_tracks=500)
    for placement, image in zip(placements, (model.image(i) for i in range(1, 6)), strict=True):
        assert (image.camera.width, image.camera.height) == (placement.input_width, placement.input_height)
        assert image.num_points3D > 50
        for keypoint in image.points2D:
            pixel = image.project_point(model.point3D(keypoint.point3D_id).xyz)
            assert np.linalg.norm(pixel - keypoint.xy) * placement.scale_x < 0.05


def test_masked_and_dropped_pixels_are_in_no_track(room):
    mask = torch.ones_like(room.depth, dtype=torch.bool)
    mask[:, :, :40] = False
    tracks = find_tracks(dataclasses.replace(room, mask=mask), mask, 5000, seed=0)
    assert len(tracks.positions) > 1000
    assert (tracks.pixels[:, 0] > 40).all()


def test_a_single_view_has_cameras_and_no_points(tmp_path):
    model = read(room_prediction(views=1), tmp_path)
    assert (model.num_images(), model.num_points3D()) == (1, 0)


def test_views_that_share_nothing_have_no_tracks(room, tmp_path):
    pose = torch.eye(4).repeat(2, 1, 1)
    pose[1, 0, 3] = 1000.0
    apart = dataclasses.replace(
        room,
        cameras=Cameras(pose, room.cameras.intrinsics[:2]),
        **{name: getattr(room, name)[:2] for name in ("images", "depth", "confidence", "names", "placements")},
    )
    assert read(apart, tmp_path).num_points3D() == 0


def _doubled(intrinsics: torch.Tensor) -> np.ndarray:
    return np.diag([2.0, 2, 1]) @ intrinsics.double().numpy()


def _inverse(image) -> np.ndarray:
    return image.cam_from_world().inverse().matrix()
