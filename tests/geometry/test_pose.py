import math

import pytest
import torch

from anyview.geometry.pose import (
    camera_centers,
    check_cameras,
    decode_pose,
    encode_pose,
    homogeneous,
    matrix_from_quaternion_xyzw,
    normalize_poses,
    orthonormalize,
    quaternion_xyzw_from_matrix,
    rigid_inverse,
    rigid_transform,
    rotation_angle,
)
from anyview.types import Cameras

BATCHES = [(), (2,), (3, 1, 2)]


def rotation_about(axis: int, angle: float) -> torch.Tensor:
    rotation = torch.eye(3, dtype=torch.float64)
    i, j = [k for k in range(3) if k != axis]
    rotation[i, i] = rotation[j, j] = math.cos(angle)
    rotation[i, j] = -math.sin(angle) * (-1) ** axis
    rotation[j, i] = math.sin(angle) * (-1) ** axis
    return rotation


@pytest.mark.parametrize("angle", [0.0, 1e-9, 0.3, math.pi / 2, 3.0, math.pi])
def test_angles_of_rotations(angle, random_rotations, assert_close):
    turned = torch.stack([rotation_about(axis, sign * angle) for axis in range(3) for sign in (1, -1)])
    assert rotation_angle(turned).tolist() == pytest.approx([angle] * 6, rel=1e-6)
    frame = random_rotations(6)
    assert rotation_angle(frame @ turned @ frame.mT).tolist() == pytest.approx([angle] * 6, abs=1e-7)
    assert_close(rotation_angle(turned.view(3, 2, 3, 3)), rotation_angle(turned).view(3, 2))


@pytest.mark.parametrize("batch", BATCHES)
def test_inverse(batch, random_cameras, assert_close):
    pose = random_cameras(*batch).world_to_camera
    identity = torch.eye(4, dtype=torch.float64).expand(*batch, 4, 4)
    assert_close(rigid_inverse(pose) @ pose, identity)
    assert_close(rigid_inverse(rigid_inverse(pose)), pose)


def test_the_center_is_seen_at_the_origin(random_cameras, assert_close):
    pose = random_cameras(5).world_to_camera
    center = camera_centers(pose)
    seen = (pose[:, :3, :3] @ center[..., None])[..., 0] + pose[:, :3, 3]
    assert_close(seen, torch.zeros(5, 3, dtype=torch.float64))


def test_homogeneous():
    pose = torch.arange(24.0).reshape(2, 3, 4)
    full = homogeneous(pose)
    assert torch.equal(full[:, :3], pose)
    assert full[:, 3].tolist() == [[0, 0, 0, 1]] * 2
    assert torch.equal(homogeneous(full), full)
    with pytest.raises(ValueError, match=r"3x4 or 4x4 matrices, got \(2, 4\)"):
        homogeneous(pose[0, :2])


