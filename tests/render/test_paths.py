"""Camera paths: valid poses from start to end, through what they promise, at constant speed."""

import json
import math
from typing import get_args

import pytest
import torch

from anyview.geometry.camera import project
from anyview.geometry.pose import camera_centers, check_cameras, matrix_from_quaternion_xyzw, rigid_transform
from anyview.options import CameraPath
from anyview.render.keyframes import read_keyframes
from anyview.render.paths import (
    Focus,
    camera_outside,
    camera_path,
    find_focus,
    fit_cameras,
    frame_times,
    interpolate,
    look_at,
)
from anyview.types import Cameras

INTRINSICS = torch.tensor([[100.0, 0, 32], [0, 100, 24], [0, 0, 1]])
FOCUS = Focus(torch.tensor([0.2, 0.1, 4.0]), 4.0)
UP = torch.tensor([0.0, -1, 0])


def cameras_at(*centers: tuple[float, float, float]) -> Cameras:
    """Cameras that look at the focus."""
    poses = [look_at(torch.tensor(center), FOCUS.center, UP) for center in centers]
    return Cameras(torch.stack(poses), INTRINSICS.repeat(len(centers), 1, 1))


def steps(cameras: Cameras) -> torch.Tensor:
    return torch.diff(camera_centers(cameras.world_to_camera), dim=0).norm(dim=-1)


MANY = cameras_at((0.0, 0.0, 0.0), (0.5, 0.1, 0.0), (2.0, -0.3, 0.5), (2.1, -0.3, 0.6))


@pytest.mark.parametrize("cameras", [MANY, MANY[:1], MANY[:2]], ids=["four", "one", "two"])
@pytest.mark.parametrize("kind", get_args(CameraPath))
@pytest.mark.parametrize("easing", ["linear", "smooth"])
def test_every_path_has_valid_poses_and_begins_and_ends_on_given_ones(kind, cameras, easing, assert_close):
    path = camera_path(kind, cameras, FOCUS, 25, easing=easing)
    check_cameras(path, views=25)
    last = cameras[-1] if kind == "through" else cameras[0]
    assert_close(path[0].world_to_camera, cameras[0].world_to_camera)
    assert_close(path[-1].world_to_camera, last.world_to_camera)
    assert_close(path[-1].intrinsics, last.intrinsics)
    if kind != "through":
        moved = (path.world_to_camera - cameras[0].world_to_camera).abs().amax((1, 2))
        assert moved.max() > 0.05


def test_through_passes_the_cameras_at_constant_speed(assert_close):
    path = camera_path("through", MANY, FOCUS, 400)
    centers = camera_centers(path.world_to_camera)
    for center, pose in zip(camera_centers(MANY.world_to_camera), MANY.world_to_camera, strict=True):
        nearest = (centers - center).norm(dim=-1).argmin()
        assert (centers[nearest] - center).norm() < 0.01
        assert (path.world_to_camera[nearest] - pose).abs().max() < 0.02
    straight = interpolate(cameras_only_moved((0, 0, 0), (0.1, 0, 0), (3, 0, 0)), frame_times(50))
    assert_close(steps(straight), torch.full((49,), 3 / 49), 5e-3, reason="the way is measured in 64 chords a stretch")


def cameras_only_moved(*centers: tuple[float, float, float]) -> Cameras:
    poses = torch.stack([rigid_transform(torch.eye(3), -torch.tensor(center).float()) for center in centers])
    return Cameras(poses, INTRINSICS.repeat(len(centers), 1, 1))


def test_a_camera_that_only_turns_turns_at_constant_speed(assert_close):
    angles = torch.tensor([0.0, 0.2, 1.0])
    zero = torch.zeros(3)
    quaternions = torch.stack([zero, (angles / 2).sin(), zero, (angles / 2).cos()], -1)
    poses = rigid_transform(matrix_from_quaternion_xyzw(quaternions), torch.zeros(3, 3))
    path = interpolate(Cameras(poses, INTRINSICS.repeat(3, 1, 1)), frame_times(21))
    turned = torch.atan2(path.world_to_camera[:, 0, 2], path.world_to_camera[:, 0, 0])
    assert_close(turned.diff(), torch.full((20,), 0.05), 1e-2, reason="quaternions are blended, not angles")


def test_a_camera_that_only_zooms_does_so_evenly(assert_close):
    lenses = INTRINSICS.repeat(2, 1, 1)
    lenses[1, 0, 0] = lenses[1, 1, 1] = 400.0
    path = interpolate(Cameras(torch.eye(4).repeat(2, 1, 1), lenses), frame_times(3))
    assert_close(path.intrinsics[:, 0, 0], torch.tensor([100.0, 200, 400]))


