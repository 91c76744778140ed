"""The files of a run (benchmark 1.4), written whole or not at all, and never unpickled.

run.json                                            what all results of the folder depend on
model_results/DATASET/SCENE/PASS/exports/mini_npz/results.npz   depth, conf, extrinsics, intrinsics, rendered
model_results/DATASET/SCENE/PASS/exports/gt_meta.npz            extrinsics, intrinsics, image_files
model_results/DATASET/SCENE/context/split.json                  view synthesis: what was shown, what was rendered
model_results/DATASET/SCENE/PASS/exports/fuse/pcd.ply           what is compared with the true points
model_results/DATASET/SCENE/PASS/record.json                    time and memory
model_results/DATASET/SCENE/PASS/preview.jpg                    the first picture beside its depth
scores/TASK/DATASET/SCENE.json                      one scene's scores, or why it failed
metric_results/DATASET_TASK.json                    a data set's scores, in the published form
"""

import json
import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Float32, UInt8

from anyview.bench.datasets.scene import BenchScene
from anyview.bench.options import PASS_OF, Pass, Task
from anyview.bench.pickled_names import is_pickled, read_pickled_names
from anyview.bench.rivals.rival import Answer
from anyview.files import atomic_path
from anyview.types import Placement

DEPTH_DECIMALS, CONFIDENCE_DECIMALS = 8, 2
SPLIT_VERSION = 1
"""Of the rules by which `synthesis.split_views` chooses pictures."""
SIDECAR, NAMES = "gt_meta.npz", "image_files"
PLACEMENT_COLUMNS = ("input_height", "input_width", "scale_x", "scale_y", "offset_x", "offset_y")
_Kind = TypeVar("_Kind")
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A model's answer as it lies on disk, and which frames it is for."""

    names: tuple[str, ...]
    depth: tuple[Float32[np.ndarray, "rows columns"], ...] | None
    disparity: bool
    world_to_camera: Float32[np.ndarray, "views 4 4"] | None
    intrinsics: Float32[np.ndarray, "views 3 3"] | None
    placements: tuple[Placement, ...] | None
    rendered: UInt8[np.ndarray, "targets height width 3"] | None


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a prediction took."""

    seconds: float
    peak_bytes: int
    """The largest memory in use: of the GPU where there is one, else of the process."""
    device: str
    frames: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One scene's scores at one task, or why there are none."""

    dataset: str
    scene: str
    task: Task
    frames: int = 0
    reason: str | None = None
    """Why the scene failed; None: it did not."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """For plots: shares below limits, by what they are of."""
    pictures: Sequence[Mapping[str, float]] = ()
    """Scores of single pictures, where the mean is over pictures and not over scenes."""
    notes: Sequence[str] = ()
    seconds: float = math.nan
    peak_bytes: int = 0
    device: str = ""


class RunFolder:
    """Where the results of one model under one set of rules lie.

    ``adopt`` takes over results that the published evaluator wrote there.
    """

    def __init__(self, path: Path, *, adopt: bool = False) -> None:
        self.path, self.adopt = path, adopt

    def exports(self, scene: BenchScene, part: Pass) -> Path:
        """Return the folder of a scene's results."""
        return self.path / "model_results" / scene.dataset / scene.name / part / "exports"

    def results(self, scene: BenchScene, part: Pass) -> Path:
        """Return the file of a scene's answer; where it is, the other files of the answer are too."""
        return self.exports(scene, part) / "mini_npz" / "results.npz"

    def cloud(self, scene: BenchScene, part: Pass) -> Path:
        """Return the file of a scene's fused points."""
        return self.exports(scene, part) / "fuse" / "pcd.ply"

    def preview(self, dataset: str, scene: str, part: Pass) -> Path:
        """Return the file that shows a scene's first picture beside its depth."""
        return self.path / "model_results" / dataset / scene / part / "preview.jpg"

    def score(self, dataset: str, scene: str, task: Task) -> Path:
        """Return the file of a scene's scores."""
        return self.path / "scores" / task / dataset / f"{scene}.json"

    def metrics(self, dataset: str, task: Task) -> Path:
        """Return the file of a data set's scores in the published form."""
        return self.path / "metric_results" / f"{dataset}_{task}.json"

    def claim(self, identity: Mapping[str, Any]) -> None:
        """Say what all results here depend on, or see that it is the same as before.

        Raises:
            ValueError: what is here is of another model, or of other options; the first difference is named.
        """
        file = self.path / "run.json"
        if file.is_file():
            before = read_json(file)
            for key in dict.fromkeys([*before, *identity]):
                if before.get(key) != identity.get(key):
                    raise ValueError(
                        f"{self.path} holds results with {key} {_short(before.get(key))}, and this run has "
                        f"{_short(identity.get(key))}; give another output folder"
                    )
            return
        # Another part of the same run may be writing run.json right now, under a name that begins with a point.
        there = {path.name for path in self.path.iterdir()} if self.path.is_dir() else set()
        foreign = {name for name in there if not name.startswith(".")}
        if foreign and not (self.adopt and "model_results" in foreign):
            raise ValueError(
                f"{self.path} is not empty and no folder of a run: it has no run.json (--adopt takes results of the "
                "published evaluator over, which lie in model_results)"
            )
        write_json(file, identity)

    def write_answer(self, scene: BenchScene, part: Pass, answer: Answer, record: Record) -> None:
        """Write a scene's answer; scores of an earlier one are removed."""
        exports = self.exports(scene, part)
        for task, needed in PASS_OF.items():
            if needed == part:
                self.score(scene.dataset, scene.name, task).unlink(missing_ok=True)
        self.cloud(scene, part).unlink(missing_ok=True)
        _write_arrays(exports / SIDECAR, truth_arrays(scene))
        write_json(exports.parent / "record.json", asdict(record))
        if scene.targets:
            write_json(exports.parent / "split.json", split_of(scene))
        _write_arrays(self.results(scene, part), answer_arrays(answer))

    def read_answer(self, scene: BenchScene, part: Pass) -> Stored:
        """Read a scene's answer.

        Raises:
            ValueError: it is not there, is corrupt, or is for other frames.
        """
        file, truth = self.results(scene, part), self.exports(scene, part) / SIDECAR
        arrays = read_arrays(file)
        names = self._stored_names(truth) if truth.is_file() else names_of(scene)
        if self.adopt and len(names) == len(scene):  # paths of where the pictures lay when they were predicted (Q08)
            names = tuple(
                ours if f"/{stored}".endswith(f"/{ours}") else stored
                for stored, ours in zip(names, names_of(scene), strict=True)
            )
        if names != names_of(scene):
            raise ValueError(f"{file} is for other frames than the {len(scene)} that {scene.name} has now")
        stored = _stored(arrays, names)
        count = {
            len(values) for values in (stored.depth, stored.world_to_camera, stored.intrinsics) if values is not None
        }
        if count - {len(names)}:
            raise ValueError(f"{file} is corrupt: it holds {max(count)} views, and its scene has {len(names)}")
        if stored.rendered is not None and len(stored.rendered) != len(scene.targets):
            raise ValueError(
                f"{file} is corrupt: it holds {len(stored.rendered)} rendered pictures of {len(scene.targets)}"
            )
        return stored

    def _stored_names(self, sidecar: Path) -> tuple[str, ...]:
        """Read the names of an answer's frames."""
        if self.adopt and is_pickled(sidecar, NAMES):
            return tuple(name.replace("\\", "/") for name in read_pickled_names(sidecar, NAMES))
        return tuple(read_arrays(sidecar)[NAMES].tolist())

    def read_record(self, scene: BenchScene, part: Pass) -> Record | None:
        """Read what a scene's prediction took; None for results that were brought here."""
        file = self.exports(scene, part).parent / "record.json"
        return _read_as(Record, file) if file.is_file() else None

    def check(self, scene: BenchScene, part: Pass) -> str | None:
        """Say what is wrong with the files of an answer that is there; None: nothing."""
        for file in (self.results(scene, part), self.exports(scene, part) / SIDECAR):
            try:
                if file.name == SIDECAR and file.is_file():
                    self._stored_names(file)
                elif file.is_file():
                    read_arrays(file)
                self.read_record(scene, part)
            except ValueError as error:
                return str(error)
        return None

    def check_score(self, scene: BenchScene, task: Task) -> str | None:
        """Say what is wrong with the file of a scene's scores, if it is there; None: nothing."""
        try:
            self.read_outcome(scene.dataset, scene.name, task)
        except ValueError as error:
            return str(error)
        return None

    def check_data(self, scene: BenchScene, part: Pass) -> str | None:
        """Say if the answer that is there is for other frames or other true cameras than the scene's; None: it is not.

        Adopted results are compared when they are scored: their sidecars have names of their own.
        """
        file = self.exports(scene, part) / SIDECAR
        if self.adopt or not file.is_file():
            return None
        stored, ours = read_arrays(file), truth_arrays(scene)
        if stored[NAMES].tolist() != ours[NAMES].tolist():
            return f"{file} is for other frames than the {len(scene)} that {scene.name} has now"
        for name in ("extrinsics", "intrinsics"):
            before, now = stored.get(name), ours.get(name)
            if before is not None and now is not None and not _same(before, now):
                return f"{file} is for other {name} than {scene.name} has now"
        return None

    def write_outcome(self, outcome: Outcome) -> None:
        """Write a scene's scores."""
        write_json(self.score(outcome.dataset, outcome.scene, outcome.task), asdict(outcome))

    def read_outcome(self, dataset: str, scene: str, task: Task) -> Outcome | None:
        """Read a scene's scores; None where there are none, or only the reason why it failed before."""
        file = self.score(dataset, scene, task)
        if not file.is_file():
            return None
        outcome = _read_as(Outcome, file)
        return outcome if outcome.reason is None else None

    def outcomes(self) -> list[Outcome]:
        """Read the scores of all scenes, also of those that failed."""
        scores = self.path / "scores"
        # Hidden folders hold what another process is writing, or was when it was killed.
        files = [file for file in scores.rglob("*.json") if not _is_hidden(file.relative_to(scores))]
        return [_read_as(Outcome, file) for file in sorted(files)]


