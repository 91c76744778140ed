"""The pose graph on hand-made graphs: exact loops, drift, and wrong loops."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from anyview.geometry.alignment import Similarity
from anyview.geometry.rotation_vector import rotation_from_vector, vector_from_rotation
from anyview.streaming import pose_graph
from anyview.streaming.pose_graph import (
    Edge,
    edge_errors,
    error_derivatives,
    gauss_newton_step,
    move,
    optimize,
    stack_similarities,
)


def circle(count: int, radius: float = 5.0) -> list[Similarity]:
    """Nodes on a circle that look ahead; each has a scale of its own."""
    angles = [2 * math.pi * index / count for index in range(count)]
    return [
        Similarity(
            torch.tensor(1 + 0.3 * math.sin(angle), dtype=torch.float64),
            rotation_from_vector(torch.tensor([0.0, angle, 0.0], dtype=torch.float64)),
            torch.tensor([radius * math.cos(angle) - radius, 0.0, radius * math.sin(angle)], dtype=torch.float64),
        )
        for angle in angles
    ]


def measure(nodes: list[Similarity], first: int, second: int, error: Similarity | None = None, **options) -> Edge:
    relative = nodes[first].inverse().compose(nodes[second])
    return Edge(first, second, relative if error is None else relative.compose(error), unit=1.0, **options)


def chain(edges: list[Edge], count: int) -> Similarity:
    """Nodes as the edges between neighbours put them, one after the other."""
    nodes = [Similarity(torch.ones((), dtype=torch.float64), torch.eye(3).double(), torch.zeros(3).double())]
    for index in range(1, count):
        nodes.append(nodes[-1].compose(edges[index - 1].second_to_first))
    return stack_similarities(nodes)


def noise(generator: torch.Generator, size: float) -> Similarity:
    values = size * torch.randn(7, generator=generator, dtype=torch.float64)
    return Similarity(values[6].exp(), rotation_from_vector(values[:3]), values[3:6])


def test_one_loop_spreads_a_drift_of_scale_evenly():
    """Each of three steps grows scale by 1 %, and a loop says that it did not grow: four edges share the difference."""
    one = torch.tensor(1.01, dtype=torch.float64)
    step = Similarity(one, torch.eye(3).double(), torch.zeros(3).double())
    edges = [Edge(index, index + 1, step, unit=1.0) for index in range(3)]
    same = Similarity(one / one, torch.eye(3).double(), torch.zeros(3).double())
    edges.append(Edge(0, 3, same, unit=1.0))
    solution = optimize(chain(edges, 4), edges)
    expected = [0.25 * index * math.log(1.01) for index in range(4)]
    assert solution.nodes.scale.log().tolist() == pytest.approx(expected, abs=1e-9)
    assert solution.nodes.translation.abs().max() < 1e-9


def test_derivatives_are_those_of_the_errors():
    generator = torch.Generator().manual_seed(3)
    nodes = stack_similarities(circle(4))
    place, no_scale = {"origin": torch.tensor([0.3, -2.0, 1.0])}, {"scale_deviation": math.inf}
    edges = pose_graph._stack(
        [
            replace(measure(circle(4), first, second, noise(generator, 0.3)), unit=2.5, **options)
            for (first, second), options in zip(((0, 1), (1, 3), (2, 0)), ({}, place, no_scale), strict=True)
        ]
    )
    by_first, by_second = error_derivatives(nodes, edges)

    def errors(step: torch.Tensor) -> torch.Tensor:
        return edge_errors(move(nodes, step), edges)

    derivative = torch.autograd.functional.jacobian(errors, torch.zeros(4, 7, dtype=torch.float64))
    for edge, (first, second) in enumerate(((0, 1), (1, 3), (2, 0))):
        assert torch.allclose(derivative[edge, :, first], by_first[edge], atol=1e-9)
        assert torch.allclose(derivative[edge, :, second], by_second[edge], atol=1e-9)


def test_a_measured_place_leaves_the_scale_open():
    """A window whose point (1, 2, 0) lies at (5, 0, 0) is where the edge wants it, whatever the two scales are."""
    world = Similarity(torch.tensor(1.0).double(), torch.eye(3).double(), torch.zeros(3).double())
    place, target = torch.tensor([1.0, 2.0, 0.0]).double(), torch.tensor([5.0, 0.0, 0.0]).double()
    turn = rotation_from_vector(torch.tensor([0.0, 0.0, 0.2]).double())
    window, measured = (
        Similarity(torch.tensor(scale, dtype=torch.float64), turn, target - scale * turn @ place)
        for scale in (3.0, 0.7)
    )
    open_scale = Edge(0, 1, measured, unit=1.0, scale_deviation=math.inf, origin=place)
    nodes = stack_similarities([world, window])
    assert edge_errors(nodes, pose_graph._stack([open_scale])).abs().max() < 1e-6
    by_origin = edge_errors(nodes, pose_graph._stack([replace(open_scale, origin=None)]))
    assert by_origin.abs().max() > 1


def test_sparse_steps_are_those_of_dense_least_squares():
    """The readable way: stack all derivatives and call the library."""
    generator = torch.Generator().manual_seed(5)
    truth = circle(6)
    edges = [measure(truth, index, index + 1, noise(generator, 0.05)) for index in range(5)]
    nodes = chain(edges, 6)
    edges.append(measure(truth, 0, 5))
    system = pose_graph._stack(edges)
    errors = edge_errors(nodes, system)
    by_first, by_second = error_derivatives(nodes, system)
    dense = torch.zeros(len(edges), 7, 6, 7, dtype=torch.float64)
    for index, edge in enumerate(edges):
        dense[index, :, edge.first] += by_first[index]
        dense[index, :, edge.second] += by_second[index]
    expected = np.linalg.lstsq(dense[:, :, 1:].reshape(-1, 35).numpy(), -errors.flatten().numpy(), rcond=None)[0]
    step = gauss_newton_step(nodes, system, errors, torch.ones(len(edges)).double(), 0)
    assert not step[0].any()
    assert np.allclose(step[1:].flatten().numpy(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("false_loops", [0, 4, 10])
def test_wrong_loops_have_no_say(false_loops):
    """Drift of 1 % in each step around a circle of 40 nodes; 10 true loops; as many false ones as half of all."""
    count, generator = 40, torch.Generator().manual_seed(11)
    truth = circle(count)
    drift = Similarity(
        torch.tensor(1.005, dtype=torch.float64),
        rotation_from_vector(torch.tensor([0.002, 0.004, 0.0], dtype=torch.float64)),
        torch.zeros(3, dtype=torch.float64),
    )
    edges = [measure(truth, index, index + 1, drift.compose(noise(generator, 0.001))) for index in range(count - 1)]
    start = chain(edges, count)
    for index in range(10):
        edges.append(measure(truth, index, count - 10 + index, noise(generator, 0.01), deviation=0.02, robust=True))
    for _ in range(false_loops):
        first, second = torch.randint(0, count, (2,), generator=generator).tolist()
        same_place = Similarity(torch.ones(()).double(), torch.eye(3).double(), torch.zeros(3).double())
        edges.append(Edge(first, (second + 20) % count if first == second else second, same_place, 1.0, 0.02, True))
    solution = optimize(start, edges)
    centers = torch.stack([node.translation for node in truth])
    before = (start.translation - centers).norm(dim=-1).square().mean().sqrt()
    after = (solution.nodes.translation - centers).norm(dim=-1).square().mean().sqrt()
    assert after < 0.1 * before
    assert (solution.weights[count - 1 : count + 9] > 0.5).all()
    wrong = [
        edge
        for edge, weight in zip(edges[count + 9 :], solution.weights[count + 9 :], strict=True)
        if weight > 0.5
        and vector_from_rotation(truth[edge.first].rotation.mT @ truth[edge.second].rotation).norm() > 0.3
    ]
    assert wrong == []


def test_a_graph_without_loops_stays_as_it_is(assert_close):
    edges = [measure(circle(5), index, index + 1) for index in range(4)]
    nodes = chain(edges, 5)
    solution = optimize(nodes, edges)
    assert_close(solution.nodes.translation, nodes.translation)
    assert solution.weights.tolist() == [1.0] * 4


def test_a_node_without_edges_stays():
    edges = [measure(circle(3), 0, 1)]
    solution = optimize(stack_similarities(circle(3)), edges)
    assert torch.allclose(solution.nodes.translation[2], circle(3)[2].translation)
