"""Random numbers as a function of whole numbers: no state, the same on every device and in any order."""

import hashlib

import torch
from jaxtyping import Float, Int
from torch import Tensor

_PRIME_X, _PRIME_Y, _PRIME_Z = 0x1B873593, 0x19D699A5, 0x2545F491


def seed_from(*parts: str | int) -> int:
    """Hash words and numbers to a seed of 63 bits; different parts give unrelated seeds."""
    digest = hashlib.sha256("\0".join(map(repr, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def mix(keys: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """Scramble 32-bit keys so that neighbours have nothing in common (products wrap around)."""
    keys = keys ^ ((keys >> 16) & 0xFFFF)
    keys = keys * 0x7FEB352D
    keys ^= (keys >> 15) & 0x1FFFF
    keys *= 0x46DA6B6B
    return keys ^ ((keys >> 16) & 0xFFFF)


def unit(keys: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Map scrambled keys to numbers from 0 to 1, evenly."""
    return (keys & 0xFFFFFF).float() * (1 / 0xFFFFFF)


def uniform(seeds: Int[Tensor, "*batch"], count: int) -> Float[Tensor, "*batch {count}"]:
    """Draw ``count`` numbers from 0 to 1 for each seed."""
    counter = torch.arange(1, count + 1, device=seeds.device, dtype=torch.int32) * _PRIME_X
    return unit(mix(mix(seeds.int())[..., None] + counter))


def cell_keys(x: Int[Tensor, "*shape"], y: Int[Tensor, "*shape"], seed: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """Give every cell of a grid its own scrambled key."""
    return mix(x * _PRIME_X + y * _PRIME_Y + seed)


def value_noise(points: Float[Tensor, "3 *shape"], seed: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Interpolate random values from −1 to 1 on the whole-numbered lattice, smoothly."""
    lattice = points.floor()
    fraction = points - lattice
    weight_x, weight_y, weight_z = fraction * fraction * (3 - 2 * fraction)
    x, y, z = lattice.int().unbind(0)
    near = x * _PRIME_X
    near += y * _PRIME_Y
    near += z * _PRIME_Z
    near += seed
    planes = []
    for depth in (0, _PRIME_Z):
        rows = [
            torch.lerp(_corner(near + (depth + row)), _corner(near + (depth + row + _PRIME_X)), weight_x)
            for row in (0, _PRIME_Y)
        ]
        planes.append(torch.lerp(rows[0], rows[1], weight_y))
    return torch.lerp(planes[0], planes[1], weight_z)


def _corner(keys: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Random value from −1 to 1 of a lattice point; one round of mixing is enough for what the eye sees."""
    keys ^= (keys >> 15) & 0x1FFFF
    keys *= 0x46DA6B6B
    keys >>= 12
    return keys.float().mul_(1 / (1 << 19))
