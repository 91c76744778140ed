"""Scores of runs as tables: text, Markdown, JSON, CSV, LaTeX."""

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from anyview.bench.options import TASKS, TableFormat, Task
from anyview.bench.published import published_rows
from anyview.bench.results import Outcome, RunFolder, read_json
from anyview.bench.summary import Mean, mean_of, means_of_parts

HEADLINES: Mapping[Task, tuple[str, ...]] = {
    "pose": ("auc03", "auc30"),
    "recon_unposed": ("fscore", "overall"),
    "recon_posed": ("fscore", "overall"),
    "depth": ("delta1", "abs_rel"),
    "view_syn": ("psnr", "ssim", "lpips"),
}
"""What means are shown of."""
MAIN: Mapping[Task, str] = {
    "pose": "auc30",
    "recon_unposed": "fscore",
    "recon_posed": "fscore",
    "depth": "delta1",
    "view_syn": "psnr",
}
"""What scenes are compared by where there is room for one number."""
AVERAGED: Mapping[Task, tuple[str, ...]] = {
    "pose": ("hiroom", "eth3d", "dtu64", "7scenes", "scannetpp"),
    "recon_unposed": ("hiroom", "eth3d", "7scenes", "scannetpp"),
    "recon_posed": ("hiroom", "eth3d", "7scenes", "scannetpp"),
}
"""Data sets of the published averages, in the published order; DTU's are in another unit, and 49 views of it are no
pose benchmark."""
ORDER = ("hiroom", "eth3d", "dtu", "dtu64", "7scenes", "scannetpp", "dl3dv", "tanks_and_temples", "megadepth")
TITLES: Mapping[Task, str] = {
    "pose": "Camera poses",
    "recon_unposed": "Geometry, predicted cameras",
    "recon_posed": "Geometry, true cameras",
    "depth": "Depth of single pictures",
    "view_syn": "View synthesis",
}
LOWER_IS_BETTER = {
    *("acc", "comp", "overall", "abs_rel", "sq_rel", "rmse", "ate", "rpe_translation", "rpe_rotation", "lpips")
}
OPTIONAL = {"lpips"}
"""Not shown of a run that has none."""
GIB = 2**30


@dataclass(frozen=True)
class Cell:
    """One entry: what it says, and its number if it has one."""

    text: str
    value: float | int | None = None
    best: bool = False


@dataclass(frozen=True)
class Table:
    """Columns by name, rows of cells, and what has to be said with them."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, eq=False)
class Run:
    """What is in a run's folder."""

    name: str
    protocol: str
    outcomes: tuple[Outcome, ...]


def read_run(path: Path) -> Run:
    """Read a run's scores.

    Raises:
        ValueError: there is no run, or it has no scores yet.
    """
    file = path / "run.json"
    if not file.is_file():
        raise ValueError(f"{path} is no folder of a benchmark run: it has no run.json")
    identity, outcomes = read_json(file), RunFolder(path).outcomes()
    if not outcomes:
        raise ValueError(f"{path} has no scores yet")
    return Run(str(identity.get("name", path.name)), str(identity.get("protocol")), tuple(outcomes))


def comparison(runs: Sequence[Run], *, published: bool = False) -> list[Table]:
    """Compare the means of runs, one table for each task; ``published`` adds the rows of the paper.

    Raises:
        ValueError: the runs follow different protocols.
    """
    protocols = sorted({run.protocol for run in runs})
    if len(protocols) > 1:
        raise ValueError(f"runs of the protocols {' and '.join(protocols)} must not share a table")
    tables = []
    for task in TASKS:
        means = {
            run: [mean for mean in mean_of(run.outcomes) + means_of_parts(run.outcomes) if mean.task == task]
            for run in runs
        }
        if any(means.values()):
            tables.append(_compare(task, means, published, protocols[0]))
    return tables


