"""Streams: error, memory and speed, on injected true geometry, and with a model.

    python benchmarks/streaming.py loop                 # 1,000 frames around a room: drift, loops, false loops
    python benchmarks/streaming.py memory               # peak memory for 200 and for 2,000 frames
    python benchmarks/streaming.py memory MODEL         # of a synthetic walk for 60 and for 300 frames, with a network
    python benchmarks/streaming.py model MODEL          # synthetic walks, with and without each ingredient
    python benchmarks/streaming.py windows MODEL        # frames/s and memory by window size

`anyview odometry` compares real sequences with their truth. `model` keeps the walks and what it has measured in
``--folder``. Killed and started again it goes on, also within a stream; with other weights, options or code it measures
afresh. What is left out is judged by the mean over ``--rooms`` of its difference from everything in the same room, with
the standard error of that mean.

Injected geometry (`anyview.streaming.injected`) separates what stitching costs from what prediction costs. ATE is the
root mean square error of the camera centres after the best similarity, also in per cent of the path's length; RPE is
the same for the step from one frame to the next. Sheets are what windows make of one surface
(`synthetic_walk.score_surfaces`). The last line on stdout is JSON.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from anyview.files import atomic_path
from anyview.geometry.alignment import umeyama
from anyview.geometry.pose import camera_centers
from anyview.options import StreamOptions
from anyview.predictor import DepthAnything3
from anyview.streaming import seams, stream
from anyview.streaming.injected import Errors, InjectedPredictor, circle_cameras, path_length
from anyview.streaming.network import NetworkPredictor
from anyview.types import Cameras
from synthetic_walk import Remembering, TrueGeometry, load_walk, score_path, score_surfaces

WALK = 300
"""Frames of the walk with a model."""
HEIGHT, WIDTH = 28, 42
NOISE = Errors(depth=0.01, window_scale=0.3, rotation=0.002, position=0.005, outliers=0.05)
DRIFT = replace(NOISE, drift=0.001)
"""e in scale over 1,000 frames."""
CASES = {
    "exact": (Errors(), False),
    "noise": (NOISE, False),
    "noise, loops": (NOISE, True),
    "noise and drift": (DRIFT, False),
    "noise and drift, loops": (DRIFT, True),
    "noise and drift, loops, 30 % false places, fooled": (replace(DRIFT, false_places=0.3, fooled=True), True),
}


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["loop", "memory", "model", "windows", "one-length", "one-window"])
    parser.add_argument("arguments", nargs="*")
    parser.add_argument("--frames", type=int, help="default: 1,000; with a model 300")
    parser.add_argument("--resolution", type=int, default=112, help="longer side that a network sees")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "anyview-streaming")
    parser.add_argument("--rooms", type=int, nargs="+", default=[0], help="of the test split, to walk with `model`")
    parser.add_argument("--windows", type=int, nargs="+", default=[4, 8, 16, 32])
    options = parser.parse_args()
    given = options.arguments
    if options.what == "loop":
        report = measure_loops(options.frames or 1000)
    elif options.what == "memory":
        report = measure_memory(given, options.resolution, options.folder)
    elif options.what == "one-length":
        report = measure_one_length(int(given[0]), given[1:], options.resolution, options.folder)
    elif options.what == "one-window":
        report = measure_one_window(given[0], int(given[1]), options.resolution)
    elif options.what == "windows":
        report = measure_windows(given[0], options.windows, options.resolution)
    else:
        model, frames = load(given[0]), options.frames or WALK
        rooms = {room: measure_room(model, frames, options.resolution, options.folder, room) for room in options.rooms}
        report = {"rooms": rooms, "mean": summarize(rooms)}
    print(json.dumps(report))


def measure_loops(frames: int) -> dict[str, dict[str, float]]:
    """Run every case around the room, a lap and a tenth."""
    report = {}
    for name, (errors, loops) in CASES.items():
        truth = InjectedPredictor(circle_cameras(frames, HEIGHT, WIDTH, laps=1.1), HEIGHT, WIDTH, errors)
        options = StreamOptions(resolution=WIDTH, keyframe_change=0.0, loops=loops)
        processor = time.process_time()
        with stream(truth, truth.frames(), options) as run:
            for _ in run:
                pass
            report[name] = score_path(run, truth.cameras.world_to_camera)
            report[name]["predicted_ate_percent"] = predicted_error(truth.cameras, errors.drift)
            report[name]["loops_found"] = run.report.loops_found
            report[name]["loops_believed"] = run.report.loops_believed
            report[name]["loop_candidates"] = run.report.loop_candidates
        report[name]["processor_s"] = time.process_time() - processor
        say(f"{name}: {report[name]}")
    return report


def predicted_error(cameras: Cameras, drift: float) -> float:
    """ATE in per cent of the path's length of a chain whose steps grow by exp(drift) from frame to frame."""
    centers = camera_centers(cameras.world_to_camera)
    steps = (centers[1:] - centers[:-1]) * (drift * torch.arange(1, len(centers))).exp()[:, None]
    grown = torch.cat([centers[:1], centers[:1] + steps.cumsum(0)])
    return 100 * absolute_error(grown, centers) / path_length(cameras)


