"""A camera that circles in a box, whose true geometry stands in for a network's."""

from collections.abc import Callable

import pytest

from anyview.options import StreamOptions
from anyview.streaming.injected import Errors, InjectedPredictor, circle_cameras

HEIGHT, WIDTH = 28, 42


@pytest.fixture(scope="session")
def options() -> Callable[..., StreamOptions]:
    """Small windows, every frame kept."""

    def make(**changes: object) -> StreamOptions:
        values = {
            "window": 8,
            "overlap": 3,
            "resolution": WIDTH,
            "keyframe_change": 0.0,
            "loop_gap": 20,
            "loops": False,
        }
        return StreamOptions(**{**values, **changes})

    return make


@pytest.fixture(scope="session")
def circling() -> Callable[..., InjectedPredictor]:
    """Frames on a circle, with errors."""

    def make(
        count: int, laps: float = 1.0, *, seed: int = 0, metric: bool = False, **errors: object
    ) -> InjectedPredictor:
        cameras = circle_cameras(count, HEIGHT, WIDTH, laps=laps)
        return InjectedPredictor(cameras, HEIGHT, WIDTH, Errors(**errors), seed=seed, metric=metric)

    return make
