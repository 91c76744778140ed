"""True geometry with known errors, in the place of a network: what stitching costs, apart from prediction.

A box is seen from within; pictures, depth and cameras are computed, and errors of known size put on top. Nothing is
learned, so thousands of frames take seconds.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from anyview.geometry.camera import intrinsics_from_field_of_view, unproject_to_world
from anyview.geometry.pose import camera_centers, rigid_inverse, rigid_transform
from anyview.geometry.rays import rays_from_cameras
from anyview.geometry.rotation_vector import rotation_from_vector
from anyview.streaming.frames import PosedViews, StreamFrame, WindowGeometry
from anyview.types import Cameras, Picture

BOX = (6.0, 1.5, 5.0)
"""Half of width, height and length in metres; the world's origin is the middle, y points down."""
PATH_RADIUS = 4.0
"""Of the circle that cameras move on."""
SAME_PLACE_M = 1.0
SAME_PLACE_RAD = 0.5
"""Cameras nearer to each other than both are at one place."""
LANDMARKS = 256
"""Random directions that descriptors are made of."""
PATTERN = 12
"""Waves of random direction, 1 to 6 m long, that the walls' colours are made of."""


@dataclass(frozen=True, kw_only=True)
class Errors:
    """What is wrong with injected predictions."""

    depth: float = 0.0
    """Standard deviation of each pixel's relative error."""
    window_scale: float = 0.0
    """Standard deviation of the logarithm of each window's own scale: as any-view networks have."""
    drift: float = 0.0
    """Logarithm of the growth of scale from each frame of a window to the next."""
    rotation: float = 0.0
    """Standard deviation in radians of each camera's turn."""
    position: float = 0.0
    """Standard deviation in metres of each camera's shift, per axis."""
    outliers: float = 0.0
    """Share of the pixels whose depth is made up."""
    false_places: float = 0.0
    """Share of the frames whose descriptor is that of another place."""
    fooled: bool = False
    """Take two places for one when their frames are predicted together."""


def circle_cameras(
    count: int, height: int, width: int, *, laps: float = 1.0, radius: float = PATH_RADIUS, start: float = 0.0
) -> Cameras:
    """Cameras on a circle through the box that look ahead and outward; the last is where the first was, after laps."""
    angle = start + 2 * math.pi * laps * torch.arange(count, dtype=torch.float64) / max(count - 1, 1)
    height_wave = 0.2 * torch.sin(3 * angle)
    center = torch.stack([radius * angle.cos(), height_wave, radius * angle.sin()], -1)
    ahead = torch.stack([-angle.sin() + 0.6 * angle.cos(), 0 * angle, angle.cos() + 0.6 * angle.sin()], -1)
    forward = torch.nn.functional.normalize(ahead, dim=-1)
    down = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64).expand_as(forward)
    right = torch.linalg.cross(down, forward)
    rotation = torch.stack([right, down, forward], -1)
    view = torch.tensor([2 * math.atan(math.tan(0.65) * height / width), 1.3], dtype=torch.float64)
    intrinsics = intrinsics_from_field_of_view(view.expand(count, 2), height, width)
    return Cameras(rigid_inverse(rigid_transform(rotation, center)), intrinsics)


def box_depth(cameras: Cameras, height: int, width: int) -> Float[Tensor, "views height width"]:
    """Compute the depth of the walls around cameras within the box."""
    direction, origin = rays_from_cameras(cameras, height, width, height, width).split(3, -1)
    half = torch.tensor(BOX, dtype=direction.dtype)
    # The wall that a ray leaves the box through is the nearest of those it heads for.
    return ((half * direction.sign() - origin) / direction).amin(-1)


def box_pictures(cameras: Cameras, height: int, width: int) -> UInt8[Tensor, "views height width 3"]:
    """Paint what cameras within the box see: a point of a wall has one colour from wherever it is seen."""
    double = Cameras(cameras.world_to_camera.double(), cameras.intrinsics.double())
    points = unproject_to_world(box_depth(double, height, width), double)
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(3, PATTERN, 3, generator=generator, dtype=torch.float64)
    length = 1 + 5 * torch.rand(3, PATTERN, 1, generator=generator, dtype=torch.float64)
    waves = 2 * math.pi * torch.nn.functional.normalize(direction, dim=-1) / length
    phase = 2 * math.pi * torch.rand(3, PATTERN, generator=generator, dtype=torch.float64)
    value = torch.sin(torch.einsum("...d,cpd->...cp", points, waves) + phase).mean(-1)
    return (127.5 + 300 * value).clamp(0, 255).byte()


