"""Streams of real sequences, compared with their true trajectories."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from anyview.bench.datasets.sequences import PosedSequence
from anyview.bench.metrics.trajectories import TrajectoryFit, score_trajectory
from anyview.bench.results import write_json
from anyview.bench.tables import Cell, Table
from anyview.geometry.pose import camera_centers
from anyview.options import StreamOptions
from anyview.predictor import DepthAnything3
from anyview.streaming import Stream, stream, write_outputs
from anyview.streaming.frames import WindowPredictor
from anyview.streaming.report import StreamReport

Progress = Callable[[str, StreamReport], None]


@dataclass(frozen=True)
class SequenceErrors:
    """How far a stream's trajectory is from the true one. Lengths in the unit of the truth."""

    sequence: str
    fit: TrajectoryFit
    """What was fitted before the comparison."""
    compared: int
    """Kept frames that have a true pose; frames passed over are not compared."""
    kept: int
    path_length: float
    """Of the true camera, from compared frame to compared frame."""
    ate: float
    ate_percent: float
    """In parts of the path's length."""
    ate_still: float
    """What a camera that never moves would have as its ATE: larger ones than this say nothing."""
    rpe_translation: float
    rpe_rotation: float
    """Degrees, from each compared frame to the next."""
    scale: float
    loops_found: int
    loops_believed: int
    frames_per_second: float
    """Of the process that finished it."""


def compare_with_truth(run: Stream, sequence: PosedSequence, fit: TrajectoryFit = "sim3") -> SequenceErrors:
    """Compare a finished stream with the truth, frame by frame as position, name or time pair them.

    Raises:
        ValueError: fewer than three frames have a true pose.
    """
    rows, report = run.all_frames(), run.report
    places = zip(rows.index.tolist(), rows.names, rows.time_s.tolist(), strict=True)
    true = [sequence.truth.look_up(*place) for place in places]
    matched = [row for row, pose in enumerate(true) if pose is not None]
    if len(matched) < 3:
        raise ValueError(f"{sequence.name}: expected at least 3 kept frames with a true pose, got {len(matched)}")
    truth = torch.stack([pose for pose in true if pose is not None])
    scores = score_trajectory(run.scene.world_cameras(rows).world_to_camera[matched], truth, fit)
    centers = camera_centers(truth)
    length = float((centers[1:] - centers[:-1]).norm(dim=-1).sum())
    return SequenceErrors(
        sequence=sequence.name,
        fit=fit,
        compared=len(matched),
        kept=len(rows),
        path_length=length,
        ate=scores.ate,
        ate_percent=100 * scores.ate / length if length > 0 else float("nan"),
        ate_still=float((centers - centers.mean(0)).square().sum(-1).mean().sqrt()),
        rpe_translation=scores.rpe_translation,
        rpe_rotation=scores.rpe_rotation,
        scale=scores.scale,
        loops_found=report.loops_found,
        loops_believed=report.loops_believed,
        frames_per_second=report.frames_per_second,
    )


def evaluate(
    sequences: Sequence[PosedSequence],
    model: DepthAnything3 | WindowPredictor,
    options: StreamOptions,
    output: Path,
    *,
    fit: TrajectoryFit = "sim3",
    resume: bool = False,
    progress: Progress = lambda *_: None,
) -> list[SequenceErrors]:
    """Stream each sequence into a folder of its name, with ``errors.json`` and ``trajectory.txt``.

    With ``resume``, what was broken off goes on.

    Raises:
        ValueError: two sequences have one name, a sequence cannot be streamed or compared, or a folder holds a run and
            ``resume`` was not said.
    """
    names = [sequence.name for sequence in sequences]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two sequences are called {twice}; give them outputs of their own")
    every = []
    for sequence in sequences:
        folder = output / sequence.name
        run = stream(model, sequence.pictures, options, folder=folder, resume=resume)
        with run:
            for window in run:
                progress(sequence.name, window.report)
            errors = compare_with_truth(run, sequence, fit)
            write_outputs(run, folder, ["tum"])
        write_json(folder / "errors.json", asdict(errors))
        every.append(errors)
    return every


def errors_table(every: Sequence[SequenceErrors]) -> Table:
    """Show errors, a sequence a row."""
    errors = ("ATE", "of the path", "standing still", "RPE", "RPE, degrees")
    columns = ("sequence", "frames", "path", *errors, "loops", "frames/s")
    rows = []
    for one in every:
        values = (
            Cell(one.sequence),
            Cell(f"{one.compared} of {one.kept}", one.compared),
            Cell(f"{one.path_length:.2f}", one.path_length),
            Cell(f"{one.ate:.4f}", one.ate),
            Cell(f"{one.ate_percent:.2f} %", one.ate_percent),
            Cell(f"{one.ate_still:.4f}", one.ate_still),
            Cell(f"{one.rpe_translation:.4f}", one.rpe_translation),
            Cell(f"{one.rpe_rotation:.3f}", one.rpe_rotation),
            Cell(f"{one.loops_believed} of {one.loops_found}", one.loops_believed),
            Cell(f"{one.frames_per_second:.2f}", one.frames_per_second),
        )
        rows.append(values)
    fits = {"sim3": "similarities", "se3": "rigid motions", "none": "nothing"}
    fitted = fits[every[0].fit]
    note = f"Lengths in the truth's unit; root mean squares after fitting {fitted}; steps from frame to frame."
    still = "Standing still: the ATE of a camera that never moves."
    return Table("Trajectories", columns, tuple(rows), (note, still))
