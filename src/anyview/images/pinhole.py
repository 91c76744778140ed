"""Pictures and the cameras that a file knows for them, made to fit each other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor


@dataclass(frozen=True)
class KnownView:
    """A picture that has not been read yet, and the pinhole camera that took it."""

    name: str
    size: tuple[int, int]
    """(height, width) of what `read` returns."""
    world_to_camera: Float[Tensor, "4 4"]
    intrinsics: Float[np.ndarray, "3 3"]
    """In pixels of what `read` returns."""
    read: Callable[[], UInt8[np.ndarray, "height width 3"]]
    """Reads the picture as stored, without its lens distortion."""


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

    height, width = pixels.shape[:2]
    lens = np.asarray(coefficients, np.float64)
    straight = straight_intrinsics((height, width), intrinsics, coefficients, fisheye=fisheye)
    matrices = _moved(intrinsics, -0.5), lens, np.eye(3), _moved(straight, -0.5)  # OpenCV counts from pixel centres
    distort = cv2.fisheye.initUndistortRectifyMap if fisheye else cv2.initUndistortRectifyMap
    maps = distort(*matrices, (width, height), cv2.CV_32FC1)
    return cv2.remap(pixels, *maps, interpolation=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), straight


def straight_intrinsics(
    size: tuple[int, int],
    intrinsics: Float[np.ndarray, "3 3"],
    coefficients: Sequence[float],
    *,
    fisheye: bool = False,
) -> Float[np.ndarray, "3 3"]:
    """Return the intrinsics of the pinhole camera whose picture of ``size`` (height, width) `undistort` makes."""
    import cv2

    lens, distorted, whole = np.asarray(coefficients, np.float64), _moved(intrinsics, -0.5), (size[1], size[0])
    if fisheye:
        find = cv2.fisheye.estimateNewCameraMatrixForUndistortRectify
        return _moved(find(distorted, lens, whole, np.eye(3), balance=0.0), 0.5)
    return _moved(cv2.getOptimalNewCameraMatrix(distorted, lens, whole, alpha=0.0)[0], 0.5)


def _moved(intrinsics: Float[np.ndarray, "3 3"], by: float) -> Float[np.ndarray, "3 3"]:
    moved = np.array(intrinsics, np.float64)
    moved[:2, 2] += by
    return moved
