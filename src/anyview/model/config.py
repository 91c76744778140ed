"""The shape of every network, as data: published presets, the bundled one, and what each may be used for.

No torch here: the command line lists presets before anything heavy is loaded.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from anyview.options import nearest_names

PATCH = 14
"""Side of an image patch in pixels."""


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """A DINOv2-style vision transformer whose later blocks alternate between one view and all views."""

    width: int
    depth: int
    heads: int
    taps: tuple[int, int, int, int]
    """Blocks whose tokens feed the dense heads."""
    cross_view_from: int | None = None
    """First block that knows of other views: it brings camera tokens, normalised queries and keys, and rotary
    positions; odd blocks from here on look at all views. None: monocular."""
    gated_mlp: bool = False
    """SwiGLU instead of GELU."""

    @property
    def tap_width(self) -> int:
        """Channels of a tap: cross-view networks join the last one-view block's tokens to the tapped block's."""
        return self.width if self.cross_view_from is None else 2 * self.width

    def sees_all_views(self, block: int) -> bool:
        """Whether a block attends over all views rather than within each."""
        return self.cross_view_from is not None and block >= self.cross_view_from and block % 2 == 1


@dataclass(frozen=True, kw_only=True)
class PyramidConfig:
    """The DPT trunk of a dense head."""

    features: int
    """Channels of the fused maps."""
    channels: tuple[int, int, int, int]
    """Channels of the four scales before fusion, finest first."""


@dataclass(frozen=True, kw_only=True)
class GaussianConfig:
    """The Gaussian head and what its raw channels mean (`model.gaussians`)."""

    pyramid: PyramidConfig
    degree: int = 2
    """Of the spherical harmonics."""
    reading: Literal["published", "plain"] = "published"
    """How raw channels become Gaussians: through the published weights' peculiarities, or without them, colours
    beginning at the pixels' own (`model.gaussians`)."""
    smallest_scale: float = 1e-5
    largest_scale: float = 30.0

    @property
    def coefficients(self) -> int:
        """Spherical harmonics per colour channel."""
        return (self.degree + 1) ** 2

    @property
    def channels(self) -> int:
        """Offset in the image (2), scale (3), quaternion (4), harmonics, offset in depth (1), density (1)."""
        return 2 + 3 + 4 + 3 * self.coefficients + 1 + 1


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """One network: any-view if its backbone looks at several views, monocular otherwise."""

    backbone: BackboneConfig
    pyramid: PyramidConfig
    gaussians: GaussianConfig | None = None
    camera_encoder_depth: int = 4
    """Blocks that turn known cameras into tokens (any-view only)."""
    canonical_depth: bool = False
    """Monocular only: depth · focal length in pixels / 300 is metres."""
    resolution: int = 504
    """Longer side in pixels of the pictures that the network is made for."""

    @property
    def is_any_view(self) -> bool:
        """Whether the network predicts cameras, rays and confidence, rather than depth and sky."""
        return self.backbone.cross_view_from is not None


@dataclass(frozen=True, kw_only=True)
class NestedConfig:
    """An any-view network whose scale a metric network fixes."""

    any_view: NetworkConfig
    metric: NetworkConfig

    @property
    def resolution(self) -> int:
        """Longer side in pixels of the pictures that the networks are made for."""
        return self.any_view.resolution


