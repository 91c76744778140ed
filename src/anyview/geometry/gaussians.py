"""Gaussians under a change of world frame, some of many, and their shapes."""

from jaxtyping import Bool, Float, Int
from torch import Tensor

from anyview.geometry.alignment import Similarity
from anyview.geometry.harmonics import rotate_harmonics
from anyview.geometry.pose import matrix_from_quaternion_xyzw, quaternion_xyzw_from_matrix
from anyview.types import Gaussians, map_tensors


def transform_gaussians(gaussians: Gaussians, similarity: Similarity) -> Gaussians:
    """Move Gaussians so that cameras moved by the same similarity see the same picture."""
    rotation = similarity.rotation[..., None, :, :]
    orientation = rotation @ matrix_from_quaternion_xyzw(gaussians.quaternions_wxyz.roll(-1, -1))
    colours = gaussians.harmonics.flatten(-3, -2)  # all Gaussians of a scene turn alike, so they may be one long row
    return Gaussians(
        means=similarity.apply(gaussians.means),
        scales=gaussians.scales * similarity.scale[..., None, None],
        quaternions_wxyz=quaternion_xyzw_from_matrix(orientation).roll(1, -1),
        harmonics=rotate_harmonics(colours, similarity.rotation).view_as(gaussians.harmonics),
        opacities=gaussians.opacities,
    )


def select_gaussians(gaussians: Gaussians, chosen: Bool[Tensor, " gaussians"] | Int[Tensor, " chosen"]) -> Gaussians:
    """Take some Gaussians of one scene, by a mask or by their numbers."""
    return map_tensors(gaussians, lambda tensor: tensor[chosen])


def covariances(gaussians: Gaussians) -> Float[Tensor, "*scene gaussians 3 3"]:
    """Compute the covariances of Gaussians in the world."""
    axes = matrix_from_quaternion_xyzw(gaussians.quaternions_wxyz.roll(-1, -1)) * gaussians.scales[..., None, :]
    return axes @ axes.mT
