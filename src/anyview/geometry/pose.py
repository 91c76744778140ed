"""Rigid motions: inverses, quaternions, the network's pose encoding, and the checks on what users hand in."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from anyview.geometry.camera import field_of_view, intrinsics_from_field_of_view
from anyview.types import Cameras


def rigid_transform(
    rotation: Float[Tensor, "*batch 3 3"], translation: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch 4 4"]:
    """Assemble the 4×4 matrix of x → R x + t."""
    return homogeneous(torch.cat([rotation, translation[..., None]], -1))


def homogeneous(transform: Float[Tensor, "*batch rows 4"]) -> Float[Tensor, "*batch 4 4"]:
    """Add the last row (0, 0, 0, 1) to 3×4 matrices; return 4×4 matrices as they are.

    Raises:
        ValueError: the matrices have neither three nor four rows.
    """
    if transform.shape[-2] == 4:
        return transform
    if transform.shape[-2] != 3:
        raise ValueError(f"expected 3x4 or 4x4 matrices, got {tuple(transform.shape)}")
    last_row = torch.zeros_like(transform[..., :1, :])
    last_row[..., 3] = 1
    return torch.cat([transform, last_row], -2)


def rigid_inverse(transform: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """Invert rigid motions as (Rᵀ, −Rᵀt); the rotation must be orthonormal."""
    rotation = transform[..., :3, :3].mT
    return rigid_transform(rotation, -(rotation @ transform[..., :3, 3:])[..., 0])


def camera_centers(world_to_camera: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 3"]:
    """Return the positions of the cameras in the world."""
    return rigid_inverse(world_to_camera)[..., :3, 3]


def orthonormalize(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Find the nearest rotation (determinant +1) in the Frobenius norm."""
    left, _, right = torch.linalg.svd(rotation)
    sign = torch.ones_like(rotation[..., 0])
    sign[..., 2] = torch.linalg.det(left @ right).sign()
    return left * sign[..., None, :] @ right


