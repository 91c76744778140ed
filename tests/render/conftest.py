from collections.abc import Callable

import pytest
import torch

from anyview.types import Cameras, Gaussians


@pytest.fixture(scope="session")
def random_gaussians() -> Callable[..., Gaussians]:
    """Gaussians of many sizes, shapes and colours, most of them in front of `random_views`; float64."""

    def draw(count: int, degree: int = 2, seed: int = 0, size: float = 0.15) -> Gaussians:
        generator = torch.Generator().manual_seed(seed)

        def uniform(*shape: int) -> torch.Tensor:
            return torch.rand(*shape, generator=generator, dtype=torch.float64)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        return Gaussians(
            means=(uniform(count, 3) - 0.5) * torch.tensor([5.0, 4.0, 6.0]) + torch.tensor([0.0, 0.0, 4.0]),
            scales=size * (0.7 * normal(count, 3)).exp(),
            quaternions_wxyz=normal(count, 4),
            harmonics=0.4 * normal(count, 3, (degree + 1) ** 2),
            opacities=uniform(count),
        )

    return draw


@pytest.fixture(scope="session")
def random_views() -> Callable[..., Cameras]:
    """Cameras near the origin that look along +z, with principal points off the centre and some skew; float64."""

    def draw(views: int, height: int, width: int, seed: int = 0) -> Cameras:
        from anyview.geometry.pose import matrix_from_quaternion_xyzw, rigid_transform

        generator = torch.Generator().manual_seed(seed)
        numbers = torch.rand(views, 7, generator=generator, dtype=torch.float64) - 0.5
        quaternions = torch.cat([0.3 * numbers[:, :3], torch.ones(views, 1, dtype=torch.float64)], -1)
        intrinsics = torch.eye(3, dtype=torch.float64).repeat(views, 1, 1)
        intrinsics[:, 0, 0] = width * (0.9 + 0.2 * numbers[:, 3])
        intrinsics[:, 1, 1] = width * (0.9 + 0.2 * numbers[:, 4])
        intrinsics[:, 0, 1] = 3 * numbers[:, 5]
        intrinsics[:, 0, 2] = width * (0.5 + 0.3 * numbers[:, 5])
        intrinsics[:, 1, 2] = height * (0.5 + 0.3 * numbers[:, 6])
        return Cameras(rigid_transform(matrix_from_quaternion_xyzw(quaternions), numbers[:, :3]), intrinsics)

    return draw
