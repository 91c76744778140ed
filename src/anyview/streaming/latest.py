"""Frames of a live source, read on a thread of its own so that the network is always given the latest."""

import threading
import time
from collections.abc import Generator
from contextlib import closing
from typing import Any, Final

import numpy as np
from jaxtyping import UInt8

STOP_S = 1.0
"""How long the thread is waited for in the end; one that waits for a silent device dies with the process."""


class LatestFrames:
    """Keeps one frame: a newer one takes its place. Memory does not grow however slow the reader is."""

    END: Final = object()

    def __init__(self, pictures: Generator[UInt8[np.ndarray, "height width 3"] | None, None, None]) -> None:
        """Take ``pictures``, None where there is none yet; the thread that reads them closes them too."""
        self._pictures = pictures
        self._changed = threading.Condition()
        self._latest: Any = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True, name="anyview-frames")

    def __enter__(self) -> "LatestFrames":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join(STOP_S)

    def take(self, timeout_s: float) -> Any:
        """Return (number, time in seconds, pixels) of the latest frame; None if none came; END after the last."""
        with self._changed:
            self._changed.wait_for(lambda: self._latest is not None, timeout_s)
            item = self._latest
            if item is not self.END:
                self._latest = None
                self._changed.notify()
            return item

    def _run(self) -> None:
        started, number = time.monotonic(), 0
        with closing(self._pictures):
            for pixels in self._pictures:
                with self._changed:
                    if self._stopped:
                        return
                    if pixels is None:
                        continue
                    self._latest = (number, time.monotonic() - started, pixels)
                    self._changed.notify()
                number += 1
        with self._changed:
            # The last frame may still be waiting: the reader gets it first.
            self._changed.wait_for(lambda: self._latest is None or self._stopped)
            self._latest = self.END
            self._changed.notify()
