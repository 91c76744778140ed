import math
from functools import partial

import pytest
import torch

from anyview.synth.raytrace import Rays, blocked, cast, clearance
from anyview.synth.shading import surface_at
from anyview.synth.shapes import (
    box,
    cone,
    cylinder,
    dome,
    ellipsoid,
    gable,
    lathe,
    moved,
    multiply,
    polygonal_prism,
    ramp,
    stack_solids,
    turn_x,
    turn_z,
)
from anyview.synth.textures import Material
from anyview.synth.world import Layout, Light, Stand, stack_layouts

GREY = Material(color=(0.5, 0.5, 0.5))
ORIGIN = (0.0, 0.0, 0.0)


def in_prism(x, y, z, sides):
    """Inside of a prism of height 0.7 whose inscribed circle has the radius 0.4."""
    angles = [2 * math.pi * side / sides for side in range(sides)]
    flat = torch.stack([x * math.cos(angle) + y * math.sin(angle) for angle in angles]).amax(0) <= 0.4
    return flat & (z >= 0) & (z <= 0.7)


def in_cone(x, y, z, bottom, top):
    """Inside of a truncated cone of height 0.7."""
    return (x.hypot(y) <= bottom + z * (top - bottom) / 0.7) & (z >= 0) & (z <= 0.7)


SHAPES = {
    "box": (
        box(GREY, ORIGIN, (1.0, 0.6, 0.8)),
        lambda x, y, z: (x.abs() <= 0.5) & (y.abs() <= 0.3) & (z.abs() <= 0.4),
    ),
    "ellipsoid": (
        ellipsoid(GREY, ORIGIN, (0.5, 0.3, 0.7)),
        lambda x, y, z: (x / 0.5) ** 2 + (y / 0.3) ** 2 + (z / 0.7) ** 2 <= 1,
    ),
    "dome": (dome(GREY, ORIGIN, 0.6), lambda x, y, z: (x**2 + y**2 + z**2 <= 0.36) & (z >= 0)),
    "cylinder": (cylinder(GREY, ORIGIN, 0.3, 0.7), partial(in_cone, bottom=0.3, top=0.3)),
    "narrowing": (cone(GREY, ORIGIN, 0.6, 0.1, 0.7), partial(in_cone, bottom=0.6, top=0.1)),
    "widening": (cone(GREY, ORIGIN, 0.05, 0.6, 0.7), partial(in_cone, bottom=0.05, top=0.6)),
    "gable": (
        gable(GREY, ORIGIN, (1.0, 0.8, 0.6)),
        lambda x, y, z: (x.abs() <= 0.5 * (1 - z / 0.6)) & (y.abs() <= 0.4) & (z >= 0),
    ),
    "ramp": (
        ramp(GREY, ORIGIN, (1.0, 0.8, 0.6)),
        lambda x, y, z: (x.abs() <= 0.5) & (y.abs() <= 0.4) & (z >= 0) & (z <= 0.6 * (x + 0.5)),
    ),
    "hexagon": (polygonal_prism(GREY, ORIGIN, 0.4, 0.7, 6), partial(in_prism, sides=6)),
    "octagon": (polygonal_prism(GREY, ORIGIN, 0.4, 0.7, 8), partial(in_prism, sides=8)),
}
TURN = multiply(turn_z(0.7), turn_x(0.4))
SHIFT = (0.3, -0.2, 0.5)
SCALE = 1.3


