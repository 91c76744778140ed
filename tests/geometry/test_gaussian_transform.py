import pytest
import torch

from anyview.geometry.alignment import Similarity
from anyview.geometry.gaussians import transform_gaussians
from anyview.geometry.harmonics import evaluate
from anyview.geometry.pose import matrix_from_quaternion_xyzw
from anyview.types import Gaussians


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def covariances(gaussians: Gaussians) -> torch.Tensor:
    w, x, y, z = gaussians.quaternions_wxyz.unbind(-1)
    axes = matrix_from_quaternion_xyzw(torch.stack([x, y, z, w], -1)) * gaussians.scales[..., None, :]
    return axes @ axes.mT


@pytest.mark.parametrize("scene", [(), (2,), (3, 1, 2)])
def test_gaussians_move_as_a_whole(scene, random_rotations, assert_close):
    gaussians = Gaussians(
        means=noise(*scene, 5, 3),
        scales=noise(*scene, 5, 3, seed=1).exp(),
        quaternions_wxyz=noise(*scene, 5, 4, seed=2),
        harmonics=noise(*scene, 5, 3, 9, seed=3),
        opacities=noise(*scene, 5, seed=4).sigmoid(),
    )
    similarity = Similarity(noise(*scene, seed=5).exp(), random_rotations(*scene), noise(*scene, 3, seed=6))
    moved = transform_gaussians(gaussians, similarity)

    linear = (similarity.scale[..., None, None] * similarity.rotation)[..., None, :, :]
    assert_close(moved.means, similarity.apply(gaussians.means))
    assert_close(covariances(moved), linear @ covariances(gaussians) @ linear.mT)
    assert_close(moved.quaternions_wxyz.norm(dim=-1), torch.ones(*scene, 5, dtype=torch.float64))
    direction = noise(*scene, 5, 3, seed=7)
    direction = direction / direction.norm(dim=-1, keepdim=True)
    turned = direction @ similarity.rotation.mT
    assert_close(evaluate(moved.harmonics, turned), evaluate(gaussians.harmonics, direction))
    assert torch.equal(moved.opacities, gaussians.opacities)
