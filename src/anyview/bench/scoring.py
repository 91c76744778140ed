"""The second loop: what lies on disk -> scores."""

import math
from dataclasses import replace

import numpy as np
import torch

from anyview.bench import geometry, single, synthesis
from anyview.bench.datasets.scene import BenchScene, DtuTruth
from anyview.bench.metrics.poses import largest_errors, pair_errors, relative_errors, score_poses
from anyview.bench.metrics.trajectories import score_trajectory
from anyview.bench.options import PASS_OF, BenchOptions, Task
from anyview.bench.results import Outcome, RunFolder, Stored
from anyview.fusion.mesh import write_points
from anyview.options import Protocol

LARGEST_ANGLE = 30
"""Degrees up to which the curve of pose accuracy is kept for plots."""


def score_scene(scene: BenchScene, task: Task, options: BenchOptions, folder: RunFolder) -> Outcome:
    """Score a scene's results at a task.

    Raises:
        ValueError: they are missing, corrupt, of other frames, or hold nothing that can be scored.
    """
    part = PASS_OF[task]
    stored = folder.read_answer(scene, part)
    record = folder.read_record(scene, part)
    outcome = Outcome(dataset=scene.dataset, scene=scene.name, task=task, frames=len(scene), notes=scene.notes)
    if record is not None:
        outcome = replace(outcome, seconds=record.seconds, peak_bytes=record.peak_bytes, device=record.device)
    if task == "depth":
        pictures = single.score_pictures(scene, stored, options.depth_protocol)
        return replace(outcome, metrics=single.mean_scores(pictures), pictures=pictures)
    if task == "pose":
        metrics, curves, notes = _pose_metrics(scene, stored, options.protocol)
        return replace(outcome, metrics=metrics, curves=curves, notes=(*scene.notes, *notes))
    if task == "view_syn":
        metrics, notes = synthesis.score_renderings(scene, stored)
        return replace(outcome, metrics=metrics, notes=(*scene.notes, *notes))
    return _score_geometry(scene, stored, task, options, folder, outcome)


def _score_geometry(
    scene: BenchScene, stored: Stored, task: Task, options: BenchOptions, folder: RunFolder, outcome: Outcome
) -> Outcome:
    posed, protocol = task == "recon_posed", options.protocol
    if isinstance(scene.truth, DtuTruth):
        points = geometry.fuse_dtu(scene, stored, posed, protocol, options.filter_unposed)
    else:
        points = geometry.fuse_surface(scene, stored, posed, protocol)
    write_points(folder.cloud(scene, PASS_OF[task]), points)
    curves: dict[str, list[float]] = {}
    if isinstance(scene.truth, DtuTruth):
        metrics = geometry.score_dtu_points(scene, points, protocol)
    else:
        assert scene.read_recipe is not None
        truth = geometry.read_truth(scene, protocol)
        metrics, curves = geometry.score_points(points, truth, scene.read_recipe())
    if protocol == "sane" and not math.isfinite(metrics["overall"]):
        raise ValueError("no predicted point lies near the truth")
    return replace(outcome, metrics=metrics, curves=curves)


def _pose_metrics(
    scene: BenchScene, stored: Stored, protocol: Protocol
) -> tuple[dict[str, float], dict[str, list[float]], tuple[str, ...]]:
    if stored.world_to_camera is None:
        raise ValueError("the results hold no poses")
    predicted, truth = torch.from_numpy(stored.world_to_camera), torch.from_numpy(scene.world_to_camera())
    placed = predicted.isfinite().all(-1).all(-1)
    if protocol == "sane" and len(truth) < 2:
        raise ValueError("poses are compared in pairs: expected at least 2 views, got 1")
    scores = score_poses(predicted, truth, protocol)
    metrics = {f"auc{limit:02d}": scores.auc[limit] for limit in (30, 15, 5, 3)}
    notes = []
    if not placed.all():
        notes.append(f"{int((~placed).sum())} of {len(placed)} views without a pose")
    if protocol == "sane":
        for name, areas in (("signed", scores.auc_signed), ("exact", scores.auc_exact)):
            assert areas is not None
            metrics |= {f"auc{limit:02d}_{name}": areas[limit] for limit in (30, 3)}
        if placed.sum() > 2:
            trajectory = score_trajectory(predicted[placed], truth[placed])
            metrics |= {
                "ate": trajectory.ate,
                "rpe_translation": trajectory.rpe_translation,
                "rpe_rotation": trajectory.rpe_rotation,
            }
        if scores.pairs_without_baseline:
            notes.append(f"{scores.pairs_without_baseline} of {scores.pairs} pairs without a baseline")
    if protocol == "compat":
        errors = torch.maximum(*pair_errors(predicted, truth)).nan_to_num(nan=torch.inf)
    else:
        errors = largest_errors(*relative_errors(predicted, truth))[1]
    degrees = np.arange(LARGEST_ANGLE + 1.0)
    accuracy = [(errors <= limit).double().mean().item() for limit in degrees.tolist()]
    return metrics, {"degrees": degrees.tolist(), "accuracy": accuracy}, tuple(notes)