def rotation_angle(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch"]:
    """Compute the angles of rotations, 0 to π; small ones too, of which the arc cosine of the trace keeps no digits."""
    identity = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
    chord = (rotation - identity).flatten(-2).norm(dim=-1)  # √8 sin(angle / 2)
    return 2 * torch.arcsin((chord / 8**0.5).clamp(max=1))


def quaternion_xyzw_from_matrix(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Convert rotations to unit quaternions (x, y, z, w) with w ≥ 0."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (row.unbind(-1) for row in rotation.unbind(-2))
    # Row k is 4 q_k (x, y, z, w). The diagonal sums to 4, so the row of the largest q_k is always well conditioned.
    products = torch.stack(
        [
            torch.stack([1 + xx - yy - zz, yx + xy, xz + zx, zy - yz], -1),
            torch.stack([yx + xy, 1 - xx + yy - zz, zy + yz, xz - zx], -1),
            torch.stack([xz + zx, zy + yz, 1 - xx - yy + zz, yx - xy], -1),
            torch.stack([zy - yz, xz - zx, yx - xy, 1 + xx + yy + zz], -1),
        ],
        -2,
    )
    largest = products.diagonal(dim1=-2, dim2=-1).argmax(-1, keepdim=True)
    row = torch.take_along_dim(products, largest[..., None], -2)[..., 0, :]
    quaternion = row / (2 * torch.take_along_dim(row, largest, -1).sqrt())
    return torch.where(quaternion[..., 3:] < 0, -quaternion, quaternion)


def matrix_from_quaternion_xyzw(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Convert quaternions (x, y, z, w) of any length above zero to rotations."""
    x, y, z, w = quaternion.unbind(-1)
    scale = 2 / quaternion.square().sum(-1)
    rows = [
        torch.stack([1 - scale * (y * y + z * z), scale * (x * y - z * w), scale * (x * z + y * w)], -1),
        torch.stack([scale * (x * y + z * w), 1 - scale * (x * x + z * z), scale * (y * z - x * w)], -1),
        torch.stack([scale * (x * z - y * w), scale * (y * z + x * w), 1 - scale * (x * x + y * y)], -1),
    ]
    return torch.stack(rows, -2)


def encode_pose(cameras: Cameras, height: int, width: int) -> Float[Tensor, "*batch 9"]:
    """Encode cameras as the network sees them (spec 7).

    Camera centre (3), camera-to-world quaternion xyzw (4), vertical and horizontal field of view in radians (2).
    The principal point is not encoded.
    """
    camera_to_world = rigid_inverse(cameras.world_to_camera)
    quaternion = quaternion_xyzw_from_matrix(camera_to_world[..., :3, :3])
    angles = field_of_view(cameras.intrinsics, height, width)
    return torch.cat([camera_to_world[..., :3, 3], quaternion, angles], -1)


def decode_pose(encoding: Float[Tensor, "*batch 9"], height: int, width: int) -> Cameras:
    """Turn the network's pose encoding into cameras with a centred principal point (spec 7)."""
    center, quaternion, angles = encoding.split([3, 4, 2], -1)
    camera_to_world = rigid_transform(matrix_from_quaternion_xyzw(quaternion), center)
    return Cameras(rigid_inverse(camera_to_world), intrinsics_from_field_of_view(angles, height, width))


def normalize_poses(world_to_camera: Float[Tensor, "*batch views 4 4"]) -> Float[Tensor, "*batch views 4 4"]:
    """Bring poses into the form the camera encoder was trained on (spec 12).

    The first view becomes the world frame, and the median distance of the cameras from it the unit, if above 0.1.
    """
    relative = world_to_camera @ rigid_inverse(world_to_camera[..., :1, :, :])
    distances = camera_centers(relative).norm(dim=-1)
    unit = distances.median(-1).values.clamp(min=0.1)  # torch takes the lower of two middle values, as trained
    return rigid_transform(relative[..., :3, :3], relative[..., :3, 3] / unit[..., None, None])


def check_cameras(cameras: Cameras, views: int | None = None, names: Sequence[str] = ()) -> None:
    """Refuse cameras that cannot be right.

    Raises:
        ValueError: in one line, what is wrong with which view, also by its name where ``names`` are given: the number
            of cameras is not ``views``; values are not finite; a rotation is left-handed or further than 1e-3 from
            orthonormal; a last row is not (0, 0, 0, 1) or, of the intrinsics, (0, 0, 1); intrinsics are not upper
            triangular; a focal length is not positive.
    """
    poses, intrinsics = cameras.world_to_camera, cameras.intrinsics
    if poses.ndim != 3 or poses.shape[1:] != (4, 4) or intrinsics.shape != (len(poses), 3, 3):
        raise ValueError(
            "expected world_to_camera of shape (views, 4, 4) and intrinsics of shape (views, 3, 3), "
            f"got {tuple(poses.shape)} and {tuple(intrinsics.shape)}"
        )
    if views is not None and len(poses) != views:
        raise ValueError(f"expected one camera per view, got {len(poses)} cameras for {views} views")
    for view, (pose, matrix) in enumerate(zip(poses.cpu().double(), intrinsics.cpu().double(), strict=True)):
        problem = _pose_problem(pose) or _intrinsics_problem(matrix)
        if problem is not None:
            picture = f" (picture {names[view]})" if names else ""
            raise ValueError(f"camera of view {view}: {problem}{picture}")


def check_intrinsics(intrinsics: Float[Tensor, "*batch"], views: int) -> None:
    """Refuse intrinsics that cannot be right.

    Raises:
        ValueError: in one line, as `check_cameras` does.
    """
    if intrinsics.ndim != 3 or intrinsics.shape[1:] != (3, 3):
        raise ValueError(f"expected intrinsics of shape (3, 3) or (views, 3, 3), got {tuple(intrinsics.shape)}")
    if len(intrinsics) != views:
        raise ValueError(f"expected one matrix of intrinsics per view, got {len(intrinsics)} for {views} views")
    for view, matrix in enumerate(intrinsics.double().cpu()):
        problem = _intrinsics_problem(matrix)
        if problem is not None:
            raise ValueError(f"intrinsics of view {view}: {problem}")


def _pose_problem(pose: Float[Tensor, "4 4"]) -> str | None:
    if not pose.isfinite().all():
        return "world_to_camera holds NaN or infinite values"
    if pose[3].tolist() != [0, 0, 0, 1]:
        return f"the last row of world_to_camera must be (0, 0, 0, 1), got {_row(pose[3])}"
    rotation = pose[:3, :3]
    determinant = torch.linalg.det(rotation).item()
    if determinant < 0:
        return f"the rotation is left-handed (determinant {determinant:.4g}); an axis is mirrored"
    error = (rotation.mT @ rotation - torch.eye(3, dtype=pose.dtype)).abs().max().item()
    if error > 1e-3:
        return f"the rotation is not orthonormal (RᵀR is off the identity by up to {error:.4g}, allowed is 0.001)"
    return None


def _intrinsics_problem(intrinsics: Float[Tensor, "3 3"]) -> str | None:
    if not intrinsics.isfinite().all():
        return "the intrinsics hold NaN or infinite values"
    if intrinsics[2].tolist() != [0, 0, 1]:
        return f"the last row of the intrinsics must be (0, 0, 1), got {_row(intrinsics[2])}"
    if intrinsics[1, 0] != 0:
        return f"the intrinsics must be upper triangular, got {intrinsics[1, 0].item():.4g} in row 2, column 1"
    focal_x, focal_y = intrinsics[0, 0].item(), intrinsics[1, 1].item()
    if focal_x <= 0 or focal_y <= 0:
        hint = "; a negative fy means that the y axis points up, expected is down" if focal_y < 0 else ""
        return f"focal lengths must be positive, got fx = {focal_x:.6g}, fy = {focal_y:.6g}{hint}"
    return None


def _row(values: Float[Tensor, " columns"]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values.tolist()) + ")"
