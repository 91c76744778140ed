import pytest
import torch

from anyview.geometry.camera import pixel_centers, unproject_pixels
from anyview.geometry.normals import normals_from_depth

INTRINSICS = torch.tensor([[60.0, 0, 31], [0, 55, 22], [0, 0, 1]])
HEIGHT, WIDTH = 40, 64


def plane_depth(normal: torch.Tensor, offset: float) -> torch.Tensor:
    """Depth of the plane n · p = offset."""
    rays = unproject_pixels(pixel_centers(HEIGHT, WIDTH).flatten(0, 1), INTRINSICS)
    return (offset / (rays @ normal)).view(HEIGHT, WIDTH)


def everywhere(depth: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(depth, dtype=torch.bool)


@pytest.mark.parametrize("normal", [(0.0, 0, -1), (0.5, 0.2, -1), (-0.6, 0.1, -0.8)])
def test_a_plane_has_its_normal_everywhere(normal):
    normal = torch.nn.functional.normalize(torch.tensor(normal), dim=0)
    depth = plane_depth(normal, -3.0)
    normals = normals_from_depth(depth, INTRINSICS, everywhere(depth))
    torch.testing.assert_close(normals, normal.expand(HEIGHT, WIDTH, 3), atol=1e-3, rtol=0)


def test_normals_do_not_cross_a_jump():
    near, far = torch.tensor([0.0, 0, -1]), torch.nn.functional.normalize(torch.tensor([0.4, 0.1, -1]), dim=0)
    left = torch.arange(WIDTH) < 30
    depth = torch.where(left, plane_depth(near, -2.0), plane_depth(far, -4.0))
    expected = torch.where(left[:, None], near, far).expand(HEIGHT, WIDTH, 3)
    torch.testing.assert_close(normals_from_depth(depth, INTRINSICS, everywhere(depth)), expected, atol=1e-3, rtol=0)


def test_a_sphere_has_radial_normals():
    center, radius = torch.tensor([0.05, 0.02, 3.0]), 0.9
    rays = unproject_pixels(pixel_centers(HEIGHT, WIDTH).flatten(0, 1), INTRINSICS)
    half = (rays @ center) / rays.square().sum(-1)
    gap = half**2 - (center.square().sum() - radius**2) / rays.square().sum(-1)
    depth = torch.where(gap > 0, half - gap.clamp(min=0).sqrt(), 0)
    points = rays * depth[:, None]
    expected = ((points - center) / radius).view(HEIGHT, WIDTH, 3)
    depth = depth.view(HEIGHT, WIDTH)
    normals = normals_from_depth(depth, INTRINSICS, depth > 0)
    away_from_the_outline = (expected[..., 2] < -0.8) & (depth > 0)
    assert away_from_the_outline.sum() > 300
    assert ((normals * expected).sum(-1)[away_from_the_outline] > 0.999).all()


def test_normals_have_unit_length_and_face_the_camera_whatever_the_depth():
    depth = 1 + 5 * torch.rand(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    valid = torch.rand(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)) < 0.7
    depth[~valid] = torch.nan
    intrinsics = INTRINSICS.expand(2, 3, 3, 3)
    normals = normals_from_depth(depth, intrinsics, valid)
    torch.testing.assert_close(normals[valid].norm(dim=-1), torch.ones(int(valid.sum())))
    rays = unproject_pixels(pixel_centers(HEIGHT, WIDTH).flatten(0, 1), INTRINSICS).view(HEIGHT, WIDTH, 3)
    assert ((normals * rays).sum(-1)[valid] <= 0).all()
    torch.testing.assert_close(normals[1, 2], normals_from_depth(depth[1, 2], INTRINSICS, valid[1, 2]))


def test_a_lonely_pixel_faces_the_camera():
    depth, valid = torch.full((3, 3), 2.0), torch.zeros(3, 3, dtype=torch.bool)
    valid[1, 1] = True
    intrinsics = torch.tensor([[2.0, 0, 0], [0, 2, 0], [0, 0, 1]])
    expected = -torch.nn.functional.normalize(torch.tensor([0.75, 0.75, 1]), dim=0)
    torch.testing.assert_close(normals_from_depth(depth, intrinsics, valid)[1, 1], expected)
