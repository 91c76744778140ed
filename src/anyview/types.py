"""The nouns of the package: what is handed from one layer to the next.

Axes are OpenCV's (x right, y down, z forward); the centre of the top left pixel is (0.5, 0.5); depth is z-depth.
``docs/conventions.md`` has the whole list.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

Units = Literal["metres", "caller", "arbitrary", "canonical"]
"""Unit of depth and camera positions: metres; those of the cameras the caller gave; an arbitrary scale shared by all
views of the scene; or a metric model's canonical depth, to be multiplied by the focal length in pixels of the network's
input / 300."""

IMAGE_MEAN, IMAGE_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation of ImageNet's colours, 0 to 1: networks see (colour - mean) / deviation."""


@dataclass(frozen=True)
class Cameras:
    """Pinhole cameras. OpenCV axes: x right, y down, z forward. Pixel centres at half-integers."""

    world_to_camera: Float[Tensor, "*batch 4 4"]
    intrinsics: Float[Tensor, "*batch 3 3"]
    """Pixels of the picture that the cameras belong to."""

    @classmethod
    def from_arrays(cls, world_to_camera: object, intrinsics: object) -> "Cameras":
        """Make cameras from arrays, tensors or nested lists of any number type; poses may be 3×4 or 4×4.

        Raises:
            ValueError: The shapes are not those of cameras.
        """
        poses = torch.as_tensor(np.asarray(world_to_camera, dtype=np.float64)).float()
        matrices = torch.as_tensor(np.asarray(intrinsics, dtype=np.float64)).float()
        if poses.ndim < 2 or poses.shape[-2:] not in ((3, 4), (4, 4)) or matrices.shape != (*poses.shape[:-2], 3, 3):
            raise ValueError(
                "expected world_to_camera of shape (..., 3, 4) or (..., 4, 4), with intrinsics of shape (..., 3, 3), "
                f"got {tuple(poses.shape)} and {tuple(matrices.shape)}"
            )
        last_row = torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(*poses.shape[:-2], 1, 4)
        return cls(torch.cat([poses, last_row], dim=-2) if poses.shape[-2] == 3 else poses, matrices)

    def __getitem__(self, index: object) -> "Cameras":
        """Select along the leading batch dimensions."""
        return Cameras(self.world_to_camera[index], self.intrinsics[index])  # type: ignore[index]

    def __len__(self) -> int:
        return len(self.world_to_camera)


@dataclass(frozen=True)
class Picture:
    """One picture as the caller gave it: upright, RGB, 8 bits."""

    pixels: UInt8[np.ndarray, "height width 3"]
    name: str
    focal_length: float | None = None
    """Pixels of this picture, from EXIF; None where the file does not say."""


@dataclass(frozen=True)
class Scene:
    """Pictures in order, with the cameras that their source knows (a COLMAP project, ``transforms.json``)."""

    pictures: tuple[Picture, ...]
    cameras: Cameras | None = None
    """One per picture, in pixels of the pictures as given."""
    source: str = ""


@dataclass(frozen=True)
class Placement:
    """Where a view's pixels lie in its input picture: view = scale · input + offset, in pixel coordinates.

    A whole input picture of width W that was resized to w has scale w/W and offset 0; a crop that starts at column c
    has offset −c. Padding lies where the inverse map leaves the input picture.
    """

    input_height: int
    input_width: int
    scale_x: float = 1.0
    scale_y: float = 1.0
    offset_x: float = 0.0
    offset_y: float = 0.0


@dataclass(frozen=True)
class Views:
    """Pictures of one scene, resized to the network's input."""

    images: UInt8[Tensor, "views height width 3"]
    placements: tuple[Placement, ...]
    mask: Bool[Tensor, "views height width"] | None = None
    """False on padding; None where there is none."""


@dataclass(frozen=True)
class TrueViews:
    """Pictures of scenes whose geometry is known; *batch* stands for scenes of equal view count and size."""

    images: UInt8[Tensor, "*batch views height width 3"]
    depth: Float[Tensor, "*batch views height width"]
    """z-depth in the unit of the camera positions; 0 where there is none (sky, holes in a scan)."""
    cameras: Cameras
    """In pixels of the images."""
    sky: Bool[Tensor, "*batch views height width"] | None = None
    """True on sky; None where the source does not say."""
    objects: Bool[Tensor, "*batch views height width"] | None = None
    """True on things that stand on or in the scene, False on its ground, walls and sky."""
    normals: Float[Tensor, "*batch views height width 3"] | None = None
    """Unit normals in camera space, towards the camera; 0 where there is no surface."""
    metric: bool = False
    """Whether the unit is the metre."""


