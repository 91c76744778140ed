"""Every rival by name; any other name is a Depth Anything 3 model."""

from collections.abc import Callable
from functools import partial

from anyview.bench.rivals.colmap import Colmap
from anyview.bench.rivals.constant import Constant
from anyview.bench.rivals.packages import DepthAnything2, MapAnything, MoGe, Vggt
from anyview.bench.rivals.rival import Rival
from anyview.devices import Precision

PACKAGES: dict[str, Callable[..., Rival]] = {
    "vggt": Vggt,
    "mapanything": MapAnything,
    "moge": MoGe,
    "depth-anything-2": DepthAnything2,
}
RIVALS = ("constant", "colmap", *PACKAGES)


def open_rival(name: str, *, device: str, dtype: Precision, resolution: int | None, offline: bool) -> Rival:
    """Load a rival: ``constant``, ``colmap``, ``vggt`` and so on, those of other groups also as ``vggt:CHECKPOINT``.

    Raises:
        ImportError: the rival's package is not installed.
        ValueError: there is no such model.
    """
    if name == "constant":
        return Constant()
    if name == "colmap":
        return Colmap()
    package, _, checkpoint = name.partition(":")
    if package in PACKAGES:
        make = partial(PACKAGES[package], device=device)
        return make(checkpoint) if checkpoint else make()
    from anyview.bench.rivals.ours import Ours
    from anyview.options import PredictOptions

    options = PredictOptions(resolution=resolution, reference_view="first")
    options.check()
    return Ours(name, device=device, dtype=dtype, options=options, offline=offline)