Licence = Literal["Apache-2.0", "CC-BY-NC-4.0"]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named network, with what a user wants to know before choosing it."""

    config: NetworkConfig | NestedConfig
    summary: str
    parameters: int
    licence: Licence
    hub_id: str | None
    """Where the published weights lie; None for our own."""


def _any_view(
    backbone: BackboneConfig, pyramid: PyramidConfig, gaussians: GaussianConfig | None = None
) -> NetworkConfig:
    return NetworkConfig(backbone=backbone, pyramid=pyramid, gaussians=gaussians)


_LARGE_PYRAMID = PyramidConfig(features=256, channels=(256, 512, 1024, 1024))

NANO_GAUSSIANS = GaussianConfig(
    pyramid=PyramidConfig(features=48, channels=(32, 48, 96, 96)), degree=0, reading="plain"
)
"""The Gaussian head of `da3-nano`: 1.3 MB in half precision."""
_NANO = NetworkConfig(
    backbone=BackboneConfig(width=192, depth=12, heads=3, taps=(5, 7, 9, 11), cross_view_from=4),
    pyramid=PyramidConfig(features=48, channels=(32, 48, 96, 96)),
    camera_encoder_depth=1,
    resolution=112,
    gaussians=NANO_GAUSSIANS,
)
_SMALL = _any_view(
    BackboneConfig(width=384, depth=12, heads=6, taps=(5, 7, 9, 11), cross_view_from=4),
    PyramidConfig(features=64, channels=(48, 96, 192, 384)),
)
_BASE = _any_view(
    BackboneConfig(width=768, depth=12, heads=12, taps=(5, 7, 9, 11), cross_view_from=4),
    PyramidConfig(features=128, channels=(96, 192, 384, 768)),
)
_LARGE = _any_view(
    BackboneConfig(width=1024, depth=24, heads=16, taps=(11, 15, 19, 23), cross_view_from=8),
    _LARGE_PYRAMID,
)
_GIANT = _any_view(
    BackboneConfig(width=1536, depth=40, heads=24, taps=(19, 27, 33, 39), cross_view_from=13, gated_mlp=True),
    _LARGE_PYRAMID,
    GaussianConfig(pyramid=_LARGE_PYRAMID),
)
_MONO = NetworkConfig(
    backbone=BackboneConfig(width=1024, depth=24, heads=16, taps=(4, 11, 17, 23)), pyramid=_LARGE_PYRAMID
)
_METRIC = NetworkConfig(backbone=_MONO.backbone, pyramid=_MONO.pyramid, canonical_depth=True)

PRESETS: dict[str, Preset] = {
    "da3-nano": Preset(
        config=_NANO,
        summary="depth, rays, cameras, Gaussians from any number of views; small enough for a laptop's processor",
        parameters=8_148_556,
        licence="Apache-2.0",
        hub_id=None,
    ),
    "da3-small": Preset(
        config=_SMALL,
        summary="depth, rays, cameras from any number of views",
        parameters=34_299_463,
        licence="Apache-2.0",
        hub_id="depth-anything/DA3-SMALL",
    ),
    "da3-base": Preset(
        config=_BASE,
        summary="depth, rays, cameras from any number of views",
        parameters=135_366_599,
        licence="Apache-2.0",
        hub_id="depth-anything/DA3-BASE",
    ),
    "da3-large": Preset(
        config=_LARGE,
        summary="depth, rays, cameras from any number of views",
        parameters=410_941_767,
        licence="CC-BY-NC-4.0",
        hub_id="depth-anything/DA3-LARGE-1.1",
    ),
    "da3-giant": Preset(
        config=_GIANT,
        summary="depth, rays, cameras, Gaussians from any number of views",
        parameters=1_355_674_125,
        licence="CC-BY-NC-4.0",
        hub_id="depth-anything/DA3-GIANT-1.1",
    ),
    "da3mono-large": Preset(
        config=_MONO,
        summary="relative depth and sky of single images",
        parameters=334_171_394,
        licence="Apache-2.0",
        hub_id="depth-anything/DA3MONO-LARGE",
    ),
    "da3metric-large": Preset(
        config=_METRIC,
        summary="depth in metres (with a focal length) and sky of single images",
        parameters=334_171_394,
        licence="Apache-2.0",
        hub_id="depth-anything/DA3METRIC-LARGE",
    ),
    "da3nested-giant-large": Preset(
        config=NestedConfig(any_view=_GIANT, metric=_METRIC),
        summary="depth, rays, cameras, Gaussians in metres, and sky, from any number of views",
        parameters=1_689_845_519,
        licence="CC-BY-NC-4.0",
        hub_id="depth-anything/DA3NESTED-GIANT-LARGE-1.1",
    ),
}
"""Parameters of published networks are counted as published: with those that cannot influence any output."""


def find_preset(name: str) -> Preset:
    """Return the preset called ``name``.

    Raises:
        ValueError: No preset has that name; the nearest names are offered.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown model {name!r}; {nearest_names(name, PRESETS)}")
    return PRESETS[name]


def config_to_json(config: NetworkConfig | NestedConfig) -> str:
    """Write a configuration, for the metadata of a checkpoint."""
    return json.dumps(asdict(config), sort_keys=True)


def config_from_json(text: str) -> NetworkConfig | NestedConfig:
    """Read what `config_to_json` wrote.

    Raises:
        ValueError: The text is not a configuration.
    """
    try:
        tree = json.loads(text)
        if "any_view" in tree:
            return NestedConfig(any_view=_network(tree["any_view"]), metric=_network(tree["metric"]))
        return _network(tree)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"not a network configuration: {error}") from error


def _network(tree: dict[str, Any]) -> NetworkConfig:
    def pyramid(branch: dict[str, Any]) -> PyramidConfig:
        return PyramidConfig(**{**branch, "channels": tuple(branch["channels"])})

    backbone = BackboneConfig(**{**tree["backbone"], "taps": tuple(tree["backbone"]["taps"])})
    gaussians = tree["gaussians"]
    if gaussians is not None:
        gaussians = GaussianConfig(**{**gaussians, "pyramid": pyramid(gaussians["pyramid"])})
    return NetworkConfig(**{**tree, "backbone": backbone, "pyramid": pyramid(tree["pyramid"]), "gaussians": gaussians})
