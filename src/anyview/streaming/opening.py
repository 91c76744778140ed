"""How a stream begins: the model, the source and what is known beforehand are checked and brought together."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anyview.options import StreamOptions
from anyview.predictor import DepthAnything3
from anyview.streaming.frames import WindowPredictor
from anyview.streaming.known import KnownPoses
from anyview.streaming.network import NetworkPredictor
from anyview.streaming.sources import open_source
from anyview.streaming.stream import Stream

OTHERS_RESOLUTION = 504
"""Where neither the options nor the predictor say one: that of the published models."""


def stream(
    model: DepthAnything3 | WindowPredictor,
    source: Any,
    options: StreamOptions = StreamOptions(),
    *,
    folder: str | Path | None = None,
    resume: bool = False,
    known_poses: KnownPoses | None = None,
    intrinsics: Any = None,
    frames_per_second: float | None = None,
    watch: bool = False,
) -> Stream:
    """Turn a sequence of any length into one scene, window by window.

    Use as ``for window in stream(model, "walk.mp4"): …``. Taking no further window pauses it; `Stream.cancel` ends it.

    Args:
        model: An any-view model, or whatever predicts windows.
        source: A folder, a pattern, a video, a camera's number, an address, or an iterable (`sources.open_source`).
        options: See `StreamOptions`.
        folder: Where intermediate results are kept; a stream that was killed goes on from it. Default: a temporary
            folder, which vanishes when the stream is closed.
        resume: Go on with the stream in ``folder``, if there is one.
        known_poses: Of all frames, some, or with gaps. The world is theirs, from the first one on.
        intrinsics: Known ones, 3 × 3, in pixels of the pictures as given, the same for all.
        frames_per_second: Of a video, how many to take; of a folder, how many there are.
        watch: Wait for more pictures in a folder.

    Raises:
        ValueError: in one line, what is wrong with the source, the model, the known poses or the folder.
        ImportError: loops need SciPy and it is not installed.
    """
    options.check()
    if options.loops or known_poses is not None:
        _check_scipy()
    opened = open_source(source, options, frames_per_second=frames_per_second, watch=watch)
    matrix = None if intrinsics is None else torch.as_tensor(np.asarray(intrinsics, dtype=np.float64)).float()
    if options.resolution is None:
        made_for = model.network.config.resolution if isinstance(model, DepthAnything3) else OTHERS_RESOLUTION
        options = replace(options, resolution=made_for)
    if isinstance(model, DepthAnything3):
        predictor: WindowPredictor = NetworkPredictor(model, options, matrix)
    elif matrix is not None:
        raise ValueError(f"{model.name} is no network: intrinsics have no meaning for it")
    else:
        predictor = model
    if known_poses:
        known_poses.check_distances()
    if known_poses is not None and (expected := opened.expected()):
        known_poses.check_matches(expected)
    return Stream(predictor, opened, options, folder, resume=resume, known_poses=known_poses)


def _check_scipy() -> None:
    from importlib.util import find_spec

    if find_spec("scipy") is None:
        raise ImportError('closing loops and known poses need scipy: pip install "anyview[streaming]"')
