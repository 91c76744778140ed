"""Protocols of single-picture depth: crops, ranges and alignments (benchmark 3.2 and 3.3)."""

from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float

from anyview.bench.datasets.scene import BenchFrame, BenchScene
from anyview.bench.metrics.depth import DepthAlignment, score_depth
from anyview.bench.options import DepthProtocol
from anyview.bench.results import Stored

GARG = (0.40810811, 0.99189189, 0.03594771, 0.96405229)
EIGEN = (0.3324324, 0.91351351, 0.0359477, 0.96405229)
"""First and last row, first and last column, in parts of the map's height and width."""
NYU_ROWS, NYU_COLUMNS = slice(45, 471), slice(41, 601)
BENCHMARK_CROP = (352, 1216)
"""(height, width) that KITTI's benchmark cuts pictures to: the bottom, in the middle."""


ROBUST_CELLS = 64
"""Rows and columns of cells that MoGe's alignment takes a pixel from."""


@dataclass(frozen=True)
class Rule:
    """What counts of a data set."""

    nearest: float
    farthest: float
    """Metres: truth outside of these does not count, and predictions are clamped to them."""
    crop: str | None = None
    """garg, eigen or nyu."""
    benchmark_crop: bool = False
    """Cut pictures and truth as KITTI's benchmark does, before the model sees them."""
    only: str = ""
    """Beginning of the names of scenes that count."""
    fit_side: int | None = None
    """Scale and shift are fitted at a nearest subsample of at most so many pixels a side; None: at all pixels."""
    largest_spread: float | None = None
    """Truth farther than this many times its nearest hundredth does not count; None: all does."""


@dataclass(frozen=True)
class Family:
    """A published way to score depth."""

    rules: dict[str, Rule]
    aligned: bool
    """Whether scale and shift are fitted: of depth, or of disparity for models that predict that."""
    align_corners: bool = False
    """How predictions are brought to the size of the truth."""
    robust: bool = False
    """Fit by least absolute relative errors at a pixel of each cell of `ROBUST_CELLS`, and least squares of disparity
    beside it, in columns of their own."""
    mirrored: bool = False
    """Average what a model says of a picture and of its mirror image."""


FAMILIES: dict[DepthProtocol, Family] = {
    "da2-rel": Family(
        {
            "kitti": Rule(1e-3, 80.0, "garg"),
            "nyu": Rule(1e-3, 10.0, "nyu"),
            "sintel": Rule(1e-3, 72.0),
            "eth3d": Rule(1e-3, 72.0),
            "diode": Rule(0.6, 350.0, only="indoors"),
            "sunrgbd": Rule(1e-3, 10.0),
        },
        aligned=True,
    ),
    "marigold-affine": Family(
        {
            "kitti": Rule(1e-5, 80.0, "eigen", benchmark_crop=True),
            "nyu": Rule(1e-3, 10.0, "nyu"),
            "eth3d": Rule(1e-5, float("inf"), fit_side=1024),
            "diode": Rule(0.6, 350.0),
        },
        aligned=True,
    ),
    "moge": Family({"moge": Rule(1e-3, float("inf"), largest_spread=1000.0)}, aligned=True, robust=True),
    "zoe-metric": Family(
        {
            "kitti": Rule(1e-3, 80.0, "garg", benchmark_crop=True),
            "nyu": Rule(1e-3, 10.0, "nyu"),
            "sunrgbd": Rule(1e-3, 8.0, "nyu"),
            "diode": Rule(1e-3, 10.0, "nyu", only="indoors"),
        },
        aligned=False,
        align_corners=True,
        mirrored=True,
    ),
    "unidepth-metric": Family(
        {
            "kitti": Rule(1e-3, 80.0, "garg", benchmark_crop=True),
            "nyu": Rule(1e-3, 10.0, "nyu"),
            "sunrgbd": Rule(1e-3, 8.0),
            "eth3d": Rule(1e-3, 50.0),
            "diode": Rule(1e-3, 25.0, only="indoors"),
        },
        aligned=False,
    ),
}
OWN_RULE = Rule(1e-3, float("inf"))
"""For data sets that no publication has a rule for: a user's own, and synthetic ones."""
PUBLISHED = ("kitti", "nyu", "sintel", "eth3d", "diode", "sunrgbd", "moge")


def rule_of(dataset: str, protocol: DepthProtocol) -> Rule:
    """Return what counts of a data set.

    Raises:
        ValueError: the protocol does not say.
    """
    rules = FAMILIES[protocol].rules
    if dataset in PUBLISHED and dataset not in rules:
        raise ValueError(f"the depth protocol {protocol} has no rule for {dataset}; it has for {', '.join(rules)}")
    return rules.get(dataset, OWN_RULE)


def cut_scene(scene: BenchScene, protocol: DepthProtocol) -> BenchScene:
    """Cut pictures and truth as the protocol wants them, and say whether models see mirror images too."""
    scene = replace(scene, mirrored=FAMILIES[protocol].mirrored)
    if not rule_of(scene.dataset, protocol).benchmark_crop:
        return scene
    return replace(scene, frames=tuple(_cut(frame) for frame in scene.frames))


