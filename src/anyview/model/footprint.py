"""How much memory a forward pass takes: an estimate, from the sizes of what is alive at its peak."""

from anyview.model.config import PATCH, NestedConfig, NetworkConfig, PyramidConfig
from anyview.model.heads import FRAMES_AT_ONCE

_FLOAT = 4
_HEADROOM = 1.25
"""Allocators round up, and convolutions take scratch space; `benchmarks/memory.py` compares estimates and peaks."""
_KEPT_BYTES = 20 * 2**20
"""Freed blocks that the allocator does not give to the next tensor, whatever the sizes: matters for small inputs."""


def estimate_bytes(
    config: NetworkConfig | NestedConfig,
    views: int,
    height: int,
    width: int,
    *,
    rays: bool = False,
    gaussians: bool = False,
    frames_at_once: int = FRAMES_AT_ONCE,
) -> int:
    """Peak bytes of a prediction on ``views`` images of height × width, beyond the parameters themselves."""
    if isinstance(config, NestedConfig):
        parts = [
            estimate_bytes(
                config.any_view, views, height, width, rays=rays, gaussians=gaussians, frames_at_once=frames_at_once
            ),
            estimate_bytes(config.metric, views, height, width, frames_at_once=frames_at_once),
        ]
        # One runs after the other; the first one's maps stay.
        return max(parts) + 3 * _FLOAT * views * height * width
    patches = (height // PATCH) * (width // PATCH)
    tokens = views * (patches + 1)
    backbone = config.backbone
    pixels = views * height * width
    # The residual stream, normalised input, queries, keys, values before and after rotation, the MLP's hidden tokens.
    block = tokens * backbone.width * (1 + 1 + 3 + 4 + (8 if not backbone.gated_mlp else 9))
    taps = 4 * tokens * backbone.tap_width
    kept_tokens = 4 * 2 * tokens * backbone.width if config.is_any_view else 4 * tokens * backbone.width
    frames = min(views, frames_at_once)
    head = frames * _head_floats(config.pyramid, patches, rays=rays)
    outputs = pixels * (3 + 2) + (pixels * (8 * 64 // 196) if rays else 0)
    peak = max(block + kept_tokens, kept_tokens + 2 * taps, taps + head) + outputs
    if gaussians and config.gaussians is not None:
        channels = config.gaussians.channels
        head = frames * _head_floats(config.gaussians.pyramid, patches, rays=False)
        # Raw channels, then means, rotation matrices and their candidates, harmonics before and after turning.
        peak = max(peak, taps + head + pixels * channels, pixels * (2 * channels + 60)) + pixels * channels
    # Convolutions rearrange their weights into a copy; the coarsest level's are the largest.
    weights = 9 * config.pyramid.channels[3] ** 2
    return int(_FLOAT * (_HEADROOM * peak + weights)) + _KEPT_BYTES


def _head_floats(pyramid: PyramidConfig, patches: int, *, rays: bool) -> int:
    """Floats alive at the head's peak, for one frame."""
    fine, full = 64 * patches, PATCH * PATCH * patches
    levels = sum(patches * scale * pyramid.features for scale in (16, 4, 1, 0.25))
    reading = full * (pyramid.features // 2 + 32 + 32) + fine * pyramid.features
    fusing = fine * pyramid.features * 4
    return int(levels + max(reading, fusing + (fine * pyramid.features if rays else 0)))
