"""Places seen before: candidates by the backbone's own tokens, verified by predicting both ends together."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import avg_pool2d

from anyview.geometry.camera import project, unproject_to_world
from anyview.options import StreamOptions
from anyview.streaming.frames import PosedViews, StreamFrame, WindowPredictor
from anyview.streaming.pose_graph import Edge
from anyview.streaming.scene_map import SceneMap
from anyview.streaming.seams import TOLERANCE, Seam, align_views, edge_deviation, typical_depth, valid_pixels
from anyview.streaming.store import StreamStore
from anyview.types import Cameras, Picture

LEAST_AGREEMENT = 0.7
"""Share of the points of either end that the joint prediction must agree with, in parts of what seams agree in: their
median in this stream. No network need be better at loops than it is at seams."""
LOOP_DEVIATION = 0.05
"""Of a loop between exact predictions."""
LEAST_SEEN = 0.1
"""Share of one end's points that must fall into the pictures of the other."""
LEAST_SHARED = 0.5
"""Share of these that must lie on the other's surfaces."""
LEAST_ALIKE = 0.5
"""Correlation of brightness that there must be where they do. It needs no geometry to be right: a network that places
all views alike makes every surface agree with every other."""
BLUR = 40
"""Pictures are compared after a blur by their width divided by this, which is as far as surfaces may be off."""
NEIGHBOURS = 2
"""Frames before and after that must look alike too."""
POINT_STRIDE = 4
"""Of the rows and columns of one end that are looked for in the other."""
BLOCK = 1024
"""Descriptors that are compared at once."""
ALIKE_QUANTILE = 0.25
"""Frames an overlap apart show one place; a loop's ends must be as alike as the least alike quarter of those."""


@dataclass(frozen=True)
class Candidate:
    """Two finished frames that may show one place, by their rows."""

    earlier: int
    later: int
    similarity: float


def find_candidates(
    descriptors: Float[Tensor, "frames channels"], first_new: int, *, gap: int, lag: int, most: int = 2
) -> list[Candidate]:
    """Find earlier frames that show what the frames from ``first_new`` on show, the most alike first.

    Descriptors are compared by the cosine between their differences from the stream's mean, which is what all its
    pictures have in common, and averaged over the neighbours of both frames, forward or backward: places are passed
    through, and a single picture that looks like another means little. How alike two views of one place must be is read
    from the stream itself: frames ``lag`` apart are such views. At least ``gap`` frames must lie between. Candidates
    near a better one are left out.
    """
    count = len(descriptors)
    if count <= max(gap, lag) or first_new >= count:
        return []
    mean = descriptors.mean(0, dtype=torch.float64).float()
    usual = [
        (_directions(descriptors[start + lag : start + lag + BLOCK], mean) * _directions(part, mean)).sum(-1)
        for start, part in _blocks(descriptors[:-lag])
    ]
    threshold = torch.cat(usual).quantile(ALIKE_QUANTILE)
    rows, columns = torch.arange(first_new, count), torch.arange(count)
    similarity = _along_the_way(descriptors, mean, first_new)
    allowed = (rows[:, None] - columns > gap) & (similarity >= threshold)
    similarity = torch.where(allowed, similarity, -torch.inf)
    found: list[Candidate] = []
    while len(found) < most and similarity.isfinite().any():
        new, old = divmod(int(similarity.argmax()), count)
        found.append(Candidate(old, first_new + new, float(similarity[new, old])))
        similarity[max(0, new - lag) : new + lag + 1, max(0, old - lag) : old + lag + 1] = -torch.inf
    return found


def _along_the_way(
    descriptors: Float[Tensor, "frames channels"], mean: Float[Tensor, " channels"], first_new: int
) -> Float[Tensor, "new frames"]:
    """Mean similarity of new frames and their neighbours to all frames and theirs, in the better of two directions."""
    count = len(descriptors)
    start = max(0, first_new - NEIGHBOURS)
    new = _directions(descriptors[start:], mean)
    single = torch.cat([new @ _directions(part, mean).T for _, part in _blocks(descriptors)], 1)
    rows, columns = torch.arange(first_new, count), torch.arange(count)
    both = []
    for direction in (1, -1):
        total = torch.zeros(len(rows), count)
        for offset in range(-NEIGHBOURS, NEIGHBOURS + 1):
            near_rows = (rows + offset).clamp(0, count - 1) - start
            near_columns = (columns + direction * offset).clamp(0, count - 1)
            total += single[near_rows][:, near_columns]
        both.append(total / (2 * NEIGHBOURS + 1))
    return torch.maximum(*both)


