"""What training minimises (paper, section 3.2; training spec 3.2): pure functions, one value per scene.

Every term is an ℓ1 norm, averaged over the pixels or views that count; a scene where none counts contributes 0.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

FIELD_OF_VIEW_WEIGHT = 0.5
"""Of the field of view within the camera loss [inferred: VGGT's code]."""
SHIFT_WEIGHT = 4.0
"""Of the patches' channels within the hints' loss: without it the cameras' are ten times as large [ours]."""


def depth_loss(
    depth: Float[Tensor, "batch views height width"],
    confidence: Float[Tensor, "batch views height width"],
    truth: Float[Tensor, "batch views height width"],
    valid: Bool[Tensor, "batch views height width"],
    confidence_weight: float,
) -> Float[Tensor, " batch"]:
    """Compare depth, weighted by its confidence (L_D)."""
    return mean_over(valid, weighted_by_confidence((depth - truth).abs(), confidence, confidence_weight))


def ray_loss(
    rays: Float[Tensor, "batch views rows columns 6"],
    confidence: Float[Tensor, "batch views rows columns"],
    truth: Float[Tensor, "batch views rows columns 6"],
    confidence_weight: float,
) -> Float[Tensor, " batch"]:
    """Compare rays, weighted by their confidence (L_M; the weight is inferred from what the confidence is used for)."""
    error = (rays - truth).abs().sum(-1)
    return weighted_by_confidence(error, confidence, confidence_weight).flatten(1).mean(1)


def point_loss(
    depth: Float[Tensor, "batch views rows columns"],
    rays: Float[Tensor, "batch views rows columns 6"],
    truth: Float[Tensor, "batch views rows columns 3"],
    valid: Bool[Tensor, "batch views rows columns"],
) -> Float[Tensor, " batch"]:
    """Compare the points that depth and rays lead to (L_P); all at the ray grid."""
    direction, origin = rays.split(3, dim=-1)
    return mean_over(valid, (origin + depth[..., None] * direction - truth).abs().sum(-1))


def camera_loss(
    encoding: Float[Tensor, "batch views 9"], truth: Float[Tensor, "batch views 9"]
) -> Float[Tensor, " batch"]:
    """Compare pose encodings (L_C): centre, quaternion, field of view.

    A quaternion and its negative are one rotation, so the nearer of the two is the truth.
    """
    center, quaternion, field_of_view = encoding.split([3, 4, 2], dim=-1)
    true_center, true_quaternion, true_field_of_view = truth.split([3, 4, 2], dim=-1)
    opposite = (quaternion * true_quaternion).sum(-1, keepdim=True) < 0
    true_quaternion = torch.where(opposite, -true_quaternion, true_quaternion)
    error = (center - true_center).abs().sum(-1) + (quaternion - true_quaternion).abs().sum(-1)
    return (error + FIELD_OF_VIEW_WEIGHT * (field_of_view - true_field_of_view).abs().sum(-1)).mean(1)


def gradient_loss(
    depth: Float[Tensor, "batch views height width"],
    truth: Float[Tensor, "batch views height width"],
    valid: Bool[Tensor, "batch views height width"],
) -> Float[Tensor, " batch"]:
    """Compare the differences between neighbouring pixels' depths, across and down (L_grad, eq. 3)."""
    error = depth - truth
    total = torch.zeros_like(error[:, 0, 0, 0])
    for axis in (-1, -2):
        before, after = slice_axis(valid, axis)
        total = total + mean_over(before & after, error.diff(dim=axis).abs())
    return total


def match_loss(
    similarity: Float[Tensor, "batch blocks 2 views patches views patches"],
    matches: Int[Tensor, "batch views patches views"],
) -> Float[Tensor, " batch"]:
    """Ask two heads of attention to look at the patch that shows the same: the sum of two cross entropies [ours].

    The first head, within every other view by itself; the second, in the first view among all.
    """
    everywhere, reference = similarity.unbind(2)
    views, patches = matches.shape[1:3]
    other = ~torch.eye(views, dtype=torch.bool, device=matches.device)[:, None]
    target = matches.clamp(min=0)[:, None]
    error = -everywhere.log_softmax(-1).gather(-1, target[..., None].expand(*everywhere.shape[:-1], 1))[..., 0]
    total = mean_over((matches >= 0) & other, error.mean(1))
    if views == 1:
        return total
    among_all = reference[:, :, 1:].flatten(-2).log_softmax(-1)[..., :patches]
    error = -among_all.gather(-1, target[:, :, 1:, :, :1].expand(*among_all.shape[:-1], 1))[..., 0]
    return total + mean_over(matches[:, 1:, :, 0] >= 0, error.mean(1))


def hint_loss(
    hints: Float[Tensor, "batch blocks views tokens 8"],
    matches: Int[Tensor, "batch views patches views"],
    shift: Float[Tensor, "batch views patches 2"],
    camera: Float[Tensor, "batch views 6"],
) -> Float[Tensor, " batch"]:
    """Ask a few channels of tokens to hold where the first view shows the same, and where the camera stands [ours]."""
    known = (matches[..., 0] >= 0) & (torch.arange(matches.shape[1], device=matches.device) > 0)[:, None]
    moved = (hints[..., 1:, :2] - shift[:, None]).abs().sum(-1).mean(1)
    # After the first block that looks at all views a camera cannot know yet.
    placed = (hints[:, 1:, :, 0, 2:] - camera[:, None]).abs().sum(-1)
    return SHIFT_WEIGHT * mean_over(known, moved) + placed.flatten(1).mean(1)


def weighted_by_confidence(
    error: Float[Tensor, "*shape"], confidence: Float[Tensor, "*shape"], weight: float
) -> Float[Tensor, "*shape"]:
    """Let confidence scale errors, at a price: c · error − weight · log c, lowest at c = weight / error."""
    return confidence * error - weight * confidence.log()


def mean_over(valid: Bool[Tensor, "batch *shape"], values: Float[Tensor, "batch *shape"]) -> Float[Tensor, " batch"]:
    """Average the valid values of each scene; 0 where none is."""
    kept = torch.where(valid, values, 0.0).flatten(1).sum(1)
    return kept / valid.flatten(1).sum(1).clamp(min=1)


def slice_axis(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """All but the last, and all but the first, along an axis: the two members of each pair of neighbours."""
    pairs = x.shape[axis] - 1
    return x.narrow(axis, 0, pairs), x.narrow(axis, 1, pairs)