def test_cameras_that_stand_still_are_passed_once():
    path = interpolate(cameras_only_moved((0, 0, 0), (0, 0, 0), (1, 0, 0), (1, 0, 0)), frame_times(5))
    assert camera_centers(path.world_to_camera)[:, 0].tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    still = interpolate(cameras_only_moved((1, 2, 3), (1, 2, 3)), frame_times(4))
    assert camera_centers(still.world_to_camera).tolist() == [[1, 2, 3]] * 4


def test_quaternions_take_the_short_way():
    """Half turns and their neighbours have quaternions of either sign."""
    angles = [math.radians(angle) for angle in (170, 190)]
    rows = [[[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]] for a in angles]
    poses = rigid_transform(torch.tensor(rows), torch.zeros(2, 3))
    path = interpolate(Cameras(poses, INTRINSICS.repeat(2, 1, 1)), frame_times(3))
    assert path.world_to_camera[1, 0, 0].item() == pytest.approx(-1, abs=1e-5)


def test_orbit_keeps_distance_and_aim(assert_close):
    path = camera_path("orbit", MANY[:1], FOCUS, 40, amplitude=30.0)
    centers = camera_centers(path.world_to_camera)
    assert_close((centers - FOCUS.center).norm(dim=-1), torch.full((40,), float(FOCUS.center.norm())))
    pixels, _ = project(FOCUS.center[None], path)
    assert_close(pixels, torch.tensor([32.0, 24]).expand(40, 1, 2), 1e-4, reason="float32 poses")
    along_axis = path.world_to_camera[:, 1, :3]  # it turns around the camera's own vertical
    assert_close(along_axis, along_axis[:1].expand(40, 3))
    aim = torch.nn.functional.normalize(FOCUS.center - centers, dim=-1)
    swing = torch.rad2deg(torch.arccos((aim @ aim[0]).clamp(max=1)))
    assert swing.max() == pytest.approx(30, abs=0.5)


def test_a_full_orbit_goes_all_the_way_around():
    centers = camera_centers(camera_path("orbit", MANY[:1], FOCUS, 5, amplitude=360.0).world_to_camera)
    assert (centers[0] - centers[2]).norm().item() == pytest.approx(2 * FOCUS.center.norm().item(), rel=1e-4)


def test_wander_holds_the_focus_in_its_place(assert_close):
    path = camera_path("wander", MANY[2:3], FOCUS, 30)
    pixels, _ = project(FOCUS.center[None], path)
    assert_close(pixels, pixels[:1].expand(30, 1, 2), 1e-4, reason="float32 poses")
    assert (steps(path) > 0).all()


def test_dolly_zoom_holds_the_size_of_what_is_in_focus(assert_close):
    camera = Cameras(torch.eye(4)[None], INTRINSICS[None])
    path = camera_path("dolly_zoom", camera, Focus(torch.tensor([0.0, 0, 4]), 4.0), 31)
    on_the_plane = torch.tensor([[-1.0, 0, 4], [1, 0.5, 4]])
    pixels, depths = project(on_the_plane, path)
    assert_close(pixels, pixels[:1].expand(31, 2, 2))
    assert depths.max().item() == pytest.approx(4 * 1.4)
    behind, _ = project(torch.tensor([[1.0, 0, 8]]), path)
    assert behind[15, 0, 0] > behind[0, 0, 0]


def test_easing_starts_and_ends_slowly():
    times = frame_times(101, "smooth")
    assert times[[0, 50, 100]].tolist() == pytest.approx([0, 0.5, 1])
    assert times[1] < 0.001
    assert times.diff().min() > 0
    assert frame_times(1).tolist() == [0]


def test_the_focus_is_the_middle_of_what_lies_in_front(assert_close):
    points = torch.tensor([[0.0, 0, 3], [1, 1, 4], [-1, -1, 5], [50, 50, -1]])
    focus = find_focus(Cameras(torch.eye(4)[None], INTRINSICS[None]), points)
    assert focus.center.tolist() == [0, 0, 4]
    assert focus.distance == 4
    with pytest.raises(ValueError, match="no Gaussian lies in front of a camera"):
        find_focus(Cameras(torch.eye(4)[None], INTRINSICS[None]), points[3:])


