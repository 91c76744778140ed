"""Which frames of a scene count: sampled views (benchmark 1.2), context and targets of view synthesis (3.1)."""

import random

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anyview.geometry.pose import camera_centers

SEED = 42
TARGET_STEP = 8


def sample_frames(count: int, most: int) -> list[int]:
    """Choose at most ``most`` of ``count`` frames, in order, the same ones always; 0 or less chooses all."""
    if most <= 0 or count <= most:
        return list(range(count))
    order = list(range(count))
    random.Random(SEED).shuffle(order)
    return sorted(order[:most])


def choose_targets(count: int) -> list[int]:
    """Choose the pictures that are rendered: every eighth."""
    return list(range(0, count, TARGET_STEP))


def choose_context(world_to_camera: Float[np.ndarray, "views 4 4"], count: int) -> list[int]:
    """Choose views far from each other, beginning with the one nearest to the mean of all; ties by index.

    Distances are those of `view_distances`.
    """
    poses = torch.from_numpy(np.asarray(world_to_camera, np.float64))
    centers = camera_centers(poses)
    distance = view_distances(poses, poses).numpy()
    chosen = [int((centers - centers.mean(0)).norm(dim=-1).argmin())]
    nearest = distance[chosen[0]].copy()
    while len(chosen) < min(count, len(distance)):
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, distance[chosen[-1]])
    return chosen


def view_distances(
    first: Float[Tensor, "first 4 4"], second: Float[Tensor, "second 4 4"]
) -> Float[Tensor, "first second"]:
    """Compare poses, world to camera: distance of centres in parts of the largest, plus the angle in half turns."""
    apart = torch.cdist(camera_centers(first), camera_centers(second))
    trace = torch.einsum("iab,jab->ij", first[:, :3, :3], second[:, :3, :3])
    angle = ((trace - 1) / 2).clamp(-1, 1).acos()
    return apart / apart.max().clamp(min=1e-12) + angle / torch.pi
