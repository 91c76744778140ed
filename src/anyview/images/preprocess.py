"""Pictures -> the network's input: sizes as the reference makes them, to the pixel."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from anyview.options import MixedSizes, ResizePolicy
from anyview.types import IMAGE_DEVIATION, IMAGE_MEAN, Picture, Placement, Views

PATCH = 14
PADDING = (124, 116, 104)
"""`IMAGE_MEAN` in 8 bits: what the network takes for zero."""


def prepare_views(
    pictures: Sequence[Picture],
    *,
    resolution: int,
    resize: ResizePolicy = "upper_bound_resize",
    mixed_sizes: MixedSizes = "crop",
) -> Views:
    """Resize pictures to the network's input, all to one size whose sides are multiples of 14 (network.md, section 9).

    ``resolution`` is the length of the longer (upper bound) or shorter (lower bound) side before it is brought to a
    multiple of 14. Padding is centred, so that the principal point stays where the network expects it.

    Raises:
        ValueError: for a resolution below one patch, and for pictures so elongated that a side would be.
    """
    if not pictures:
        raise ValueError("no pictures given")
    if resolution < PATCH:
        raise ValueError(f"expected a resolution of at least {PATCH} pixels, one patch; got {resolution}")
    resized = [_resize(picture, resolution, resize) for picture in pictures]
    sizes = [image.shape[:2] for image, _ in resized]
    if mixed_sizes == "pad":
        height, width = map(max, zip(*sizes, strict=True))
    else:
        height, width = map(min, zip(*sizes, strict=True))
    fitted = [_centre(image, placement, height, width) for image, placement in resized]
    mask = np.stack([seen for _, seen, _ in fitted])
    return Views(
        images=torch.from_numpy(np.stack([image for image, _, _ in fitted])),
        placements=tuple(placement for _, _, placement in fitted),
        mask=None if mask.all() else torch.from_numpy(mask),
    )


def normalize(images: UInt8[Tensor, "*batch height width 3"]) -> Float[Tensor, "*batch 3 height width"]:
    """Scale to zero mean and unit deviation over ImageNet, float32, channels first."""
    mean = torch.tensor(IMAGE_MEAN, device=images.device)
    deviation = torch.tensor(IMAGE_DEVIATION, device=images.device)
    return ((images.float() / 255 - mean) / deviation).movedim(-1, -3)


def describe_losses(views: Views) -> tuple[str, ...]:
    """Say in one sentence per case which share of which views was cropped away."""
    height, width = views.images.shape[1:3]
    cropped = defaultdict(list)
    for view, placement in enumerate(views.placements):
        columns = _seen(placement.input_width, placement.scale_x, placement.offset_x, width)
        rows = _seen(placement.input_height, placement.scale_y, placement.offset_y, height)
        cropped[f"{1 - columns * rows:.1%}"].append(str(view))
    return tuple(
        f"{share} of view{'s' if len(names) > 1 else ''} {', '.join(names)} was cropped away"
        for share, names in cropped.items()
        if share != "0.0%"
    )


def _seen(input_side: int, scale: float, offset: float, side: int) -> float:
    """Share of a side of the input picture that lies within the view."""
    low, high = max(offset, 0.0), min(offset + scale * input_side, side)
    return (high - low) / (scale * input_side)


def _resize(picture: Picture, resolution: int, policy: ResizePolicy) -> tuple[UInt8[np.ndarray, "h w 3"], Placement]:
    """Bound one side, then bring both to multiples of the patch; two steps, as the pixels must be the reference's."""
    height, width = picture.pixels.shape[:2]
    bound = max(height, width) if policy.startswith("upper") else min(height, width)
    scale = resolution / bound
    bounded = max(1, round(height * scale)), max(1, round(width * scale))
    crops = policy.endswith("crop")
    to_patches = _multiple_below if crops else _nearest_multiple
    final = to_patches(bounded[0]), to_patches(bounded[1])
    # A lower bound leaves the shorter side whole, and makes the longer one of a 1×5000 picture absurd instead.
    longest = 2 * resolution / PATCH
    if min(final) < PATCH or max(height, width) > longest * min(height, width):
        raise ValueError(
            f"{picture.name} is too elongated: {width}x{height} pixels would become {final[1]}x{final[0]} at "
            f"resolution {resolution}; both sides must reach {PATCH}, and one be at most {longest:.0f} times the other"
        )
    image = _interpolate(picture.pixels, *bounded, enlarges=scale > 1)
    if crops:
        placement = Placement(height, width, scale_x=bounded[1] / width, scale_y=bounded[0] / height)
        image, _, placement = _centre(image, placement, *final)
        return image, placement
    image = _interpolate(image, *final, enlarges=final[0] > bounded[0] or final[1] > bounded[1])
    return image, Placement(height, width, scale_x=final[1] / width, scale_y=final[0] / height)


def _multiple_below(side: int) -> int:
    return side // PATCH * PATCH


def _nearest_multiple(side: int) -> int:
    """Nearest multiple of the patch; ties go up."""
    return (side + PATCH // 2) // PATCH * PATCH


def _interpolate(
    image: UInt8[np.ndarray, "h w 3"], height: int, width: int, enlarges: bool
) -> UInt8[np.ndarray, "height width 3"]:
    import cv2

    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC if enlarges else cv2.INTER_AREA)


def _centre(
    image: UInt8[np.ndarray, "h w 3"], placement: Placement, height: int, width: int
) -> tuple[UInt8[np.ndarray, "height width 3"], Bool[np.ndarray, "height width"], Placement]:
    """Crop what is larger and pad what is smaller, on both sides alike; the mask is False on padding."""
    spare_y, spare_x = image.shape[0] - height, image.shape[1] - width
    top, left = max(spare_y, 0) // 2, max(spare_x, 0) // 2
    cropped = image[top : top + height, left : left + width]
    row, column = max(-spare_y, 0) // 2, max(-spare_x, 0) // 2
    inside = np.s_[row : row + cropped.shape[0], column : column + cropped.shape[1]]
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[...] = PADDING
    canvas[inside] = cropped
    mask = np.zeros((height, width), bool)
    mask[inside] = True
    moved = replace(placement, offset_x=placement.offset_x + column - left, offset_y=placement.offset_y + row - top)
    return canvas, mask, moved