def _compare(task: Task, means: Mapping[Run, Sequence[Mean]], published: bool, protocol: str) -> Table:
    there = {mean.dataset for of_run in means.values() for mean in of_run}
    if task == "pose" and protocol == "compat" and "dtu64" in there:
        there.discard("dtu")
    datasets = [*(name for name in ORDER if name in there), *sorted(there - set(ORDER))]
    columns = ("model", "metric", "Avg", *datasets, "scenes", "s/scene", "peak GiB")
    unlike = [name for name in datasets if not _comparable([run for run in means if means[run]], task, name)]
    rows, notes, averages_complete = [], [], True
    for run, of_run in means.items():
        if not of_run:
            continue
        by_set = {mean.dataset: mean for mean in of_run if mean.dataset in there}
        outcomes = [o for o in run.outcomes if o.task == task and o.dataset in by_set]
        scored, total = sum(outcome.reason is None for outcome in outcomes), len(outcomes)
        notes += [f"{run.name}, {o.dataset} {o.scene}: failed ({o.reason})" for o in outcomes if o.reason is not None]
        for metric in HEADLINES[task]:
            if metric in OPTIONAL and not any(metric in mean.metrics for mean in by_set.values()):
                continue
            average, complete = _average(task, metric, {name: mean.metrics for name, mean in by_set.items()})
            averages_complete &= complete
            if not (math.isnan(average) or complete):
                notes.append("* an average over some of the benchmark's data sets only")
            cells = [Cell(run.name), Cell(metric), _number(average, "" if complete else "*")]
            for name in datasets:
                mean = by_set.get(name)
                value = math.nan if mean is None else mean.metrics.get(metric, math.nan)
                cells.append(
                    _number(value, "" if mean is None or mean.is_complete else f" ({mean.scored}/{mean.total})")
                )
            cells += [Cell(f"{scored}/{total}"), *_costs(outcomes)]
            rows.append(tuple(cells))
    if published:
        for row in published_rows(task, there):
            for metric in HEADLINES[task]:
                values = {name: row.metrics.get(name, {}) for name in datasets}
                if any(metric in of_set for of_set in values.values()):
                    average, complete = _average(task, metric, values)
                    averages_complete &= complete
                    cells = [
                        Cell(f"{row.model} [{row.source}]"),
                        Cell(metric),
                        _number(average, "" if complete else "*"),
                    ]
                    cells += [_number(values[name].get(metric, math.nan)) for name in datasets]
                    rows.append((*cells, Cell("–"), Cell("–"), Cell("–")))
    if unlike and len(rows) > len(HEADLINES[task]):
        notes.append(f"no best marked where not all rows are over the same scenes: {', '.join(unlike)}")
    marked = [place for place, name in enumerate(datasets, 3) if name not in unlike]
    if averages_complete and not unlike:
        marked.insert(0, 2)
    title = f"{TITLES[task]} ({protocol})"
    return Table(title, columns, _mark_best(rows, marked), tuple(dict.fromkeys(notes)))


def _comparable(runs: Sequence[Run], task: Task, dataset: str) -> bool:
    """Whether all runs that have a data set, or part of one, scored the same scenes of it, and none of these failed."""
    members = [
        [o for o in run.outcomes if o.task == task and dataset in (o.dataset, f"{o.dataset} {o.scene.split('/')[0]}")]
        for run in runs
    ]
    scored = [{outcome.scene for outcome in of_run if outcome.reason is None} for of_run in members if of_run]
    listed = {outcome.scene for of_run in members for outcome in of_run}
    return all(scenes == listed for scenes in scored)


def _average(task: Task, metric: str, metrics: Mapping[str, Mapping[str, float]]) -> tuple[float, bool]:
    """Average over the benchmark's data sets, and say whether all of them are there."""
    wanted = AVERAGED.get(task, ())
    values = [metrics[name][metric] for name in wanted if metric in metrics.get(name, {})]
    return (float(np.mean(values)), len(values) == len(wanted)) if values else (math.nan, True)


def _costs(outcomes: Sequence[Outcome]) -> tuple[Cell, Cell]:
    seconds = [outcome.seconds for outcome in outcomes if not math.isnan(outcome.seconds)]
    peak = max((outcome.peak_bytes for outcome in outcomes), default=0)
    mean = float(np.mean(seconds)) if seconds else math.nan
    return (
        Cell("–") if math.isnan(mean) else Cell(f"{mean:.1f}", mean),
        Cell(f"{peak / GIB:.2f}", peak / GIB) if peak else Cell("–"),
    )


def side_by_side(runs: Sequence[Run]) -> list[Table]:
    """Put the scenes of several runs beside each other, by the metric that says most; one table for each task."""
    tables = []
    for task in TASKS:
        metric = MAIN[task]
        found = [{(o.dataset, o.scene): o for o in run.outcomes if o.task == task} for run in runs]
        if sum(map(bool, found)) < 2:
            continue
        there = [(run, outcomes) for run, outcomes in zip(runs, found, strict=True) if outcomes]
        rows = []
        for dataset, scene in dict.fromkeys(key for _, outcomes in there for key in outcomes):
            said = [outcomes.get((dataset, scene)) for _, outcomes in there]
            frames = max(outcome.frames for outcome in said if outcome is not None)
            cells = (Cell(dataset), Cell(metric), Cell(scene), Cell(str(frames), frames))
            rows.append(cells + tuple(_said(outcome, metric) for outcome in said))
        columns = ("data set", "metric", "scene", "frames", *(run.name for run, _ in there))
        tables.append(Table(f"{TITLES[task]}, scene by scene ({runs[0].protocol})", columns, tuple(rows)))
    return tables


def _said(outcome: Outcome | None, metric: str) -> Cell:
    if outcome is None:
        return Cell("not run")
    return Cell("failed") if outcome.reason is not None else _number(outcome.metrics.get(metric, math.nan))


