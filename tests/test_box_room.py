"""The box room that other tests take for the truth is one."""

import pytest
import torch

from anyview.geometry.camera import project, unproject_to_world
from anyview.geometry.pose import camera_centers, check_cameras
from box_room import ROOM, render_room, room_cameras


@pytest.fixture(scope="module")
def room():
    cameras = room_cameras(4, 63, 84)
    return cameras, *render_room(cameras, 63, 84)


def test_cameras_are_sound_and_stand_within_the_room():
    cameras = room_cameras(9, 63, 84)
    check_cameras(cameras, views=9)
    assert (camera_centers(cameras.world_to_camera).abs() < torch.tensor(ROOM)).all()


def test_all_that_is_seen_lies_on_the_walls(room, assert_close):
    cameras, _, depth = room
    assert (depth > 0.1).all()
    points = unproject_to_world(depth, cameras)
    nearness = (points.abs() / torch.tensor(ROOM)).amax(-1)
    assert_close(nearness, torch.ones_like(nearness))


def test_pictures_show_something(room):
    _, pictures, _ = room
    assert pictures.dtype == torch.uint8
    assert (pictures.float().flatten(1, 2).std(1) > 10).all()
    assert not torch.equal(pictures[0], pictures[1])


def test_two_views_of_a_spot_have_its_colour(room):
    cameras, pictures, depth = room
    spot = unproject_to_world(depth, cameras)[0, 30, 42]
    pixels, _ = project(spot[None], cameras[1])
    column, row = map(int, pixels[0])
    around = pictures[1, row - 1 : row + 2, column - 1 : column + 2].int()
    assert (around - pictures[0, 30, 42].int()).abs().amax(-1).min() <= 12
