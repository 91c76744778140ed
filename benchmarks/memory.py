"""Peak memory of a forward pass beside its estimate, each case in a process of its own.

    python benchmarks/memory.py --presets da3-small da3-base --views 1 4 8 --sizes 336x504 280x378

The peak is that of the resident set (CPU) or of the allocator (CUDA) above what the process holds once the weights are
there. The last line on stdout is JSON.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

import torch

from anyview.devices import resolve_device
from anyview.images.preprocess import normalize
from anyview.model.config import PRESETS, find_preset
from anyview.model.footprint import estimate_bytes
from anyview.model.network import NestedNetwork, build, initialize

MIB = 2**20


def main() -> None:
    """Measure every case in a child process, and print a table and JSON."""
    options = parse_options()
    if options.case:
        print(json.dumps(measure(*options.case)))
        return
    rows = []
    for preset in options.presets:
        for views in options.views:
            for size in options.sizes:
                for rays in ("", "rays") if options.rays else ("",):
                    case = [preset, str(views), size, rays, options.device]
                    command = [sys.executable, str(Path(__file__)), "--case", *case]
                    done = subprocess.run(command, capture_output=True, text=True, check=False)
                    if done.returncode:
                        sys.exit(f"{' '.join(case)} failed:\n{done.stderr}")
                    rows.append(json.loads(done.stdout.splitlines()[-1]))
                    row = rows[-1]
                    print(
                        f"{preset} {views} x {size} {rays}: estimate {row['estimate_mib']:.0f} MiB, "
                        f"peak {row['peak_mib']:.0f} MiB, ratio {row['ratio']:.2f}",
                        file=sys.stderr,
                        flush=True,
                    )
    print(json.dumps({"torch": torch.__version__, "cases": rows}))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["da3-small"], choices=PRESETS)
    parser.add_argument("--views", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--sizes", nargs="+", default=["336x504"], help="HEIGHTxWIDTH")
    parser.add_argument("--rays", action="store_true", help="measure with rays as well")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--case", nargs=5, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(preset: str, views: str, size: str, rays: str, device_name: str) -> dict[str, object]:
    """Peak and estimate of one case, in MiB."""
    device = resolve_device(device_name)
    height, width = map(int, size.split("x"))
    network = build(find_preset(preset).config, "cpu")
    initialize(network)
    network.to(device)
    any_view = network.any_view if isinstance(network, NestedNetwork) else network
    arguments = {"rays": bool(rays)} if any_view.config.is_any_view else {}

    def run(count: int, height: int, width: int) -> None:
        images = torch.zeros(1, count, height, width, 3, dtype=torch.uint8, device=device)
        with torch.inference_mode():
            network(normalize(images), **arguments)

    run(1, 28, 28)  # what libraries set up once is not the run's
    before = peak_bytes(device)
    run(int(views), height, width)
    peak = peak_bytes(device) - before
    estimate = estimate_bytes(network.config, int(views), height, width, rays=bool(rays))
    return {
        "preset": preset,
        "views": int(views),
        "height": height,
        "width": width,
        "rays": bool(rays),
        "device": str(device),
        "estimate_mib": estimate / MIB,
        "peak_mib": peak / MIB,
        "ratio": estimate / peak,
    }


def peak_bytes(device: torch.device) -> int:
    """Largest memory held so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
