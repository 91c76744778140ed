import math

import numpy as np
import pytest
import torch


def turn(axis: tuple[float, float, float], degrees: float) -> np.ndarray:
    """Rotation about an axis of any length (Rodrigues)."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = math.radians(degrees)
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def world_to_camera(rotation: np.ndarray, center: np.ndarray) -> np.ndarray:
    """From a camera-to-world rotation and the camera's centre."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation.T, -rotation.T @ center
    return pose


@pytest.fixture(scope="session")
def spiral() -> tuple[torch.Tensor, torch.Tensor]:
    """The benchmark's trajectory example (A.1): predicted and true poses, float32."""
    frame = turn((0.2, 1, 0.5), 40)
    predicted, truth = [], []
    for i in range(6):
        rotation = turn((0, 1, 0.1), 12 * i)
        center = np.array([2 * math.cos(0.4 * i), 0.15 * i**2, 2 * math.sin(0.4 * i)])
        drift = np.array([0.03 * i, -0.02 * i, 0.01 * i**2])
        truth.append(world_to_camera(rotation, center))
        predicted.append(
            world_to_camera(
                frame @ rotation @ turn((1, 0.3, -0.2), 0.7 * i), frame @ (0.5 * (center + drift)) + np.array([1, 2, 3])
            )
        )
    return torch.tensor(np.stack(predicted)).float(), torch.tensor(np.stack(truth)).float()
