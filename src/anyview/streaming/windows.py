"""A sequence of unknown length, cut into windows that overlap."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

_Frame = TypeVar("_Frame")


def cut_windows(
    frames: Iterable[_Frame], size: int, overlap: int, start: Sequence[_Frame] = ()
) -> Iterator[list[_Frame]]:
    """Yield windows of ``size`` frames, of which the first ``overlap`` were the last ones of the window before.

    The last window may be shorter, but each one holds a frame that no other did. ``start`` are the frames that the
    first window shares with one that was cut before.
    """
    window = list(start)
    fresh = 0
    for frame in frames:
        window.append(frame)
        fresh += 1
        if len(window) == size:
            yield window
            window, fresh = window[-overlap:], 0
    if fresh:
        yield window
