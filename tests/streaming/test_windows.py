"""Windows and keyframes, by hand."""

import numpy as np
import pytest

from anyview.streaming.keyframes import change, thumbnail
from anyview.streaming.windows import cut_windows


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, []),
        (1, [[0]]),
        (3, [[0, 1, 2]]),
        (4, [[0, 1, 2, 3]]),
        (5, [[0, 1, 2, 3], [2, 3, 4]]),
        (6, [[0, 1, 2, 3], [2, 3, 4, 5]]),
        (7, [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6]]),
    ],
)
def test_windows_overlap_and_the_last_holds_something_new(count, expected):
    assert list(cut_windows(range(count), 4, 2)) == expected


def test_a_resumed_sequence_goes_on_in_the_middle():
    assert list(cut_windows(range(4, 7), 4, 2, [2, 3])) == [[2, 3, 4, 5], [4, 5, 6]]
    assert list(cut_windows([], 4, 2, [2, 3])) == []


def test_windows_come_as_soon_as_they_are_full():
    """No frame is asked for before the window in hand is given out."""
    asked = []

    def frames():
        for index in range(10):
            asked.append(index)
            yield index

    next(cut_windows(frames(), 4, 2))
    assert asked == [0, 1, 2, 3]


def test_change_is_the_mean_difference_of_grey():
    """The right half brighter by 51 of 255: 0.2 there, 0.1 off the mean everywhere."""
    first = np.full((64, 64, 3), 100, np.uint8)
    second = first.copy()
    second[:, 32:] += 51
    assert change(thumbnail(first), thumbnail(second)) == pytest.approx(0.1, abs=1e-6)
    assert change(thumbnail(first), thumbnail(first + 20)) == pytest.approx(0.0, abs=1e-6)
