"""Every rival by name; any other name is a Depth Anything 3 model."""

from collections.abc import Callable
from functools import partial

from anyview.bench.rivals.colmap import Colmap
from anyview.bench.rivals.constant import Constant
from anyview.bench.rivals.nearest import NearestView
from anyview.bench.rivals.packages import DepthAnything2, MapAnything, MoGe, Vggt
from anyview.bench.rivals.rival import Rival
from anyview.bench.rivals.stored import Stored
from anyview.devices import Precision

PACKAGES: dict[str, Callable[..., Rival]] = {
    "vggt": Vggt,
    "mapanything": MapAnything,
    "moge": MoGe,
    "depth-anything-2": DepthAnything2,
}
SIMPLE: dict[str, Callable[[], Rival]] = {"constant": Constant, "colmap": Colmap, "nearest-view": NearestView}
WARP, STORED = "warp", "stored"
RIVALS = (*SIMPLE, WARP, STORED, *PACKAGES)


def open_rival(
    name: str, *, device: str, dtype: Precision, resolution: int | None, offline: bool, refine_steps: int = 0
) -> Rival:
    """Load a rival: ``constant``, ``colmap``, ``vggt`` and so on.

    Those of other groups may be given as ``vggt:CHECKPOINT``; ``warp:MODEL`` moves the colours of pictures by the depth
    of a model of ours; ``stored:NAME`` is whoever wrote the results that are there.

    Raises:
        ImportError: the rival's package is not installed.
        ValueError: there is no such model, or it has nothing that could be refined.
    """
    kind, _, checkpoint = name.partition(":")
    if refine_steps and kind in RIVALS:
        raise ValueError(f"{name} has no Gaussians to refine; leave out --refine-steps")
    if name in SIMPLE:
        return SIMPLE[name]()
    if kind in PACKAGES:
        make = partial(PACKAGES[kind], device=device)
        return make(checkpoint) if checkpoint else make()
    if kind == STORED:
        return Stored(checkpoint or STORED)
    if kind == WARP and not checkpoint:
        raise ValueError("expected warp:MODEL with the model whose depth moves the colours, got 'warp'")
    from anyview.bench.rivals.ours import Ours
    from anyview.bench.rivals.warped import Warped
    from anyview.options import PredictOptions

    options = PredictOptions(resolution=resolution, reference_view="first")
    options.check()
    if kind == WARP:
        return Warped(Ours(checkpoint, device=device, dtype=dtype, options=options, offline=offline))
    return Ours(name, device=device, dtype=dtype, options=options, offline=offline, refine_steps=refine_steps)
