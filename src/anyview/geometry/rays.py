"""Ray maps: per pixel the world-space direction R K⁻¹ p, of camera depth 1, and the origin, the camera centre."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anyview.geometry.alignment import Similarity
from anyview.geometry.camera import pixel_centers, unproject_pixels
from anyview.geometry.pose import camera_centers, rigid_inverse, rigid_transform
from anyview.types import Cameras

HYPOTHESES = 100
SUBSET = 8
CANDIDATE_SHARE = 0.3
"""Share of the pixels, the most confident ones, that hypotheses are drawn from."""
INLIER_TANGENT = 0.2
"""Largest tangent of the angle between a ray and what the fitted camera says there."""
RANK_TOLERANCE = 1e-12
"""Smallest ratio of second to last eigenvalue that determines a camera; rounding of float32 rays stays below."""


def rays_from_cameras(
    cameras: Cameras, rows: int, columns: int, height: int, width: int
) -> Float[Tensor, "*batch rows columns 6"]:
    """Compute the rays through the centres of a ``rows`` × ``columns`` grid over pictures of ``height`` × ``width``.

    Direction (3) is not of unit length: point = origin + z-depth · direction. Then origin (3).
    """
    like = cameras.intrinsics
    cell = torch.tensor([width / columns, height / rows], device=like.device, dtype=like.dtype)
    pixels = pixel_centers(rows, columns, like.device, like.dtype).flatten(0, 1) * cell
    directions = unproject_pixels(pixels, cameras.intrinsics) @ cameras.world_to_camera[..., :3, :3]
    origins = camera_centers(cameras.world_to_camera)[..., None, :].expand_as(directions)
    return torch.cat([directions, origins], -1).unflatten(-2, (rows, columns))


def cameras_from_rays(
    rays: Float[Tensor, "*batch rows columns 6"],
    confidence: Float[Tensor, "*batch rows columns"],
    height: int,
    width: int,
    generator: torch.Generator | None = None,
) -> Cameras:
    """Solve for the camera of every ray map, in pixels of pictures of ``height`` × ``width`` (spec 8).

    The homography from image plane to directions is found by RANSAC, each view on its own, refitted to the inliers with
    the confidence as weight, and factored into rotation and intrinsics: exact for every pinhole camera without skew.
    Residuals are angles, so nothing depends on the choice of the world frame.

    A view whose rays determine no camera (too few are valid, or all lie in a plane) gets NaN. Without ``generator``
    every call draws the same subsets. The device must have float64.

    Raises:
        ValueError: there are fewer than eight rays per view.
    """
    batch, (rows, columns) = confidence.shape[:-2], confidence.shape[-2:]
    if rows * columns < SUBSET:
        raise ValueError(f"expected at least {SUBSET} rays per view, got {rows} x {columns}")
    points = _image_plane(rows, columns, rays.device)
    flat_rays, flat_confidence = rays.reshape(-1, rows * columns, 6).double(), confidence.reshape(-1, rows * columns)
    valid, directions = _unit_directions(flat_rays)
    weights = torch.where(valid & flat_confidence.isfinite(), flat_confidence.float(), 0).clamp(min=0)

    hypotheses = _draw_hypotheses(points, directions, weights, generator)
    # What grows with the number of rays is done view by view, to need the memory of one.
    views = zip(directions, weights, hypotheses, strict=True)
    weights = weights * torch.stack([_best_inliers(points, *view) for view in views])
    equations = [_normal_equations(points, *view) for view in zip(directions, weights, strict=True)]
    homographies, determined = _solve(torch.stack(equations))
    camera_to_world, plane_intrinsics = _factor(homographies)
    origins = torch.where(weights[..., None] > 0, flat_rays[..., 3:], 0)
    centers = (weights[..., None] * origins).sum(-2) / weights.double().sum(-1, keepdim=True)

    to_pixels = torch.tensor([[width / 2, 0, width / 2], [0, height / 2, height / 2], [0, 0, 1]]).to(plane_intrinsics)
    poses = rigid_inverse(rigid_transform(camera_to_world, centers))
    solved = determined[:, None, None]
    return Cameras(
        torch.where(solved, poses, torch.nan).to(rays.dtype).reshape(*batch, 4, 4),
        torch.where(solved, to_pixels @ plane_intrinsics, torch.nan).to(rays.dtype).reshape(*batch, 3, 3),
    )


def transform_rays(
    rays: Float[Tensor, "*batch rows columns 6"], similarity: Similarity
) -> Float[Tensor, "*batch rows columns 6"]:
    """Move ray maps to another world frame; depth along them has to be multiplied by the similarity's scale."""
    direction, origin = rays.flatten(-3, -2).split(3, dim=-1)
    moved = torch.cat([direction @ similarity.rotation.mT, similarity.apply(origin)], dim=-1)
    return moved.unflatten(-2, rays.shape[-3:-1])


