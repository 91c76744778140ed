"""A scene in the mirror is a scene: its cameras see its pixels where its depth says."""

import torch
from rooms import Rooms

from anyview.geometry.camera import unproject_to_world
from anyview.geometry.pose import check_cameras
from anyview.training.augment import mirror_scenes


def test_points_in_the_mirror_are_the_points_left_and_right_exchanged(assert_close):
    truth = Rooms().batch((0, 1, 2), 2, 56, 70, 0.5)
    mirrored = mirror_scenes(truth, (0, 1, 2), 1.0, 0)
    assert torch.equal(mirrored.images, truth.images.flip(-2))
    assert torch.equal(mirrored.depth, truth.depth.flip(-1))
    for scene in range(3):
        check_cameras(mirrored.cameras[scene], 2)  # still right-handed
    points = unproject_to_world(truth.depth, truth.cameras)
    there = unproject_to_world(mirrored.depth, mirrored.cameras)
    expected = points.flip(-2) * torch.tensor([-1.0, 1, 1])
    assert_close(there, expected, 1e-4, reason="float32 rotations of points metres away")


def test_the_scene_decides_whether_it_is_mirrored():
    truth = Rooms().batch(range(40), 1, 14, 14, 0.5)
    mirrored = mirror_scenes(truth, range(40), 0.5, 0)
    changed = (mirrored.images != truth.images).flatten(1).any(1)
    assert 10 < changed.sum() < 30
    assert torch.equal(mirrored.cameras.intrinsics[~changed], truth.cameras.intrinsics[~changed])
    alone = mirror_scenes(truth, range(40), 0.5, 0)
    assert torch.equal(alone.images, mirrored.images)
    assert not torch.equal(mirror_scenes(truth, range(40), 0.5, 1).images, mirrored.images)
    assert mirror_scenes(truth, range(40), 0.0, 0) is truth