def rays_from_around(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rays from a sphere of radius 4 that pass near the middle."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1) * 4
    aim = torch.randn(count, 3, generator=generator) * 0.6
    return start, aim - start


@pytest.mark.parametrize("name", SHAPES)
def test_rays_stop_where_a_shape_begins(name):
    solid, is_inside = SHAPES[name]
    solids = stack_solids([moved([solid], SHIFT, TURN, scale=SCALE)])
    start, step = rays_from_around(3000, seed=len(name))
    t, number = cast(solids, Rays(start.T[:, None, :, None], step.T[:, None, :, None]))
    t, number = t[0, :, 0], number[0, :, 0]

    def inside(t: torch.Tensor) -> torch.Tensor:
        points = (start.double() + t[..., None].double() * step - torch.tensor(SHIFT)) @ torch.tensor(TURN).double()
        return is_inside(*(points / SCALE).unbind(-1))

    hit = number == 0
    assert 300 < hit.sum() < 2900
    assert torch.equal(hit, t.isfinite())
    assert not inside(t - 1e-4)[hit].any()
    assert inside(t + 1e-4)[hit].float().mean() > 0.995  # rays that graze an edge leave at once
    samples = torch.linspace(0, 2, 400)[:, None].expand(-1, len(start))
    assert not (inside(samples) & (samples < t - 1e-4)).any()


@pytest.mark.parametrize("name", SHAPES)
def test_normals_point_out_of_a_shape(name):
    solid, is_inside = SHAPES[name]
    light = Light((0.0, 0.0, 9.0), (1.0, 1.0, 1.0))
    stand = Stand(ORIGIN, ORIGIN, (ORIGIN,), (1.0, 1.0), (1.0, 1.0))
    black = (0.0, 0.0, 0.0)
    world = stack_layouts([Layout((solid,), (light,), stand, (black, black))])
    start, step = rays_from_around(2000, seed=3)
    t, number = cast(world.solids, Rays(start.T[:, None, :, None], step.T[:, None, :, None]))
    hit = number.flatten() == 0
    points = (start + t.flatten()[:, None] * step)[hit]
    surface = surface_at(world, torch.zeros(len(points), dtype=torch.int64), number.flatten()[hit], points.T)
    torch.testing.assert_close(surface.normal.norm(dim=0), torch.ones(len(points)))
    assert ((surface.normal * step[hit].T).sum(0) < 1e-3).all()
    # A step along any tangent must not be deep inside: the solid lies behind the plane of its normal.
    generator = torch.Generator().manual_seed(5)
    other = torch.linalg.cross(torch.randn(len(points), 3, generator=generator), surface.normal.T)
    tangent = torch.nn.functional.normalize(other, dim=-1)
    aside = points.double() + 0.05 * tangent + 0.002 * surface.normal.T
    assert is_inside(*aside.unbind(-1)).float().mean() < 0.005


def test_bundles_change_nothing():
    parts = []
    for number, (solid, _) in enumerate(SHAPES.values()):
        parts += moved([solid], (number % 4 - 2.0, number // 4 - 1.0, 0.3 * number - 1), TURN)
    solids = stack_solids([parts, parts[:3]])
    camera = torch.tensor([0.2, -6.0, 0.4])
    grid = torch.linspace(-0.5, 0.5, 32)
    step = (
        torch.stack(torch.meshgrid(grid, grid, indexing="ij"), -1)
        .unflatten(0, (4, 8))
        .unflatten(2, (4, 8))
        .transpose(1, 2)
    )
    step = torch.cat([step[..., :1], torch.ones_like(step[..., :1]), step[..., 1:]], -1).reshape(16, 64, 3)
    bundled = step.permute(2, 0, 1)[:, None].expand(-1, 2, -1, -1)
    alone = bundled.flatten(2)[..., None]
    origin = camera[:, None, None, None].expand(-1, 2, 16, -1)
    t, number = cast(solids, Rays(origin, bundled))
    t_alone, number_alone = cast(solids, Rays(origin.repeat_interleave(64, 2), alone))
    assert (number >= 0).float().mean() > 0.1
    assert (number[1] >= 3).sum() == 0
    assert torch.equal(number.flatten(1), number_alone.flatten(1))
    torch.testing.assert_close(t.flatten(1), t_alone.flatten(1), rtol=1e-6, atol=0)


def test_small_round_things_are_sharp_from_afar():
    solids = stack_solids([[ellipsoid(GREY, ORIGIN, (0.5, 0.5, 0.5))]])
    offset = torch.linspace(-0.6, 0.6, 1201)
    origin = torch.tensor([1000.0, 0.0, 0.0])[:, None, None, None].expand(3, 1, 1, 1)
    step = torch.stack([torch.full_like(offset, -1000.0), offset, torch.zeros_like(offset)])[:, None, None]
    dark = blocked(solids, Rays(origin, step, reach=1.0))[0, 0]
    expected = offset.abs() < 0.5
    assert (dark != expected).sum() <= 2


def test_blocked_counts_only_what_lies_between():
    solids = stack_solids([[box(GREY, (0, 0, 5), (1, 1, 1))]])
    origin = torch.zeros(3, 1, 1, 1)
    for reach, expected in ((4.4, False), (4.6, True), (9.0, True)):
        step = torch.tensor([0.0, 0.0, 1.0])[:, None, None, None]
        assert blocked(solids, Rays(origin, step, reach)).item() == expected
    assert not blocked(solids, Rays(origin, -step, 9.0)).item()


def test_rays_along_a_face_give_no_nan():
    solids = stack_solids([[box(GREY, ORIGIN, (2, 2, 2)), cylinder(GREY, ORIGIN, 0.5, 3)]])
    origin = torch.tensor([0.0, 0.0, 9.0])[:, None, None, None]
    t, number = cast(solids, Rays(origin, torch.tensor([0.0, 0.0, -1.0])[:, None, None, None]))
    assert t.item() == pytest.approx(6.0)
    assert number.item() == 1


def test_clearance_is_the_distance_to_the_nearest_box():
    solids = stack_solids(
        [moved([box(GREY, ORIGIN, (2, 2, 2))], (5, 0, 0), turn_z(math.pi / 4)), [box(GREY, ORIGIN, (2, 2, 2))]]
    )
    points = torch.tensor([[0.0, 0, 0], [5, 0, 1.5], [3, 0, 0]]).expand(2, -1, -1)
    expected = torch.tensor([[5 / math.sqrt(2) - 1, 0.5, math.sqrt(2) - 1], [-1, 4, 2]])
    torch.testing.assert_close(clearance(solids, points), expected)


def test_a_lathe_is_closed_and_a_prism_has_six_or_eight_sides():
    parts = lathe(GREY, (0, 0, 1), [(0, 0.2), (0.5, 0.4), (0.8, 0.1)])
    assert [part.center[2] for part in parts] == pytest.approx([1.25, 1.65])
    assert [part.half_size[0] for part in parts] == pytest.approx([0.4, 0.4])
    with pytest.raises(AssertionError):
        polygonal_prism(GREY, ORIGIN, 1, 1, 5)
