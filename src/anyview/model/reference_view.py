"""Which view becomes the world frame, when nobody has said where the cameras are."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from anyview.options import ReferenceView

FEWEST_VIEWS = 3
"""With fewer views there is nothing to choose between: the first is the reference."""


def select_reference_view(
    tokens: Float[Tensor, "batch views channels"], strategy: ReferenceView
) -> Int[Tensor, " batch"]:
    """Index of the reference view, from each view's class token.

    ``saddle_balanced`` takes the view that is most average in three respects at once: its mean similarity to the
    others, the norm of its token, the spread of its token's channels. ``saddle_sim_range`` takes the view with the
    largest range of similarities.
    """
    batch, views, _ = tokens.shape
    if strategy in ("first", "middle"):
        return torch.full((batch,), 0 if strategy == "first" else views // 2, device=tokens.device)
    directions = tokens / tokens.norm(dim=-1, keepdim=True)
    similarity = directions @ directions.transpose(1, 2)
    # The two most alike views always tie; exact symmetry makes the first of them win, whatever the rounding.
    similarity = (similarity + similarity.transpose(1, 2)) / 2
    if strategy == "saddle_sim_range":
        # A view's similarity to itself counts as 0 and takes part in the minimum: published behaviour.
        others = similarity.masked_fill(torch.eye(views, device=tokens.device, dtype=torch.bool), 0.0)
        return (others.amax(-1) - others.amin(-1)).argmax(-1)
    mean_similarity = (similarity.sum(-1) - 1) / (views - 1)
    measures = torch.stack([mean_similarity, tokens.norm(dim=-1), directions.var(dim=-1)])
    low, high = measures.amin(-1, keepdim=True), measures.amax(-1, keepdim=True)
    return ((measures - low) / (high - low + 1e-8) - 0.5).abs().sum(0).argmin(-1)


def reference_first(reference: Int[Tensor, " batch"], views: int) -> Int[Tensor, "batch views"]:
    """Order of the views that puts the reference first and keeps the others as they are."""
    others = torch.arange(views - 1, device=reference.device).expand(len(reference), -1)
    return torch.cat([reference[:, None], others + (others >= reference[:, None])], dim=1)


def take_views(
    x: Float[Tensor, "batch views *rest"], order: Int[Tensor, "batch views"]
) -> Float[Tensor, "batch views *rest"]:
    """Reorder the views of each batch item."""
    return x[torch.arange(len(x), device=x.device)[:, None], order]
