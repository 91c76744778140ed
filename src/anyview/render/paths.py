"""Camera paths: through the given cameras, around what they look at, or through a user's keyframes."""

import math
from dataclasses import dataclass
from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor

from anyview.geometry.camera import place_intrinsics, project
from anyview.geometry.pose import (
    matrix_from_quaternion_xyzw,
    quaternion_xyzw_from_matrix,
    rigid_inverse,
    rigid_transform,
)
from anyview.options import CameraPath, Easing, nearest_names
from anyview.render.splats import NEAR_PART
from anyview.types import Cameras, Placement

_MOST_POINTS = 20_000
"""Points that are looked at to find the focus."""
_SAMPLES = 64
"""Points per stretch between two keyframes at which the length of the way is measured."""


@dataclass(frozen=True)
class Focus:
    """What the cameras look at."""

    center: Float[Tensor, "3"]
    distance: float
    """From the cameras; the median over them."""

    @property
    def near(self) -> float:
        """From this z-depth on there is something to see, whatever the unit."""
        return NEAR_PART * self.distance


def find_focus(cameras: Cameras, points: Float[Tensor, "points 3"]) -> Focus:
    """Find the middle of the points in front of the cameras: the median in each coordinate.

    Raises:
        ValueError: no point lies in front of a camera.
    """
    points = points[:: math.ceil(len(points) / _MOST_POINTS)]
    _, depths = project(points, cameras)
    seen = depths > 0
    if not seen.any():
        raise ValueError("no Gaussian lies in front of a camera, so there is nothing to look at")
    center = points[seen.any(0)].median(0).values
    _, distances = project(center[None], cameras)
    in_front = distances[distances > 0]
    distance = in_front.median() if len(in_front) else depths[seen].median()
    return Focus(center, float(distance))


def camera_path(
    kind: CameraPath,
    cameras: Cameras,
    focus: Focus,
    frames: int,
    *,
    amplitude: float | None = None,
    easing: Easing = "linear",
) -> Cameras:
    """Make the cameras of a path; it starts and ends on valid poses, also with a single camera.

    Args:
        kind: "through" the cameras in their order; "orbit" around the focus, "wander" and "dolly_zoom" start and end
            at the first camera.
        cameras: in pixels of the pictures to render.
        focus: what they look at, see `find_focus`.
        frames: at least 1.
        amplitude: how far: degrees to both sides (orbit, 360 and more: all the way around), or parts of the distance
            to the focus (wander, dolly zoom); default: 10 degrees, 0.1, 0.4.
        easing: "linear" for constant speed, "smooth" to start and end slowly.

    Raises:
        ValueError: there is no such path or easing, no camera, or a number means nothing.
    """
    if kind not in get_args(CameraPath):
        raise ValueError(f"unknown path {kind!r}; {nearest_names(kind, get_args(CameraPath))}")
    if amplitude is not None and not 0 < amplitude < math.inf:
        raise ValueError(f"expected an amplitude above 0, got {amplitude}")
    if not len(cameras):
        raise ValueError("expected at least one camera, got none")
    times = frame_times(frames, easing)
    if kind == "through":
        return interpolate(cameras, times, turning_radius=focus.distance)
    first = cameras[0]
    if kind == "orbit":
        return orbit(first, _up(cameras), focus, times, amplitude or 10.0)
    if kind == "wander":
        return wander(first, focus, times, amplitude or 0.1)
    return dolly_zoom(first, focus, times, amplitude or 0.4)


def frame_times(frames: int, easing: Easing = "linear") -> Float[Tensor, " frames"]:
    """Say where on the path each frame lies, 0 to 1, both ends included; a single frame is the start.

    Raises:
        ValueError: there are no frames, or no such easing.
    """
    if frames < 1:
        raise ValueError(f"expected at least 1 frame, got {frames}")
    if easing not in get_args(Easing):
        raise ValueError(f"unknown easing {easing!r}; {nearest_names(easing, get_args(Easing))}")
    times = torch.linspace(0, 1, frames, dtype=torch.float64)
    return (1 - torch.cos(math.pi * times)) / 2 if easing == "smooth" else times


def interpolate(cameras: Cameras, times: Float[Tensor, " frames"], *, turning_radius: float = 1.0) -> Cameras:
    """Travel through the cameras in their order on a smooth curve, at a speed that does not change along it.

    The curve is a centripetal Catmull-Rom spline of centres, rotations and intrinsics. The way is as long as the
    camera's centre moves, joined with what a point ``turning_radius`` away moves when the camera turns or zooms.
    """
    keys = _encode(cameras)
    if len(keys) == 1:
        return _decode(keys.expand(len(times), -1), cameras)
    steps = _way(keys, turning_radius)
    keys = keys[torch.cat([steps.new_ones(1, dtype=torch.bool), steps > 1e-12])]  # cameras that stand still
    if len(keys) == 1:
        return _decode(keys.expand(len(times), -1), cameras)
    knots = torch.cat([steps.new_zeros(1), steps[steps > 1e-12].sqrt().cumsum(0)])
    fine = torch.linspace(0, len(keys) - 1, _SAMPLES * (len(keys) - 1) + 1, dtype=torch.float64)
    way = torch.cat([fine.new_zeros(1), _way(_spline(keys, knots, fine), turning_radius).cumsum(0)])
    wanted = times.double() * way[-1]
    after = torch.searchsorted(way, wanted).clamp(1, len(way) - 1)
    share = (wanted - way[after - 1]) / (way[after] - way[after - 1]).clamp(min=1e-300)
    places = fine[after - 1] + share * (fine[after] - fine[after - 1])
    return _decode(_spline(keys, knots, places), cameras)


