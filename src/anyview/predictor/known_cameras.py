"""What the caller knows of the cameras: before the network, and in its results."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from anyview.geometry.alignment import align_trajectories
from anyview.geometry.camera import place_intrinsics
from anyview.geometry.gaussians import transform_gaussians
from anyview.geometry.pose import check_cameras, check_intrinsics, normalize_poses
from anyview.geometry.rays import transform_rays
from anyview.model.gaussians import known_pose_scale
from anyview.options import PoseFrame, PredictOptions
from anyview.types import Cameras, Gaussians, Picture, Prediction, Units, Views


@dataclass(frozen=True)
class Known:
    """What the caller knows of the cameras, in pixels of the network's input."""

    cameras: Cameras | None
    """Poses in the caller's frame, float32, one per view."""
    intrinsics: Float[Tensor, "*batch views 3 3"] | None
    """Given with or without poses, or assumed on request."""
    exif_intrinsics: Float[Tensor, "views 3 3"] | None = None
    """From the pictures' files; good enough for a scale, not to overrule what a network predicts."""


def gather_known(
    pictures: Sequence[Picture], views: Views, cameras: Cameras | None, intrinsics: Any, options: PredictOptions
) -> Known:
    """Gather what is known of the cameras, checked, in pixels of the network's input."""
    placements, count = views.placements, len(pictures)
    if cameras is not None:
        if intrinsics is not None:
            raise ValueError("give cameras or intrinsics, not both: cameras hold their intrinsics")
        given = Cameras(cameras.world_to_camera.cpu().float(), cameras.intrinsics.cpu().float())
        check_cameras(given, views=count, names=[picture.name for picture in pictures])
        placed = place_intrinsics(given.intrinsics, placements)
        return Known(Cameras(given.world_to_camera, placed), placed)
    matrices = as_intrinsics(intrinsics, count)
    if matrices is None and options.focal_length is not None:
        matrices = torch.stack([_pinhole(picture, options.focal_length) for picture in pictures])
    if matrices is None and options.field_of_view is not None:
        matrices = torch.stack([_pinhole_of_view(picture, options.field_of_view) for picture in pictures])
    if matrices is not None:
        return Known(None, place_intrinsics(matrices, placements))
    focal_lengths = [picture.focal_length for picture in pictures]
    if any(focal_length is None for focal_length in focal_lengths):
        return Known(None, None)
    exif = [_pinhole(picture, length) for picture, length in zip(pictures, focal_lengths, strict=True) if length]
    return Known(None, None, place_intrinsics(torch.stack(exif), placements))


def as_intrinsics(intrinsics: Any, count: int) -> Float[Tensor, "views 3 3"] | None:
    """One matrix per view, from one for all or one for each."""
    if intrinsics is None:
        return None
    matrices = torch.as_tensor(intrinsics).cpu().float()
    if matrices.shape == (3, 3):
        matrices = matrices.expand(count, 3, 3)
    check_intrinsics(matrices, views=count)
    return matrices


def _pinhole(picture: Picture, focal_length: float) -> Float[Tensor, "3 3"]:
    height, width = picture.pixels.shape[:2]
    return torch.tensor([[focal_length, 0.0, width / 2], [0.0, focal_length, height / 2], [0.0, 0.0, 1.0]])


def _pinhole_of_view(picture: Picture, field_of_view_degrees: float) -> Float[Tensor, "3 3"]:
    return _pinhole(picture, picture.pixels.shape[1] / 2 / math.tan(math.radians(field_of_view_degrees) / 2))


def batch_known(*scenes: Known) -> Known:
    """What is known of several scenes, stacked."""

    def stacked(values: list[Tensor | None]) -> Tensor | None:
        return torch.stack([value for value in values if value is not None]) if values[0] is not None else None

    cameras = None
    if scenes[0].cameras is not None:
        given = [scene.cameras for scene in scenes if scene.cameras is not None]
        poses, matrices = [c.world_to_camera for c in given], [c.intrinsics for c in given]
        cameras = Cameras(torch.stack(poses), torch.stack(matrices))
    return Known(cameras, stacked([scene.intrinsics for scene in scenes]))


def in_known_frame(prediction: Prediction, known: Cameras, pose_frame: PoseFrame) -> Prediction:
    """Move a prediction into the frame and scale of known cameras, or these into the predicted frame (spec 12, 18).

    With ``pose_frame="network"`` nothing is moved. Gaussians come in front of the known cameras, in the predicted frame
    and scale, or as the network itself places them with ``pose_frame="network"``.
    """
    predicted = prediction.cameras
    assert predicted is not None
    alignment = align_trajectories(known.world_to_camera, predicted.world_to_camera)
    to_predicted = alignment.similarity
    gaussians = prediction.gaussians
    if pose_frame == "network":
        if gaussians is not None:
            gaussians = _in_predicted_scale(gaussians, predicted, known, prediction.metric_scale or 1.0)
        return replace(prediction, gaussians=gaussians)
    if pose_frame == "predicted":
        moved = Cameras(to_predicted.apply_to_poses(known.world_to_camera), known.intrinsics)
        return replace(prediction, cameras=moved, gaussians=gaussians)
    to_known = to_predicted.inverse()
    notes, units = prediction.notes, prediction.units
    if alignment.scale_known:
        units = "caller"
    else:
        notes = (*notes, f"the known cameras have no baseline to take a scale from: depth is in {_UNIT_NAMES[units]}")
    return replace(
        prediction,
        depth=prediction.depth * to_known.scale,
        units=units,
        cameras=known,
        rays=None if prediction.rays is None else transform_rays(prediction.rays, to_known),
        gaussians=None if gaussians is None else transform_gaussians(gaussians, to_known),
        notes=notes,
    )


def _in_predicted_scale(gaussians: Gaussians, predicted: Cameras, known: Cameras, metric_scale: float) -> Gaussians:
    """Undo the scale of the normalised known poses, in which the network left its Gaussians."""
    any_view_poses = predicted.world_to_camera.clone()
    any_view_poses[:, :3, 3] /= metric_scale
    scale = known_pose_scale(any_view_poses[None], normalize_poses(known.world_to_camera)[None])[0]
    return replace(gaussians, means=gaussians.means / scale, scales=gaussians.scales / scale)


_UNIT_NAMES: dict[Units, str] = {
    "metres": "metres",
    "caller": "the unit of the given cameras",
    "arbitrary": "an arbitrary unit",
    "canonical": "canonical units",
}
