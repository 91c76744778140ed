"""Scenes rendered ahead are the stream's scenes; whatever is wrong with a block is said with the file's name."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from anyview.recordings.catalog import open_dataset
from anyview.recordings.rendered import RenderedLibrary
from anyview.synth import blocks
from anyview.synth.blocks import render_blocks
from anyview.synth.dataset import batch_at
from anyview.synth.options import SynthOptions
from anyview.training.recorded import SceneSource

SMALL = SynthOptions(views=2, height=28, width=28, kinds=("still_life",), shadows=False)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "SCENES_PER_BLOCK", 2)


@pytest.fixture
def folder(tmp_path) -> Path:
    render_blocks(SMALL, "train", tmp_path / "scenes", count=4)
    return tmp_path / "scenes"


def test_a_scene_is_that_of_the_stream(folder):
    library = open_dataset(f"rendered:{folder}")
    assert library.frames == (2, 2, 2, 2)
    truth = batch_at(SMALL, "train", [3])
    scene = library.scene(3)
    assert torch.equal(scene.world_to_camera.float(), truth.cameras.world_to_camera[0])
    for number in range(2):
        frame = scene.read(number)
        assert np.array_equal(frame.pixels, truth.images[0, number].numpy())
        assert np.array_equal(frame.depth, truth.depth[0, number].numpy())
        assert np.allclose(frame.intrinsics, truth.cameras.intrinsics[0, number].numpy())
    assert library.augmented
    assert json.loads((folder / "000001" / "options.json").read_text())["split"] == "train"
    batch = SceneSource(library).batch((0, 1), 2, 28, 28, 1.0)
    assert batch.images.shape == (2, 2, 28, 28, 3)


def test_going_on_makes_what_is_missing_and_leaves_the_rest(folder):
    before = (folder / "000000" / "depth.npy").stat().st_mtime_ns
    calls = []
    render_blocks(SMALL, "train", folder, first=2, count=4, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(2, 4), (4, 4)]
    assert (folder / "000000" / "depth.npy").stat().st_mtime_ns == before
    assert sorted(path.name for path in folder.iterdir()) == ["000000", "000001", "000002"]


def test_an_interrupted_block_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks.np, "save", lambda path, array: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        render_blocks(SMALL, "train", tmp_path / "scenes", count=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 3}, "expected scenes in multiples of 2, got 3 from 0 on"),
        ({"count": 2, "first": 1}, "expected scenes in multiples of 2, got 2 from 1 on"),
        ({"count": 2, "workers": 0}, "expected at least 1 worker, got 0"),
    ],
)
def test_what_makes_no_blocks_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        render_blocks(SMALL, "train", tmp_path, **changes)


def test_broken_folders_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="nowhere"):
        RenderedLibrary(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no blocks of rendered scenes"):
        RenderedLibrary(tmp_path / "empty")
    np.save(folder / "000001" / "depth.npy", np.zeros((2, 2, 28, 27), np.float32))
    with pytest.raises(
        ValueError, match=r"000001/depth\.npy: expected the shape \[2, 2, 28, 28\], got \[2, 2, 28, 27\]"
    ):
        RenderedLibrary(folder).scene(2)
    (folder / "000000" / "images.npy").write_bytes(b"no array")
    with pytest.raises(ValueError, match=r"000000/images\.npy is missing or not a readable array"):
        RenderedLibrary(folder)
