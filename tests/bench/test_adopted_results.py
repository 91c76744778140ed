"""Results that the published evaluator wrote: its pickled names of pictures, opened without running anything."""

import os
import pickle
import shutil
import zipfile
from pathlib import Path

import fake_sets
import numpy as np
import pytest

from anyview.bench.command import run_bench
from anyview.bench.options import BenchOptions
from anyview.bench.pickled_names import is_pickled, read_pickled_names
from anyview.bench.results import RunFolder
from anyview.bench.runner import find_work, run

ADOPT = BenchOptions(protocol="compat", adopt=True)


@pytest.fixture
def brought(fake_data, tmp_path) -> tuple[str, Path, Path]:
    """Data, a folder with a perfect model's results in the published form, and the sidecar there."""
    data = f"dtu64:{fake_data('dtu64')}"
    options = BenchOptions(protocol="compat")
    work = find_work([data], "pose", options)
    model = fake_sets.Oracle([work[0].scene], fake_sets.sphere_depth, (42, 56), compat=True)
    run(work, model, options, RunFolder(tmp_path / "ours"))
    shutil.copytree(tmp_path / "ours" / "model_results", tmp_path / "brought" / "model_results")
    sidecar = tmp_path / "brought/model_results/dtu64/scan105/unposed/exports/gt_meta.npz"
    paths = [f"./workspace/benchmark_dataset/dtu64/scan105/{frame.name}" for frame in work[0].scene.frames]
    np.savez(sidecar, image_files=np.array(paths, object), extrinsics=work[0].scene.world_to_camera())
    return data, tmp_path / "brought", sidecar


def test_results_of_the_published_evaluator_are_scored(brought):
    data, folder, _ = brought
    (outcome,) = run_bench("pose", [data], "stored:DA3-GIANT", folder, ADOPT)
    assert outcome.reason is None
    assert outcome.metrics["auc03"] == 1
    (again,) = run_bench("pose", [data], "stored:DA3-GIANT", folder, ADOPT)
    assert again.metrics == outcome.metrics


def test_they_are_refused_unless_asked(brought):
    data, folder, _ = brought
    with pytest.raises(ValueError, match=r"has no run.json \(--adopt takes results of the published evaluator over"):
        run_bench("pose", [data], "stored", folder, BenchOptions(protocol="compat"))
    run_bench("pose", [data], "stored", folder, ADOPT)
    with pytest.raises(ValueError, match=r"gt_meta\.npz is corrupt"):
        run_bench("pose", [data], "stored", folder, BenchOptions(protocol="compat"))


def test_results_of_other_pictures_are_not_scored(brought):
    data, folder, sidecar = brought
    names = list(read_pickled_names(sidecar, "image_files"))
    np.savez(sidecar, image_files=np.array([*names[1:], names[0]], object))
    (outcome,) = run_bench("pose", [data], "stored", folder, ADOPT)
    assert outcome.reason is not None
    assert "is for other frames than the 35 that scan105 has now" in outcome.reason


class Harmful:
    """A pickle that makes a folder when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_in_a_pickle_is_run(brought, tmp_path):
    data, folder, sidecar = brought
    np.savez(sidecar, image_files=np.array([Harmful(tmp_path / "made")], object))
    assert is_pickled(sidecar, "image_files")
    with pytest.raises(
        ValueError, match=r"gt_meta\.npz is corrupt, or holds more than text \(it would run posix.mkdir"
    ):
        run_bench("pose", [data], "stored", folder, ADOPT)
    assert not (tmp_path / "made").exists()
    np.savez(sidecar, image_files=np.array([1, "two"], object))
    with pytest.raises(ValueError, match=r"expected text as image_files, got \['int', 'str'\]"):
        run_bench("pose", [data], "stored", folder, ADOPT)


def test_pickles_of_old_numpy_are_read(tmp_path):
    """Their module has moved, and importing it from where it was is deprecated."""
    np.savez(tmp_path / "new.npz", image_files=np.array(["a/b.png"], object))
    with zipfile.ZipFile(tmp_path / "new.npz") as archive:
        content = archive.read("image_files.npy")
    header, body = content[:128], content[128:]
    names = pickle.dumps(pickle.loads(body), protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core.multiarray" in names
    with zipfile.ZipFile(tmp_path / "old.npz", "w") as archive:
        archive.writestr("image_files.npy", header + names)
    assert read_pickled_names(tmp_path / "old.npz", "image_files") == ("a/b.png",)


def test_scenes_without_stored_results_fail(brought):
    data, folder, _ = brought
    (folder / "model_results/dtu64/scan105/unposed/exports/mini_npz/results.npz").unlink()
    (outcome,) = run_bench("pose", [data], "stored:GIANT", folder, ADOPT)
    assert outcome.reason == "there are no stored results of GIANT for this scene of 35 views"
