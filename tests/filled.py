"""Networks whose parameters depend on nothing but their published names, and the files they are published in.

`golden/fill.py` gives the values; the reference implementation, filled in the same way, made the outputs in `golden/`.
Networks are shared by all tests of a session: who changes one takes a `copy.deepcopy`.
"""

import functools
import json
import math
import re
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from anyview.images.preprocess import normalize
from anyview.model.checkpoint import DEAD_PARAMETERS, published_name
from anyview.model.config import (
    PRESETS,
    BackboneConfig,
    GaussianConfig,
    NestedConfig,
    NetworkConfig,
    PyramidConfig,
)
from anyview.model.network import NestedNetwork, Network, build
from anyview.predictor import DepthAnything3
from golden import fill

GOLDEN = Path(__file__).parent / "golden"

_PYRAMID = PyramidConfig(features=32, channels=(16, 32, 64, 64))
_BACKBONE = BackboneConfig(width=64, depth=8, heads=4, taps=(3, 5, 6, 7), cross_view_from=3)
_GATED = BackboneConfig(width=64, depth=8, heads=4, taps=(3, 5, 6, 7), cross_view_from=3, gated_mlp=True)
_ONE_VIEW = BackboneConfig(width=64, depth=8, heads=4, taps=(1, 3, 5, 7))

ANY_VIEW = NetworkConfig(backbone=_BACKBONE, pyramid=_PYRAMID)
GAUSSIAN = NetworkConfig(backbone=_GATED, pyramid=_PYRAMID, gaussians=GaussianConfig(pyramid=_PYRAMID))
MONO = NetworkConfig(backbone=_ONE_VIEW, pyramid=_PYRAMID)
METRIC = NetworkConfig(backbone=_ONE_VIEW, pyramid=_PYRAMID, canonical_depth=True)
NESTED = NestedConfig(any_view=GAUSSIAN, metric=METRIC)

SMALL_CONFIGS: dict[str, NetworkConfig | NestedConfig] = {
    "anyview": ANY_VIEW,
    "gaussian": GAUSSIAN,
    "mono": MONO,
    "metric": METRIC,
    "nested": NESTED,
}
"""One small network of each family (network.md, section 19)."""

_KEY_FILES = {"anyview": "tiny-anyview", "gaussian": "tiny-gaussian", "mono": "tiny-mono", "metric": "tiny-mono"}
_NESTED = {"nested": ("gaussian", "metric"), "da3nested-giant-large": ("da3-giant", "da3metric-large")}


def config_of(name: str) -> NetworkConfig | NestedConfig:
    """Configuration of a small network or a preset."""
    return SMALL_CONFIGS[name] if name in SMALL_CONFIGS else PRESETS[name].config


def published_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Name, with the prefix ``model.``, and shape of every tensor in the published file of a network."""
    if name in _NESTED:
        parts = zip(("model.da3.", "model.da3_metric."), map(published_shapes, _NESTED[name]), strict=True)
        return {key.replace("model.", prefix, 1): shape for prefix, part in parts for key, shape in part.items()}
    lines = (GOLDEN / "keys" / f"keys_{_KEY_FILES.get(name, name)}.txt").read_text().splitlines()
    return {f"model.{key}": tuple(map(int, shape.split("x"))) for key, shape in map(str.split, lines)}


def published_tensors(name: str) -> dict[str, Tensor]:
    """What the published file of a network holds, filled."""
    return {key: _value(key, shape) for key, shape in published_shapes(name).items()}


def write_published_folder(folder: Path, name: str, tensors: dict[str, Tensor] | None = None) -> Path:
    """Write a folder as it is published, with ``tensors`` in the place of filled ones if there are any."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_name": name, "config": {"__object__": {}}}))
    save_file(published_tensors(name) if tensors is None else tensors, folder / "model.safetensors")
    return folder


@functools.cache
def filled(name: str) -> Network | NestedNetwork:
    """Build a small network or a preset, filled."""
    config = config_of(name)
    network = build(config)
    state = {
        key: _value(published_name(key, config), tuple(value.shape)) for key, value in network.state_dict().items()
    }
    network.load_state_dict(state, assign=True)
    return network.eval()


def _value(published: str, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(fill.parameter(published.removeprefix("model."), shape))


@functools.cache
def filled_model(name: str) -> DepthAnything3:
    """Build a predictor on a filled network."""
    return DepthAnything3(filled(name), name, device="cpu")


def pictures(*names: str, height: int = 42, width: int = 56) -> Float[Tensor, "1 views 3 height width"]:
    """Normalised pictures of one scene."""
    return normalize(torch.stack([torch.from_numpy(fill.image(name, height, width)) for name in names]))[None]


def alive_parameters(name: str) -> dict[str, tuple[int, ...]]:
    """Published names and shapes without those that influence no output."""
    return {key: shape for key, shape in published_shapes(name).items() if not DEAD_PARAMETERS.search(key)}


def count(shapes: dict[str, tuple[int, ...]]) -> int:
    """Number of values in tensors of these shapes."""
    return sum(map(math.prod, shapes.values()))


def aliases(name: str) -> list[str]:
    """Further names under which a file may hold the ray branch's one normalisation."""
    shared = [key for key in published_shapes(name) if re.search(r"output_conv2_aux\.0\.2\.", key)]
    return [key.replace("aux.0.2", f"aux.{level}.2") for key in shared for level in (1, 2, 3)]