def _blocks(descriptors: Float[Tensor, "frames channels"]) -> Iterator[tuple[int, Float[Tensor, "some channels"]]]:
    """Cut descriptors into parts, with where each starts: they are never copied as a whole."""
    return ((start, descriptors[start : start + BLOCK]) for start in range(0, len(descriptors), BLOCK))


def _directions(
    descriptors: Float[Tensor, "some channels"], mean: Float[Tensor, " channels"]
) -> Float[Tensor, "some channels"]:
    return torch.nn.functional.normalize(descriptors.float() - mean, dim=-1)


def look_for_loops(
    first_new: int, predictor: WindowPredictor, scene: SceneMap, store: StreamStore, options: StreamOptions
) -> tuple[tuple[Edge, ...], int]:
    """Look for the places of the frames from ``first_new`` on; return the loops that hold, and how many were tried."""
    if not options.loops or scene.count_frames() == 0:
        return (), 0
    owners = scene.frames.owner
    loops: list[Edge] = []
    tried = 0
    for candidate in find_candidates(scene.frames.descriptors, first_new, gap=options.loop_gap, lag=options.overlap):
        first, second = int(owners[candidate.earlier]), int(owners[candidate.later])
        if same_edge([*scene.loops, *loops], first, second):
            continue
        tried += 1
        edge = verify(candidate, predictor, scene, store, options.loop_views)
        if edge is not None:
            loops.append(edge)
    return tuple(loops), tried


def verify(
    candidate: Candidate, predictor: WindowPredictor, scene: SceneMap, store: StreamStore, views: int
) -> Edge | None:
    """Predict both ends of a loop together; return where the later window lies in the earlier's frame, if it holds.

    The joint prediction must fit onto what is known of either end, and the two ends must see the same surfaces in it. A
    network that takes two places for one fits them together, but rarely so that their surfaces agree.
    """
    earlier, later = _around(candidate.earlier, scene, store, views), _around(candidate.later, scene, store, views)
    owners = scene.frames.owner
    first, second = int(owners[candidate.earlier]), int(owners[candidate.later])
    if not earlier or not later or first == second:
        return None
    known_earlier, known_later = _stored_views(earlier, scene, store), _stored_views(later, scene, store)
    rows = scene.frames
    frames = [
        StreamFrame(int(rows.index[row]), float(rows.time_s[row]), Picture(image.numpy(), rows.names[row]))
        for part, known in ((earlier, known_earlier), (later, known_later))
        for row, image in zip(part, known.images, strict=True)
    ]
    joint = predictor.predict_window(frames).views
    joint_earlier, joint_later = joint[: len(earlier)], joint[len(earlier) :]
    onto_earlier, onto_later = align_views(joint_earlier, known_earlier), align_views(joint_later, known_later)
    least, tolerance = usual_agreement(scene.seam_fits)
    if min(onto_earlier.inliers, onto_later.inliers) < least:
        return None
    if not see_the_same(joint_earlier, joint_later, tolerance):
        return None
    relative = onto_earlier.similarity.compose(onto_later.similarity.inverse())
    deviation = math.hypot(
        edge_deviation(onto_earlier, len(earlier), LOOP_DEVIATION / math.sqrt(2)),
        edge_deviation(onto_later, len(later), LOOP_DEVIATION / math.sqrt(2)),
    )
    return Edge(first, second, relative, typical_depth(known_later), deviation, robust=True)


def usual_agreement(seams: Sequence[Seam]) -> tuple[float, float]:
    """Return what a stream's seams make one expect of its loops.

    Returns:
        The least share of inliers, and the relative error up to which surfaces count as the same: two of the seams'
        deviations where they are that large.
    """
    inliers = torch.tensor([seam.inliers for seam in seams], dtype=torch.float64).median()
    error = torch.tensor([seam.error for seam in seams], dtype=torch.float64).median()
    return LEAST_AGREEMENT * float(inliers), max(TOLERANCE, 2 * float(error))


