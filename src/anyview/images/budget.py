"""Sets of pictures that do not fit into memory, noticed while they are read."""

import threading

import torch

from anyview.devices import available_memory
from anyview.types import Picture

_GIB = 2**30
_FIRST = 8
"""After so many pictures the size of all is foreseen."""


class ReadingBudget:
    """Counts the bytes of the pictures of one set as they are read, and refuses the set before memory runs out."""

    def __init__(self, count: int | None) -> None:
        """``count``: pictures of the set; None where nobody knows before the last is read."""
        self._count = count
        self._available = available_memory(torch.device("cpu"))
        self._read = 0
        self._bytes = 0
        self._lock = threading.Lock()

    def take(self, picture: Picture) -> Picture:
        """Count a picture that was read, and return it.

        Raises:
            ValueError: All pictures, if they are like those read so far, need more memory than there was.
        """
        with self._lock:
            self._read += 1
            self._bytes += picture.pixels.nbytes
            count = max(self._count or 0, self._read)
            foreseen = self._bytes * count / self._read
            if self._available is not None and self._read >= min(_FIRST, count) and foreseen > self._available:
                height, width = picture.pixels.shape[:2]
                raise ValueError(
                    f"{count} pictures like {picture.name} ({width}x{height}) take {foreseen / _GIB:.1f} GiB of "
                    f"memory, and {self._available / _GIB:.1f} GiB are available; predict fewer at once, make them "
                    "smaller, or predict each by itself (--separate)"
                )
        return picture