def orbit(
    camera: Cameras, up: Float[Tensor, "3"], focus: Focus, times: Float[Tensor, " frames"], degrees: float
) -> Cameras:
    """Swing around the axis ``up`` through the focus, to both sides; from 360 degrees on once all the way around."""
    turn = math.radians(degrees)
    angles = 2 * math.pi * times if degrees >= 360 else turn * torch.sin(2 * math.pi * times)
    axis = torch.nn.functional.normalize(up.double(), dim=0)
    half = angles[:, None] / 2
    rotations = matrix_from_quaternion_xyzw(torch.cat([axis * half.sin(), half.cos()], -1))
    center = focus.center.double()
    around = rigid_transform(rotations, center - (rotations @ center))
    poses = camera.world_to_camera.double() @ rigid_inverse(around)
    return _like(camera, poses, camera.intrinsics.double().expand(len(times), 3, 3))


def wander(camera: Cameras, focus: Focus, times: Float[Tensor, " frames"], amplitude: float) -> Cameras:
    """Go once around a small ellipse beside the camera, and keep the focus where it is in the picture."""
    angles = 2 * math.pi * times
    radius = amplitude * focus.distance
    offset = torch.stack([angles.sin(), (1 - angles.cos()) / 3, (angles.cos() - 1) / 3], -1) * radius
    pose = camera.world_to_camera.double()
    held = pose[:3, :3] @ focus.center.double() + pose[:3, 3]
    moved = held - offset
    turn = _rotation_between(moved, held.expand_as(moved))
    poses = rigid_transform(turn, -(turn @ offset[..., None])[..., 0]) @ pose
    return _like(camera, poses, camera.intrinsics.double().expand(len(times), 3, 3))


def dolly_zoom(camera: Cameras, focus: Focus, times: Float[Tensor, " frames"], amplitude: float) -> Cameras:
    """Go back and forth along the line of sight, and zoom so that what is as far as the focus keeps its size."""
    back = amplitude * focus.distance * (1 - torch.cos(2 * math.pi * times)) / 2
    poses = camera.world_to_camera.double().repeat(len(times), 1, 1)
    poses[:, 2, 3] += back
    intrinsics = camera.intrinsics.double().repeat(len(times), 1, 1)
    intrinsics[:, :2, :2] *= (1 + back / focus.distance)[:, None, None]
    return _like(camera, poses, intrinsics)


def look_at(position: Float[Tensor, "3"], target: Float[Tensor, "3"], up: Float[Tensor, "3"]) -> Float[Tensor, "4 4"]:
    """Return the pose, world to camera, of a camera that looks at a point and has ``up`` upwards in its picture.

    Raises:
        ValueError: the target is the position, or lies straight above or below it.
    """
    forward = target - position
    right = torch.linalg.cross(forward, up)
    if right.norm() <= 1e-6 * forward.norm() * up.norm():
        raise ValueError("the camera cannot look at its own position, nor straight along the direction up")
    forward, right = forward / forward.norm(), right / right.norm()
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward])
    return rigid_transform(rotation, -(rotation @ position))


def camera_outside(points: Float[Tensor, "points 3"], height: int, width: int) -> Cameras:
    """Place one camera in front of the points, along the world's +z, so that most of them are in its picture."""
    center = points.median(0).values
    radius = (points[:: math.ceil(len(points) / _MOST_POINTS)] - center).norm(dim=-1).quantile(0.9)
    focal = float(max(height, width))
    distance = max(2.2 * float(radius) * focal / min(height, width), 1e-3)
    pose = torch.eye(4).to(points)
    pose[:3, 3] = -center
    pose[2, 3] += distance
    intrinsics = points.new_tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return Cameras(pose[None], intrinsics[None])


def fit_cameras(cameras: Cameras, from_size: tuple[int, int], to_size: tuple[int, int]) -> Cameras:
    """Adapt intrinsics to another (height, width): the new picture lies inside the old, of equal middle, and fills it.

    Nothing that the cameras did not see comes into view; of a picture of another shape two sides are cut off.
    """
    (height, width), (new_height, new_width) = from_size, to_size
    scale = max(new_height / height, new_width / width)
    offset_x, offset_y = (new_width - scale * width) / 2, (new_height - scale * height) / 2
    placement = Placement(height, width, scale, scale, offset_x, offset_y)
    return Cameras(cameras.world_to_camera, place_intrinsics(cameras.intrinsics, [placement] * len(cameras)))


