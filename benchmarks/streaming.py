"""Streams: error, memory and speed, on injected true geometry, and with a model.

    python benchmarks/streaming.py loop                 # 1,000 frames around a room: drift, loops, false loops
    python benchmarks/streaming.py memory               # peak memory for 200 and for 2,000 frames
    python benchmarks/streaming.py model MODEL          # a synthetic walk, with and without each ingredient
    python benchmarks/streaming.py windows MODEL        # frames/s and memory by window size
    python benchmarks/streaming.py sequence MODEL SCENE # a real sequence with scene.json (see ../shared/data)

Injected geometry (`anyview.streaming.injected`) separates what stitching costs from what prediction costs. ATE is the
root mean square error of the camera centres after the best similarity, also in per cent of the path's length; RPE is
the same for the step from one frame to the next. The last line on stdout is JSON.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import torch

from anyview.bench.metrics.trajectories import score_trajectory
from anyview.geometry.alignment import umeyama
from anyview.geometry.camera import intrinsics_from_field_of_view
from anyview.geometry.pose import camera_centers
from anyview.images.read import read_pictures
from anyview.options import StreamOptions
from anyview.predictor import DepthAnything3
from anyview.streaming import Stream, stream
from anyview.streaming.injected import Errors, InjectedPredictor, circle_cameras, path_length
from anyview.synth.cameras import look_at
from anyview.synth.dataset import scene_seed
from anyview.synth.renderer import render
from anyview.synth.rooms import room
from anyview.synth.world import stack_layouts
from anyview.types import Cameras

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
    parser.add_argument("what", choices=["loop", "memory", "model", "windows", "sequence", "one-length", "one-window"])
    parser.add_argument("arguments", nargs="*")
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--windows", type=int, nargs="+", default=[4, 8, 16, 32])
    options = parser.parse_args()
    if options.what == "loop":
        report = measure_loops(options.frames)
    elif options.what == "memory":
        report = measure_memory()
    elif options.what == "one-length":
        report = measure_one_length(int(options.arguments[0]))
    elif options.what == "one-window":
        report = measure_one_window(options.arguments[0], int(options.arguments[1]), options.resolution)
    elif options.what == "windows":
        report = measure_windows(options.arguments[0], options.windows, options.resolution)
    elif options.what == "model":
        report = measure_model(options.arguments[0], options.frames, options.resolution)
    else:
        report = measure_sequence(options.arguments[0], Path(options.arguments[1]), options.resolution)
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
            report[name] = score(run, truth.cameras.world_to_camera)
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


def score(run: Stream, world_to_camera: torch.Tensor) -> dict[str, float]:
    """Compare a finished stream's cameras with the true ones of its frames."""
    rows = run.all_frames()
    true = Cameras(world_to_camera[rows.index].double(), rows.intrinsics)
    found = score_trajectory(run.scene.world_cameras(rows).world_to_camera, true.world_to_camera)
    length = path_length(true)
    return {
        "frames": len(rows),
        "path_length": length,
        "ate": found.ate,
        "ate_percent": 100 * found.ate / length,
        "rpe_translation": found.rpe_translation,
        "rpe_rotation_degrees": found.rpe_rotation,
    }


def absolute_error(found: torch.Tensor, true: torch.Tensor) -> float:
    """Root mean square distance after the best similarity."""
    similarity, _ = umeyama(found, true)
    return float((similarity.apply(found) - true).square().sum(-1).mean().sqrt())