@dataclass(frozen=True)
class Gaussians:
    """3D Gaussians in world space; *scene* stands for leading batch dimensions."""

    means: Float[Tensor, "*scene gaussians 3"]
    scales: Float[Tensor, "*scene gaussians 3"]
    """Standard deviations along the axes, in the unit of `means`."""
    quaternions_wxyz: Float[Tensor, "*scene gaussians 4"]
    harmonics: Float[Tensor, "*scene gaussians 3 coefficients"]
    """Spherical harmonics per colour channel, degree-major."""
    opacities: Float[Tensor, "*scene gaussians"]
    """0 to 1."""


Tensors = TypeVar("Tensors", Cameras, Gaussians)


def map_tensors(values: Tensors, change: Callable[[Tensor], Tensor]) -> Tensors:
    """Change every tensor of cameras or Gaussians alike: move it to a device, or select along its leading dimension."""
    return replace(values, **{name: change(tensor) for name, tensor in vars(values).items()})


@dataclass(frozen=True)
class NetworkOutput:
    """What a network says about a batch of scenes. An output that was not asked for, or does not exist, is None."""

    depth: Float[Tensor, "batch views height width"]
    confidence: Float[Tensor, "batch views height width"] | None = None
    """1 and above."""
    cameras: Cameras | None = None
    """Pixels of the network's input; batch dimensions (batch, views)."""
    rays: Float[Tensor, "batch views rows columns 6"] | None = None
    """World-space direction (3, not of unit length: point = origin + depth · direction), then origin (3)."""
    ray_confidence: Float[Tensor, "batch views rows columns"] | None = None
    sky: Float[Tensor, "batch views height width"] | None = None
    """Score, 0 and above; sky from `model.metric.SKY_THRESHOLD` on."""
    gaussians: Gaussians | None = None
    features: Mapping[int, Float[Tensor, "batch views patch_rows patch_columns channels"]] = field(default_factory=dict)
    metric_scale: Float[Tensor, " batch"] | None = None
    """What nested networks multiplied the any-view depth with to reach metres; NaN where no scale could be found."""


@dataclass(frozen=True)
class Prediction:
    """The geometry of one scene, all tensors on the CPU, float32. What is missing is None, and `lacks` says why."""

    images: UInt8[Tensor, "views height width 3"]
    """The pictures at the resolution of the maps."""
    depth: Float[Tensor, "views height width"]
    """z-depth in `units`."""
    units: Units
    model: str
    names: tuple[str, ...]
    placements: tuple[Placement, ...]
    """Where the maps' pixels lie in the input pictures."""
    confidence: Float[Tensor, "views height width"] | None = None
    """1 and above; higher is surer."""
    cameras: Cameras | None = None
    """In pixels of the maps."""
    mask: Bool[Tensor, "views height width"] | None = None
    """False where a pixel has no prediction (padding, or outside of a crop); None: all pixels have one."""
    sky: Bool[Tensor, "views height width"] | None = None
    """True on sky."""
    rays: Float[Tensor, "views rows columns 6"] | None = None
    """World-space direction (3), then origin (3), at 8/14 of the network's resolution."""
    ray_confidence: Float[Tensor, "views rows columns"] | None = None
    gaussians: Gaussians | None = None
    features: Mapping[int, Float[Tensor, "views patch_rows patch_columns channels"]] = field(default_factory=dict)
    """Patch tokens by backbone block."""
    canonical_depth: Float[Tensor, "views height width"] | None = None
    """What a metric model said before its focal length came in."""
    metric_scale: float | None = None
    """Factor from any-view depth to metres (nested models)."""
    lacks: Mapping[str, str] = field(default_factory=dict)
    """Missing field -> why."""
    notes: tuple[str, ...] = ()
    """Assumptions and losses worth knowing, one sentence each."""

    def __len__(self) -> int:
        return len(self.depth)

    @property
    def is_metric(self) -> bool:
        """Whether depth and camera positions are in metres by the model's own estimate."""
        return self.units == "metres"

    def valid(self) -> Bool[Tensor, "views height width"]:
        """Pixels that have a prediction with positive, finite depth."""
        good = torch.isfinite(self.depth) & (self.depth > 0)
        return good if self.mask is None else good & self.mask