def _up(cameras: Cameras) -> Float[Tensor, "3"]:
    """Upwards in the world: against the y axes of the cameras, or of the first where these cancel out."""
    upwards = -cameras.world_to_camera[:, 1, :3].double()
    mean = upwards.mean(0)
    return mean if mean.norm() > 0.1 else upwards[0]


def _encode(cameras: Cameras) -> Float[Tensor, "cameras numbers"]:
    """Write cameras as numbers that can be blended: centre (3), camera-to-world quaternion xyzw (4), intrinsics (5).

    Neighbouring quaternions agree in sign, and focal lengths are logarithms.
    """
    camera_to_world = rigid_inverse(cameras.world_to_camera.double())
    quaternions = quaternion_xyzw_from_matrix(camera_to_world[:, :3, :3])
    agrees = (quaternions[1:] * quaternions[:-1]).sum(-1) >= 0
    signs = torch.cat([quaternions.new_ones(1), torch.where(agrees, 1.0, -1.0).double().cumprod(0)])
    k = cameras.intrinsics.double()
    lens = torch.stack([k[:, 0, 0].log(), k[:, 1, 1].log(), k[:, 0, 1], k[:, 0, 2], k[:, 1, 2]], -1)
    return torch.cat([camera_to_world[:, :3, 3], quaternions * signs[:, None], lens], -1)


def _decode(numbers: Float[Tensor, "frames numbers"], like: Cameras) -> Cameras:
    center, quaternion, lens = numbers.split([3, 4, 5], -1)
    poses = rigid_inverse(rigid_transform(matrix_from_quaternion_xyzw(quaternion), center))
    intrinsics = torch.eye(3, dtype=torch.float64).repeat(len(numbers), 1, 1)
    intrinsics[:, 0, 0], intrinsics[:, 1, 1] = lens[:, 0].exp(), lens[:, 1].exp()
    intrinsics[:, 0, 1], intrinsics[:, 0, 2], intrinsics[:, 1, 2] = lens[:, 2], lens[:, 3], lens[:, 4]
    return _like(like, poses, intrinsics)


def _like(camera: Cameras, poses: Float[Tensor, "frames 4 4"], intrinsics: Float[Tensor, "frames 3 3"]) -> Cameras:
    return Cameras(poses.to(camera.world_to_camera), intrinsics.to(camera.intrinsics))


def _way(keys: Float[Tensor, "keys numbers"], turning_radius: float) -> Float[Tensor, " steps"]:
    """How far it is from each to the next."""
    moved = torch.diff(keys[:, :3], dim=0).norm(dim=-1)
    quaternions = torch.nn.functional.normalize(keys[:, 3:7], dim=-1)
    chord = torch.diff(quaternions, dim=0).norm(dim=-1)  # of the half angle
    turned = 4 * torch.arcsin((chord / 2).clamp(max=1))
    zoomed = torch.diff(keys[:, 7:9], dim=0).norm(dim=-1)
    return torch.stack([moved, turning_radius * turned, turning_radius * zoomed]).norm(dim=0)


def _spline(
    keys: Float[Tensor, "keys numbers"], knots: Float[Tensor, " keys"], places: Float[Tensor, " frames"]
) -> Float[Tensor, "frames numbers"]:
    """Evaluate the Catmull-Rom spline at places counted in keyframes; it goes straight at both ends."""
    before, after = 2 * keys[:1] - keys[1:2], 2 * keys[-1:] - keys[-2:-1]
    keys = torch.cat([before, keys, after])
    knots = torch.cat([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    segment = places.floor().long().clamp(max=len(keys) - 4)
    share = (places - segment)[:, None]
    (t0, t1, t2, t3), (p0, p1, p2, p3) = (
        [values[segment + step] for step in range(4)] for values in (knots[:, None], keys)
    )
    length = t2 - t1
    slope_1 = length * ((p1 - p0) / (t1 - t0) - (p2 - p0) / (t2 - t0) + (p2 - p1) / length)
    slope_2 = length * ((p2 - p1) / length - (p3 - p1) / (t3 - t1) + (p3 - p2) / (t3 - t2))
    square, cube = share**2, share**3
    return (
        (2 * cube - 3 * square + 1) * p1
        + (cube - 2 * square + share) * slope_1
        + (3 * square - 2 * cube) * p2
        + (cube - square) * slope_2
    )


def _rotation_between(
    source: Float[Tensor, "frames 3"], target: Float[Tensor, "frames 3"]
) -> Float[Tensor, "frames 3 3"]:
    """Find the smallest rotations that turn directions into others, which must not be opposite."""
    source, target = (torch.nn.functional.normalize(vectors, dim=-1) for vectors in (source, target))
    cosine = (source * target).sum(-1, keepdim=True)
    return matrix_from_quaternion_xyzw(torch.cat([torch.linalg.cross(source, target), 1 + cosine], -1))
