"""What a scene consists of: as plain numbers while it is laid out, and as arrays of several scenes for rendering."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anyview.synth.shapes import Solid, Solids, Vector, stack_solids
from anyview.synth.terrain import Wave
from anyview.synth.textures import Color

LIGHTS = 2
FAR = 1e3


@dataclass(frozen=True)
class Light:
    """A lamp, whose light at 1 m is ``color``; or a sun: so far away that its light is ``color`` everywhere."""

    position: Vector
    color: Color
    is_sun: bool = False


@dataclass(frozen=True)
class Sky:
    """What lies behind everything, in linear light; ``is_void``: a plain backdrop that is nobody's sky."""

    zenith: Color = (0.25, 0.45, 0.9)
    horizon: Color = (0.8, 0.87, 0.95)
    clouds: float = 0.0
    seed: float = 0.0
    """Of the clouds; a whole number below 2²⁴."""
    is_void: bool = False


@dataclass(frozen=True)
class Stand:
    """Where cameras may be and what they look at."""

    low: Vector
    high: Vector
    """Corners of the box that holds the camera centres; z counts from the ground."""
    targets: tuple[Vector, ...]
    """What they look at; z counts from the ground."""
    orbit_radius: tuple[float, float]
    stride: tuple[float, float]
    """Shortest and longest step between neighbouring views on a walk, in metres."""


@dataclass(frozen=True)
class Layout:
    """One scene in metres, z up."""

    solids: tuple[Solid, ...]
    lights: tuple[Light, ...]
    stand: Stand
    ambient: tuple[Color, Color]
    """Light from above and from below."""
    sky: Sky = field(default_factory=Sky)
    ground: tuple[Wave, ...] = ()
    """Rolling ground; its material is that of the first solid of kind GROUND."""
    enclosure: tuple[Vector, Vector] = ((-FAR, -FAR, 0.0), (FAR, FAR, FAR))
    """Corners of the box whose walls darken what is close to them."""


@dataclass(frozen=True)
class World:
    """Scenes on a device."""

    solids: Solids
    lights: Float[Tensor, "scenes lights 7"]
    """Position (3), whether it is a sun (1), colour (3)."""
    ambient: Float[Tensor, "scenes 2 3"]
    sky: Float[Tensor, "scenes 8"]
    """Zenith (3), horizon (3), clouds, seed."""
    is_void: Bool[Tensor, " scenes"]
    enclosure: Float[Tensor, "scenes 2 3"]
    ground: Float[Tensor, "scenes waves 4"]
    rolling: tuple[int, ...]
    """Scenes whose ground has waves."""
    stand: Float[Tensor, "scenes 10"]
    """Low corner (3), high corner (3), orbit radius (2), stride (2)."""
    targets: Float[Tensor, "scenes targets 3"]
    """Repeated where a scene has fewer than the others."""

    def take(self, scenes: Sequence[int]) -> "World":
        """Return some of the scenes, in the order asked for."""
        return World(
            solids=_take(self.solids, scenes),
            lights=self.lights[scenes],
            ambient=self.ambient[scenes],
            sky=self.sky[scenes],
            is_void=self.is_void[scenes],
            enclosure=self.enclosure[scenes],
            ground=self.ground[scenes],
            rolling=tuple(place for place, scene in enumerate(scenes) if scene in self.rolling),
            stand=self.stand[scenes],
            targets=self.targets[scenes],
        )


def _take(solids: Solids, scenes: Sequence[int]) -> Solids:
    return Solids(**{field.name: getattr(solids, field.name)[scenes] for field in fields(Solids)})


def stack_layouts(layouts: Sequence[Layout], device: torch.device | str = "cpu") -> World:
    """Bring layouts onto a device."""

    def tensor(rows: Sequence[object]) -> Float[Tensor, "*shape"]:
        return torch.tensor(rows, dtype=torch.float32).to(device)

    waves = max(1, *(len(layout.ground) for layout in layouts))
    targets = max(len(layout.stand.targets) for layout in layouts)
    return World(
        solids=stack_solids([layout.solids for layout in layouts], device),
        lights=tensor([_light_rows(layout.lights) for layout in layouts]),
        ambient=tensor([layout.ambient for layout in layouts]),
        sky=tensor(
            [(*layout.sky.zenith, *layout.sky.horizon, layout.sky.clouds, layout.sky.seed) for layout in layouts]
        ),
        is_void=torch.tensor([layout.sky.is_void for layout in layouts], device=device),
        enclosure=tensor([layout.enclosure for layout in layouts]),
        ground=tensor([[*layout.ground, *[(0.0,) * 4] * (waves - len(layout.ground))] for layout in layouts]),
        rolling=tuple(scene for scene, layout in enumerate(layouts) if layout.ground),
        stand=tensor([_stand_row(layout.stand) for layout in layouts]),
        targets=tensor([_cycled(layout.stand.targets, targets) for layout in layouts]),
    )


def _light_rows(lights: Sequence[Light]) -> list[tuple[float, ...]]:
    assert len(lights) <= LIGHTS, lights
    rows = [(*light.position, float(light.is_sun), *light.color) for light in lights]
    return [*rows, *[(0.0, 0.0, FAR, 1.0, 0.0, 0.0, 0.0)] * (LIGHTS - len(lights))]


def _stand_row(stand: Stand) -> tuple[float, ...]:
    return (*stand.low, *stand.high, *stand.orbit_radius, *stand.stride)


def _cycled(values: Sequence[Vector], count: int) -> list[Vector]:
    return [values[number % len(values)] for number in range(count)]