def _is_hidden(path: Path) -> bool:
    """Whether any part of a relative path begins with a point."""
    return any(part.startswith(".") for part in path.parts)


def names_of(scene: BenchScene) -> tuple[str, ...]:
    """Return the names of a scene's frames."""
    return tuple(frame.name for frame in scene.frames)


def split_of(scene: BenchScene) -> dict[str, Any]:
    """Name the pictures that were shown and those that were rendered, so that others can take the same."""
    names, targets = names_of(scene), set(scene.targets)
    return {
        "version": SPLIT_VERSION,
        "context": [name for index, name in enumerate(names) if index not in targets],
        "targets": [names[index] for index in scene.targets],
    }


def truth_arrays(scene: BenchScene) -> dict[str, np.ndarray]:
    """Return what is stored of the truth: cameras where they are known, and the names of the frames."""
    arrays: dict[str, np.ndarray] = {NAMES: np.array(names_of(scene), str)}
    if all(frame.world_to_camera is not None for frame in scene.frames):
        arrays["extrinsics"] = scene.world_to_camera()
    if all(frame.intrinsics is not None for frame in scene.frames):
        arrays["intrinsics"] = scene.intrinsics()
    return arrays


def answer_arrays(answer: Answer) -> dict[str, np.ndarray]:
    """Return what is stored of an answer. Maps of different sizes get an array each."""
    arrays: dict[str, np.ndarray] = {}
    for name, maps, decimals in (
        ("depth", answer.depth, DEPTH_DECIMALS),
        ("conf", answer.confidence, CONFIDENCE_DECIMALS),
    ):
        if maps is None:
            continue
        rounded = [np.round(values.astype(np.float32), decimals) for values in maps]
        if len({values.shape for values in rounded}) == 1:
            arrays[name] = np.stack(rounded)
        else:
            arrays |= {f"{name}_{index:04d}": values for index, values in enumerate(rounded)}
    if answer.world_to_camera is not None:
        arrays["extrinsics"] = answer.world_to_camera[:, :3].astype(np.float32)
    if answer.intrinsics is not None:
        arrays["intrinsics"] = answer.intrinsics.astype(np.float32)
    if answer.placements is not None:
        rows = [[getattr(placement, column) for column in PLACEMENT_COLUMNS] for placement in answer.placements]
        arrays["placements"] = np.array(rows, np.float64)
    if answer.rendered is not None:
        arrays["rendered"] = answer.rendered
    if answer.disparity:
        arrays["disparity"] = np.array(True)
    return arrays


