import math

import numpy as np
import pytest

from anyview.images.pinhole import check_aspect, undistort

INTRINSICS = np.array([[180.0, 0, 131], [0, 175, 88], [0, 0, 1]])


def pattern(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A smooth picture on the plane of depth 1, grey values 0 to 255."""
    return np.stack([127 + 100 * np.sin(9 * x + 1), 127 + 100 * np.cos(8 * y), 127 + 100 * np.sin(6 * (x + y))], -1)


def rays(intrinsics: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel centre, at half-integers, lies on the plane of depth 1, ignoring the lens."""
    y, x = np.mgrid[:height, :width] + 0.5
    return (x - intrinsics[0, 2]) / intrinsics[0, 0], (y - intrinsics[1, 2]) / intrinsics[1, 1]


def solve(distort, target_x, target_y):
    """Invert a distortion by fixed-point iteration."""
    x, y = target_x.copy(), target_y.copy()
    for _ in range(100):
        moved_x, moved_y = distort(x, y)
        x, y = x + target_x - moved_x, y + target_y - moved_y
    return x, y


def radial_tangential(k1, k2, p1, p2, k3):
    def distort(x, y):
        square = x * x + y * y
        radial = 1 + square * (k1 + square * (k2 + square * k3))
        return (
            x * radial + 2 * p1 * x * y + p2 * (square + 2 * x * x),
            y * radial + p1 * (square + 2 * y * y) + 2 * p2 * x * y,
        )

    return distort


def equidistant(k1, k2, k3, k4):
    def distort(x, y):
        radius = np.sqrt(x * x + y * y) + 1e-12
        angle = np.arctan(radius)
        square = angle * angle
        bent = angle * (1 + square * (k1 + square * (k2 + square * (k3 + square * k4))))
        return x * bent / radius, y * bent / radius

    return distort


@pytest.mark.parametrize(
    ("lens", "coefficients", "fisheye"),
    [
        (radial_tangential, (-0.2, 0.05, 0.004, -0.006, 0.01), False),
        (radial_tangential, (0.1, 0.02, 0.0, 0.0, 0.0), False),
        (equidistant, (0.03, -0.01, 0.002, 0.0), True),
    ],
)
def test_a_pinhole_would_have_taken_the_result(lens, coefficients, fisheye):
    distorted = solve(lens(*coefficients), *rays(INTRINSICS, 180, 260))
    taken = np.rint(pattern(*distorted)).astype(np.uint8)
    straight, pinhole = undistort(taken, INTRINSICS, coefficients, fisheye=fisheye)
    expected = pattern(*rays(pinhole, 180, 260))
    assert straight.shape == taken.shape
    assert np.abs(straight[3:-3, 3:-3] - expected[3:-3, 3:-3]).mean() < 0.6
    assert np.abs(straight[3:-3, 3:-3] - expected[3:-3, 3:-3]).max() < 6
    assert np.abs(taken - expected).mean() > 2, "the lens must matter"


def test_sizes_of_known_cameras_are_checked(tmp_path):
    check_aspect(tmp_path, (480, 640), (480, 640))
    check_aspect(tmp_path, (378, 504), (3024, 4032))
    check_aspect(tmp_path, (math.floor(3025 / 8), 504), (3025, 4032))
    with pytest.raises(ValueError, match="has 640x480 pixels, and its known camera 480x640"):
        check_aspect(tmp_path, (480, 640), (640, 480))
    with pytest.raises(ValueError, match="not the same picture at another size"):
        check_aspect(tmp_path, (480, 640), (960, 1300))
