"""Protocols of single-picture depth on small fakes."""

import fake_sets
import numpy as np
import pytest

from anyview.bench.options import BenchOptions
from anyview.bench.results import RunFolder
from anyview.bench.rivals.rival import Answer, Question
from anyview.bench.runner import find_work, run
from anyview.bench.single import FAMILIES, Rule, counted, rule_of


@pytest.mark.parametrize(
    ("crop", "rows", "columns"),
    [
        ("garg", (153, 371), (44, 1197)),  # of 375 × 1242, as printed in evaluators of KITTI
        ("eigen", (124, 342), (44, 1197)),
        (None, (0, 375), (0, 1242)),
    ],
)
def test_crops_of_kitti_follow_the_size_of_the_map(crop, rows, columns):
    inside = counted(np.full((375, 1242), 5.0), Rule(1e-3, 80.0, crop))
    assert (np.flatnonzero(inside.any(1))[[0, -1]] + [0, 1]).tolist() == list(rows)
    assert (np.flatnonzero(inside.any(0))[[0, -1]] + [0, 1]).tolist() == list(columns)
    assert inside.sum() == (rows[1] - rows[0]) * (columns[1] - columns[0])


def test_the_crop_of_nyu_is_constant():
    inside = counted(np.full((480, 640), 5.0), Rule(1e-3, 10.0, "nyu"))
    assert inside.sum() == (470 - 45 + 1) * (600 - 41 + 1)
    assert inside[45, 41]
    assert inside[470, 600]


def test_truth_outside_of_the_range_does_not_count():
    truth = np.array([[0.0, 0.5, 5.0, 80.0, np.inf, np.nan, 79.9]])
    assert counted(truth, Rule(1e-3, 80.0)).tolist() == [[False, True, True, False, False, False, True]]


def test_a_protocol_without_a_rule_is_refused():
    with pytest.raises(ValueError, match="marigold-affine has no rule for sintel; it has for kitti, nyu"):
        rule_of("sintel", "marigold-affine")
    assert rule_of("synth", "marigold-affine").crop is None
    assert rule_of("diode", "da2-rel").only == "indoors"


class Depths:
    """Says of each picture a function of its true depth."""

    name = "depths"
    tasks = ("depth",)

    def __init__(self, scenes, say, disparity=False):
        self.known = {f.read_picture().tobytes(): f.read_depth() for scene in scenes for f in scene.frames}
        self.say, self.disparity = say, disparity
        self.identity = {"model": "depths"}

    def answer(self, question: Question) -> Answer:
        (picture,) = question.pictures
        depth = self.known[picture.pixels.tobytes()].astype(np.float32)
        return Answer(depth=(self.say(depth),), disparity=self.disparity)


def scored(data: str, say, folder, **options):
    chosen = BenchOptions(**options)
    work = find_work([data], "depth", chosen)
    model = Depths([item.scene for item in work], say, options.get("disparity", False))
    return work, run(work, model, chosen, RunFolder(folder))


@pytest.mark.parametrize("name", [name for name in fake_sets.SINGLE if name != "eth3d"])
def test_scaled_and_shifted_truth_scores_one(name, tmp_path):
    if name == "nyu":
        pytest.importorskip("h5py")
    (tmp_path / "data").mkdir()
    fake_sets.SINGLE[name](tmp_path / "data")
    for outcome in scored(f"{name}:{tmp_path / 'data'}", lambda depth: 3 * depth + 0.5, tmp_path / "run")[1]:
        assert outcome.reason is None
        assert outcome.metrics["delta1"] == 1
        assert outcome.metrics["abs_rel"] < 1e-5


def test_metric_protocols_align_nothing(tmp_path):
    (tmp_path / "data").mkdir()
    fake_sets.write_single_sunrgbd(tmp_path / "data")
    data = f"sunrgbd:{tmp_path / 'data'}"
    _, (outcome,) = scored(data, lambda depth: 1.1 * depth, tmp_path / "run", depth_protocol="unidepth-metric")
    # Predictions beyond the cap of 8 m are clamped to it, so that the farthest tenth is closer than 10 %.
    assert 0.09 < outcome.metrics["abs_rel"] < 0.1
    assert len(outcome.pictures) == 2


def test_the_crop_of_kittis_benchmark_comes_before_the_model(tmp_path):
    (tmp_path / "data").mkdir()
    fake_sets.write_single_kitti(tmp_path / "data")
    data = f"kitti:{tmp_path / 'data'}"
    work, (outcome,) = scored(data, lambda depth: depth, tmp_path / "run", depth_protocol="unidepth-metric")
    frame = work[0].scene.frames[0]
    assert frame.read_picture().shape == (352, 1216, 3)
    assert frame.read_depth()[-1, 0] == pytest.approx(4, abs=0.01)
    assert frame.intrinsics[:2, 2].tolist() == [609 - 13, 172 - 24]
    assert outcome.metrics["delta1"] == 1


def test_families_name_published_sets_only():
    for family in FAMILIES.values():
        assert set(family.rules) <= set(fake_sets.SINGLE)
