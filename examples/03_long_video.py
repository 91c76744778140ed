"""A long sequence becomes one trajectory and one point cloud, window by window.

    python examples/03_long_video.py MODEL VIDEO_OR_FOLDER

Without arguments: a camera that circles in a box, whose true geometry with some noise stands in for a network's.
"""

import sys

from anyview import DepthAnything3, StreamOptions, stream
from anyview.streaming import write_outputs
from anyview.streaming.injected import Errors, InjectedPredictor, circle_cameras

if len(sys.argv) == 3:
    model, source, options = DepthAnything3.from_pretrained(sys.argv[1]), sys.argv[2], StreamOptions()
else:
    cameras = circle_cameras(60, 28, 42, laps=1.2)
    model = InjectedPredictor(cameras, 28, 42, Errors(depth=0.01, window_scale=0.3, drift=0.002))
    source, options = model.frames(), StreamOptions(window=12, overlap=4, resolution=42, loop_gap=20)

with stream(model, source, options) as run:
    for window in run:
        moved = f", a loop moved {len(window.corrections)} windows" if window.corrections else ""
        print(f"window {window.index}: {len(window)} frames, depth {tuple(window.depth.shape)}{moved}")
    report = run.report
    print(f"{report.frames_kept} frames in {report.windows} windows, {report.loops_believed} loops")
    for path in write_outputs(run, "out/long_video", ["tum", "cloud"]).values():
        print(path)
