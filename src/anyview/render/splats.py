"""Gaussians -> what one camera sees of them: elliptic splats in its picture (EWA splatting, Zwicker et al. 2001)."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from anyview.geometry.camera import focal_lengths, project
from anyview.geometry.gaussians import select_gaussians
from anyview.geometry.harmonics import evaluate
from anyview.geometry.pose import camera_centers, matrix_from_quaternion_xyzw
from anyview.types import Cameras, Gaussians

NEAR = 0.01
"""Gaussians whose centre is nearer to the camera's plane are not drawn, unless another distance is asked for; in the
unit of the scene."""
NEAR_PART = 1e-3
"""What to ask for in a scene of any unit, in parts of the distance to what is seen."""
BLUR = 0.3
"""Square pixels added to a splat's variance, so that none falls between pixels: what published scenes are made for."""
FAINTEST = 1 / 255
"""Where a splat hides less of what is behind it than this, it is not drawn."""
_MARGIN = 0.3
"""Half pictures beyond the border up to which perspective is linearised where it is; it would explode further out."""


@dataclass(frozen=True)
class Splats:
    """Gaussians as a camera sees them, nearest first, without those that leave no trace in its picture."""

    centers: Float[Tensor, "splats 2"]
    """Pixels."""
    covariances: Float[Tensor, "splats 2 2"]
    """Square pixels, `BLUR` included."""
    depths: Float[Tensor, " splats"]
    """z-depth of the centres."""
    opacities: Float[Tensor, " splats"]
    colors: Float[Tensor, "splats 3"]
    """0 and above; more than 1 is brighter than white."""

    def reach(self) -> Float[Tensor, "splats 2"]:
        """Half the width and height of the box outside of which a splat is fainter than `FAINTEST`."""
        variances = self.covariances.diagonal(dim1=-2, dim2=-1)
        return (2 * (self.opacities / FAINTEST).log()[:, None].clamp(min=0) * variances).sqrt()


def splat(gaussians: Gaussians, camera: Cameras, height: int, width: int, *, near: float = NEAR) -> Splats:
    """Project the Gaussians of one scene into one camera's picture; differentiable in both."""
    _, depths = project(gaussians.means, camera)
    drawn = (depths > near) & (gaussians.opacities >= FAINTEST)
    visible = _splats(select_gaussians(gaussians, drawn), camera, height, width)
    with torch.no_grad():
        low, high = visible.centers - visible.reach(), visible.centers + visible.reach()
        size = low.new_tensor([width, height])
        touching = ((high > 0) & (low < size)).all(-1).nonzero()[:, 0]
        order = touching[visible.depths[touching].argsort(stable=True)]
    return Splats(**{field.name: getattr(visible, field.name)[order] for field in fields(Splats)})


def _splats(gaussians: Gaussians, camera: Cameras, height: int, width: int) -> Splats:
    rotation, translation = camera.world_to_camera[:3, :3], camera.world_to_camera[:3, 3]
    points = gaussians.means @ rotation.mT + translation
    centers, depths = project(gaussians.means, camera)
    axes = matrix_from_quaternion_xyzw(gaussians.quaternions_wxyz.roll(-1, -1)) * gaussians.scales[:, None, :]
    spread = perspective_jacobian(points, camera.intrinsics, height, width) @ rotation @ axes
    blur = BLUR * torch.eye(2, dtype=spread.dtype, device=spread.device)
    directions = torch.nn.functional.normalize(gaussians.means - camera_centers(camera.world_to_camera), dim=-1)
    return Splats(
        centers=centers,
        covariances=spread @ spread.mT + blur,
        depths=depths,
        opacities=gaussians.opacities,
        colors=(evaluate(gaussians.harmonics, directions) + 0.5).clamp(min=0),
    )


def perspective_jacobian(
    points: Float[Tensor, "points 3"], intrinsics: Float[Tensor, "3 3"], height: int, width: int
) -> Float[Tensor, "points 2 3"]:
    """Differentiate pixels by points in camera space, at the nearest direction that is not far outside the picture."""
    z = points[:, 2:]
    slopes = points[:, :2] / z
    size = intrinsics.new_tensor([width, height])
    center, focal = intrinsics[:2, 2], focal_lengths(intrinsics)
    margin = _MARGIN * size / 2
    slopes = slopes.clamp((-center - margin) / focal, (size - center + margin) / focal)
    # d(K (x, y, 1) / z) = K / z (dx − x/z dz, dy − y/z dz)
    linear = intrinsics[:2, :2] / z[:, :, None]
    return torch.cat([linear, -(linear @ slopes[:, :, None])], -1)
