from collections.abc import Callable

import pytest
import torch

from anyview.geometry.pose import matrix_from_quaternion_xyzw, rigid_transform
from anyview.types import Cameras

HEIGHT, WIDTH = 336, 504


@pytest.fixture(scope="session")
def random_rotations() -> Callable[..., torch.Tensor]:
    def draw(*batch: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return matrix_from_quaternion_xyzw(torch.randn(*batch, 4, generator=generator, dtype=torch.float64)).to(dtype)

    return draw


@pytest.fixture(scope="session")
def random_cameras(random_rotations) -> Callable[..., Cameras]:
    """Cameras anywhere, for pictures of 336 × 504: unequal focal lengths, principal point off the centre, no skew."""

    def draw(*batch: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Cameras:
        generator = torch.Generator().manual_seed(seed + 1)
        numbers = torch.rand(*batch, 7, generator=generator, dtype=torch.float64)
        intrinsics = torch.eye(3, dtype=torch.float64).repeat(*batch, 1, 1)
        intrinsics[..., 0, 0] = 200 + 400 * numbers[..., 0]
        intrinsics[..., 1, 1] = 200 + 400 * numbers[..., 1]
        intrinsics[..., 0, 2] = WIDTH * (0.4 + 0.2 * numbers[..., 2])
        intrinsics[..., 1, 2] = HEIGHT * (0.4 + 0.2 * numbers[..., 3])
        poses = rigid_transform(random_rotations(*batch, seed=seed), 4 * numbers[..., 4:] - 2)
        return Cameras(poses.to(dtype), intrinsics.to(dtype))

    return draw
