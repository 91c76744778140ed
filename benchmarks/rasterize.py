"""Time and memory of rasterising Gaussians, forward and backward.

    python benchmarks/rasterize.py --count 100000 --size 320x240 --threads 2

The scene is random and fills the picture: sizes around ``--reach`` pixels, opacities spread over 0 to 1. The last
line on stdout is JSON: medians in seconds by the clock and by the processor time of all threads, which other processes
disturb less; and how much the process's largest memory grew while it worked. ``--reference`` times the readable
compositing, too.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable

import torch

from anyview.devices import keep_freed_memory, resolve_device
from anyview.options import RenderBackend
from anyview.render.rasterize import rasterize
from anyview.render.reference import composite_reference
from anyview.render.splats import splat
from anyview.types import Cameras, Gaussians, map_tensors


def main() -> None:
    """Measure, and print JSON."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    device = resolve_device(options.device)
    width, height = (int(side) for side in options.size.split("x"))
    keep_freed_memory()
    gaussians, camera = scene(options.count, options.reach, height, width, device)
    before = peak_mib()

    def forward(backend: RenderBackend = options.backend) -> torch.Tensor:
        return rasterize(gaussians, camera, height, width, backend=backend).color

    def both() -> None:
        leaves = [value.requires_grad_() for value in vars(gaussians).values()]
        torch.autograd.grad(forward().square().mean(), leaves)
        for leaf in leaves:
            leaf.requires_grad_(False)

    report = {
        "count": options.count,
        "size": options.size,
        "splats": len(splat(gaussians, camera[0], height, width).depths),
        "device": str(device),
        "threads": options.threads,
        "forward": timed(forward, options.rounds, device),
        "forward_peak_mib": round(peak_mib() - before),
        "forward_backward": timed(both, options.rounds, device),
        "peak_mib": round(peak_mib() - before),
    }
    if options.reference:
        splats = splat(gaussians, camera[0], height, width)
        report["reference_composite"] = timed(lambda: composite_reference(splats, height, width), 1, device)
    print(json.dumps(report))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="Gaussians")
    parser.add_argument("--size", default="320x240", help="width x height of the picture")
    parser.add_argument("--reach", type=float, default=1.0, help="median standard deviation of the Gaussians in pixels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--backend", default="torch", choices=["auto", "torch", "gsplat"])
    parser.add_argument("--reference", action="store_true", help="time the readable compositing, too: slow")
    return parser.parse_args()


def scene(count: int, reach: float, height: int, width: int, device: torch.device) -> tuple[Gaussians, Cameras]:
    """Scatter Gaussians evenly over the picture, at depths from 2 to 6, of degree 2."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(count, 2, generator=generator) * torch.tensor([width, height])
    depth = 2 + 4 * torch.rand(count, generator=generator)
    focal = float(width)
    places = (pixels - torch.tensor([width / 2, height / 2])) / focal * depth[:, None]
    gaussians = Gaussians(
        means=torch.cat([places, depth[:, None]], -1),
        scales=reach * depth[:, None] / focal * (0.5 * torch.randn(count, 3, generator=generator)).exp(),
        quaternions_wxyz=torch.randn(count, 4, generator=generator),
        harmonics=0.3 * torch.randn(count, 3, 9, generator=generator),
        opacities=torch.rand(count, generator=generator),
    )
    intrinsics = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    camera = Cameras(torch.eye(4)[None].to(device), intrinsics[None].to(device))
    return map_tensors(gaussians, lambda tensor: tensor.to(device)), camera


def timed(function: Callable[[], object], rounds: int, device: torch.device) -> dict[str, float]:
    """Medians of ``rounds`` calls, after one that does not count."""
    seconds, processor = [], []
    for _ in range(rounds + 1):
        start, start_processor = time.perf_counter(), time.process_time()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - start_processor)
    return {
        "seconds": round(statistics.median(seconds[1:]), 4),
        "processor_seconds": round(statistics.median(processor[1:]), 4),
    }


def peak_mib() -> float:
    """Return the largest memory that this process has held so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


if __name__ == "__main__":
    main()