def absolute_error(found: torch.Tensor, true: torch.Tensor) -> float:
    """Root mean square distance after the best similarity."""
    similarity, _ = umeyama(found, true)
    return float((similarity.apply(found) - true).square().sum(-1).mean().sqrt())


def measure_memory(model: list[str], resolution: int, folder: Path) -> dict[str, object]:
    """Peak memory of processes that stream few and many frames, without or with a model."""
    short, long = (60, WALK) if model else (200, 2000)
    if model:
        load_walk(WALK, resolution, folder)  # rendering is no part of the measured processes
    peaks = {}
    for frames in (short, long):
        arguments = [str(frames), *model, "--resolution", str(resolution), "--folder", str(folder)]
        command = [sys.executable, __file__, "one-length", *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        peaks[frames] = json.loads(done.stdout.splitlines()[-1])
        say(f"{frames} frames: {peaks[frames]}")
    return {"runs": peaks, "ratio": peaks[long]["peak_mib"] / peaks[short]["peak_mib"]}


def measure_one_length(frames: int, model: list[str], resolution: int, folder: Path) -> dict[str, float]:
    """Peak memory and disk of one stream, loops included."""
    if model:
        predictor = load(model[0])
        pictures = load_walk(WALK, resolution, folder).frames(frames)
        options = StreamOptions(resolution=resolution, keyframe_change=0.0)
    else:
        predictor = InjectedPredictor(circle_cameras(frames, HEIGHT, WIDTH, laps=1.1), HEIGHT, WIDTH, NOISE)
        pictures = predictor.frames()
        options = StreamOptions(resolution=WIDTH, keyframe_change=0.0)
    with stream(predictor, pictures, options) as run:
        for _ in run:
            pass
        report = run.report
    return {"peak_mib": report.memory_bytes / 2**20, "disk_mib": report.disk_bytes / 2**20, "frames": frames}


def measure_room(
    model: DepthAnything3, frames: int, resolution: int, folder: Path, room: int
) -> dict[str, dict[str, float]]:
    """Stream a walk through a synthetic room, leaving out one ingredient at a time; its truth first, for comparison."""
    everything = StreamOptions(resolution=resolution, keyframe_change=0.0)
    nothing = replace(everything, conditioning="none", blend=False, loops=False)
    walk = load_walk(frames, resolution, folder, room)
    share = seams.CAMERA_SHARE
    # Most variants ask for the same windows.
    network = Remembering(NetworkPredictor(model, everything))
    variants = {
        "true geometry": (TrueGeometry(walk), replace(everything, loops=False), share),
        "all": (network, everything, share),
        "no conditioning": (network, replace(everything, conditioning="none"), share),
        "no blending": (network, replace(everything, blend=False), share),
        "no loops": (network, replace(everything, loops=False), share),
        "none of the three": (network, nothing, share),
        "seams by points only": (network, everything, 0.0),
    }
    report = {}
    for variant, (predictor, options, camera_share) in variants.items():
        here = folder / f"{variant.replace(' ', '-')}-{fingerprint(model, frames, options)}-{room}"
        scores = here / "scores.json"
        if not scores.exists():
            with (
                mock.patch.object(seams, "CAMERA_SHARE", camera_share),
                stream(predictor, walk.frames(), options, folder=here, resume=True) as run,
            ):
                for _ in run:
                    pass
                found = score_path(run, walk.cameras.world_to_camera) | score_surfaces(run, walk)
                found["loops_found"], found["loops_believed"] = run.report.loops_found, run.report.loops_believed
            with atomic_path(scores) as temporary:
                temporary.write_text(json.dumps(found))
            shutil.rmtree(here / "frames")
        report[variant] = json.loads(scores.read_text())
        say(f"room {room}, {variant}: {report[variant]}")
    return report


def summarize(rooms: dict[int, dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Average over rooms: errors of every variant, and how much worse it is than everything, paired by room."""
    summary = {}
    for variant in next(iter(rooms.values())):
        summary[variant] = {"rooms": len(rooms)}
        for score in ("ate_percent", "sheets_cm"):
            values = np.array([room[variant][score] for room in rooms.values()])
            worse = values - np.array([room["all"][score] for room in rooms.values()])
            error = worse.std(ddof=1) / len(rooms) ** 0.5 if len(rooms) > 1 else None
            numbers = {score: values.mean(), f"{score}_worse": worse.mean(), f"{score}_worse_error": error}
            summary[variant] |= {name: None if value is None else float(value) for name, value in numbers.items()}
        say(f"mean, {variant}: {summary[variant]}")
    return summary


def fingerprint(model: DepthAnything3, frames: int, options: StreamOptions) -> str:
    """Name a measurement by the weights, options and code that it comes from."""
    digest = hashlib.sha256(f"{frames} {options}".encode())
    for tensor in model.network.state_dict().values():
        digest.update(tensor.float().cpu().numpy().tobytes())
    for path in sorted(Path(seams.__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def measure_windows(name: str, windows: list[int], resolution: int) -> dict[int, dict[str, float]]:
    """Frames per second and memory by window size, with overlaps of half a window, one process each."""
    report = {}
    for window in windows:
        command = [sys.executable, __file__, "one-window", name, str(window), "--resolution", str(resolution)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        report[window] = json.loads(done.stdout.splitlines()[-1])
        say(f"window {window}: {report[window]}")
    return report


def measure_one_window(name: str, window: int, resolution: int) -> dict[str, float]:
    """Stream pictures of noise through four windows."""
    noise = np.random.default_rng(0)
    shape = (resolution * 3 // 4, resolution, 3)
    pictures = (noise.integers(0, 255, shape, dtype=np.uint8) for _ in range(window + 3 * (window // 2)))
    options = StreamOptions(window=window, overlap=window // 2, resolution=resolution, loops=False)
    processor = time.process_time()
    with stream(load(name), pictures, options) as run:
        for _ in run:
            pass
        report = run.report
    return {
        "frames_per_second": report.frames_per_second,
        "frames_per_processor_second": report.frames_kept / (time.process_time() - processor),
        "memory_mib": report.memory_bytes / 2**20,
        "gpu_mib": report.gpu_bytes / 2**20,
    }


def load(name: str) -> DepthAnything3:
    """Load a model; ``random:PRESET`` has random weights, for time and memory, which they do not change."""
    kind, _, preset = name.partition(":")
    return DepthAnything3.with_random_weights(preset) if kind == "random" else DepthAnything3.from_pretrained(name)


def say(text: str) -> None:
    """Report progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
