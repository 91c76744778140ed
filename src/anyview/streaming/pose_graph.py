"""A graph of similarities: windows as nodes, measured relative similarities as edges, some of them wrong.

Nodes are the similarities from a window's own frame and unit to the world. An edge says where its second window lies
in the frame of its first. Errors have no unit: rotation in radians, translation in parts of the edge's ``unit`` (the
typical depth of the second window, in its own unit), and the logarithm of scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from anyview.geometry.alignment import Similarity
from anyview.geometry.rotation_vector import (
    cross_matrix,
    right_jacobian_inverse,
    rotation_from_vector,
    vector_from_rotation,
)

FREEDOMS = 7
"""Of a similarity: rotation vector, translation, logarithm of scale, in this order."""
KERNEL_WIDTH = 4.0
"""Deviations: a robust edge whose error stays beyond this is let go of. 4.3 is the 99th percentile of 7 normal ones."""
ANNEALING = 1.6
"""Factor by which the kernel narrows from round to round."""
STEPS_ON_THE_WAY = 3
MOST_STEPS = 50
"""Of each round but the last, and of the last."""
SMALL_STEP = 1e-9
SMALL_GAIN = 1e-7
"""Relative decrease of the cost that ends a round."""
_DAMPING = 1e-9
"""Of the normal equations, in parts of their diagonal: nodes that no edge holds stay where they are."""


@dataclass(frozen=True)
class Edge:
    """A measured relative similarity."""

    first: int
    second: int
    second_to_first: Similarity
    unit: float
    """Length, in the unit of the second window, that counts as 1."""
    deviation: float = 0.01
    """Standard deviation of each of the seven errors."""
    robust: bool = False
    """Whether the edge may turn out to be wrong."""
    scale_deviation: float | None = None
    """That of the scale, where it is another: infinite, if the edge says nothing about scale."""
    origin: Float[Tensor, "3"] | None = None
    """Point of the second window whose place was measured; None for its frame's origin."""


@dataclass(frozen=True)
class Solution:
    """The nodes that fit best, and how far each edge was believed."""

    nodes: Similarity
    weights: Float[Tensor, " edges"]
    """0 to 1; below 0.5 an edge counts as wrong."""


@dataclass(frozen=True)
class _Edges:
    """All edges as tensors."""

    first: Int[Tensor, " edges"]
    second: Int[Tensor, " edges"]
    measured: Similarity
    unit: Float[Tensor, " edges"]
    origin: Float[Tensor, "edges 3"]
    deviation: Float[Tensor, "edges 7"]
    robust: Float[Tensor, " edges"]
    """1 for robust edges, 0 for others."""


def optimize(nodes: Similarity, edges: Sequence[Edge], fixed: int = 0) -> Solution:
    """Move all nodes but the ``fixed`` one to where the edges want them, in float64.

    Graduated non-convexity (Yang and others 2020) with Geman and McClure's kernel: the kernel begins so wide that all
    robust edges pull, and narrows until those that still disagree have no say. Edges that are not robust always pull.
    Needs the extra ``streaming``.
    """
    system = _stack(edges)
    nodes = Similarity(nodes.scale.double(), nodes.rotation.double(), nodes.translation.double())
    robust = system.robust > 0
    whitened = edge_errors(nodes, system).norm(dim=-1)
    largest = whitened[robust].max().item() if robust.any() else 0.0
    control = max(2 * (largest / KERNEL_WIDTH) ** 2, 1.0)
    weights = torch.ones_like(whitened)
    while True:
        most_steps = STEPS_ON_THE_WAY if control > 1.0 else MOST_STEPS
        nodes, weights = _converge(nodes, system, control, fixed, most_steps)
        if control <= 1.0:
            return Solution(nodes, weights)
        control = max(control / ANNEALING, 1.0)


def edge_errors(nodes: Similarity, edges: _Edges) -> Float[Tensor, "edges 7"]:
    """Compute what is left of each edge, measured⁻¹ · first⁻¹ · second, in deviations."""
    error = edges.measured.inverse().compose(_take(nodes, edges.first).inverse().compose(_take(nodes, edges.second)))
    shift = error.apply(edges.origin[:, None])[:, 0] - edges.origin
    raw = torch.cat(
        [
            vector_from_rotation(error.rotation),
            shift / edges.unit[:, None],
            error.scale.log()[:, None],
        ],
        -1,
    )
    return raw / edges.deviation


def error_derivatives(
    nodes: Similarity, edges: _Edges
) -> tuple[Float[Tensor, "edges 7 7"], Float[Tensor, "edges 7 7"]]:
    """Differentiate `edge_errors` by small changes of both nodes, made from the right as `move` makes them."""
    relative = _take(nodes, edges.first).inverse().compose(_take(nodes, edges.second))
    measured = edges.measured
    error = measured.inverse().compose(relative)
    to_right = right_jacobian_inverse(vector_from_rotation(error.rotation))
    back = measured.rotation.mT
    shrink = (back / measured.scale[:, None, None]) / edges.unit[:, None, None]
    place = relative.apply(edges.origin[:, None])[:, 0]
    by_first = torch.zeros(len(edges.unit), FREEDOMS, FREEDOMS, dtype=torch.float64)
    by_first[:, :3, :3] = -to_right.mT @ back
    by_first[:, 3:6, :3] = shrink @ cross_matrix(place)
    by_first[:, 3:6, 3:6] = -shrink
    by_first[:, 3:6, 6] = -(shrink @ place[..., None])[..., 0]
    by_first[:, 6, 6] = -1
    grow = error.scale[:, None, None] * error.rotation / edges.unit[:, None, None]
    by_second = torch.zeros_like(by_first)
    by_second[:, :3, :3] = to_right
    by_second[:, 3:6, :3] = -grow @ cross_matrix(edges.origin)
    by_second[:, 3:6, 3:6] = grow
    by_second[:, 3:6, 6] = (grow @ edges.origin[..., None])[..., 0]
    by_second[:, 6, 6] = 1
    deviation = edges.deviation[..., None]
    return by_first / deviation, by_second / deviation