def test_another_size_is_filled_with_what_was_seen():
    camera = Cameras(torch.eye(4)[None], torch.tensor([[[100.0, 0, 30], [0, 100, 25], [0, 0, 1]]]))
    wide = fit_cameras(camera, (48, 64), (72, 128))  # twice as large, 24 rows cut off at both ends of 96
    assert wide.intrinsics[0].tolist() == [[200, 0, 60], [0, 200, 50 - 12], [0, 0, 1]]


def test_a_camera_outside_sees_most_points():
    points = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([2.0, 1, 1]) + 7
    pixels, depth = project(points, camera_outside(points, 48, 64))
    inside = ((pixels > 0) & (pixels < torch.tensor([64, 48]))).all(-1) & (depth > 0)
    assert inside.float().mean() > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((MANY, FOCUS, 0), "expected at least 1 frame, got 0"),
        ((MANY[:0], FOCUS, 3), "expected at least one camera, got none"),
    ],
)
def test_bad_paths_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        camera_path("orbit", *arguments)
    with pytest.raises(ValueError, match="expected an amplitude above 0, got -1"):
        camera_path("wander", MANY, FOCUS, 3, amplitude=-1.0)


def test_keyframes_of_both_kinds(tmp_path, assert_close):
    turned = [[0.0, 0, -1, 1], [0, 1, 0, 2], [1, 0, 0, 3]]
    keyframes = [
        {"position": [0, 0, 0], "look_at": [1, 0, 0]},
        {"world_to_camera": turned, "field_of_view": 90},
        {"world_to_camera": [*turned, [0, 0, 0, 1]], "field_of_view": 60},
        {"position": [0, -5, 0], "look_at": [0, 0, 0], "up": [0, 0, 1]},
    ]
    file = tmp_path / "keys.json"
    for document in (keyframes, {"keyframes": keyframes}):
        file.write_text(json.dumps(document))
        cameras = read_keyframes(file, Cameras(torch.eye(4)[None], INTRINSICS[None]), 48, 64)
        check_cameras(cameras, views=4)
        # Looking along +x with y down: the camera's x axis is −z of the world.
        assert_close(cameras.world_to_camera[0, :3, :3], torch.tensor([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]]))
        assert_close(cameras.world_to_camera[1, :3], torch.tensor(turned))
        assert cameras.intrinsics[:, 0, 0].tolist() == pytest.approx([100, 32, 32 * 3**0.5, 100])
        # From above: the direction `up`, +z, is up in the picture, which is −y of the camera.
        assert_close(cameras.world_to_camera[3, 1, :3], torch.tensor([0.0, 0, -1]))


POSE = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{", "keys.json is not JSON: "),
        ("[]", "expected a list of at least one keyframe, or an object with one as 'keyframes'"),
        ('{"frames": []}', "expected a list of at least one keyframe"),
        ("[3]", "keyframe 0: expected an object, got 3"),
        ('[{"position": [0, 0, 0]}]', "keyframe 0: expected world_to_camera, or position and look_at; got position"),
        ('[{"positoin": [0, 0, 0]}]', "keyframe 0: unknown field 'positoin'; did you mean 'position'"),
        ('[{"position": [0, NaN, 0], "look_at": [1, 0, 0]}]', "keyframe 0: position holds NaN or infinite values"),
        (
            '[{"position": [0, 0], "look_at": [1, 0, 0]}]',
            r"keyframe 0: expected 3 numbers as position, got shape \(2,\)",
        ),
        ('[{"position": "here", "look_at": [1, 0, 0]}]', "keyframe 0: expected 3 numbers as position, got 'here'"),
        ('[{"position": [1, 0, 0], "look_at": [1, 0, 0]}]', "keyframe 0: the camera cannot look at its own position"),
        (json.dumps([{"world_to_camera": POSE, "field_of_view": 190}]), "between 0 and 180 degrees, got 190"),
        (
            json.dumps([{"world_to_camera": POSE}, {"world_to_camera": [[2.0, 0, 0, 0], *POSE[1:]]}]),
            "keyframe 1: the rot",
        ),
        (json.dumps([{"world_to_camera": [[math.nan, 0, 0, 0], *POSE[1:]]}]), "keyframe 0: world_to_camera holds NaN"),
    ],
)
def test_bad_keyframes_are_refused_by_name(tmp_path, text, message):
    (tmp_path / "keys.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_keyframes(tmp_path / "keys.json", MANY, 48, 64)


def test_a_missing_file_of_keyframes_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no\.json does not exist"):
        read_keyframes(tmp_path / "no.json", MANY, 48, 64)