def _cut(frame: BenchFrame) -> BenchFrame:
    height, width = BENCHMARK_CROP
    full_height, full_width = frame.read_size()
    top, left = full_height - height, (full_width - width) // 2
    if top < 0 or left < 0:
        raise ValueError(f"{frame.name} has {full_width}×{full_height} pixels, KITTI's crop {width}×{height}")
    window = slice(top, top + height), slice(left, left + width)
    matrix = None
    if frame.intrinsics is not None:
        matrix = frame.intrinsics.copy()
        matrix[:2, 2] -= (left, top)
    read_depth = frame.read_depth
    return replace(
        frame,
        read_picture=lambda: np.ascontiguousarray(frame.read_picture()[window]),
        read_size=lambda: BENCHMARK_CROP,
        intrinsics=matrix,
        read_depth=None if read_depth is None else lambda: read_depth()[window],
    )


def counted(truth: Float[np.ndarray, "height width"], rule: Rule) -> Bool[np.ndarray, "height width"]:
    """Return which pixels count: with truth, within the range, inside of the crop."""
    height, width = truth.shape
    inside = np.zeros(truth.shape, bool)
    if rule.crop is None:
        inside[:] = True
    elif rule.crop == "nyu":
        inside[NYU_ROWS, NYU_COLUMNS] = True
    else:
        top, bottom, left, right = GARG if rule.crop == "garg" else EIGEN
        inside[int(top * height) : int(bottom * height), int(left * width) : int(right * width)] = True
    inside &= np.isfinite(truth) & (truth > rule.nearest) & (truth < rule.farthest)
    if rule.largest_spread is not None and inside.any():
        inside &= truth <= rule.largest_spread * np.quantile(truth[inside], 0.01)
    return inside


def subsample(valid: Bool[np.ndarray, "height width"], longest: int | None) -> Bool[np.ndarray, "height width"]:
    """Keep those of the pixels that a nearest-neighbour reduction to ``longest`` pixels a side would take."""
    scale = 1.0 if longest is None else min(1.0, longest / max(valid.shape))
    if scale == 1:
        return valid
    rows, columns = ((np.arange(int(side * scale)) / scale).astype(int) for side in valid.shape)
    taken = np.zeros(valid.shape, bool)
    taken[np.ix_(rows, columns)] = True
    return valid & taken


def one_per_cell(valid: Bool[np.ndarray, "height width"], cells: int) -> Bool[np.ndarray, "height width"]:
    """Keep, of a grid of ``cells`` × ``cells``, the pixel of every cell that is nearest to the cell's middle."""
    (height, width), (rows, columns) = valid.shape, np.nonzero(valid)
    places = [(index + 0.5) * cells / side for index, side in ((rows, height), (columns, width))]
    down, across = (place.astype(int) for place in places)
    apart = (places[0] - down - 0.5) ** 2 + (places[1] - across - 0.5) ** 2
    cell = down * cells + across
    order = np.lexsort((apart, cell))
    first = order[np.unique(cell[order], return_index=True)[1]]
    taken = np.zeros(valid.shape, bool)
    taken[rows[first], columns[first]] = True
    return taken


def score_pictures(scene: BenchScene, stored: Stored, protocol: DepthProtocol) -> list[dict[str, float]]:
    """Score every picture that has truth.

    Raises:
        ValueError: the results hold no depth, or no picture has truth that counts.
    """
    family, rule = FAMILIES[protocol], rule_of(scene.dataset, protocol)
    if stored.depth is None:
        raise ValueError("the results hold no depth")
    scores = []
    for frame, said in zip(scene.frames, stored.depth, strict=True):
        assert frame.read_depth is not None
        truth = frame.read_depth()
        valid = counted(truth, rule)
        if not valid.any():
            continue
        predicted = torch.nn.functional.interpolate(
            torch.from_numpy(np.ascontiguousarray(said, np.float64))[None, None],
            truth.shape,
            mode="bilinear",
            align_corners=family.align_corners,
        )[0, 0]
        if stored.disparity:
            predicted = 1 / predicted.clamp(min=1e-12)
        scores.append(_score(predicted, truth, valid, family, rule, stored.disparity))
    if not scores:
        raise ValueError("no picture has truth that counts")
    return scores


def _score(
    predicted: Float[torch.Tensor, "height width"],
    truth: Float[np.ndarray, "height width"],
    valid: Bool[np.ndarray, "height width"],
    family: Family,
    rule: Rule,
    is_disparity: bool,
) -> dict[str, float]:
    alignment: DepthAlignment = "none"
    if family.robust:
        alignment = "affine_depth_l1"
    elif family.aligned:
        alignment = "affine_disparity" if is_disparity else "affine_depth"
    fitted = one_per_cell(valid, ROBUST_CELLS) if family.robust else subsample(valid, rule.fit_side)
    g, counts = torch.from_numpy(truth.astype(np.float64)), torch.from_numpy(valid)
    score = partial(score_depth, predicted, g, counts, nearest=rule.nearest, farthest=rule.farthest)
    scores = asdict(score(alignment=alignment, fitted=torch.from_numpy(fitted)))
    if family.robust:
        floor = 1 / float(truth[valid].max())
        beside = asdict(score(alignment="affine_disparity", smallest_disparity=floor))
        scores |= {f"{name}_disparity": value for name, value in beside.items()}
    return scores


def mean_scores(pictures: list[dict[str, float]]) -> dict[str, float]:
    """Average over pictures."""
    return {name: float(np.mean([picture[name] for picture in pictures])) for name in pictures[0]}
