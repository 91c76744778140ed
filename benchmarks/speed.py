"""Load time and forward time, stage by stage; two variants in alternation within one run.

    python benchmarks/speed.py --preset da3-base --views 8 --compare plain
    python benchmarks/speed.py --preset da3-base --views 8 --variant ours --compare library

Weights are random: they change no time. Variants: ``ours``, as `anyview predict` runs; ``library``, the same without
asking the C library to keep freed memory; ``rays`` (rays asked for); ``tables`` (tables rebuilt in every call);
``nchw`` (dense heads channels first); ``plain``, the three together; ``matmul`` (linear layers as matrix products);
``usual``, the four together, which is how the network is usually written. Two variants run in turn, each time in a
process of its own. The last line on stdout is JSON: medians in seconds, and the median of the ratios of neighbouring
runs, by the clock and by the processor time of all threads, which other processes disturb less.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import torch
from torch import nn

from anyview.devices import keep_freed_memory, resolve_device, resolve_dtype
from anyview.exporters import export
from anyview.images.preprocess import normalize
from anyview.model import layers
from anyview.model.backbone import resampling_matrix
from anyview.model.checkpoint import load, save_published
from anyview.model.config import PRESETS, find_preset
from anyview.model.network import NestedNetwork, Network, build, initialize
from anyview.model.pyramid import Pyramid, place_axis
from anyview.options import PredictOptions
from anyview.predictor import DepthAnything3

VARIANTS = {
    "ours": frozenset({"keep"}),
    "library": frozenset(),
    "rays": frozenset({"rays"}),
    "tables": frozenset({"tables"}),
    "nchw": frozenset({"nchw"}),
    "plain": frozenset({"rays", "tables", "nchw"}),
    "matmul": frozenset({"matmul"}),
    "usual": frozenset({"rays", "tables", "nchw", "matmul"}),
}


def main() -> None:
    """Measure, and print JSON."""
    options = parse_options()
    print(json.dumps(compare(options) if options.compare else measure(options)))


def compare(options: argparse.Namespace) -> dict[str, object]:
    """Measure two variants in turn, each time in a process of its own: what one keeps must not help the other."""
    names = [options.variant, options.compare]
    runs: dict[str, list[dict]] = {name: [] for name in names}
    for turn in range(1, options.rounds + 1):
        for name in names:
            command = [sys.executable, __file__, *sys.argv[1:], "--variant", name, "--compare", "", "--rounds", "1"]
            export_once = [] if turn == 1 and name == names[0] and not options.no_export else ["--no-export"]
            done = subprocess.run([*command, *export_once], stdout=subprocess.PIPE, text=True, check=True)
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    report = dict(runs[names[0]][0])
    report["stages_s"] = {}
    seconds = {}
    for name in names:
        stages = [run["stages_s"][name] for run in runs[name]]
        seconds[name] = {stage: [one[stage] for one in stages] for stage in stages[0]}
        report["stages_s"][name] = {stage: statistics.median(values) for stage, values in seconds[name].items()}
    for clock, key in (("forward", "ratio"), ("processor", "processor_ratio")):
        ratios = [one / other for one, other in zip(*(seconds[name][clock] for name in names), strict=True)]
        report[key] = {" / ".join(names): statistics.median(ratios), "all": ratios}
    return report


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Measure one variant in this process."""
    torch.set_num_threads(options.threads)
    device, variant = resolve_device(options.device), VARIANTS[options.variant]
    if "keep" in variant:
        keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        network, load_seconds = load_from_disk(options.preset, Path(folder))
    network.to(device)
    for part in network.modules():
        if isinstance(part, Network):
            part.backbone_dtype = resolve_dtype(options.dtype, device)
            part.frames_at_once = options.frames_at_once or part.frames_at_once
    generator = torch.Generator().manual_seed(0)
    shape = (1, options.views, options.height, options.width, 3)
    images = normalize(torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)).to(device)
    seconds: dict[str, list[float]] = defaultdict(list)
    for turn in range(options.rounds + 1):
        stages = time_forward(network, images, variant, device)
        say(f"{options.variant}, round {turn} of {options.rounds}: {stages['forward']:.2f} s")
        if turn:  # the first round warms up
            for stage, value in stages.items():
                seconds[stage].append(value)
    report: dict[str, object] = {
        "preset": options.preset,
        "views": options.views,
        "height": options.height,
        "width": options.width,
        "device": str(device),
        "dtype": options.dtype,
        "threads": options.threads,
        "torch": torch.__version__,
        "load_s": load_seconds,
        "stages_s": {options.variant: {stage: statistics.median(values) for stage, values in seconds.items()}},
    }
    if not options.no_export:
        report["export_s"] = time_export(network, options)
    return report


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="da3-small", choices=PRESETS)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--height", type=int, default=336)
    parser.add_argument("--width", type=int, default=504)
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds, after one to warm up")
    parser.add_argument("--variant", choices=VARIANTS, default="ours", help="what is measured")
    parser.add_argument(
        "--compare", choices=[*VARIANTS, ""], default="", help="what it is compared with, another variant"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--frames-at-once", type=int, default=None, help="views that dense heads work on at a time")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--no-export", action="store_true", help="leave out writing files")
    options = parser.parse_args()
    if options.variant == options.compare:
        parser.error(f"expected another variant to compare with, got {options.variant} twice")
    return options