class InjectedPredictor:
    """Predicts windows of a camera path through the box. Frames are told by their index, not by their pictures."""

    name = "injected geometry"

    def __init__(
        self,
        cameras: Cameras,
        height: int,
        width: int,
        errors: Errors = Errors(),
        *,
        seed: int = 0,
        metric: bool = False,
    ) -> None:
        self.cameras = Cameras(cameras.world_to_camera.double(), cameras.intrinsics.double())
        self.height, self.width, self.errors, self.seed, self.metric = height, width, errors, seed, metric
        self.conditioned = 0
        """How many windows came with known cameras."""

    def frames(self, count: int | None = None) -> Iterator[tuple[float, Picture]]:
        """Yield the path's pictures with their times, 30 a second."""
        for index in range(len(self.cameras) if count is None else count):
            pixels = box_pictures(self.cameras[index : index + 1], self.height, self.width)[0]
            yield index / 30, Picture(pixels.numpy(), f"{index:06d}")

    def predict_window(
        self, frames: Sequence[StreamFrame], known: Cameras | None = None, known_views: Sequence[int] = ()
    ) -> WindowGeometry:
        """Compute the frames' true geometry, and put the errors on; the same frames get the same errors each time."""
        self.conditioned += known is not None
        index = [frame.index for frame in frames]
        true = self.cameras[index]
        depth = box_depth(true, self.height, self.width)
        camera_to_world = rigid_inverse(true.world_to_camera)
        if self.errors.fooled:
            camera_to_world = _overlaid(camera_to_world, index)
        generator = torch.Generator().manual_seed(hash((self.seed, *index)) % 2**63)
        camera_to_world, depth = self._with_errors(camera_to_world, depth, generator)
        first = rigid_inverse(camera_to_world[:1])
        views = PosedViews(
            images=torch.from_numpy(np.stack([frame.picture.pixels for frame in frames])),
            depth=depth.float(),
            confidence=torch.full(depth.shape, 2.0),
            cameras=Cameras(rigid_inverse(first @ camera_to_world).float(), true.intrinsics.float()),
        )
        descriptors = torch.stack([self._descriptor(one) for one in index])
        return WindowGeometry(views, descriptors, "metres" if self.metric else "arbitrary")

    def _with_errors(
        self,
        camera_to_world: Float[Tensor, "views 4 4"],
        depth: Float[Tensor, "views height width"],
        generator: torch.Generator,
    ) -> tuple[Float[Tensor, "views 4 4"], Float[Tensor, "views height width"]]:
        errors, count = self.errors, len(depth)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        rotation = camera_to_world[:, :3, :3] @ rotation_from_vector(errors.rotation * normal(count, 3))
        center = camera_to_world[:, :3, 3] + errors.position * normal(count, 3)
        scales = (errors.drift * torch.arange(count)).exp()
        # Each step is as long as its frame's scale says, so that a window's path grows as its depth does.
        steps = torch.cat([center[:1], (center[1:] - center[:-1]) * scales[1:, None]])
        grown = steps.cumsum(0)
        depth = depth * scales[:, None, None] * (errors.depth * normal(*depth.shape)).exp()
        made_up = torch.rand(depth.shape, generator=generator) < errors.outliers
        depth = torch.where(made_up, depth * (0.3 + 2 * torch.rand(depth.shape, generator=generator)), depth)
        own = float((errors.window_scale * normal(1)).exp())
        return rigid_transform(rotation, own * grown), own * depth

    def _descriptor(self, index: int) -> Float[Tensor, " channels"]:
        """Describe a place by random waves of position and direction; views of one place get similar ones."""
        generator = torch.Generator().manual_seed(hash((self.seed, -1, index)) % 2**63)
        if float(torch.rand(1, generator=generator)) < self.errors.false_places:
            index = int(torch.randint(len(self.cameras), (1,), generator=generator))
        camera_to_world = rigid_inverse(self.cameras.world_to_camera[index])
        place = torch.cat([camera_to_world[:3, 3], 2 * camera_to_world[:3, 2]])
        waves = torch.Generator().manual_seed(self.seed)
        frequency = 0.7 * torch.randn(LANDMARKS, 6, generator=waves, dtype=torch.float64)
        phase = 2 * math.pi * torch.rand(LANDMARKS, generator=waves, dtype=torch.float64)
        return torch.cos(frequency @ place + phase).float()


def _overlaid(camera_to_world: Float[Tensor, "views 4 4"], index: Sequence[int]) -> Float[Tensor, "views 4 4"]:
    """Put the frames after the longest gap onto those before it, as a network does that takes two places for one."""
    gaps = [later - earlier for earlier, later in itertools.pairwise(index)]
    if not gaps or max(gaps) < 2:
        return camera_to_world
    start = gaps.index(max(gaps)) + 1
    apart = camera_to_world[start, :3, 3] - camera_to_world[0, :3, 3]
    turned = camera_to_world[start, :3, 2] @ camera_to_world[0, :3, 2] < math.cos(SAME_PLACE_RAD)
    if apart.norm() < SAME_PLACE_M and not turned:
        return camera_to_world
    move = camera_to_world[0] @ rigid_inverse(camera_to_world[start])
    return torch.cat([camera_to_world[:start], move @ camera_to_world[start:]])


def path_length(cameras: Cameras) -> float:
    """Return how far a camera travels."""
    centers = camera_centers(cameras.world_to_camera)
    return float((centers[1:] - centers[:-1]).norm(dim=-1).sum())
