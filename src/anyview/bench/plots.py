"""Pictures of scores, as PNG: curves of accuracy and F-score, bars of scenes, the worst scenes beside their pictures.

Drawn with Pillow at twice the size and reduced, so that no plotting library is needed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont, ImageOps

from anyview.bench.results import Outcome
from anyview.bench.tables import HEADLINES, LOWER_IS_BETTER, MAIN, TITLES, Run
from anyview.files import atomic_path

COLORS = ("#1f77b4", "#d9541e", "#2c9c4b", "#8a56b8", "#b8860b", "#17a2b8", "#c2347c", "#5a5a5a")
INK, FAINT, PAPER = "#222222", "#dddddd", "#ffffff"
Number = int | float
FINER = 2
"""Drawn so many times larger."""
WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 44, 56
BAR, BAR_GAP, BAR_LABEL = 14, 10, 190
THUMBNAIL = (320, 200)
WORST = 6


@dataclass(frozen=True)
class Line:
    """One curve."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


class Canvas:
    """A picture to draw on, in pixels of the result."""

    def __init__(self, width: int, height: int) -> None:
        self.size = (width, height)
        self._image = Image.new("RGB", (FINER * width, FINER * height), PAPER)
        self._draw = ImageDraw.Draw(self._image)
        self._fonts: dict[int, Any] = {}

    def _font(self, size: int) -> Any:
        if size not in self._fonts:
            self._fonts[size] = ImageFont.load_default(FINER * size)
        return self._fonts[size]

    def line(self, points: Sequence[tuple[Number, Number]], color: str, width: Number = 1) -> None:
        """Draw a line through points."""
        scaled = [(FINER * x, FINER * y) for x, y in points]
        self._draw.line(scaled, fill=color, width=round(FINER * width), joint="curve")

    def box(self, left: Number, top: Number, right: Number, bottom: Number, color: str) -> None:
        """Fill a rectangle."""
        self._draw.rectangle([FINER * left, FINER * top, FINER * right, FINER * bottom], fill=color)

    def text(self, x: Number, y: Number, words: str, size: int = 13, color: str = INK, anchor: str = "lm") -> None:
        """Write words; ``anchor`` is Pillow's."""
        self._draw.text((FINER * x, FINER * y), words, fill=color, font=self._font(size), anchor=anchor)

    def shortened(self, words: str, width: Number, size: int = 13) -> str:
        """Cut words to a width."""
        lengths = range(len(words), 0, -1)
        candidates = [words, *(words[: length - 1] + "…" for length in lengths)]
        font = self._font(size)
        return next((w for w in candidates if self._draw.textlength(w, font=font) <= FINER * width), "")

    def paste(self, left: int, top: int, pixels: UInt8[np.ndarray, "height width 3"], width: int, height: int) -> None:
        """Put a picture into a rectangle, whole and centred."""
        picture = ImageOps.contain(Image.fromarray(pixels), (FINER * width, FINER * height))
        x = FINER * left + (FINER * width - picture.width) // 2
        y = FINER * top + (FINER * height - picture.height) // 2
        self._image.paste(picture, (x, y))

    def finish(self) -> Image.Image:
        """Return the picture."""
        return self._image.resize(self.size, Image.Resampling.LANCZOS)


def draw_curves(title: str, x_label: str, y_label: str, lines: Sequence[Line]) -> Image.Image:
    """Draw curves over a common x; y reaches from 0 to 1."""
    canvas = Canvas(WIDTH, HEIGHT + 20 * len(lines))
    end = max((max(line.x) for line in lines), default=1.0) or 1.0
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def place(x: Number, y: Number) -> tuple[Number, Number]:
        return LEFT + (right - LEFT) * x / end, bottom - (bottom - TOP) * y

    canvas.text(LEFT, TOP / 2, title, 16)
    for step in range(6):
        _, y = place(0, step / 5)
        canvas.line([(LEFT, y), (right, y)], FAINT)
        canvas.text(LEFT - 8, y, f"{step / 5:.1f}", anchor="rm")
    for tick in nice_ticks(end):
        x, _ = place(tick, 0)
        canvas.line([(x, bottom), (x, bottom + 5)], INK)
        canvas.text(x, bottom + 16, f"{tick:g}", anchor="mm")
    canvas.line([(LEFT, TOP), (LEFT, bottom), (right, bottom)], INK)
    canvas.text((LEFT + right) / 2, bottom + 36, x_label, anchor="mm")
    canvas.text(right, TOP / 2, y_label, anchor="rm")
    for number, line in enumerate(lines):
        color = COLORS[number % len(COLORS)]
        canvas.line([place(x, y) for x, y in zip(line.x, line.y, strict=True)], color, 2)
        y = HEIGHT + 20 * number
        canvas.line([(LEFT, y), (LEFT + 26, y)], color, 3)
        canvas.text(LEFT + 34, y, line.label)
    return canvas.finish()


