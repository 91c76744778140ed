"""Raw Gaussian channels, depth and cameras to world-space Gaussians.

Two steps are not what one would write down from first principles: depth serves as distance along the ray, and the
quaternion is composed in a permuted order. The published weights were trained through them, so they stay, each in its
own function.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from anyview.geometry.alignment import umeyama
from anyview.geometry.camera import focal_lengths, pixel_centers, unproject_pixels
from anyview.geometry.harmonics import rotate_harmonics
from anyview.geometry.pose import (
    camera_centers,
    matrix_from_quaternion_xyzw,
    quaternion_xyzw_from_matrix,
    rigid_inverse,
)
from anyview.model.config import GaussianConfig
from anyview.model.layers import cached_table
from anyview.types import Cameras, Gaussians

# The higher a degree, the less it may contribute at first (pixelSplat, Charatan et al. 2024).
_DEGREE_WEIGHTS = (1.0, 0.025, 0.00625, 0.0015625)


def gaussians_from_raw(
    raw: Float[Tensor, "batch views height width channels"],
    depth: Float[Tensor, "batch views height width"],
    cameras: Cameras,
    config: GaussianConfig,
    pose_scale: Float[Tensor, " batch"] | None = None,
) -> Gaussians:
    """One Gaussian per pixel, view by view, row by row.

    ``pose_scale`` multiplies camera positions and depth: the scale of known cameras over that of predicted ones.
    """
    height, width = raw.shape[2:4]
    sizes = [2, 3, 4, 3 * config.coefficients, 1, 1]
    offset, scale, quaternion, harmonics, depth_offset, density = raw.flatten(2, 3).split(sizes, dim=-1)
    camera_to_world = rigid_inverse(cameras.world_to_camera)
    rotation, center = camera_to_world[..., :3, :3], camera_to_world[..., :3, 3]
    depth = depth.flatten(2) + depth_offset[..., 0]
    if pose_scale is not None:
        depth, center = depth * pose_scale[:, None, None], center * pose_scale[:, None, None]

    pixels = pixel_centers(height, width, raw.device).flatten(0, 1) + offset
    means = center[:, :, None] + depth_along_rays(pixels, depth, cameras.intrinsics) @ rotation.mT
    pixel_size = 0.1 * focal_lengths(cameras.intrinsics).reciprocal().sum(-1)
    scales = config.smallest_scale + (config.largest_scale - config.smallest_scale) * scale.sigmoid()
    colours = (harmonics.unflatten(-1, (3, config.coefficients)) * degree_weights(config.degree, raw.device)).flatten(
        2, 3
    )
    return Gaussians(
        means=means.flatten(1, 2),
        scales=(scales * (depth * pixel_size[:, :, None])[..., None]).flatten(1, 2),
        quaternions_wxyz=world_quaternions(quaternion, rotation).flatten(1, 2),
        harmonics=rotate_harmonics(colours, rotation).unflatten(2, (-1, 3)).flatten(1, 2),
        opacities=density[..., 0].sigmoid().flatten(1, 2),
    )


def depth_along_rays(
    pixels: Float[Tensor, "batch views points 2"],
    depth: Float[Tensor, "batch views points"],
    intrinsics: Float[Tensor, "batch views 3 3"],
) -> Float[Tensor, "batch views points 3"]:
    """Points in camera space, ``depth`` measured along the ray and not along the optical axis."""
    rays = unproject_pixels(pixels, intrinsics)
    return rays / rays.norm(dim=-1, keepdim=True) * depth[..., None]


def world_quaternions(
    raw: Float[Tensor, "batch views points 4"], rotation: Float[Tensor, "batch views 3 3"]
) -> Float[Tensor, "batch views points 4"]:
    """Compose camera rotations with raw quaternions, whose last number is put first before they are read as xyzw.

    The result's numbers in their xyzw order are what the renderer reads as wxyz.
    """
    unit = raw / (raw.norm(dim=-1, keepdim=True) + 1e-8)
    local = matrix_from_quaternion_xyzw(unit.roll(1, dims=-1))
    return quaternion_xyzw_from_matrix(rotation[:, :, None] @ local)


@cached_table
def degree_weights(degree: int, device: torch.device) -> Float[Tensor, " coefficients"]:
    """Weight of each spherical harmonic."""
    weights = [_DEGREE_WEIGHTS[band] for band in range(degree + 1) for _ in range(2 * band + 1)]
    return torch.tensor(weights, device=device)


def known_pose_scale(
    predicted: Float[Tensor, "batch views 4 4"], known: Float[Tensor, "batch views 4 4"]
) -> Float[Tensor, " batch"]:
    """Scale from predicted to known camera positions, within [1/3, 3]; 1 where positions cannot tell."""
    similarity, determined = umeyama(camera_centers(predicted), camera_centers(known))
    return torch.where(determined, similarity.scale.clamp(1 / 3, 3), 1.0)
