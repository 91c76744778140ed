import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any


class Stages:
    """Progress bars on stderr, one stage after the other, and the time that each took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stage: str | None = None
        self._started = 0.0
        self._bar: Any = None

    def __enter__(self) -> "Stages":
        return self

    def __exit__(self, *_: object) -> None:
        self.pause()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` is done of a stage; the first call for another stage ends the last one."""
        from tqdm import tqdm

        if stage != self._stage:
            self.pause()
            self._stage, self._started = stage, time.perf_counter()
            self._bar = tqdm(
                desc=stage,
                total=total,
                bar_format="{desc:10} {bar:30} {n_fmt}/{total_fmt} {elapsed}{postfix}",
                # A log file wants a line now and then, a terminal motion.
                mininterval=0.1 if sys.stderr.isatty() else 10.0,
            )
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def note(self, stage: str, done: int, text: str) -> None:
        """Show how much of a stage without a known end is done, and a line about it."""
        self(stage, done, done)
        self._bar.set_postfix_str(text, refresh=False)

    def of(self, stage: str) -> Callable[[int, int], None]:
        """Progress of one stage, for callees that know of no others."""
        return partial(self, stage)

    def pause(self) -> None:
        """End the running stage."""
        if self._stage is not None:
            self._bar.close()
            elapsed = time.perf_counter() - self._started
            self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + elapsed
            self._stage = None

    def summary(self) -> str:
        """Say how long each stage took."""
        return ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in self.seconds.items())
