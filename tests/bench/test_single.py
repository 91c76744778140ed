"""Protocols of single-picture depth on small fakes."""

import json
from dataclasses import replace

import fake_pictures
import numpy as np
import pytest
import torch

from anyview.bench.metrics.depth import score_depth
from anyview.bench.options import BenchOptions
from anyview.bench.results import RunFolder
from anyview.bench.rivals.rival import Answer, Question
from anyview.bench.runner import find_work, run
from anyview.bench.single import FAMILIES, Rule, counted, one_per_cell, rule_of, subsample
from anyview.bench.summary import means_of_parts
from anyview.bench.tables import comparison, read_run

MARIGOLD = "marigold-affine"


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


@pytest.mark.parametrize("name", [name for name in fake_pictures.SINGLE if name not in ("eth3d", "moge")])
def test_scaled_and_shifted_truth_scores_one(name, tmp_path):
    if name == "nyu":
        pytest.importorskip("h5py")
    (tmp_path / "data").mkdir()
    fake_pictures.SINGLE[name](tmp_path / "data")
    for outcome in scored(f"{name}:{tmp_path / 'data'}", lambda depth: 3 * depth + 0.5, tmp_path / "run")[1]:
        assert outcome.reason is None
        assert outcome.metrics["delta1"] == 1
        assert outcome.metrics["abs_rel"] < 1e-5


def test_metric_protocols_align_nothing(tmp_path):
    (tmp_path / "data").mkdir()
    fake_pictures.write_single_sunrgbd(tmp_path / "data")
    data = f"sunrgbd:{tmp_path / 'data'}"
    _, (outcome,) = scored(data, lambda depth: 1.1 * depth, tmp_path / "run", depth_protocol="unidepth-metric")
    # Predictions beyond the cap of 8 m are clamped to it, so that the farthest tenth is closer than 10 %.
    assert 0.09 < outcome.metrics["abs_rel"] < 0.1
    assert len(outcome.pictures) == 2


def test_the_crop_of_kittis_benchmark_comes_before_the_model(tmp_path):
    (tmp_path / "data").mkdir()
    fake_pictures.write_single_kitti(tmp_path / "data")
    data = f"kitti:{tmp_path / 'data'}"
    work, (outcome,) = scored(data, lambda depth: depth, tmp_path / "run", depth_protocol="unidepth-metric")
    frame = work[0].scene.frames[0]
    assert frame.read_picture().shape == (352, 1216, 3)
    assert frame.read_depth()[-1, 0] == pytest.approx(4, abs=0.01)
    assert frame.intrinsics[:2, 2].tolist() == [609 - 13, 172 - 24]
    assert outcome.metrics["delta1"] == 1


def test_families_name_published_sets_only():
    for family in FAMILIES.values():
        assert set(family.rules) <= set(fake_pictures.SINGLE)


def test_halves_of_diode_have_means_of_their_own(tmp_path):
    """Beside the mean over all; where one half counts alone, its mean is the mean."""
    (tmp_path / "data").mkdir()
    fake_pictures.write_single_diode(tmp_path / "data")
    outcomes = scored(f"diode:{tmp_path / 'data'}", lambda depth: depth, tmp_path / "run", depth_protocol=MARIGOLD)[1]
    assert [outcome.scene.partition("/")[0] for outcome in outcomes] == ["indoors", "outdoor"]
    halves = means_of_parts([replace(outcomes[0], metrics={"delta1": 0.5}, pictures=({"delta1": 0.5},)), outcomes[1]])
    assert [(mean.dataset, mean.metrics["delta1"]) for mean in halves] == [("diode indoors", 0.5), ("diode outdoor", 1)]
    assert means_of_parts(outcomes[:1]) == []  # da2-rel and the metric protocols count indoors only
    (table,) = comparison([read_run(tmp_path / "run")])
    assert table.columns[3:7] == ("diode", "diode indoors", "diode outdoor", "scenes")
    assert table.rows[0][6].text == "2/2"
    document = json.loads((tmp_path / "run" / "metric_results" / "diode_depth.json").read_text())
    assert set(document["mean_of_parts"]) == {"indoors", "outdoor"}


def test_zoedepths_protocol_averages_mirror_images(tmp_path):
    """What is wrong to the right in a picture is wrong to the left in its mirror image: 1 ± 0.2 becomes 1."""
    (tmp_path / "data").mkdir()
    fake_pictures.write_single_kitti(tmp_path / "data")
    work = find_work([f"kitti:{tmp_path / 'data'}"], "depth", BenchOptions(depth_protocol="zoe-metric"))
    asked = []

    class Slanted:
        name, tasks, identity = "slanted", ("depth",), {"model": "slanted"}

        def answer(self, question: Question) -> Answer:
            asked.append((question.pictures[0].pixels, question.intrinsics))
            return Answer(depth=(np.tile(np.linspace(0.8, 1.2, 1216, dtype=np.float32), (352, 1)),))

    folder = RunFolder(tmp_path / "run")
    run(work, Slanted(), BenchOptions(depth_protocol="zoe-metric"), folder)
    stored = folder.read_answer(work[0].scene, "single")
    assert np.allclose(stored.depth[0], 1, atol=1e-6)
    assert len(asked) == 2 * len(work[0].scene)
    (straight, matrix), (mirrored, mirrored_matrix) = asked[:2]
    assert np.array_equal(mirrored, straight[:, ::-1])
    assert mirrored_matrix[0, 0, 2] == 1216 - matrix[0, 0, 2]
    assert not find_work([f"kitti:{tmp_path / 'data'}"], "depth", BenchOptions())[0].scene.mirrored


