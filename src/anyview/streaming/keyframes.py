"""Which frames are worth predicting: those that show something else than the last one taken."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

THUMBNAIL = 32
"""Side in pixels: small enough for noise to vanish, large enough for a step of the camera to show."""


def thumbnail(pixels: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "side side"]:
    """Shrink a picture to grey values from 0 to 1."""
    grey = cv2.cvtColor(cv2.resize(pixels, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return grey.astype(np.float32) / 255


def change(first: Float[np.ndarray, "side side"], second: Float[np.ndarray, "side side"]) -> float:
    """Compare thumbnails: the mean difference, 0 to 1, after brightness is made equal; a passing cloud is no change."""
    return float(np.abs((first - first.mean()) - (second - second.mean())).mean())