def _stored(arrays: Mapping[str, np.ndarray], names: tuple[str, ...]) -> Stored:
    depth = tuple(arrays["depth"]) if "depth" in arrays else None
    single = sorted(name for name in arrays if name.startswith("depth_"))
    if depth is None and single:
        depth = tuple(arrays[name] for name in single)
    placements = None
    if "placements" in arrays:
        placements = tuple(Placement(int(row[0]), int(row[1]), *row[2:]) for row in arrays["placements"].tolist())
    return Stored(
        names=names,
        depth=depth,
        disparity="disparity" in arrays,
        world_to_camera=_homogeneous(arrays["extrinsics"]) if "extrinsics" in arrays else None,
        intrinsics=arrays.get("intrinsics"),
        placements=placements,
        rendered=arrays.get("rendered"),
    )


def _homogeneous(poses: Float[np.ndarray, "views rows 4"]) -> Float32[np.ndarray, "views 4 4"]:
    full = np.tile(np.eye(4, dtype=np.float32), (len(poses), 1, 1))
    full[:, : poses.shape[1]] = poses
    return full


def _write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # its stub takes any name for `allow_pickle`


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of a file, without pickles.

    Raises:
        ValueError: it is not there, or corrupt.
    """
    if not path.is_file():
        raise ValueError(f"no such results: {path}")
    try:
        # Opened here, since NumPy leaves a file open that it finds to be no archive.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except _BROKEN as error:
        raise ValueError(f"{path} is corrupt ({' '.join(str(error).split())})") from error


def write_json(path: Path, document: Mapping[str, Any], indent: int = 4) -> None:
    """Write a document; numbers that are not finite become Infinity and NaN, as in the published files."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(document, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a document.

    Raises:
        ValueError: it is corrupt.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is corrupt ({error})") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path} is corrupt: it holds no object")
    return document


def _read_as(kind: type[_Kind], path: Path) -> _Kind:
    """Read a document whose entries are the fields of a class.

    Raises:
        ValueError: it is corrupt.
    """
    try:
        return kind(**read_json(path))
    except TypeError as error:  # fields are missing, or others are there
        raise ValueError(f"{path} is corrupt ({error})") from error


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether cameras are the same but for rounding."""
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-4, atol=1e-4 * max(1e-6, np.abs(one).max()))


def _short(value: object) -> str:
    text = str(value)
    return text[:12] + "…" if len(text) > 40 else text