def test_marigolds_protocol_fits_eth3d_at_a_subsample():
    """Half of 2048 columns: every second pixel has a say, and what lies between has none."""
    taken = subsample(np.ones((6, 2048), bool), 1024)
    assert np.argwhere(taken)[:3].tolist() == [[0, 0], [0, 2], [0, 4]]
    assert taken.sum() == 3 * 1024
    assert subsample(np.ones((6, 1024), bool), 1024).all()
    assert rule_of("eth3d", MARIGOLD).fit_side == 1024
    truth = torch.linspace(1, 9, 12).reshape(2, 6).double()
    spoilt = 2 * truth + 1
    spoilt[:, 1::2] = 100  # pixels that are not fitted at
    fitted = torch.zeros(2, 6, dtype=torch.bool)
    fitted[:, ::2] = True
    for alignment in ("affine_depth", "affine_depth_l1"):
        scores = score_depth(spoilt, truth, truth > 0, alignment, fitted=fitted)
        assert scores.delta1 == 0.5
    disparity = score_depth(1 / (3 / truth + 0.5), truth, truth > 0, "affine_disparity", fitted=fitted)
    assert disparity.abs_rel == pytest.approx(0, abs=1e-9)


def test_eigens_list_chooses_the_pictures_of_kitti(tmp_path):
    fake_pictures.write_single_kitti(tmp_path)
    drive = "2011_09_26/2011_09_26_drive_0002_sync"
    data = f"kitti:{tmp_path}"
    for line in (f"{drive}/image_02/data/0000000001.png {drive} 721.5", f"{drive} 1 l", f"{drive} 0000000001 l"):
        (tmp_path / "eigen_test.txt").write_text(f"{line}\n{drive} 0000000999 l\n\n")  # one has no depth
        (item,) = find_work([data], "depth", BenchOptions())
        assert [frame.name for frame in item.scene.frames] == ["0000000001.png"]
    (tmp_path / "eigen_test.txt").write_text("what is this\n")
    with pytest.raises(ValueError, match=r"eigen_test.txt: expected DATE/DRIVE/image_02/data/ID.png or DATE/DRIVE ID"):
        find_work([data], "depth", BenchOptions())


def test_moges_bundles_are_decoded(tmp_path):
    fake_pictures.write_single_moge(tmp_path)
    (nyu, sintel) = find_work([f"moge:{tmp_path}"], "depth", BenchOptions(depth_protocol="moge"))
    assert (nyu.scene.name, sintel.scene.name) == ("NYUv2/0000", "Sintel/0000")
    (frame,) = nyu.scene.frames
    assert frame.name == "NYUv2/some/0001"
    assert frame.intrinsics.tolist() == pytest.approx(np.array([[57.6, 0, 32], [0, 57.6, 24], [0, 0, 1]]))
    depth = frame.read_depth()
    assert not depth[:2].any()
    assert depth[5].tolist() == pytest.approx(np.linspace(2, 8, 64), rel=1e-4)
    with pytest.raises(ValueError, match="the depth protocol da2-rel has no rule for moge; it has for kitti"):
        find_work([f"moge:{tmp_path}"], "depth", BenchOptions())
    (tmp_path / "Sintel" / "some" / "0001" / "meta.json").write_text("{}")
    with pytest.raises(ValueError, match=r"meta.json: expected 3×3 intrinsics"):
        find_work([f"moge:{tmp_path}"], "depth", BenchOptions(depth_protocol="moge"))


def test_moges_protocol_fits_depth_robustly_and_disparity_beside_it(tmp_path):
    """An outlier does not disturb the robust fit; scaled and shifted depth is no scaled and shifted disparity."""

    def say(depth: np.ndarray) -> np.ndarray:
        said = 3 * depth + 0.5
        said[20:24, :8] = 40
        return said

    (tmp_path / "data").mkdir()
    fake_pictures.write_single_moge(tmp_path / "data")
    _, outcomes = scored(f"moge:{tmp_path / 'data'}", say, tmp_path / "run", depth_protocol="moge")
    share = 1 - 4 * 8 / (46 * 64)
    for outcome in outcomes:
        assert outcome.metrics["delta1"] == pytest.approx(share, abs=1e-3)
        assert outcome.metrics["abs_rel_disparity"] > 0.01
    assert [mean.dataset for mean in means_of_parts(outcomes)] == ["moge NYUv2", "moge Sintel"]


def test_far_truth_is_judged_by_the_near():
    """The nearest hundredth is at 1: what is farther than 1000 does not count."""
    truth = np.full((10, 20), 1.0)
    truth[0, :3] = (999, 1001, 5000)
    inside = counted(truth, rule_of("moge", "moge"))
    assert inside[0, :4].tolist() == [True, False, False, True]


def test_every_cell_gives_its_middle_pixel():
    valid = np.ones((8, 12), bool)
    taken = one_per_cell(valid, 4)  # cells of 2 × 3: the middle column, and the first of two equal rows
    assert np.argwhere(taken)[:4].tolist() == [[0, 1], [0, 4], [0, 7], [0, 10]]
    assert taken.sum() == 16
    valid[:2, :2] = False
    assert np.argwhere(one_per_cell(valid, 4))[0].tolist() == [0, 2]
    valid[:2, :3] = False
    assert one_per_cell(valid, 4).sum() == 15