def load_from_disk(preset: str, folder: Path) -> tuple[Network | NestedNetwork, float]:
    """Write random weights as a published folder, and time reading them."""
    say(f"writing random weights of {preset}")
    network = build(find_preset(preset).config, "cpu")
    initialize(network)
    path = save_published(network, folder / preset, name=preset)
    start = time.perf_counter()
    network, _ = load(path)
    return network, time.perf_counter() - start


def time_forward(
    network: Network | NestedNetwork, images: torch.Tensor, variant: frozenset[str], device: torch.device
) -> dict[str, float]:
    """Seconds of one forward pass, and of its stages."""
    if "tables" in variant:
        for table in (layers.rotary_table, place_axis, resampling_matrix):
            table.cache_clear()
    for part in network.modules():
        if isinstance(part, Pyramid):
            part.channels_last = "nchw" not in variant
    any_view = network.any_view if isinstance(network, NestedNetwork) else network
    arguments = {"rays": "rays" in variant} if any_view.config.is_any_view else {}
    fewest_convolved = sys.maxsize if "matmul" in variant else layers.FEWEST_CONVOLVED
    with (
        torch.inference_mode(),
        patch.object(layers, "FEWEST_CONVOLVED", fewest_convolved),
        timed_stages(network, device) as stages,
    ):
        start, processor = now(device), time.process_time()
        network(images, **arguments)
        stages["forward"] = now(device) - start
        stages["processor"] = time.process_time() - processor
    return dict(stages)


@contextmanager
def timed_stages(network: nn.Module, device: torch.device) -> Iterator[dict[str, float]]:
    """Add up the seconds that backbones, dense heads and camera decoders take."""
    seconds: dict[str, float] = defaultdict(float)
    handles = []
    for part in network.modules():
        if isinstance(part, Network):
            for stage, module in (("backbone", part.backbone), ("head", part.head), ("camera", part.camera_decoder)):
                if module is not None:
                    handles += watch(stage, module, seconds, device)
    try:
        yield seconds
    finally:
        for handle in handles:
            handle.remove()


def watch(stage: str, module: nn.Module, seconds: dict[str, float], device: torch.device) -> list:
    """Add the time that ``module`` takes to ``seconds[stage]``. The camera decoder is entered by its own method."""
    started = [0.0]

    def before(*_: object) -> None:
        started[0] = now(device)

    def after(*_: object) -> None:
        seconds[stage] += now(device) - started[0]

    return [module.register_forward_pre_hook(before), module.register_forward_hook(after)]


def time_export(network: Network | NestedNetwork, options: argparse.Namespace) -> dict[str, float]:
    """Seconds to write a prediction of random pictures in the common formats."""
    model = DepthAnything3(network, options.preset, device=options.device, dtype=options.dtype)
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (options.views, options.height, options.width, 3), generator=generator)
    resolution = max(options.height, options.width)
    prediction = model.predict(pictures.byte(), options=PredictOptions(resolution=resolution))
    formats = ["npz", "depth_vis", "depth_png"] + (["glb", "ply"] if prediction.cameras is not None else [])
    return {name: seconds_of(lambda name=name: write(prediction, name)) for name in formats}


def write(prediction: object, name: str) -> None:
    """Write one format into a folder that is removed."""
    with tempfile.TemporaryDirectory() as folder:
        export(prediction, folder, [name])


def seconds_of(call: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def now(device: torch.device) -> float:
    """Time at which everything that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def say(text: str) -> None:
    """Report progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