def move(nodes: Similarity, step: Float[Tensor, "nodes 7"]) -> Similarity:
    """Change nodes from the right by (rotation vector, translation, logarithm of scale)."""
    change = Similarity(step[:, 6].exp(), rotation_from_vector(step[:, :3]), step[:, 3:6])
    return nodes.compose(change)


def _converge(
    nodes: Similarity, edges: _Edges, control: float, fixed: int, most_steps: int
) -> tuple[Similarity, Float[Tensor, " edges"]]:
    """Reweight and step until neither changes much; a step that makes the cost worse is halved."""
    errors = edge_errors(nodes, edges)
    cost, weights = _kernel(errors, edges, control)
    for _ in range(most_steps):
        step = gauss_newton_step(nodes, edges, errors, weights, fixed)
        before = cost
        while True:
            moved = move(nodes, step)
            errors = edge_errors(moved, edges)
            cost, weights = _kernel(errors, edges, control)
            if cost <= before or step.abs().max() <= SMALL_STEP:
                break
            step = step / 2
        nodes = moved
        if step.abs().max() <= SMALL_STEP or before - cost <= SMALL_GAIN * before:
            break
    return nodes, weights


def _kernel(errors: Float[Tensor, "edges 7"], edges: _Edges, control: float) -> tuple[float, Float[Tensor, " edges"]]:
    """Return the cost of errors under the kernel, and the weights that make least squares of it."""
    squares = errors.square().sum(-1)
    width = control * KERNEL_WIDTH**2
    believed = width / (squares + width)
    is_robust = edges.robust > 0
    cost = torch.where(is_robust, believed * squares, squares).sum().item()
    return cost, torch.where(is_robust, believed.square(), 1.0)


def gauss_newton_step(
    nodes: Similarity,
    edges: _Edges,
    errors: Float[Tensor, "edges 7"],
    weights: Float[Tensor, " edges"],
    fixed: int,
) -> Float[Tensor, "nodes 7"]:
    """Solve (Jᵀ W J) step = −Jᵀ W r, damped: sparse, since windows know few others.

    The fixed node's rows and columns are those of the identity.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import splu

    count = len(nodes.scale)
    by_first, by_second = error_derivatives(nodes, edges)
    ends = ((edges.first, by_first), (edges.second, by_second))
    gradient = torch.zeros(count, FREEDOMS, dtype=torch.float64)
    rows, columns, values = [], [], []
    within = torch.arange(FREEDOMS)
    for row_node, row_part in ends:
        weighted = row_part * (weights * (row_node != fixed))[:, None, None]
        gradient.index_add_(0, row_node, (weighted.mT @ errors[..., None])[..., 0])
        for column_node, column_part in ends:
            block = (weighted * (column_node != fixed)[:, None, None]).mT @ column_part
            row = (FREEDOMS * row_node)[:, None, None] + within[:, None]
            column = (FREEDOMS * column_node)[:, None, None] + within
            rows.append(row.expand_as(block).flatten())
            columns.append(column.expand_as(block).flatten())
            values.append(block.flatten())
    gradient[fixed] = 0
    unknowns = count * FREEDOMS
    indices = (torch.cat(rows).numpy(), torch.cat(columns).numpy())
    normal = coo_matrix((torch.cat(values).numpy(), indices), shape=(unknowns, unknowns)).tocsc()
    diagonal = normal.diagonal()
    damping = _DAMPING * (diagonal + diagonal.mean())
    damping[FREEDOMS * fixed : FREEDOMS * (fixed + 1)] = 1.0
    damped = normal + coo_matrix((damping, (range(unknowns), range(unknowns))), shape=normal.shape).tocsc()
    return torch.from_numpy(splu(damped).solve(-gradient.flatten().numpy())).view(count, FREEDOMS)


def _stack(edges: Sequence[Edge]) -> _Edges:
    def column(name: str) -> Tensor:
        return torch.tensor([float(getattr(edge, name)) for edge in edges], dtype=torch.float64)

    deviation = column("deviation")[:, None].repeat(1, FREEDOMS)
    for row, edge in enumerate(edges):
        if edge.scale_deviation is not None:
            deviation[row, 6] = edge.scale_deviation
    nowhere = torch.zeros(3, dtype=torch.float64)
    return _Edges(
        first=torch.tensor([edge.first for edge in edges]),
        second=torch.tensor([edge.second for edge in edges]),
        measured=stack_similarities([edge.second_to_first for edge in edges]),
        unit=column("unit"),
        origin=torch.stack([nowhere if edge.origin is None else edge.origin.double() for edge in edges]),
        deviation=deviation,
        robust=column("robust"),
    )


def stack_similarities(similarities: Sequence[Similarity]) -> Similarity:
    """Join similarities along a new first dimension, in float64."""
    return Similarity(
        torch.stack([one.scale.double() for one in similarities]),
        torch.stack([one.rotation.double() for one in similarities]),
        torch.stack([one.translation.double() for one in similarities]),
    )


def _take(nodes: Similarity, index: Int[Tensor, " edges"]) -> Similarity:
    return Similarity(nodes.scale[index], nodes.rotation[index], nodes.translation[index])
