"""Pictures and the cameras that a file knows for them, made to fit each other."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8


def check_aspect(path: Path, size: tuple[int, int], camera_size: tuple[int, int]) -> None:
    """Refuse a picture (height, width) that is not a resized version of what its known camera took.

    Raises:
        ValueError: the sizes' ratios differ by more than the rounding to whole pixels explains.
    """
    (height, width), (camera_height, camera_width) = size, camera_size
    if abs(width * camera_height - height * camera_width) > max(camera_height, camera_width):
        raise ValueError(
            f"{path} has {width}x{height} pixels, and its known camera {camera_width}x{camera_height}: "
            "not the same picture at another size"
        )


def undistort(
    pixels: UInt8[np.ndarray, "height width 3"],
    intrinsics: Float[np.ndarray, "3 3"],
    coefficients: Sequence[float],
    *,
    fisheye: bool = False,
) -> tuple[UInt8[np.ndarray, "height width 3"], Float[np.ndarray, "3 3"]]:
    """Return the picture that a pinhole camera would have taken, and that camera's intrinsics.

    ``coefficients`` are OpenCV's: k1, k2, p1, p2[, k3[, k4, k5, k6]], or k1, k2, k3, k4 of its fisheye model. The view
    is narrowed until nothing in the picture lies outside of the one taken.
    """
    import cv2

    size = (pixels.shape[1], pixels.shape[0])
    lens = np.asarray(coefficients, np.float64)
    distorted = _moved(intrinsics, -0.5)  # OpenCV counts from the centre of the first pixel
    if fisheye:
        pinhole = cv2.fisheye.estimateNewCameraMatrixForUndistortRectify(distorted, lens, size, np.eye(3), balance=0.0)
        maps = cv2.fisheye.initUndistortRectifyMap(distorted, lens, np.eye(3), pinhole, size, cv2.CV_32FC1)
    else:
        pinhole, _ = cv2.getOptimalNewCameraMatrix(distorted, lens, size, alpha=0.0)
        maps = cv2.initUndistortRectifyMap(distorted, lens, None, pinhole, size, cv2.CV_32FC1)
    straight = cv2.remap(pixels, *maps, interpolation=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return straight, _moved(pinhole, 0.5)


def _moved(intrinsics: Float[np.ndarray, "3 3"], by: float) -> Float[np.ndarray, "3 3"]:
    moved = np.array(intrinsics, np.float64)
    moved[:2, 2] += by
    return moved
