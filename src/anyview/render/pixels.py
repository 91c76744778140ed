"""Depth and colour of views -> Gaussians, for models that predict none."""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from anyview.geometry.camera import focal_lengths, unproject
from anyview.geometry.harmonics import colors_of_harmonics, harmonics_of_colors
from anyview.geometry.normals import normals_from_depth
from anyview.geometry.pose import quaternion_xyzw_from_matrix
from anyview.render.rasterize import rasterize
from anyview.render.splats import NEAR, NEAR_PART
from anyview.types import Cameras, Gaussians, map_tensors

NOTE = "the Gaussians are made of depth and colour, one per pixel; no network predicted them"
SIZE = 0.18
"""Standard deviation in pixels of the view that a Gaussian comes from. Larger ones blur, smaller ones leave gaps."""
COLOR_ROUNDS = 2
"""Times that colours are corrected by what is missing in the pictures, for what neighbours and other views blur."""
_RELAXATION = 1.5
"""Of a correction: any number below 2 converges, this one sooner than 1."""
_LEAST_WEIGHT = 0.1
"""Of a Gaussian in all pictures together, in pixels; one that is hidden behind others keeps its colour."""
THICKNESS = 0.1
"""Standard deviation along the surface's normal, as a part of the one in the picture's plane."""
OPACITY = 0.99
"""Not 1: whatever is drawn in front of it must leave light for it, see `reference.DARKEST`."""
_LEAST_COSINE = 0.4
"""Surfaces seen more sideways than this are treated as if they were seen so."""


def pixel_gaussians(
    images: UInt8[Tensor, "views height width 3"],
    depth: Float[Tensor, "views height width"],
    cameras: Cameras,
    valid: Bool[Tensor, "views height width"],
    *,
    color_rounds: int = COLOR_ROUNDS,
) -> Gaussians:
    """Make a flat Gaussian of each valid pixel, view by view and row by row, in the world of the cameras.

    It lies in the surface that the neighbouring depths span, and covers the pixel there: a surface that is seen
    sideways has no gaps when it is seen from the front. Then colours are corrected ``color_rounds`` times by what is
    missing in the pictures.
    """
    parts = [_of_view(images[v], depth[v], cameras[v], valid[v]) for v in range(len(depth))]
    gaussians = Gaussians(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})
    return _fit_colors(gaussians, images, depth, cameras, valid, color_rounds)


@torch.inference_mode(mode=False)
@torch.enable_grad()
def _fit_colors(
    gaussians: Gaussians,
    images: UInt8[Tensor, "views height width 3"],
    depth: Float[Tensor, "views height width"],
    cameras: Cameras,
    valid: Bool[Tensor, "views height width"],
    rounds: int,
) -> Gaussians:
    """Solve for the colours that give the pictures back, by simultaneous iterative reconstruction (Gilbert 1972).

    A pixel is a weighted sum of colours, so each round adds to a colour the mean of what is missing in all pixels, as
    much of each as the Gaussian is seen there. The renderer's gradients are these sums.
    """
    # Tensors of inference mode have no gradients; their copies do.
    gaussians, cameras = map_tensors(gaussians, torch.clone), map_tensors(cameras, torch.clone)
    near = NEAR_PART * float(depth[valid].median()) if valid.any() else NEAR
    colors = colors_of_harmonics(gaussians.harmonics[..., 0])
    seen_as = torch.zeros_like(colors)
    for number in range(rounds):
        leaf = harmonics_of_colors(colors)[..., None].requires_grad_()
        shown, missing = replace(gaussians, harmonics=leaf), torch.zeros_like(colors)
        for view in range(len(images)):
            there = valid[view].clone()
            color = rasterize(shown, cameras[view : view + 1], *depth.shape[1:], near=near).color[0][there]
            if not color.requires_grad:  # nothing is far enough away to be drawn
                continue
            error = (images[view].clone()[there] / 255 - color).detach()
            missing += torch.autograd.grad(color, leaf, error, retain_graph=number == 0)[0][..., 0]
            if number == 0:
                seen_as += torch.autograd.grad(color, leaf, torch.ones_like(color))[0][..., 0]
        # Both sums have the factor of the harmonics. No brighter than white: files could not hold it, and depth that is
        # wrong would sparkle.
        colors = (colors + _RELAXATION * missing / seen_as.clamp(min=_LEAST_WEIGHT)).clamp(0, 1)
    return replace(gaussians, harmonics=harmonics_of_colors(colors)[..., None])


def _of_view(
    image: UInt8[Tensor, "height width 3"],
    depth: Float[Tensor, "height width"],
    camera: Cameras,
    valid: Bool[Tensor, "height width"],
) -> dict[str, Tensor]:
    points = unproject(depth, camera.intrinsics)[valid]
    normals = normals_from_depth(depth, camera.intrinsics, valid)[valid]
    views = torch.nn.functional.normalize(points, dim=-1)
    cosine = -(normals * views).sum(-1).clamp(max=-_LEAST_COSINE)
    # Across the line of sight the pixel keeps its width in the surface; along the slope it is stretched.
    across = torch.linalg.cross(normals, views)
    any_other = torch.linalg.cross(normals, normals.roll(1, -1) + normals.new_tensor([1.0, 0, 0]))
    across = torch.where(across.norm(dim=-1, keepdim=True) > 1e-3, across, any_other)
    across = torch.nn.functional.normalize(across, dim=-1)
    axes = torch.stack([across, torch.linalg.cross(normals, across), normals], -1)
    rotation, translation = camera.world_to_camera[:3, :3], camera.world_to_camera[:3, 3]
    pixel = SIZE * points[:, 2] / focal_lengths(camera.intrinsics).mean()
    return {
        "means": (points - translation) @ rotation,
        "scales": torch.stack([pixel, pixel / cosine, THICKNESS * pixel], -1),
        "quaternions_wxyz": quaternion_xyzw_from_matrix(rotation.mT @ axes).roll(1, -1),
        "harmonics": harmonics_of_colors(image[valid] / 255)[..., None],
        "opacities": torch.full_like(pixel, OPACITY),
    }
