"""The end-to-end fixture of the benchmark (A.5): the published evaluator's numbers from fake folders in its layouts."""

import fake_sets
import pytest

from anyview.bench.options import BenchOptions
from conftest import perfect_run

COMPAT = BenchOptions(protocol="compat")
SURFACES = {
    # set: scene -> (acc, comp, recall, fscore), unposed and posed
    "eth3d": {
        "courtyard": ((0.0163, 0.6923, 0.3543, 0.5232), (0.0163, 0.6923, 0.3540, 0.5229)),
        "relief": ((0.0169, 1.0841, 0.2357, 0.3815), (0.0169, 1.0841, 0.2358, 0.3816)),
    },
    "7scenes": {"chess": ((0.0015, 0.1624, 0.3560, 0.5251), (0.0016, 0.1623, 0.3562, 0.5253))},
    "scannetpp": {"09c1414f1b": ((0.0090, 0.2997, 0.3574, 0.5266), (0.0065, 0.2986, 0.3578, 0.5271))},
    "hiroom": {"aa/bb/cc": ((0.0030, 0.1470, 0.4044, 0.5759), (0.0030, 0.1471, 0.4043, 0.5756))},
}
TOLERANCES = (0.0003, 0.0006, 0.0006, 0.0006)
DTU = {
    # (height, width) of the maps: (pred -> GT, GT -> pred), unposed and posed
    (84, 112): ((0.96445, 0.53954), (0.74708, 0.99589)),
    (120, 160): ((5.76799, 0.29832), (0.47911, 0.30305)),
}
"""The last unposed pair: at the masks' size depth is not masked (Q39)."""


@pytest.mark.parametrize("dataset", SURFACES)
def test_surfaces_score_as_published(dataset, fake_data, tmp_path):
    pytest.importorskip("open3d")
    data = fake_data(dataset)
    if dataset == "eth3d" and not (data / "relief").exists():
        fake_sets.write_eth3d_relief(data)
    for column, task in enumerate(("recon_unposed", "recon_posed")):
        for outcome in perfect_run(f"{dataset}:{data}", dataset, task, COMPAT, tmp_path):
            expected = SURFACES[dataset][outcome.scene][column]
            assert outcome.reason is None
            assert outcome.metrics["precision"] == 1
            for name, value, tolerance in zip(("acc", "comp", "recall", "fscore"), expected, TOLERANCES, strict=True):
                assert outcome.metrics[name] == pytest.approx(value, abs=tolerance), (outcome.scene, task, name)


@pytest.mark.parametrize("size", DTU)
def test_dtu_scores_as_published(size, fake_data, tmp_path):
    data = f"dtu:{fake_data('dtu')}"
    for column, task in enumerate(("recon_unposed", "recon_posed")):
        (outcome,) = perfect_run(data, "dtu", task, COMPAT, tmp_path, size=size)
        to_truth, to_predicted = DTU[size][column]
        assert outcome.metrics["comp"] == pytest.approx(to_truth, abs=3e-4)  # the two names are exchanged (Q42)
        assert outcome.metrics["acc"] == pytest.approx(to_predicted, abs=3e-4)


@pytest.mark.parametrize("dataset", fake_sets.LAYOUTS)
@pytest.mark.parametrize("protocol", ["compat", "sane"])
def test_perfect_poses_score_one(dataset, protocol, fake_data, tmp_path):
    options = BenchOptions(protocol=protocol)
    (outcome, *_) = perfect_run(f"{dataset}:{fake_data(dataset, protocol)}", dataset, "pose", options, tmp_path)
    assert [outcome.metrics[f"auc{limit:02}"] for limit in (30, 15, 5, 3)] == [1, 1, 1, 1]


@pytest.mark.usefixtures("few_samples")
@pytest.mark.parametrize("dataset", SURFACES)
def test_perfect_surfaces_are_precise_in_sane(dataset, fake_data, tmp_path):
    pytest.importorskip("open3d")
    for task in ("recon_unposed", "recon_posed"):
        (outcome, *_) = perfect_run(
            f"{dataset}:{fake_data(dataset, 'sane')}",
            dataset,
            task,
            BenchOptions(scenes=tuple(list(SURFACES[dataset])[:1])),
            tmp_path,
        )
        assert outcome.reason is None
        assert outcome.metrics["precision"] == 1


def test_perfect_scans_score_as_exact_points_do_in_sane(fake_data, tmp_path):
    """Maps of the masks' size are masked too; what is left is the distance between the scan's points, 0.48 mm."""
    for task in ("recon_unposed", "recon_posed"):
        (outcome,) = perfect_run(f"dtu:{fake_data('dtu')}", "dtu", task, BenchOptions(), tmp_path, size=(120, 160))
        assert outcome.metrics["acc"] == pytest.approx(0.479, abs=0.01)
        assert outcome.metrics["comp"] < 0.4
