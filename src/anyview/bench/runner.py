"""A run: predict every scene to disk, then score what is there; what is done already is not done again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from anyview.bench.datasets.catalog import open_benchmark
from anyview.bench.datasets.published_set import PublishedSet
from anyview.bench.datasets.scene import BenchScene, Reader
from anyview.bench.options import PASS_OF, BenchOptions, Task
from anyview.bench.predicting import predict_scene
from anyview.bench.results import Outcome, RunFolder
from anyview.bench.rivals.rival import Rival
from anyview.bench.sampling import sample_frames
from anyview.bench.scoring import score_scene
from anyview.bench.single import cut_scene, rule_of
from anyview.bench.summary import write_summaries
from anyview.bench.synthesis import split_views
from anyview.options import nearest_names

SCENE_ERRORS = (ValueError, RuntimeError, ArithmeticError, MemoryError, OSError)
"""What one scene may fail with while the others go on."""
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Work:
    """A scene and the task that it is scored at."""

    scene: BenchScene
    task: Task


def find_work(data: Sequence[str], task: Task, options: BenchOptions) -> list[Work]:
    """Find the scenes of all data sets, and that their files are there.

    Raises:
        ValueError: data is missing or half unpacked, or a scene does not exist.
    """
    options.check(task)
    readers: dict[str, Reader] = {}
    for place in data:
        readers |= open_benchmark(place, task, options.protocol)
    if not readers:
        raise ValueError("no data given; say where it is with --data NAME:PATH")
    names = {(dataset, scene) for dataset, reader in readers.items() for scene in reader.scenes()}
    unknown = [scene for scene in options.scenes if scene not in {name for _, name in names}]
    if unknown:
        known = sorted({scene for _, scene in names})
        raise ValueError(f"no data set has a scene {unknown[0]!r}; {nearest_names(unknown[0], known)}")
    work = []
    for dataset, reader in readers.items():
        for name in reader.scenes():
            if (options.scenes and name not in options.scenes) or not _counts(dataset, reader, name, task, options):
                continue
            scene = reader.load(name)
            if task != "pose" and isinstance(reader, PublishedSet):
                reader.check_geometry(scene)
            if task == "depth":
                scene = cut_scene(scene, options.depth_protocol)
            elif task == "view_syn":
                scene = split_views(scene, options.context_views)
            else:
                scene = scene.select(sample_frames(len(scene), options.max_frames))
            work.append(Work(scene, task))
    if not work:
        raise ValueError(f"none of the scenes has a truth for {task}")
    return work


def _counts(dataset: str, reader: Reader, name: str, task: Task, options: BenchOptions) -> bool:
    tasks_of = getattr(reader, "tasks_of", None)
    if tasks_of is not None and task not in tasks_of(name):
        return False
    return task != "depth" or name.startswith(rule_of(dataset, options.depth_protocol).only)


def identity_of(rival: Rival, options: BenchOptions) -> dict[str, Any]:
    """Return all that results depend on, beside the data."""
    return {
        "format": 1,
        "name": rival.name,
        **rival.identity,
        "protocol": options.protocol,
        "max_frames": options.max_frames,
        "depth_protocol": options.depth_protocol,
        "filter_unposed": options.filter_unposed,
        "context_views": options.context_views,
        "refine_steps": options.refine_steps,
    }


def run(
    work: Sequence[Work],
    rival: Rival,
    options: BenchOptions,
    folder: RunFolder,
    progress: Progress = lambda *_: None,
) -> list[Outcome]:
    """Predict and score all scenes of this shard; return their outcomes, failed ones too.

    Raises:
        ValueError: the folder holds results of another model or of other options, or corrupt ones; or the model
            cannot be scored at a task.
    """
    cannot = sorted({item.task for item in work} - set(rival.tasks))
    if cannot:
        raise ValueError(f"{rival.name} cannot be scored at {cannot[0]}; it can at {', '.join(rival.tasks)}")
    position, count = options.parsed_shard()
    mine = work[position::count]
    folder.claim(identity_of(rival, options))
    corrupt = _corrupt(mine, folder)
    if corrupt and options.recompute not in ("corrupt", "everything"):
        raise ValueError(f"{next(iter(corrupt.values()))}; --recompute corrupt predicts the scene again")
    if options.recompute != "everything":
        _refuse_other_data([item for number, item in enumerate(mine) if number not in corrupt], folder)
    _clear_corrupt_scores(mine, options, folder)
    failed: dict[int, str] = {}
    for number, item in enumerate(mine):
        progress("predicting", number, len(mine))
        part = PASS_OF[item.task]
        there = folder.results(item.scene, part).is_file()
        if there and options.recompute != "everything" and number not in corrupt:
            continue
        try:
            predict_scene(rival, item.scene, part, options.protocol, folder)
        except SCENE_ERRORS as error:
            failed[number] = _reason(error)
    progress("predicting", len(mine), len(mine))
    outcomes = []
    for number, item in enumerate(mine):
        progress("scoring", number, len(mine))
        outcomes.append(_score(item, options, folder, failed.get(number)))
    progress("scoring", len(mine), len(mine))
    write_summaries(folder, options)
    return outcomes


def check_packages(task: Task) -> None:
    """Refuse before any work what could not be scored for want of a package.

    Raises:
        ImportError: naming the extra.
    """
    if task.startswith("recon"):
        from anyview.fusion.tsdf import check_open3d

        check_open3d()


def _corrupt(work: Sequence[Work], folder: RunFolder) -> dict[int, str]:
    wrong = {number: folder.check(item.scene, PASS_OF[item.task]) for number, item in enumerate(work)}
    return {number: reason for number, reason in wrong.items() if reason is not None}


def _refuse_other_data(work: Sequence[Work], folder: RunFolder) -> None:
    for item in work:
        reason = folder.check_data(item.scene, PASS_OF[item.task])
        if reason is not None:
            raise ValueError(f"{reason}; give another output folder, or --recompute everything")


def _clear_corrupt_scores(work: Sequence[Work], options: BenchOptions, folder: RunFolder) -> None:
    for item in work:
        reason = folder.check_score(item.scene, item.task)
        if reason is None:
            continue
        if options.recompute == "nothing":
            raise ValueError(f"{reason}; --recompute corrupt scores the scene again")
        folder.score(item.scene.dataset, item.scene.name, item.task).unlink()


def _score(item: Work, options: BenchOptions, folder: RunFolder, failure: str | None) -> Outcome:
    scene, task = item.scene, item.task
    if failure is None and options.recompute not in ("scores", "everything"):
        before = folder.read_outcome(scene.dataset, scene.name, task)
        if before is not None:
            return before
    try:
        if failure is not None:
            raise ValueError(failure)
        outcome = score_scene(scene, task, options, folder)
    except SCENE_ERRORS as error:
        outcome = Outcome(dataset=scene.dataset, scene=scene.name, task=task, frames=len(scene), reason=_reason(error))
    folder.write_outcome(outcome)
    return outcome


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
