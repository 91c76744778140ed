"""Tables and plots of runs."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from anyview.bench.plots import draw_bars, draw_curves, draw_worst, nice_ticks, worst_first, write_plots
from anyview.bench.published import ROWS, published_rows
from anyview.bench.results import Outcome
from anyview.bench.tables import Run, comparison, render, scenes, side_by_side

GIB = 2**30


def outcome(dataset: str, scene: str, value: float, task="pose", reason=None) -> Outcome:
    metrics = {"auc30": value, "auc03": value / 2} if task == "pose" else {"fscore": value, "overall": 1 - value}
    degrees = [float(degree) for degree in range(31)]
    curves = {"degrees": degrees, "accuracy": [value * degree / 30 for degree in degrees]}
    if task != "pose":
        curves = {"threshold": [0.1, 0.2], "fscore": [value / 2, value]}
    failed = reason is not None
    return Outcome(
        dataset=dataset,
        scene=scene,
        task=task,
        frames=8,
        reason=reason,
        metrics={} if failed else metrics,
        curves={} if failed else curves,
        seconds=2.0,
        peak_bytes=GIB // 2,
        device="cpu",
    )


def runs() -> list[Run]:
    first = [
        outcome("eth3d", "courtyard", 0.8),
        outcome("eth3d", "relief", 0.6),
        outcome("eth3d", "pipes", 0.0, reason="no idea | at_all"),
        outcome("7scenes", "chess", 0.5),
    ]
    second = [outcome("eth3d", "courtyard", 0.9), outcome("eth3d", "relief", 0.8)]
    return [Run("ours", "sane", tuple(first)), Run("colmap", "sane", tuple(second))]


def cells(table, row: int) -> dict[str, str]:
    return {name: cell.text for name, cell in zip(table.columns, table.rows[row], strict=True)}


def test_means_say_over_how_many_scenes():
    (table,) = comparison(runs())
    assert cells(table, 1) == {
        "model": "ours",
        "metric": "auc30",
        "Avg": "0.6000*",
        "eth3d": "0.7000 (2/3)",
        "7scenes": "0.5000",
        "scenes": "3/4",
        "s/scene": "2.0",
        "peak GiB": "0.50",
    }
    assert cells(table, 3)["eth3d"] == "0.8500"
    assert cells(table, 3)["7scenes"] == "–"
    assert "ours, eth3d pipes: failed (no idea | at_all)" in table.notes
    assert "* an average over some of the benchmark's data sets only" in table.notes


def test_the_published_average_leaves_dtu_out_of_geometry():
    values = {"hiroom": 0.9, "eth3d": 0.7, "dtu": 0.1, "7scenes": 0.5, "scannetpp": 0.7}
    run = Run("ours", "compat", tuple(outcome(name, "a", value, "recon_posed") for name, value in values.items()))
    (table,) = comparison([run])
    assert table.columns[2:8] == ("Avg", "hiroom", "eth3d", "dtu", "7scenes", "scannetpp")
    assert cells(table, 0)["Avg"] == "0.7000"


def test_compat_does_not_show_the_poses_of_49_views():
    run = Run("ours", "compat", (outcome("dtu", "scan1", 0.5), outcome("dtu64", "scan105", 0.7)))
    (table,) = comparison([run])
    assert table.columns == ("model", "metric", "Avg", "dtu64", "scenes", "s/scene", "peak GiB")


def test_protocols_never_share_a_table():
    ours, colmap = runs()
    with pytest.raises(ValueError, match="runs of the protocols compat and sane must not share a table"):
        comparison([ours, Run("colmap", "compat", colmap.outcomes)])


def test_best_means_smaller_for_distances():
    first = Run("a", "sane", (outcome("eth3d", "x", 0.8, "recon_posed"),))
    second = Run("b", "sane", (outcome("eth3d", "x", 0.7, "recon_posed"),))
    (table,) = comparison([first, second])
    best = {(row[0].text, row[1].text) for row in table.rows if row[3].best}
    assert best == {("a", "fscore"), ("a", "overall")}
    assert [row[3].text for row in table.rows if row[1].text == "overall"] == ["0.2000", "0.3000"]


def test_no_best_is_marked_among_means_over_different_scenes():
    """A model that fails at the hard scenes must not win by that."""
    whole = [outcome("eth3d", "courtyard", 0.6), outcome("eth3d", "pipes", 0.2), outcome("7scenes", "chess", 0.5)]
    failed = [outcome("eth3d", "courtyard", 0.6), outcome("eth3d", "pipes", 0.0, reason="lost"), whole[2]]
    fewer = [whole[0], replace(whole[2], metrics={"auc30": 0.7, "auc03": 0.1})]
    said = "no best marked where not all rows are over the same scenes: eth3d"
    for other in (failed, fewer):
        (table,) = comparison([Run("whole", "sane", tuple(whole)), Run("other", "sane", tuple(other))])
        assert said in table.notes
        assert not any(row[place].best for row in table.rows for place in (2, 3)), table.columns
        assert any(row[4].best for row in table.rows)
    better = [replace(o, metrics={name: value + 0.1 for name, value in o.metrics.items()}) for o in whole]
    (table,) = comparison([Run("whole", "sane", tuple(whole)), Run("better", "sane", tuple(better))])
    assert said not in table.notes
    assert [row[0].text for row in table.rows if row[3].best] == ["better", "better"]
    (table,) = comparison([Run("failed", "sane", tuple(failed))], published=True)
    assert said in table.notes


def test_published_rows_are_comparable():
    giant = next(row for row in ROWS if row.model == "DA3-Giant" and row.task == "recon_posed")
    assert np.mean([giant.metrics[name]["fscore"] for name in ("hiroom", "eth3d", "7scenes", "scannetpp")]) == (
        pytest.approx(0.7978, abs=1e-4)
    )
    poses = next(row for row in ROWS if row.model == "DA3-Giant" and row.task == "pose")
    assert np.mean([scores["auc03"] for scores in poses.metrics.values()]) == pytest.approx(0.6705, abs=1e-4)
    assert np.mean([scores["auc30"] for scores in poses.metrics.values()]) == pytest.approx(0.9436, abs=1e-4)
    (table,) = comparison(runs(), published=True)
    names = [row[0].text for row in table.rows]
    assert "VGGT [arXiv v1, Table 2]" in names
    assert len(published_rows("pose", {"synth"})) == 0


def test_every_scene_has_a_row():
    _, table = scenes(runs()[0])[1], scenes(runs()[0])[0]
    assert [row[0].text for row in table.rows] == ["courtyard", "relief", "pipes", "mean over 2 of 3 scenes"]
    assert table.rows[2][-1].text == "failed (no idea | at_all)"
    assert table.rows[3][-1].text == "incomplete"


def test_tables_are_read_back():
    tables = [*comparison(runs()), *scenes(runs()[0])]
    documents = json.loads(render(tables, "json"))
    assert documents[0]["rows"][1]["eth3d"] == pytest.approx(0.7)
    rows = list(csv.reader(io.StringIO(render(tables[:1], "csv"))))
    assert rows[0][:4] == ["table", "model", "metric", "Avg"]
    assert float(rows[2][rows[0].index("eth3d")]) == pytest.approx(0.7)
    markdown = render(tables, "markdown").splitlines()
    rows = [line.replace("\\|", "") for line in markdown if line.startswith(("| ours", "| colmap", "| model"))]
    assert {row.count("|") for row in rows} == {9}
    assert "**0.8500**" not in render(tables, "markdown")  # over the two scenes that the other did not fail at
    _, colmap = runs()
    better = Run("better", "sane", tuple(replace(o, metrics={"auc30": 0.95, "auc03": 0.1}) for o in colmap.outcomes))
    assert "**0.9500**" in render(comparison([colmap, better]), "markdown")
    latex = render(tables, "latex")
    assert r"no idea | at\_all" in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == len(tables)
    text = render(tables[:1], "text").splitlines()
    assert text[0] == "Camera poses (sane)"
    assert len({line.find("auc") for line in text if "auc" in line}) == 1


def test_ticks_are_round():
    assert nice_ticks(30.0) == [0, 5, 10, 15, 20, 25, 30]
    assert nice_ticks(0.1) == [0, 0.02, 0.04, 0.06, 0.08, 0.1]


def test_the_worst_come_first():
    members = runs()[0].outcomes[:3]
    assert [each.scene for each in worst_first(members, "auc30")] == ["pipes", "relief", "courtyard"]
    surfaces = [outcome("eth3d", name, value, "recon_posed") for name, value in (("a", 0.9), ("b", 0.1))]
    assert [each.scene for each in worst_first(surfaces, "overall")] == ["b", "a"]


def test_plots_show_the_numbers(tmp_path):
    """A curve is drawn where its values are; a bar is as long as its score."""
    paths = write_plots(runs(), tmp_path, lambda *_: np.full((40, 60, 3), 200, np.uint8))
    names = {path.name for path in paths}
    assert {"eth3d_pose_accuracy.png", "eth3d_pose_scenes.png", "eth3d_pose_worst_1.png"} <= names
    for path in paths:
        with Image.open(path) as image:
            assert min(image.size) > 100
    assert len({draw_bars("t", [("a", [value])], ["m"]).tobytes() for value in (0.25, 0.5)}) == 2
    bar = np.asarray(draw_bars("t", [("a", [0.5]), ("b", [1.0])], ["m"]))
    blue = (np.abs(bar.astype(int) - [0x1F, 0x77, 0xB4]).sum(-1) < 30)[:90].sum(1)
    lengths = sorted({int(length) for length in blue if length > 50})
    assert lengths[0] / lengths[-1] == pytest.approx(0.5, abs=0.02)


def test_curves_lie_where_their_values_are():
    from anyview.bench.plots import BOTTOM, HEIGHT, TOP, Line

    image = np.asarray(draw_curves("t", "x", "y", [Line("half", [0.0, 1.0], [0.5, 0.5])])).astype(int)
    blue = (np.abs(image - [0x1F, 0x77, 0xB4]).sum(-1) < 150).sum(1)[: HEIGHT - BOTTOM]
    middle = (TOP + HEIGHT - BOTTOM) / 2
    assert abs(int(blue.argmax()) - middle) <= 2


def test_scenes_of_runs_stand_beside_each_other():
    ours, colmap = runs()
    (table,) = side_by_side([ours, colmap])
    assert table.columns == ("data set", "metric", "scene", "frames", "ours", "colmap")
    said = {row[2].text: [cell.text for cell in row[4:]] for row in table.rows}
    assert said == {
        "courtyard": ["0.8000", "0.9000"],
        "relief": ["0.6000", "0.8000"],
        "pipes": ["failed", "not run"],
        "chess": ["0.5000", "not run"],
    }
    assert side_by_side([ours]) == []
    other = Run("fused", "sane", (outcome("eth3d", "courtyard", 0.7, task="recon_posed"),))
    assert side_by_side([ours, other]) == []  # no task that both have
    (poses, _) = comparison([ours, other])
    assert {row[0].text for row in poses.rows} == {"ours"}


def test_worst_scenes_are_shown_as_their_own_run_saw_them(tmp_path):
    asked = []
    write_plots(runs(), tmp_path, lambda number, scene: asked.append((number, scene.task, scene.scene)))
    assert (0, "pose", "pipes") in asked
    assert {entry for entry in asked if entry[0] == 1} == {(1, "pose", "courtyard"), (1, "pose", "relief")}


def test_one_worst_scene_fills_its_frame_below_a_whole_title():
    title = "da3-nano, worst scenes first: Geometry, predicted cameras, scannetpp"
    image = draw_worst(title, [("a", "fscore 0.1000", np.zeros((16, 32, 3), np.uint8))])
    pixels = np.asarray(image)
    dark = (pixels < 40).all(-1)
    assert dark[44:244].sum(0).astype(bool).sum() == pytest.approx(320, abs=3)  # a picture of 32 pixels, enlarged
    written = np.nonzero((pixels[:40] < 128).any((0, 2)))[0]
    assert written[0] < 20
    assert 450 < written[-1] < image.width - 16
    assert len(np.nonzero(np.asarray(draw_worst(3 * title, [("a", "b", None)]))[:40, -14:] < 128)[0]) == 0


def test_what_all_scenes_have_in_common_is_said_once():
    first, second = (replace(outcome("eth3d", name, 0.5), notes=("no LPIPS",)) for name in "ab")
    (table,) = scenes(Run("ours", "sane", (first, replace(second, notes=("no LPIPS", "one left out")))))
    assert table.notes == ("all scenes: no LPIPS", "b: one left out")
