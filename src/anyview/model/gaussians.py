"""Raw Gaussian channels, depth and cameras to world-space Gaussians.

Two steps are not what one would write down from first principles: depth serves as distance along the ray, and the
quaternion is composed in a permuted order. The published weights were trained through them, so they stay, each in its
own function. Heads of our own are read plainly (`GaussianConfig.reading`): z-depth, which the head multiplies; a
rotation composed with the camera's; and colours that begin at the pixels' own, so that an untrained head already shows
pictures.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from anyview.geometry.alignment import align_trajectories, umeyama
from anyview.geometry.camera import focal_lengths, pixel_centers, unproject_pixels
from anyview.geometry.harmonics import harmonics_of_colors, rotate_harmonics
from anyview.geometry.pose import (
    camera_centers,
    matrix_from_quaternion_xyzw,
    quaternion_xyzw_from_matrix,
    rigid_inverse,
)
from anyview.model.config import GaussianConfig
from anyview.model.layers import cached_table
from anyview.types import IMAGE_DEVIATION, IMAGE_MEAN, Cameras, Gaussians

# The higher a degree, the less it may contribute at first (pixelSplat, Charatan et al. 2024).
_DEGREE_WEIGHTS = (1.0, 0.025, 0.00625, 0.0015625)


def gaussians_from_raw(
    raw: Float[Tensor, "batch views height width channels"],
    depth: Float[Tensor, "batch views height width"],
    cameras: Cameras,
    config: GaussianConfig,
    pose_scale: Float[Tensor, " batch"] | None = None,
    colors: Float[Tensor, "batch views height width 3"] | None = None,
) -> Gaussians:
    """One Gaussian per pixel, view by view, row by row.

    Args:
        raw: What the head reads.
        depth: z-depth of the pixels, in the unit of the cameras' positions.
        cameras: Cameras that the Gaussians are placed in front of.
        config: What the channels mean.
        pose_scale: Multiplies camera positions and depth: the scale of known cameras over that of predicted ones.
        colors: Of the pixels, 0 to 1; only for the plain reading, which needs them.
    """
    height, width = raw.shape[2:4]
    plain = config.reading == "plain"
    sizes = [2, 3, 4, 3 * config.coefficients, 1, 1]
    offset, scale, quaternion, harmonics, _, density = raw.flatten(2, 3).split(sizes, dim=-1)
    camera_to_world = rigid_inverse(cameras.world_to_camera)
    rotation, center = camera_to_world[..., :3, :3], camera_to_world[..., :3, 3]
    depth = pixel_depth(raw, depth, config).flatten(2)
    if pose_scale is not None:
        depth, center = depth * pose_scale[:, None, None], center * pose_scale[:, None, None]

    pixels = pixel_centers(height, width, raw.device).flatten(0, 1) + offset
    if plain:
        seen = unproject_pixels(pixels, cameras.intrinsics) * depth[..., None]
    else:
        seen = depth_along_rays(pixels, depth, cameras.intrinsics)
    pixel_size = 0.1 * focal_lengths(cameras.intrinsics).reciprocal().sum(-1)
    scales = config.smallest_scale + (config.largest_scale - config.smallest_scale) * scale.sigmoid()
    harmonics = harmonics.unflatten(-1, (3, config.coefficients)) * degree_weights(config.degree, raw.device)
    if plain:
        assert colors is not None, "the plain reading begins at the colours of the pixels"
        base = harmonics_of_colors(colors.flatten(2, 3))
        harmonics = torch.cat([harmonics[..., :1] + base[..., None], harmonics[..., 1:]], dim=-1)
    return Gaussians(
        means=(center[:, :, None] + seen @ rotation.mT).flatten(1, 2),
        scales=(scales * (depth * pixel_size[:, :, None])[..., None]).flatten(1, 2),
        quaternions_wxyz=(composed_quaternions if plain else world_quaternions)(quaternion, rotation).flatten(1, 2),
        harmonics=rotate_harmonics(harmonics.flatten(2, 3), rotation).unflatten(2, (-1, 3)).flatten(1, 2),
        opacities=density[..., 0].sigmoid().flatten(1, 2),
    )


def pixel_depth(
    raw: Float[Tensor, "batch views height width channels"],
    depth: Float[Tensor, "batch views height width"],
    config: GaussianConfig,
) -> Float[Tensor, "batch views height width"]:
    """Return the depth at which the Gaussians are: what the head adds to depth, or multiplies it with."""
    return depth * raw[..., -2].exp() if config.reading == "plain" else depth + raw[..., -2]


def pixel_colors(
    images: Float[Tensor, "batch views 3 height width"],
) -> Float[Tensor, "batch views height width 3"]:
    """Turn the network's input back into colours, 0 to 1."""
    return images.movedim(2, -1) * images.new_tensor(IMAGE_DEVIATION) + images.new_tensor(IMAGE_MEAN)


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


def composed_quaternions(
    raw: Float[Tensor, "batch views points 4"], rotation: Float[Tensor, "batch views 3 3"]
) -> Float[Tensor, "batch views points 4"]:
    """Turn quaternions (wxyz, of any length) from the camera's axes to the world's."""
    w, x, y, z = (raw / (raw.norm(dim=-1, keepdim=True) + 1e-8)).unbind(-1)
    b, c, d, a = quaternion_xyzw_from_matrix(rotation)[:, :, None].unbind(-1)
    product = [
        a * w - b * x - c * y - d * z,
        a * x + b * w + c * z - d * y,
        a * y - b * z + c * w + d * x,
        a * z + b * y - c * x + d * w,
    ]
    return torch.stack(product, dim=-1)


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


def in_predicted_frame(known: Cameras, predicted: Cameras) -> Cameras:
    """Known cameras (batch, views) in the frame and scale of predicted ones."""
    poses = [
        align_trajectories(own, target).similarity.apply_to_poses(own)
        for own, target in zip(known.world_to_camera, predicted.world_to_camera, strict=True)
    ]
    return Cameras(torch.stack(poses), known.intrinsics)
