"""What happened while a stream ran: numbers, and the faults of its source."""

import math
from collections import Counter
from dataclasses import dataclass, field, replace

EXAMPLES = 3
"""Faults of a kind that are described; the others are counted."""


class Faults:
    """Counts what went wrong with a source, and describes the first ones of each kind."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}

    def add(self, kind: str, description: str) -> None:
        """Note a fault."""
        self.counts[kind] += 1
        kept = self.examples.setdefault(kind, [])
        if len(kept) < EXAMPLES:
            kept.append(description)

    def lines(self) -> tuple[str, ...]:
        """Say in one line per kind what happened."""
        return tuple(
            f"{kind}: {count} ({'; '.join(self.examples[kind])}{'; …' if count > EXAMPLES else ''})"
            for kind, count in self.counts.items()
        )


@dataclass(frozen=True)
class StreamReport:
    """Where a stream stands."""

    frames_read: int = 0
    """Of the source, with those passed over."""
    frames_kept: int = 0
    """Predicted, with a pose of their own."""
    frames_passed_over: int = 0
    """Too much like the last one kept."""
    windows: int = 0
    loop_candidates: int = 0
    loops_found: int = 0
    """Candidates that a joint prediction has verified."""
    loops_believed: int = 0
    """Those of them that the pose graph believes."""
    anchors: int = 0
    """Windows with known poses."""
    scale_drift: float = 0.0
    """Standard deviation of the logarithm of scale from the first window to the last, as estimated at the seams."""
    least_inliers: float = 1.0
    """The worst seam's share of points that agree."""
    seconds: float = 0.0
    """Of this process until the stream ended, waiting for the source included, writing the outputs not."""
    predicting_s: float = 0.0
    """Of these, in the network."""
    frames_this_run: int = 0
    """Kept by this process; a resumed run has more."""
    memory_bytes: int = 0
    """Largest resident memory of this process."""
    gpu_bytes: int = 0
    """Largest memory that PyTorch held on the GPU."""
    disk_bytes: int = 0
    """Of intermediate results."""
    faults: tuple[str, ...] = field(default=())

    @property
    def frames_per_second(self) -> float:
        """Kept frames per second of this process."""
        return self.frames_this_run / self.seconds if self.seconds > 0 else 0.0

    def with_seam(self, inliers: float, scale_deviation: float) -> "StreamReport":
        """Count one more seam."""
        variance = self.scale_drift**2 + (0.0 if math.isnan(scale_deviation) else scale_deviation**2)
        return replace(self, scale_drift=math.sqrt(variance), least_inliers=min(self.least_inliers, inliers))


def peak_memory() -> int:
    """Return the largest resident memory of this process in bytes; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
