import colorsys

import numpy as np
from jaxtyping import Float, UInt8

SPECTRAL = np.array(
    [
        (158, 1, 66),
        (213, 62, 79),
        (244, 109, 67),
        (253, 174, 97),
        (254, 224, 139),
        (255, 255, 191),
        (230, 245, 152),
        (171, 221, 164),
        (102, 194, 165),
        (50, 136, 189),
        (94, 79, 162),
    ]
)
"""ColorBrewer's Spectral (Apache-2.0): red through yellow to violet, evenly spaced."""


def spectral(values: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape 3"]:
    """Colour values from 0 (red) to 1 (violet); what lies outside takes the colour of the end."""
    levels = np.minimum(values.clip(0, 1) * 256, 255).astype(np.uint8)  # 256 colours, as matplotlib has it
    anchors = np.linspace(0, 255, len(SPECTRAL))
    table = np.stack([np.interp(np.arange(256), anchors, channel) for channel in SPECTRAL.T], -1)
    return table.round().astype(np.uint8)[levels]


def index_color(index: int, count: int) -> tuple[int, int, int]:
    """Give each of ``count`` things its own hue, of saturation 0.85 and value 0.95 (spec 14)."""
    red, green, blue = colorsys.hsv_to_rgb(index / count, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)
