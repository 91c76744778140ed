"""What surfaces look like: one formula, whose numbers make brick, tiles, checks, stripes, glyphs, dots, wood, marble.

A material is a grid of cells, waves, and noise at several scales, each with its own strength, on three colours. Every
part fades to its mean where a pixel grows larger than it, so that nothing flickers.
"""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from anyview.synth.hashing import cell_keys, unit, value_noise

Color = tuple[float, float, float]
OCTAVES = 5


@dataclass(frozen=True, kw_only=True)
class Material:
    """A texture; colours are linear, 0 to 1, lengths in metres, strengths 0 to 1."""

    color: Color
    second: Color = (0.0, 0.0, 0.0)
    """What patterns blend to."""
    joint: Color = (0.0, 0.0, 0.0)
    """Mortar between bricks, grout between tiles, wall between windows."""
    cell_width: float = 1.0
    cell_height: float = 1.0
    bond: float = 0.0
    """Shift of every other row of cells, in cells."""
    joint_width: float = 0.0
    checks: float = 0.0
    """Strength of alternating cells."""
    patches: float = 0.0
    """Strength of a random value per cell."""
    dots: float = 0.0
    """Strength of a disc in each cell."""
    glyphs: float = 0.0
    """Strength of random marks, 4 × 5 to a cell."""
    waves: float = 0.0
    wave_length: float = 1.0
    rings: float = 0.0
    """1: waves run around the local z axis, as in wood; 0: along x."""
    distortion: float = 0.0
    """How far noise displaces the waves, in wave lengths."""
    noise: float = 0.0
    noise_scale: float = 1.0
    """Size of the largest features of the noise."""
    grain: float = 0.0
    """Strength of noise in brightness."""
    glow: float = 0.0
    """Light that the surface gives off."""
    seed: float = 0.0
    """A whole number below 2²⁴."""

    def columns(self) -> tuple[float, ...]:
        """Flatten to numbers, in the order of the fields."""
        return (*self.color, *self.second, *self.joint, *(getattr(self, name) for name in _NUMBERS))


_NUMBERS = tuple(field.name for field in fields(Material)[3:])


def octave_noise(
    points: Float[Tensor, "3 *shape"], footprint: Float[Tensor, "*shape"], seed: Int[Tensor, "*shape"], octaves: int
) -> Float[Tensor, "*shape"]:
    """Sum noise of ever finer features, about −1 to 1; features smaller than a pixel's ``footprint`` are left out."""
    total = torch.zeros_like(footprint)
    for octave in range(octaves):
        strength = (2 - 3 * footprint * 2.17**octave).clamp_(0, 1) * (0.7 * 0.6**octave)
        total.addcmul_(value_noise(points * 2.17**octave, seed + 101 * octave), strength)
    return total


def albedo(
    material: Float[Tensor, "columns *shape"],
    points: Float[Tensor, "3 *shape"],
    normals: Float[Tensor, "3 *shape"],
    footprint: Float[Tensor, "*shape"],
) -> tuple[Float[Tensor, "3 *shape"], Float[Tensor, "*shape"]]:
    """Compute colour and glow of surface points; points and normals in the texture's frame, ``footprint`` in metres."""
    number = dict(zip(_NUMBERS, material[9:], strict=True))
    seed = number["seed"].int()
    scale = 1 / number["noise_scale"]
    noise = octave_noise(points * scale, footprint * scale, seed, OCTAVES)
    cells, joint = _cells(number, points, normals, footprint, seed)
    blend = cells + number["waves"] * _waves(number, points, footprint, noise)
    blend.addcmul_(number["noise"], 0.5 + 0.9 * noise).clamp_(0, 1)
    color = torch.lerp(material[:3], material[3:6], blend)
    color = torch.lerp(color, material[6:9], joint)
    return color * (1 + number["grain"] * noise).clamp_(min=0.1), number["glow"]


def _cells(
    number: dict[str, Tensor],
    points: Float[Tensor, "3 *shape"],
    normals: Float[Tensor, "3 *shape"],
    footprint: Float[Tensor, "*shape"],
    seed: Int[Tensor, "*shape"],
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """Return the blend that the grid of cells asks for, and the share of joint."""
    x, y, z = points
    slant_x, slant_y, slant_z = normals.abs()
    flat = slant_z > torch.maximum(slant_x, slant_y)
    across = torch.where(slant_x > torch.maximum(slant_y, slant_z), y, x)
    width, height = number["cell_width"], number["cell_height"]
    v = torch.where(flat, y, z) / height
    row = v.floor()
    u = across / width + number["bond"] * (row - 2 * (row * 0.5).floor())
    column = u.floor()
    inside_u, inside_v = u - column - 0.5, v - row - 0.5
    pixels_u, pixels_v = width / footprint, height / footprint  # how many pixels wide a cell is
    sharp = (torch.minimum(pixels_u, pixels_v) * 0.5 - 1).clamp_(0, 1)

    sign = 1 - 2 * ((row + column) - 2 * ((row + column) * 0.5).floor())
    edge = ((0.5 - inside_u.abs()) * pixels_u * 2).clamp_(max=1) * ((0.5 - inside_v.abs()) * pixels_v * 2).clamp_(max=1)
    keys = cell_keys(column.int(), row.int(), seed)
    radius = (inside_u.square() + inside_v.square()).sqrt_()
    disc = ((0.32 - radius) * torch.minimum(pixels_u, pixels_v) + 0.5).clamp_(0, 1)
    blend = number["checks"] * (0.5 + 0.5 * sign * edge * sharp)
    blend.addcmul_(number["patches"], 0.5 + (unit(keys) - 0.5) * sharp)
    blend.addcmul_(number["dots"], 0.32 + (disc - 0.32) * sharp)
    blend.addcmul_(number["glyphs"], _marks(inside_u, inside_v, keys) * (pixels_u * 0.1 - 0.7).clamp_(0, 1))

    to_edge = torch.minimum((0.5 - inside_u.abs()) * width, (0.5 - inside_v.abs()) * height)
    joint_width = number["joint_width"]
    fine = (joint_width / footprint).clamp_(max=1)  # a joint thinner than a pixel covers a part of it
    joint = ((joint_width * 0.5 - to_edge) / footprint.clamp(min=1e-4) + 0.5).clamp_(0, 1) * fine
    mean = (joint_width * (1 / width + 1 / height)).clamp_(max=1)
    return blend, torch.lerp(mean, joint, sharp)


def _marks(
    u: Float[Tensor, "*shape"], v: Float[Tensor, "*shape"], keys: Int[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """Set or clear each of the 4 × 5 squares inside the margin of a cell by one bit of its key."""
    column, row = ((u + 0.38) * (4 / 0.76)).floor(), ((v + 0.4) * (5 / 0.8)).floor()
    inside = (column >= 0) & (column < 4) & (row >= 0) & (row < 5)
    bit = (4 * row + column).clamp_(0, 19).int()
    return ((keys >> bit) & 1).float() * inside


def _waves(
    number: dict[str, Tensor],
    points: Float[Tensor, "3 *shape"],
    footprint: Float[Tensor, "*shape"],
    noise: Float[Tensor, "*shape"],
) -> Float[Tensor, "*shape"]:
    x, y, _ = points
    along = torch.lerp(x, (x.square() + y.square()).sqrt_(), number["rings"])
    phase = along / number["wave_length"]
    phase.addcmul_(number["distortion"], noise)
    swing = 4 * (phase - (phase + 0.5).floor()).abs() - 1
    return 0.5 + 0.5 * swing * (number["wave_length"] / footprint * 0.3 - 0.6).clamp_(0, 1)