def nice_ticks(end: Number, most: int = 8) -> list[float]:
    """Choose round numbers from 0 to ``end``, at most so many."""
    rough = end / most
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough * (1 - 1e-9))
    return [float(f"{step * index:.10g}") for index in range(int(end / step + 1e-9) + 1)]


def draw_bars(title: str, groups: Sequence[tuple[str, Sequence[float | None]]], names: Sequence[str]) -> Image.Image:
    """Draw a group of bars for every scene, one bar for every run; None has failed, NaN was not run."""
    group_height = len(names) * BAR + BAR_GAP
    height = TOP + len(groups) * group_height + 20 * len(names) + 24
    canvas = Canvas(WIDTH, height)
    canvas.text(16, TOP / 2, title, 16)
    finite = [value for _, values in groups for value in values if value is not None and math.isfinite(value)]
    end = max([*finite, 1e-9])
    end = 1.0 if end <= 1 and min(finite, default=0) >= 0 and end > 0.2 else end
    reach = WIDTH - RIGHT - 60 - BAR_LABEL
    for row, (label, values) in enumerate(groups):
        top = TOP + row * group_height
        canvas.text(BAR_LABEL - 10, top + len(names) * BAR / 2, canvas.shortened(label, BAR_LABEL - 20), anchor="rm")
        for number, value in enumerate(values):
            y = top + number * BAR
            if value is None:
                canvas.text(BAR_LABEL + 4, y + BAR / 2, "failed", 11, "#b00020")
                continue
            if math.isnan(value):
                canvas.text(BAR_LABEL + 4, y + BAR / 2, "not run", 11, "#777777")
                continue
            length = reach * min(value / end, 1) if math.isfinite(value) else reach
            canvas.box(BAR_LABEL, y + 1, BAR_LABEL + max(length, 1), y + BAR - 2, COLORS[number % len(COLORS)])
            canvas.text(BAR_LABEL + length + 6, y + BAR / 2 - 0.5, f"{value:.3f}", 11)
    canvas.line([(BAR_LABEL, TOP - 4), (BAR_LABEL, TOP + len(groups) * group_height)], INK)
    for number, name in enumerate(names):
        y = TOP + len(groups) * group_height + 16 + 20 * number
        canvas.box(BAR_LABEL, y - 6, BAR_LABEL + 12, y + 6, COLORS[number % len(COLORS)])
        canvas.text(BAR_LABEL + 20, y, name)
    return canvas.finish()


