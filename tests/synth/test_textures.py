from random import Random

import pytest
import torch

from anyview.synth import materials
from anyview.synth.textures import Material, albedo

NAMES = (
    "painted plain metal wood planks brick tiles marble stone stripes checks dots glyphs blotches patchwork leaves "
    "soil glowing anything body fabric patterned"
)
MAKERS = [getattr(materials, name) for name in NAMES.split()]


def colors(material: Material, points: torch.Tensor, footprint: float) -> torch.Tensor:
    columns = torch.tensor(material.columns())[:, None].expand(-1, points.shape[1])
    normals = torch.tensor([0.0, 0.0, 1.0])[:, None].expand_as(points)
    return albedo(columns, points, normals, torch.full(points.shape[1:], footprint))[0]


def floor_points(count: int = 4000, size: float = 3.0) -> torch.Tensor:
    points = torch.rand(3, count, generator=torch.Generator().manual_seed(0)) * size
    points[2] = 0.0
    return points


def test_checks_alternate():
    board = Material(color=(1.0, 1.0, 1.0), second=(0.2, 0.4, 0.6), checks=1.0, cell_width=0.5, cell_height=0.5)
    points = torch.tensor([[0.25, 0.75, 0.75, -0.25], [0.25, 0.25, 0.75, 0.25], [0.0, 0.0, 0.0, 0.0]])
    white, other = [1.0, 1.0, 1.0], [0.2, 0.4, 0.6]
    torch.testing.assert_close(colors(board, points, 0.001).T, torch.tensor([other, white, other, white]))


def test_joints_lie_on_the_edges_of_cells():
    tiles = Material(color=(0.8, 0.8, 0.8), joint=(0.1, 0.1, 0.1), cell_width=0.3, cell_height=0.3, joint_width=0.02)
    points = torch.tensor([[0.15, 0.3, 0.15, 0.295], [0.15, 0.1, 0.6, 0.15], [0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(colors(tiles, points, 0.001)[0], torch.tensor([0.8, 0.1, 0.1, 0.1]))


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_textures_stay_colours_and_fade_with_distance(make):
    for seed in range(3):
        material = make(Random(seed))
        near, far = (colors(material, floor_points(), footprint) for footprint in (0.0005, 200.0))
        assert near.isfinite().all()
        assert near.min() >= 0
        assert near.max() < 2
        assert far.std(1).max() < 0.03
    assert make(Random(1)) == make(Random(1))


@pytest.mark.parametrize(
    "make", [materials.brick, materials.marble, materials.patchwork, materials.glyphs, materials.planks]
)
def test_patterns_have_contrast(make):
    contrast = [colors(make(Random(seed)), floor_points(), 0.0005).std(1).max() for seed in range(8)]
    assert sorted(contrast)[4] > 0.03


def test_facades_have_windows():
    wall = materials.facade(Random(0), 3.0)
    shades = colors(wall, floor_points(size=30.0), 0.01)
    near_joint = (shades - torch.tensor(wall.joint)[:, None]).abs().amax(0) < 0.25
    assert 0.3 < near_joint.float().mean() < 0.95
