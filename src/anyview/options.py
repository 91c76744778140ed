"""Every option of prediction, streaming and export, declared once; the command line and the docs derive from them.

No torch here: ``anyview --help`` must answer at once.
"""

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

ResizePolicy = Literal["upper_bound_resize", "upper_bound_crop", "lower_bound_resize", "lower_bound_crop"]
MixedSizes = Literal["crop", "pad"]
ReferenceView = Literal["saddle_balanced", "saddle_sim_range", "first", "middle"]
CameraSource = Literal["head", "rays"]
PoseFrame = Literal["input", "predicted", "network"]
OutputResolution = Literal["network", "input"]
CameraPath = Literal["through", "orbit", "wander", "dolly_zoom"]
Easing = Literal["linear", "smooth"]
Panels = Literal["color", "depth", "both"]
RenderBackend = Literal["auto", "torch", "gsplat"]
Conditioning = Literal["overlap", "none"]
Protocol = Literal["compat", "sane"]
"""How a benchmark is scored: as its published evaluator does, oddities included, or without those."""


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """How pictures become geometry."""

    resolution: int | None = None
    """Length in pixels of the longer (upper bound) or shorter (lower bound) side that the network sees; default: what
    the model is made for, 504 for the published ones."""
    resize: ResizePolicy = "upper_bound_resize"
    """Which side `resolution` bounds, and whether sides reach a multiple of 14 by resizing or by cropping."""
    mixed_sizes: MixedSizes = "crop"
    """Views of different sizes: centre-crop all to the common rectangle, or pad all to the largest and mask that."""
    output_resolution: OutputResolution = "network"
    """Maps at the network's resolution, or resampled, edges kept, to that of the input pictures."""
    reference_view: ReferenceView = "saddle_balanced"
    """How the view that becomes the world frame is chosen (three views or more without known cameras)."""
    camera_source: CameraSource = "head"
    """Cameras from the camera head (fast), or solved from the ray map."""
    pose_frame: PoseFrame = "input"
    """With known cameras: results in their frame and scale, the known cameras moved into the predicted frame, or what
    the network says, its own cameras included."""
    rays: bool = False
    """Return the ray map."""
    gaussians: bool = False
    """Return 3D Gaussians (models with a Gaussian head)."""
    features: tuple[int, ...] = ()
    """Backbone blocks whose patch tokens are returned."""
    focal_length: float | None = None
    """Assumed focal length in pixels of the input pictures, where none is given with them."""
    field_of_view: float | None = None
    """Assumed horizontal field of view in degrees, where no focal length is given."""
    seed: int = 0
    """Seed of the random draws in the ray solver."""
    memory_limit: float | None = None
    """Refuse what is estimated to need more than this many GiB; default: what the device has available."""

    def __post_init__(self) -> None:
        _check_choices(self)

    def check(self) -> None:
        """Refuse numbers that mean nothing; not when made, so that the command line can say so in its own words.

        Raises:
            ValueError: Naming the number and what was expected.
        """
        if self.resolution is not None and self.resolution < 14:
            raise ValueError(f"expected a resolution of at least 14 pixels, one patch; got {self.resolution}")
        if self.focal_length is not None and not 0 < self.focal_length < math.inf:
            raise ValueError(f"expected a positive focal length in pixels, got {self.focal_length}")
        if self.field_of_view is not None and not 0 < self.field_of_view < 180:
            raise ValueError(f"expected a field of view between 0 and 180 degrees, got {self.field_of_view}")
        if self.memory_limit is not None and not 0 < self.memory_limit < math.inf:
            raise ValueError(f"expected a memory limit above 0 GiB, got {self.memory_limit}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"expected a seed from 0 to below 2**63, got {self.seed}")


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """How a long sequence is cut into windows, and how these become one scene."""

    window: int = 16
    """Frames predicted together: memory grows with it."""
    overlap: int = 6
    """Frames that a window shares with the next one, which ties them together."""
    resolution: int | None = None
    """Length in pixels of the longer side that the network sees; default: what the model is made for."""
    conditioning: Conditioning = "overlap"
    """Tell the network the known cameras and those of the overlap (any-view models), or nothing."""
    keyframe_change: float = 0.01
    """Frames that differ less than this from the last one taken, 0 to 1, are passed over (0: only identical ones)."""
    blend: bool = True
    """Mix the two predictions of an overlap's frames by confidence; otherwise the earlier one counts."""
    loops: bool = True
    """Look for places seen before, and correct the drift."""
    loop_gap: int = 40
    """Frames that must lie between two views of a place to call it a loop."""
    loop_views: int = 4
    """Frames around either end of a loop that are predicted together to verify it."""
    rig_baseline: float | None = None
    """Metres between the cameras of a stereo rig whose pictures alternate (left, right, left, …): fixes the scale."""
    stall_s: float = 5.0
    """Seconds without a frame after which the source counts as stalled, which is reported."""
    give_up_s: float = 30.0
    """Seconds without a frame after which cameras, network streams and watched folders count as ended."""
    disk_limit: float | None = None
    """GiB that intermediate results may take; beyond, every second frame's depth is let go of, oldest first."""
    memory_limit: float | None = None
    """Refuse windows that are estimated to need more than this many GiB; default: what the device has available."""
    cloud_points: int = 1_000_000
    """Largest number of points of the fused cloud; its voxels grow to keep to it."""

    def __post_init__(self) -> None:
        if self.conditioning not in get_args(Conditioning):
            known = get_args(Conditioning)
            raise ValueError(f"unknown conditioning {self.conditioning!r}; {nearest_names(self.conditioning, known)}")

    def check(self) -> None:
        """Refuse numbers that mean nothing; not when made, so that the command line can say so in its own words.

        Raises:
            ValueError: Naming the number and what was expected.
        """
        if self.window < 2:
            raise ValueError(f"expected windows of at least 2 frames, got {self.window}")
        if not 1 <= self.overlap < self.window:
            raise ValueError(f"expected an overlap from 1 to {self.window - 1} frames (window - 1), got {self.overlap}")
        if self.resolution is not None and self.resolution < 14:
            raise ValueError(f"expected a resolution of at least 14 pixels, one patch; got {self.resolution}")
        if not 0 <= self.keyframe_change < 1:
            raise ValueError(f"expected a keyframe change from 0 to below 1, got {self.keyframe_change}")
        for name, least in (("loop_gap", 1), ("loop_views", 1), ("cloud_points", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"expected a {name} of at least {least}, got {getattr(self, name)}")
        for name in ("rig_baseline", "disk_limit", "memory_limit"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"expected a {name} above 0, got {value}")
        if not 0 < self.stall_s <= self.give_up_s < math.inf:
            raise ValueError(f"expected 0 < stall_s <= give_up_s, got {self.stall_s} and {self.give_up_s}")


MOST_COLOR_ROUNDS = 100
"""More change nothing that can be seen, and servers take options from anybody."""


@dataclass(frozen=True, kw_only=True)
class GaussianOptions:
    """Which Gaussians are shown and written."""

    pixel_gaussians: bool = False
    """Make Gaussians of depth and colour, one per pixel, where the model predicted none."""
    gaussian_percentile: float = 0.0
    """Gaussians below this percentile of the confidence over all views are dropped (0 keeps all)."""
    least_opacity: float = 0.0
    """Gaussians less opaque than this, 0 to 1, are dropped."""
    voxel_size: float = 0.0
    """Gaussians in the same cube of this side, in the prediction's unit, are merged into one (0: none)."""
    color_rounds: int = 0
    """Rounds in which the colours of what is left are fitted to the pictures; 2 do most of what there is to do."""

    def check_gaussians(self) -> None:
        """Refuse numbers that mean nothing.

        Raises:
            ValueError: Naming the number and what was expected.
        """
        if not 0 <= self.gaussian_percentile <= 100:
            raise ValueError(f"gaussian_percentile must be 0 to 100, got {self.gaussian_percentile}")
        if not 0 <= self.least_opacity <= 1:
            raise ValueError(f"least_opacity must be 0 to 1, got {self.least_opacity}")
        if not 0 <= self.voxel_size < math.inf:
            raise ValueError(f"voxel_size must be 0 or above, got {self.voxel_size}")
        if not 0 <= self.color_rounds <= MOST_COLOR_ROUNDS:
            raise ValueError(f"color_rounds must be 0 to {MOST_COLOR_ROUNDS}, got {self.color_rounds}")


@dataclass(frozen=True, kw_only=True)
class ExportOptions(GaussianOptions):
    """What goes into the written files."""

    confidence_percentile: float = 40.0
    """Points below this percentile of the confidence over all views are dropped (0 keeps all)."""
    max_points: int = 1_000_000
    """Largest number of points in a file; more are thinned out at random, with `sampling_seed`."""
    drop_black_background: bool = False
    """Drop points whose three colour values are all below 16."""
    drop_white_background: bool = False
    """Drop points whose three colour values are all 240 or more."""
    drop_sky: bool = True
    """Drop points on the sky, where the model predicts a sky mask."""
    show_cameras: bool = True
    """Draw camera frusta beside the points (glb)."""
    camera_size: float = 0.03
    """Size of a frustum as a part of the scene's diagonal."""
    shared_intrinsics: bool = False
    """Write one camera for all views of equal size (colmap, transforms): the median of the intrinsics."""
    max_tracks: int = 100_000
    """Largest number of 3D points with tracks (colmap)."""
    mesh_voxel: float | None = None
    """Edge of a voxel, in the unit of the prediction (mesh); default: as the scene's extent and the maps allow."""
    fps: float = 15.0
    """Frames per second of written videos."""
    sampling_seed: int = 0
    """Seed of the choice of points, where a budget thins them out."""


@dataclass(frozen=True, kw_only=True)
class RenderOptions(GaussianOptions):
    """How a flight through a scene is filmed."""

    pixel_gaussians: bool = True
    """Make Gaussians of depth and colour, one per pixel, where the model predicted none."""
    path: CameraPath = "through"
    """Through the input cameras, around what they look at, or a small movement beside the first."""
    frames: int = 120
    """Length of the video."""
    fps: float = 24.0
    """Frames per second."""
    amplitude: float | None = None
    """How far: degrees to both sides (orbit; 360: around), parts of the distance to the scene (wander, dolly_zoom)."""
    easing: Easing = "linear"
    """Constant speed, or a smooth start and end."""
    show: Panels = "color"
    """What the video shows: colour, depth, or both side by side."""
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Red, green, blue, 0 to 1, where the scene has nothing."""
    backend: RenderBackend = "auto"
    """What renders: torch runs anywhere, gsplat on CUDA; auto takes gsplat where it can run."""

    def __post_init__(self) -> None:
        _check_choices(self)

    def check(self) -> None:
        """Refuse numbers that mean nothing; not when made, so that the command line can say so in its own words.

        Raises:
            ValueError: Naming the number and what was expected.
        """
        self.check_gaussians()
        if self.frames < 1:
            raise ValueError(f"expected at least 1 frame, got {self.frames}")
        if not 0 < self.fps < math.inf:
            raise ValueError(f"expected frames per second above 0, got {self.fps}")
        if self.amplitude is not None and not 0 < self.amplitude < math.inf:
            raise ValueError(f"expected an amplitude above 0, got {self.amplitude}")
        if not all(0 <= value <= 1 for value in self.background):
            raise ValueError(f"expected a background of three values from 0 to 1, got {self.background}")


def _check_choices(options: Any) -> None:
    for field in fields(options):
        choices = [choice for choice in get_args(field.type) if isinstance(choice, str)]
        value = getattr(options, field.name)
        if choices and value not in choices:
            raise ValueError(f"unknown {field.name} {value!r}; {nearest_names(str(value), choices)}")


def nearest_names(name: str, known: Iterable[str]) -> str:
    """Say which of the ``known`` names are close to ``name``, for error messages."""
    choices = list(known)
    close = difflib.get_close_matches(name, choices, n=3, cutoff=0.4)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else f"known: {', '.join(choices)}"