def draw_worst(
    title: str, entries: Sequence[tuple[str, str, UInt8[np.ndarray, "height width 3"] | None]]
) -> Image.Image:
    """Draw scenes with their first picture, their name, and their score or the reason why they failed."""
    columns = min(3, max(1, len(entries)))
    width, height = THUMBNAIL
    rows = math.ceil(len(entries) / columns)
    canvas = Canvas(max(WIDTH, 16 + columns * (width + 16)), TOP + rows * (height + 56) + 8)
    canvas.text(16, TOP / 2, canvas.shortened(title, canvas.size[0] - 32, 16), 16)
    for number, (name, score, pixels) in enumerate(entries):
        left = 16 + (number % columns) * (width + 16)
        top = TOP + (number // columns) * (height + 56)
        canvas.box(left, top, left + width, top + height, "#f0f0f0")
        if pixels is None:
            canvas.text(left + width / 2, top + height / 2, "picture not at hand", 12, "#777777", "mm")
        else:
            canvas.paste(left, top, pixels, width, height)
        canvas.text(left, top + height + 14, name, 13)
        color = "#b00020" if score.startswith("failed") else "#555555"
        canvas.text(left, top + height + 32, canvas.shortened(score, width, 12), 12, color)
    return canvas.finish()


def write_plots(
    runs: Sequence[Run],
    folder: Path,
    first_picture: Callable[[int, Outcome], UInt8[np.ndarray, "height width 3"] | None] = lambda *_: None,
) -> list[Path]:
    """Draw all that the runs' scores allow into a folder; ``first_picture`` finds that of a run's scene, by number."""
    drawn: dict[str, Image.Image] = {}
    for task, dataset in dict.fromkeys((o.task, o.dataset) for run in runs for o in run.outcomes):
        chosen = {run: [o for o in run.outcomes if (o.task, o.dataset) == (task, dataset)] for run in runs}
        stem, title = f"{dataset}_{task}", f"{TITLES[task]}, {dataset}"
        if task == "pose":
            lines = _mean_lines(chosen, "degrees", "accuracy")
            if lines:
                drawn[f"{stem}_accuracy"] = draw_curves(title, "error below, degrees", "share of pairs", lines)
        elif lines := _mean_lines(chosen, "threshold", "fscore"):
            drawn[f"{stem}_fscore"] = draw_curves(title, "threshold, unit of the scene", "F-score", lines)
        metric = _metric_of(chosen)
        if metric is not None:
            drawn[f"{stem}_scenes"] = draw_bars(f"{title}: {metric}", _groups(chosen, metric), [r.name for r in runs])
            for number, run in enumerate(runs):
                entries = [
                    (outcome.scene, _said(outcome, metric), first_picture(number, outcome))
                    for outcome in worst_first(chosen[run], metric)[:WORST]
                ]
                if entries:
                    suffix = f"_{number + 1}" if len(runs) > 1 else ""
                    drawn[f"{stem}_worst{suffix}"] = draw_worst(f"{run.name}, worst scenes first: {title}", entries)
    paths = []
    for name, image in drawn.items():
        path = folder / f"{name}.png"
        with atomic_path(path) as temporary:
            image.save(temporary)
        paths.append(path)
    return paths


def _mean_lines(chosen: Mapping[Run, Sequence[Outcome]], x: str, y: str) -> list[Line]:
    """Average the curves of every run's scenes; scenes whose x differ are left out of a mean, so these go alone."""
    lines = []
    for run, outcomes in chosen.items():
        groups: dict[tuple[float, ...], list[Sequence[float]]] = {}
        for outcome in outcomes:
            if outcome.reason is None and y in outcome.curves:
                groups.setdefault(tuple(outcome.curves[x]), []).append(outcome.curves[y])
        for places, curves in groups.items():
            scenes = f"{len(curves)} of {len(outcomes)} scenes"
            lines.append(Line(f"{run.name}, {scenes}", places, np.mean(curves, axis=0).tolist()))
    return lines


def _metric_of(chosen: Mapping[Run, Sequence[Outcome]]) -> str | None:
    outcomes = [outcome for of_run in chosen.values() for outcome in of_run]
    if not outcomes:
        return None
    there = {name for outcome in outcomes for name in outcome.metrics}
    wanted = dict.fromkeys((MAIN[outcomes[0].task], *HEADLINES[outcomes[0].task]))
    return next((name for name in wanted if name in there), MAIN[outcomes[0].task])


def _groups(chosen: Mapping[Run, Sequence[Outcome]], metric: str) -> list[tuple[str, list[float | None]]]:
    scenes = dict.fromkeys(outcome.scene for outcomes in chosen.values() for outcome in outcomes)
    found = [{outcome.scene: outcome for outcome in outcomes} for outcomes in chosen.values()]
    return [
        (scene, [by_scene[scene].metrics.get(metric) if scene in by_scene else math.nan for by_scene in found])
        for scene in scenes
    ]


def worst_first(outcomes: Sequence[Outcome], metric: str) -> list[Outcome]:
    """Order scenes by their score, the failed ones first."""

    def badness(outcome: Outcome) -> float:
        value = outcome.metrics.get(metric)
        if value is None or math.isnan(value):
            return math.inf
        return value if metric in LOWER_IS_BETTER else -value

    return sorted(outcomes, key=badness, reverse=True)


def _said(outcome: Outcome, metric: str) -> str:
    if outcome.reason is not None:
        return f"failed ({outcome.reason})"
    return f"{metric} {outcome.metrics[metric]:.4f}" if metric in outcome.metrics else f"no {metric}"
