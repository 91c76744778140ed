"""Which frames of a scene count: sampled views (benchmark 1.2), context and targets of view synthesis (3.1)."""

import random

import numpy as np
import torch
from jaxtyping import Float

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

    The distance of two views is that of their centres, in parts of the largest, plus the angle between them in half
    turns.
    """
    poses = torch.from_numpy(np.asarray(world_to_camera, np.float64))
    centers, rotations = camera_centers(poses), poses[:, :3, :3]
    apart = torch.cdist(centers, centers)
    trace = torch.einsum("iab,jab->ij", rotations, rotations)
    angle = ((trace - 1) / 2).clamp(-1, 1).acos()
    distance = (apart / apart.max().clamp(min=1e-12) + angle / torch.pi).numpy()
    chosen = [int((centers - centers.mean(0)).norm(dim=-1).argmin())]
    nearest = distance[chosen[0]].copy()
    while len(chosen) < min(count, len(distance)):
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, distance[chosen[-1]])
    return chosen