def measure_memory() -> dict[str, object]:
    """Peak memory of processes that stream 200 and 2,000 frames."""
    peaks = {}
    for frames in (200, 2000):
        command = [sys.executable, __file__, "one-length", str(frames)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        peaks[frames] = json.loads(done.stdout.splitlines()[-1])
        say(f"{frames} frames: {peaks[frames]}")
    return {"runs": peaks, "ratio": peaks[2000]["peak_mib"] / peaks[200]["peak_mib"]}


def measure_one_length(frames: int) -> dict[str, float]:
    """Peak memory and disk of one stream, loops included."""
    truth = InjectedPredictor(circle_cameras(frames, HEIGHT, WIDTH, laps=1.1), HEIGHT, WIDTH, NOISE)
    with stream(truth, truth.frames(), StreamOptions(resolution=WIDTH, keyframe_change=0.0)) as run:
        for _ in run:
            pass
        report = run.report
    return {"peak_mib": report.memory_bytes / 2**20, "disk_mib": report.disk_bytes / 2**20, "frames": frames}


def measure_model(name: str, frames: int, resolution: int) -> dict[str, dict[str, float]]:
    """Stream a walk through a synthetic room, leaving out one ingredient at a time."""
    model = load(name)
    everything = StreamOptions(resolution=resolution, keyframe_change=0.0)
    variants = {
        "all": everything,
        "no conditioning": replace(everything, conditioning="none"),
        "no blending": replace(everything, blend=False),
        "no loops": replace(everything, loops=False),
    }
    report = {}
    for variant, options in variants.items():
        pictures, cameras = synthetic_walk(frames, resolution)
        with stream(model, pictures, options) as run:
            for _ in run:
                pass
            report[variant] = score(run, cameras.world_to_camera)
            report[variant]["frames_per_second"] = run.report.frames_per_second
            report[variant]["loops_believed"] = run.report.loops_believed
        say(f"{variant}: {report[variant]}")
    return report


def synthetic_walk(frames: int, resolution: int) -> tuple[Iterator[np.ndarray], Cameras]:
    """Pictures along a lap and a tenth through a synthetic room, rendered as they are asked for, and their cameras."""
    height = resolution * 3 // 4 // 14 * 14
    world = stack_layouts([room(Random(scene_seed(0, "test", 0)))])
    low, high = world.stand[0, :3].double(), world.stand[0, 3:6].double()
    angle = 2 * math.pi * 1.1 * torch.arange(frames, dtype=torch.float64) / (frames - 1)
    around = torch.stack([angle.cos(), angle.sin(), 0 * angle], -1)
    position = (low + high) / 2 + 0.35 * (high - low) * around
    ahead = torch.stack([-angle.sin(), angle.cos(), -0.15 + 0 * angle], -1)
    poses = look_at(position, position + ahead + 0.7 * around, torch.zeros_like(angle)).float()
    view = torch.tensor([2 * math.atan(math.tan(0.6) * height / resolution), 1.2]).expand(frames, 2)
    cameras = Cameras(poses, intrinsics_from_field_of_view(view, height, resolution))
    some = Cameras(poses[None, ::50], cameras.intrinsics[None, ::50])
    brightness = render(world, some, height, resolution).color.clamp(max=4).mean()

    def pictures() -> Iterator[np.ndarray]:
        for index in range(frames):
            one = Cameras(cameras.world_to_camera[None, index : index + 1], cameras.intrinsics[None, index : index + 1])
            color = render(world, one, height, resolution).color[0, 0]
            yield (255 * (1 - torch.exp(-0.4 * color / brightness)).clamp(0, 1).pow(1 / 2.2)).byte().numpy()

    return pictures(), cameras


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


def measure_sequence(name: str, folder: Path, resolution: int) -> dict[str, float]:
    """Stream a real sequence whose true cameras stand in ``scene.json``."""
    frames = json.loads((folder / "scene.json").read_text())["frames"]
    true = torch.tensor([frame["w2c"] for frame in frames], dtype=torch.float64)
    pictures = (read_pictures(folder / "images" / Path(frame["file"]).name)[0] for frame in frames)
    options = StreamOptions(window=8, overlap=4, resolution=resolution, keyframe_change=0.0)
    with tempfile.TemporaryDirectory() as scratch:
        run = stream(load(name), pictures, options, folder=scratch)
        for _ in run:
            pass
        return score(run, true)


def load(name: str) -> DepthAnything3:
    """Load a model; ``random:PRESET`` has random weights, for time and memory, which they do not change."""
    kind, _, preset = name.partition(":")
    return DepthAnything3.with_random_weights(preset) if kind == "random" else DepthAnything3.from_pretrained(name)


def say(text: str) -> None:
    """Report progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