def _image_plane(rows: int, columns: int, device: torch.device) -> Float[Tensor, "rays 3"]:
    """Homogeneous coordinates of the grid's centres in an image that spans −1 to 1."""
    size = torch.tensor([columns, rows], device=device)
    plane = pixel_centers(rows, columns, device, torch.float64).flatten(0, 1) * 2 / size - 1
    return torch.cat([plane, torch.ones_like(plane[:, :1])], -1)


def _unit_directions(
    rays: Float[Tensor, "views rays 6"],
) -> tuple[Bool[Tensor, "views rays"], Float[Tensor, "views rays 3"]]:
    """Say which rays are usable; return unit directions, (0, 0, 0) elsewhere."""
    length = rays[..., :3].norm(dim=-1)
    valid = rays.isfinite().all(-1) & (length > 0)
    return valid, torch.where(valid[..., None], rays[..., :3] / length[..., None], 0)


def _draw_hypotheses(
    points: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "views rays 3"],
    weights: Float[Tensor, "views rays"],
    generator: torch.Generator | None,
) -> Float[Tensor, "views hypotheses 3 3"]:
    """Fit homographies to random subsets of each view's most confident rays, the same subsets of ranks in all views."""
    generator = generator or torch.Generator().manual_seed(0)
    count = max(SUBSET, int(CANDIDATE_SHARE * len(points)))
    candidates = weights.topk(count, -1).indices
    keys = torch.rand(HYPOTHESES, count, generator=generator, device=generator.device)
    chosen = candidates[:, keys.topk(SUBSET, -1).indices.to(candidates.device)]
    views = torch.arange(len(weights), device=weights.device)[:, None, None]
    return _solve(_normal_equations(points[chosen], directions[views, chosen], weights[views, chosen]))[0].float()


def _best_inliers(
    points: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    weights: Float[Tensor, " rays"],
    hypotheses: Float[Tensor, "hypotheses 3 3"],
) -> Bool[Tensor, " rays"]:
    """Find the hypothesis whose inliers weigh most, and return these inliers."""
    points, directions = points.float(), directions.float()
    # |H p|² < (1 + tan²) (d · H p)² is made of sums over products of a ray's numbers: two matrix products score all.
    along = hypotheses.flatten(-2) @ _outer(directions, points).mT
    squared_length = (hypotheses.mT @ hypotheses).flatten(-2) @ _outer(points, points).mT
    inliers = (along > 0) & (squared_length < (1 + INLIER_TANGENT**2) * along.square())
    best = (inliers.to(weights) @ weights).argmax(0, keepdim=True)
    return inliers[best][0]


def _normal_equations(
    points: Float[Tensor, "*batch rays 3"],
    directions: Float[Tensor, "*batch rays 3"],
    weights: Float[Tensor, "*batch rays"],
) -> Float[Tensor, "*batch 9 9"]:
    """Sum w |(I − d dᵀ) H p|², the squared distance of H p from the line along d, as a quadratic form in H."""
    across = torch.eye(3).to(directions).flatten() - _outer(directions, directions)
    moments = (weights[..., None] * across).mT @ _outer(points, points)
    return moments.unflatten(-1, (3, 3)).unflatten(-3, (3, 3)).transpose(-3, -2).flatten(-2).flatten(-3, -2)


def _solve(equations: Float[Tensor, "*batch 9 9"]) -> tuple[Float[Tensor, "*batch 3 3"], Bool[Tensor, "*batch"]]:
    """Minimise the form over unit vectors; return homographies of positive determinant and whether they are unique."""
    values, vectors = torch.linalg.eigh(equations)
    homographies = vectors[..., 0].unflatten(-1, (3, 3))
    sign = torch.where(torch.linalg.det(homographies) < 0, -1.0, 1.0)
    return homographies * sign[..., None, None], values[..., 1] > RANK_TOLERANCE * values[..., -1]


def _factor(
    homographies: Float[Tensor, "views 3 3"],
) -> tuple[Float[Tensor, "views 3 3"], Float[Tensor, "views 3 3"]]:
    """Split R K⁻¹ into rotation and intrinsics, with the skew, which cameras do not have, set to zero."""
    rotation, inverse_intrinsics = torch.linalg.qr(homographies)
    signs = torch.where(inverse_intrinsics.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(homographies)
    rotation, inverse_intrinsics = rotation * signs[:, None, :], inverse_intrinsics * signs[:, :, None]
    identity = torch.eye(3).to(homographies)
    intrinsics = torch.linalg.solve_triangular(inverse_intrinsics, identity.expand_as(homographies), upper=True)
    no_skew = torch.tensor([[1, 0, 1], [0, 1, 1], [0, 0, 1]]).to(homographies)
    return rotation, torch.where(no_skew > 0, intrinsics / intrinsics[:, 2:, 2:], 0)


def _outer(left: Float[Tensor, "*batch 3"], right: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 9"]:
    return (left[..., :, None] * right[..., None, :]).flatten(-2)