def scenes(run: Run) -> list[Table]:
    """List every scene of a run with all its metrics, one table for each task and data set, failed ones too."""
    tables = []
    for mean in mean_of(run.outcomes):
        members = [o for o in run.outcomes if (o.dataset, o.task) == (mean.dataset, mean.task)]
        metrics = list(dict.fromkeys(name for outcome in members for name in outcome.metrics))
        columns = ("scene", "frames", *metrics, "s", "peak GiB", "status")
        rows = [
            (
                Cell(outcome.scene),
                Cell(str(outcome.frames), outcome.frames),
                *(_number(outcome.metrics.get(name, math.nan)) for name in metrics),
                *_costs([outcome]),
                Cell("ok" if outcome.reason is None else f"failed ({outcome.reason})"),
            )
            for outcome in members
        ]
        over = f"{mean.scored} of {mean.total} scenes"
        total = (
            Cell(f"mean over {over}"),
            Cell(""),
            *(_number(mean.metrics.get(name, math.nan)) for name in metrics),
            *_costs(members),
            Cell("" if mean.is_complete else "incomplete"),
        )
        notes = _notes(members)
        title = f"{run.name}: {TITLES[mean.task]}, {mean.dataset} ({run.protocol})"
        tables.append(Table(title, columns, (*rows, total), notes))
    return tables


def _notes(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Say once what holds for all scenes, and the rest scene by scene."""
    shared = [note for note in outcomes[0].notes if all(note in outcome.notes for outcome in outcomes)]
    if len(outcomes) == 1:
        shared = []
    own = [f"{outcome.scene}: {note}" for outcome in outcomes for note in outcome.notes if note not in shared]
    return tuple(f"all scenes: {note}" for note in shared) + tuple(own)


def _number(value: float, suffix: str = "") -> Cell:
    return Cell("–") if math.isnan(value) else Cell(f"{value:.4f}{suffix}", value)


def _mark_best(rows: Sequence[tuple[Cell, ...]], columns: Sequence[int]) -> tuple[tuple[Cell, ...], ...]:
    """Mark the best value of every metric in every column, where there is more than one row to compare."""
    marked = [list(row) for row in rows]
    for metric in {row[1].text for row in rows}:
        of_metric = [row for row in marked if row[1].text == metric]
        choose = min if metric in LOWER_IS_BETTER else max
        for column in columns:
            values = [row[column].value for row in of_metric if row[column].value is not None]
            if len(values) < 2:
                continue
            best = choose(value for value in values if value is not None)
            for row in of_metric:
                row[column] = replace(row[column], best=row[column].value == best)
    return tuple(tuple(row) for row in marked)


def _as_text(table: Table) -> str:
    rows = [list(table.columns)] + [[cell.text + ("^" if cell.best else "") for cell in row] for row in table.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "-" * max(map(len, lines)))
    legend = ["^ best"] if any(cell.best for row in table.rows for cell in row) else []
    return "\n".join([table.title, *lines, *legend, *table.notes])


def _as_markdown(table: Table) -> str:
    def escaped(cell: Cell) -> str:
        text = cell.text.replace("|", "\\|").replace("*", "\\*")
        return f"**{text}**" if cell.best else text

    lines = [f"| {' | '.join(table.columns)} |", f"|{'---|' * len(table.columns)}"]
    lines += [f"| {' | '.join(map(escaped, row))} |" for row in table.rows]
    notes = [f"- {note}".replace("*", "\\*") for note in table.notes]
    return "\n".join([f"### {table.title}", "", *lines, *([""] if notes else []), *notes])


def _as_latex(table: Table) -> str:
    special = {**{sign: f"\\{sign}" for sign in "&%$#_{}"}, "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {"\\": r"\textbackslash{}", "–": "--"}

    def escaped(text: str) -> str:
        return "".join(special.get(sign, sign) for sign in text)

    def cell(value: Cell) -> str:
        return rf"\textbf{{{escaped(value.text)}}}" if value.best else escaped(value.text)

    lines = [rf"% {table.title}", rf"\begin{{tabular}}{{{'l' * len(table.columns)}}}", r"\hline"]
    lines += [" & ".join(map(escaped, table.columns)) + r" \\", r"\hline"]
    lines += [" & ".join(map(cell, row)) + r" \\" for row in table.rows]
    return "\n".join([*lines, r"\hline", r"\end{tabular}", *(f"% {note}" for note in table.notes)])


def _as_csv(table: Table) -> str:
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(["table", *table.columns])
    for row in table.rows:
        writer.writerow([table.title, *(cell.text if cell.value is None else repr(cell.value) for cell in row)])
    return written.getvalue().rstrip("\n")


def _as_json(tables: Sequence[Table]) -> str:
    def value(cell: Cell) -> Any:
        if cell.value is None:
            return None if cell.text == "–" else cell.text
        return cell.value if math.isfinite(cell.value) else str(cell.value)

    documents = [
        {
            "title": table.title,
            "rows": [dict(zip(table.columns, map(value, row), strict=True)) for row in table.rows],
            "notes": list(table.notes),
        }
        for table in tables
    ]
    return json.dumps(documents, indent=2, ensure_ascii=False)


_RENDERERS: Mapping[str, Callable[[Table], str]] = {
    "text": _as_text,
    "markdown": _as_markdown,
    "latex": _as_latex,
    "csv": _as_csv,
}


def render(tables: Sequence[Table], form: TableFormat) -> str:
    """Write tables in a format."""
    assert form in get_args(TableFormat)
    if form == "json":
        return _as_json(tables)
    return "\n\n".join(_RENDERERS[form](table) for table in tables)