def see_the_same(first: PosedViews, second: PosedViews, tolerance: float = TOLERANCE) -> bool:
    """Whether enough of what either set of views shows lies on the surfaces of the other, and looks the same."""
    for source, target in ((first, second), (second, first)):
        seen, shared, alike = _shared(source, target, tolerance)
        if seen < LEAST_SEEN or shared < LEAST_SHARED or not alike >= LEAST_ALIKE:
            return False
    return True


def _shared(source: PosedViews, target: PosedViews, tolerance: float) -> tuple[float, float, float]:
    """Look for the source's points in the target's views.

    Returns:
        The share that falls into one, of these the share on its surfaces, and the correlation of brightness there.
    """
    every = (slice(None), slice(None, None, POINT_STRIDE), slice(None, None, POINT_STRIDE))
    chosen = valid_pixels(source)[every]
    points = unproject_to_world(source.depth, source.cameras)[every][chosen]
    shade, target_shade = _blurred(source.images)[every][chosen], _blurred(target.images)
    has_depth = valid_pixels(target)
    height, width = target.depth.shape[1:]
    seen = torch.zeros(len(points), dtype=torch.bool)
    shared = torch.zeros_like(seen)
    pairs = []
    for view in range(len(target)):
        camera = Cameras(target.cameras.world_to_camera[view], target.cameras.intrinsics[view])
        pixels, depth = project(points, camera)
        inside = (depth > 0) & (pixels >= 0).all(-1) & (pixels[:, 0] < width) & (pixels[:, 1] < height)
        column, row = pixels.nan_to_num(0).clamp(min=0).long().unbind(-1)
        column, row = column.clamp(max=width - 1), row.clamp(max=height - 1)
        inside = inside & has_depth[view, row, column]
        there = target.depth[view, row, column]
        # What lies before or behind is hidden or hides: it is seen, and it is not shared.
        meets = inside & (((depth - there) / there).abs() < tolerance)
        pairs.append(torch.stack([shade[meets], target_shade[view, row[meets], column[meets]]]))
        shared |= meets
        seen |= inside
    share_seen = float(seen.double().mean()) if len(seen) else 0.0
    share_shared = float(shared[seen].double().mean()) if share_seen > 0 else 0.0
    return share_seen, share_shared, correlation(*torch.cat(pairs, 1))


def correlation(first: Float[Tensor, " values"], second: Float[Tensor, " values"]) -> float:
    """Return Pearson's coefficient, and 0 where either does not vary."""
    first, second = first - first.mean(), second - second.mean()
    norm = first.norm() * second.norm()
    return float((first * second).sum() / norm) if norm > 0 else 0.0


def _blurred(images: UInt8[Tensor, "views height width 3"]) -> Float[Tensor, "views height width"]:
    """Return the brightness of pictures, blurred."""
    grey = images.float().mean(-1)
    radius = max(1, round(images.shape[2] / BLUR / 2))
    size = 2 * radius + 1
    return avg_pool2d(grey[:, None], size, stride=1, padding=radius, count_include_pad=False)[:, 0]


def _around(row: int, scene: SceneMap, store: StreamStore, count: int) -> list[int]:
    """Rows of the stored frames nearest to one, of its window, in order."""
    rows = scene.frames
    mates = (rows.owner == rows.owner[row]).nonzero()[:, 0].tolist()
    stored = [mate for mate in mates if store.has_frame(int(rows.index[mate]))]
    return sorted(sorted(stored, key=lambda mate: abs(mate - row))[:count])


def _stored_views(rows: Sequence[int], scene: SceneMap, store: StreamStore) -> PosedViews:
    """Views of one window, as stored, in its frame and unit."""
    frames = scene.frames
    parts = [store.read_frame(int(frames.index[row])) for row in rows]
    images, depth, confidence = (torch.stack(values) for values in zip(*parts, strict=True))
    index = list(rows)
    return PosedViews(
        images, depth, confidence, Cameras(frames.world_to_camera[index].float(), frames.intrinsics[index].float())
    )


def same_edge(edges: Sequence[Edge], first: int, second: int) -> bool:
    """Whether there is an edge between two windows already."""
    return any(edge.first == first and edge.second == second for edge in edges)
