"""Compressed Gaussians, read back by a reader that was written from the format's description alone."""

import dataclasses
import gzip
import struct

import numpy as np
import pytest
import torch

from anyview.exporters import export
from anyview.exporters.gaussians_ply import read_gaussians_ply
from anyview.exporters.spz import fractional_bits
from anyview.geometry.pose import matrix_from_quaternion_xyzw
from anyview.types import Gaussians, Prediction

C0 = 0.28209479177387814
FLIP = np.array([1.0, -1, -1])
"""From x right, y up, z backward, the axes of the format."""


def some_gaussians(degree: int, count: int = 60, reach: float = 4.0) -> Gaussians:
    generator = torch.Generator().manual_seed(degree)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    return Gaussians(
        means=reach * (2 * uniform(count, 3) - 1),
        scales=0.01 + 0.2 * uniform(count, 3),
        quaternions_wxyz=uniform(count, 4) - 0.5,
        harmonics=uniform(count, 3, (degree + 1) ** 2) - 0.5,
        opacities=0.02 + 0.96 * uniform(count),
    )


def read(path) -> dict[str, np.ndarray]:
    """Read version 2 of the format, byte by byte, in plain NumPy."""
    data = gzip.decompress(path.read_bytes())
    magic, version, count, degree, fractional, flags, reserved = struct.unpack_from("<IIIBBBB", data)
    assert (magic.to_bytes(4, "little"), version, flags, reserved) == (b"NGSP", 2, 0, 0)
    rest = (degree + 1) ** 2 - 1
    sizes = {"positions": 9, "alphas": 1, "colors": 3, "scales": 3, "rotations": 3, "harmonics": 3 * rest}
    assert len(data) == 16 + count * sum(sizes.values())
    place, parts = 16, {}
    for name, size in sizes.items():
        parts[name] = np.frombuffer(data, np.uint8, count * size, place).reshape(count, size).astype(np.int64)
        place += count * size
    low, middle, high = parts["positions"].reshape(count, 3, 3).transpose(2, 0, 1)
    fixed = low + 256 * middle + 65536 * high
    xyz = parts["rotations"] / 127.5 - 1
    w = np.sqrt(np.clip(1 - (xyz**2).sum(-1, keepdims=True), 0, None))
    return {
        "positions": np.where(fixed >= 2**23, fixed - 2**24, fixed) / 2.0**fractional * FLIP,
        "opacities": parts["alphas"][:, 0] / 255,
        "colors": 0.5 + C0 * (parts["colors"] / 255 - 0.5) / 0.15,
        "scales": np.exp(parts["scales"] / 16 - 10),
        "rotations": FLIP[:, None]
        * matrix_from_quaternion_xyzw(torch.from_numpy(np.concatenate([xyz, w], -1))).numpy(),
        "harmonics": (parts["harmonics"].reshape(count, rest, 3).transpose(0, 2, 1) - 128) / 128,
    }


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_spz_holds_the_same_scene_as_ply(degree, room, tmp_path, assert_close):
    scene = dataclasses.replace(room, gaussians=some_gaussians(degree))
    paths = export(scene, tmp_path, ["spz", "gaussians_ply"])
    found, ply = read(paths["spz"][0]), read_gaussians_ply(paths["gaussians_ply"][0]).gaussians
    assert np.abs(found["positions"] - ply.means.numpy()).max() < 1e-5
    assert np.abs(found["opacities"] - ply.opacities.numpy()).max() * 255 < 0.51
    # A byte spans more than 0 to 1, so half a step of it is 0.95 levels of 255.
    assert np.abs(found["colors"] - 0.5 - C0 * ply.harmonics[..., 0].numpy()).max() * 255 < 1
    assert np.abs(np.log(found["scales"]) - ply.scales.log().numpy()).max() < 0.5 / 16 + 1e-5
    rotations = matrix_from_quaternion_xyzw(ply.quaternions_wxyz.roll(-1, -1)).numpy()
    assert np.abs(found["rotations"] - rotations).max() < 0.1  # eight bits a number, and w from the others


def test_harmonics_turn_with_the_axes(room, tmp_path):
    """Degree 1 is (−C y, C z, −C x): with y and z exchanged for −y and −z its first two change sign."""
    gaussians = some_gaussians(1)
    (path,) = export(dataclasses.replace(room, gaussians=gaussians), tmp_path, "spz")["spz"]
    expected = gaussians.harmonics[..., 1:].numpy() * np.array([-1, -1, 1])
    assert np.abs(read(path)["harmonics"] - expected).max() <= 4 / 128 + 1e-6  # steps of 8/128


def test_the_point_is_where_the_scene_fits(room, tmp_path):
    assert fractional_bits(torch.tensor([[0.9, 0, 0]])) == 23
    assert fractional_bits(torch.tensor([[0.0, -1.0, 0]])) == 22  # +1 itself would not fit
    assert fractional_bits(torch.tensor([[0.0, 0, 7.9]])) == 20
    assert fractional_bits(torch.zeros(1, 3)) == 23
    far = dataclasses.replace(room, gaussians=some_gaussians(0, reach=1000.0))
    (path,) = export(far, tmp_path, "spz")["spz"]
    assert np.abs(read(path)["positions"] - far.gaussians.means.numpy()).max() <= 2.0**-14
    with pytest.raises(
        ValueError, match="spz holds positions up to 8388608, and a Gaussian is 1e\\+07 from the origin"
    ):
        fractional_bits(torch.tensor([[1e7, 0, 0]]))


def test_the_same_scene_gives_the_same_bytes_and_few_of_them(room, tmp_path):
    scene: Prediction = dataclasses.replace(room, gaussians=some_gaussians(2, count=2000))
    first, second = (export(scene, tmp_path / name, ["spz", "gaussians_ply"]) for name in "ab")
    assert first["spz"][0].read_bytes() == second["spz"][0].read_bytes()
    assert first["spz"][0].stat().st_size < 0.25 * first["gaussians_ply"][0].stat().st_size  # of random numbers