@pytest.mark.parametrize(
    ("axis", "angle", "expected"),
    [
        (0, math.pi / 2, [math.sqrt(0.5), 0, 0, math.sqrt(0.5)]),
        (1, math.pi / 2, [0, math.sqrt(0.5), 0, math.sqrt(0.5)]),
        (2, 2 * math.pi / 3, [0, 0, math.sqrt(0.75), 0.5]),
        (2, -2 * math.pi / 3, [0, 0, -math.sqrt(0.75), 0.5]),
        (0, 0.0, [0, 0, 0, 1]),
    ],
)
def test_quaternions_by_hand(axis, angle, expected, assert_close):
    rotation, expected = rotation_about(axis, angle), torch.tensor(expected, dtype=torch.float64)
    assert_close(quaternion_xyzw_from_matrix(rotation), expected)
    assert_close(matrix_from_quaternion_xyzw(expected), rotation)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_half_turns_are_well_conditioned(axis, assert_close):
    turn = rotation_about(axis, math.pi).float()
    quaternion = quaternion_xyzw_from_matrix(turn)
    assert quaternion[axis].abs() == pytest.approx(1)
    assert_close(matrix_from_quaternion_xyzw(quaternion), turn)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_quaternion_round_trip(batch, dtype, assert_close):
    quaternion = torch.randn(*batch, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(dtype)
    unit = quaternion / quaternion.norm(dim=-1, keepdim=True)
    unit = torch.where(unit[..., 3:] < 0, -unit, unit)
    assert_close(quaternion_xyzw_from_matrix(matrix_from_quaternion_xyzw(quaternion)), unit)


def test_quaternion_gradients_are_finite_everywhere():
    rotations = torch.stack([torch.eye(3, dtype=torch.float64), rotation_about(0, math.pi), rotation_about(2, 1.0)])
    rotations.requires_grad_()
    quaternion_xyzw_from_matrix(rotations).sum().backward()
    assert rotations.grad is not None
    assert rotations.grad.isfinite().all()


@pytest.mark.parametrize("batch", BATCHES)
def test_orthonormalize(batch, random_rotations, assert_close):
    rotation = random_rotations(*batch)
    assert_close(orthonormalize(3 * rotation), rotation)
    noise = 0.1 * torch.randn(*batch, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    nearest = orthonormalize(rotation + noise)
    assert_close(nearest @ nearest.mT, torch.eye(3, dtype=torch.float64).expand(*batch, 3, 3))
    assert (torch.linalg.det(nearest) > 0).all()
    assert ((nearest - rotation - noise).norm(dim=(-2, -1)) <= noise.norm(dim=(-2, -1))).all()


def test_the_nearest_rotation_to_a_mirror_is_not_a_mirror():
    assert torch.linalg.det(orthonormalize(torch.diag(torch.tensor([1.0, 1.0, -0.5])))) == pytest.approx(1)


def test_pose_encoding_by_hand(assert_close):
    camera_to_world = rigid_transform(rotation_about(1, math.pi / 2), torch.tensor([1.0, 2, 3], dtype=torch.float64))
    intrinsics = torch.tensor([[49.0, 0, 49], [0, 35, 35], [0, 0, 1]], dtype=torch.float64)
    encoding = encode_pose(Cameras(rigid_inverse(camera_to_world), intrinsics), height=70, width=98)
    half = math.sqrt(0.5)
    expected = [1, 2, 3, 0, half, 0, half, math.pi / 2, math.pi / 2]
    assert_close(encoding, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("batch", BATCHES)
def test_pose_encoding_round_trip(batch, random_cameras, assert_close):
    cameras = random_cameras(*batch)
    cameras.intrinsics[..., 0, 2] = 252
    cameras.intrinsics[..., 1, 2] = 168
    decoded = decode_pose(encode_pose(cameras, 336, 504), 336, 504)
    assert_close(decoded.world_to_camera, cameras.world_to_camera)
    assert_close(decoded.intrinsics, cameras.intrinsics)


def test_decoding_accepts_any_length_of_quaternion(random_cameras, assert_close):
    encoding = encode_pose(random_cameras(4), 336, 504)
    longer = torch.cat([encoding[:, :3], -7 * encoding[:, 3:7], encoding[:, 7:]], -1)
    assert_close(decode_pose(longer, 336, 504).world_to_camera, decode_pose(encoding, 336, 504).world_to_camera)


def test_normalized_poses_by_hand(random_rotations, assert_close):
    rotation = random_rotations()
    centers = torch.tensor([[5.0, 5, 5], [5, 7, 5], [9, 5, 5], [5, 5, 11]], dtype=torch.float64)  # 0, 2, 4, 6 away
    camera_to_world = rigid_transform(rotation.expand(4, 3, 3), centers)
    normalized = normalize_poses(rigid_inverse(camera_to_world))
    assert_close(normalized[0], torch.eye(4, dtype=torch.float64))
    assert_close(camera_centers(normalized).norm(dim=-1), torch.tensor([0.0, 1, 2, 3], dtype=torch.float64))


def test_normalized_poses_keep_very_small_scenes_small(random_cameras, assert_close):
    poses = random_cameras(3).world_to_camera
    poses[:, :3, 3] *= 1e-3
    relative = poses @ rigid_inverse(poses[:1])
    assert_close(normalize_poses(poses)[..., :3, 3], relative[..., :3, 3] / 0.1)


@pytest.mark.parametrize("batch", BATCHES)
def test_normalized_poses_do_not_depend_on_frame_and_unit(batch, random_cameras, assert_close):
    poses, frame = random_cameras(*batch, 5).world_to_camera, random_cameras(seed=9).world_to_camera
    moved = poses @ frame
    moved[..., :3, 3] *= 2.5
    assert_close(normalize_poses(moved), normalize_poses(poses))


def good_cameras(random_cameras) -> Cameras:
    return random_cameras(3, dtype=torch.float32)


def test_good_cameras_pass(random_cameras):
    check_cameras(good_cameras(random_cameras), views=3)


@pytest.mark.parametrize(
    ("field", "index", "value", "message"),
    [
        ("world_to_camera", (1, 0, 3), math.nan, "camera of view 1: world_to_camera holds NaN or infinite values"),
        ("world_to_camera", (2, 3, 3), 2.0, r"view 2: the last row of world_to_camera must be .*, got \(0, 0, 0, 2\)"),
        ("intrinsics", (0, 0, 0), math.inf, "camera of view 0: the intrinsics hold NaN or infinite values"),
        ("intrinsics", (0, 2, 0), 1.0, r"view 0: the last row of the intrinsics must be .*, got \(1, 0, 1\)"),
        ("intrinsics", (1, 1, 0), 0.5, "view 1: the intrinsics must be upper triangular, got 0.5"),
        ("intrinsics", (1, 0, 0), 0.0, "view 1: focal lengths must be positive, got fx = 0, fy = [0-9.]+$"),
        ("intrinsics", (1, 1, 1), -300.0, "fy = -300; a negative fy means that the y axis points up"),
    ],
)
def test_bad_values_are_refused(field, index, value, message, random_cameras):
    cameras = good_cameras(random_cameras)
    getattr(cameras, field)[index] = value
    with pytest.raises(ValueError, match=message):
        check_cameras(cameras)


def test_bad_rotations_are_refused(random_cameras):
    mirrored, stretched, rounded = (good_cameras(random_cameras) for _ in range(3))
    mirrored.world_to_camera[1, 0, :3] *= -1
    with pytest.raises(ValueError, match=r"view 1: the rotation is left-handed \(determinant -1\)"):
        check_cameras(mirrored)
    stretched.world_to_camera[2, :3, :3] *= 1.01
    with pytest.raises(ValueError, match=r"view 2: the rotation is not orthonormal .* by up to 0.0201"):
        check_cameras(stretched)
    stretched.world_to_camera[2, :3, :3] = 0
    with pytest.raises(ValueError, match=r"view 2: the rotation is not orthonormal .* by up to 1,"):
        check_cameras(stretched)
    rounded.world_to_camera[:, :3, :3] *= 1.0004
    check_cameras(rounded)


def test_wrong_numbers_and_shapes_are_refused(random_cameras):
    cameras = good_cameras(random_cameras)
    with pytest.raises(ValueError, match="one camera per view, got 3 cameras for 4 views"):
        check_cameras(cameras, views=4)
    unchecked = object.__new__(Cameras)  # the constructor's shape checks exist in tests only
    object.__setattr__(unchecked, "world_to_camera", torch.eye(4).expand(2, 4, 4))
    object.__setattr__(unchecked, "intrinsics", torch.eye(3).expand(3, 3, 3))
    with pytest.raises(ValueError, match=r"got \(2, 4, 4\) and \(3, 3, 3\)"):
        check_cameras(unchecked)
