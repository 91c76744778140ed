"""A stream's folder: what is written is read back, and leftovers go."""

import itertools

import numpy as np
import pytest
import torch

from anyview.geometry.alignment import Similarity
from anyview.geometry.rotation_vector import rotation_from_vector
from anyview.streaming.known import Anchor
from anyview.streaming.pose_graph import Edge
from anyview.streaming.scene_map import (
    FrameRows,
    SceneMap,
    WindowRecord,
    record_from_arrays,
    record_to_arrays,
)
from anyview.streaming.seams import Seam
from anyview.streaming.store import StreamStore


def similarity(seed: int) -> Similarity:
    numbers = torch.randn(7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Similarity(numbers[0].exp(), rotation_from_vector(numbers[1:4]), numbers[4:])


def equal(first: Similarity, second: Similarity) -> bool:
    return all(
        torch.equal(getattr(first, name), getattr(second, name)) for name in ("scale", "rotation", "translation")
    )


def rows(count: int) -> FrameRows:
    return FrameRows(
        index=torch.arange(count) * 2,
        time_s=torch.arange(count) / 30,
        names=tuple(f"füße {index}.png" for index in range(count)),
        owner=torch.zeros(count, dtype=torch.int64),
        world_to_camera=torch.randn(count, 4, 4).double(),
        intrinsics=torch.randn(count, 3, 3).double(),
        descriptors=torch.randn(count, 5),
        known=torch.full((count, 4, 4), torch.nan).double(),
    )


def test_a_record_is_read_back_to_the_bit(tmp_path):
    record = WindowRecord(
        frames=rows(3),
        node=similarity(0),
        unit=2.5,
        units="caller",
        frames_read=17,
        passed_over=4,
        seam=Seam(similarity(1), 0.9, 0.01, 0.002),
        seam_frames=6,
        anchor=Anchor(similarity(2).rotation, similarity(2).translation, similarity(6).translation, 2.5, 0.1, None),
        loops=(Edge(0, 7, similarity(3), 1.5, 0.07, robust=True),),
        candidates=2,
    )
    store = StreamStore(tmp_path)
    store.open({"source": "test"}, resume=False)
    store.commit_window(0, record_to_arrays(record), {"nothing": np.zeros(1)})
    again = record_from_arrays(store.read_window(0))
    assert equal(again.node, record.node)
    assert equal(again.seam.similarity, record.seam.similarity)
    assert (again.seam.inliers, again.seam.error, again.seam.scale_deviation) == (0.9, 0.01, 0.002)
    one = torch.ones(()).double()
    assert equal(again.anchor.similarity(one), record.anchor.similarity(one))
    assert (again.anchor.unit, again.anchor.spread, again.anchor.scale) == (2.5, 0.1, None)
    (loop,) = again.loops
    assert equal(loop.second_to_first, record.loops[0].second_to_first)
    assert (loop.first, loop.second, loop.unit, loop.deviation, loop.robust) == (0, 7, 1.5, 0.07, True)
    assert again.frames.names == record.frames.names
    assert torch.equal(again.frames.world_to_camera, record.frames.world_to_camera)
    for name in ("seam_frames", "unit", "units", "frames_read", "passed_over", "candidates"):
        assert getattr(again, name) == getattr(record, name)


def test_seams_weigh_in_the_graph_what_their_errors_say():
    """Points off by 0.2 in four frames: 0.1; exact ones have the floor."""
    scene = SceneMap()
    for seam in (None, Seam(similarity(1), 0.6, 0.2, 0.01), Seam(similarity(2), 1.0, 1e-4, 1e-4)):
        scene.add(
            WindowRecord(
                rows(3), similarity(0), 2.5, "arbitrary", frames_read=9, passed_over=0, seam=seam, seam_frames=4
            )
        )
    assert [edge.deviation for edge in scene.seams] == pytest.approx([0.1, 0.02])
    assert [seam.inliers for seam in scene.seam_fits] == [0.6, 1.0]


def test_a_frame_is_read_back_as_exactly_as_promised(tmp_path):
    store = StreamStore(tmp_path)
    store.open({}, resume=False)
    depth = torch.rand(28, 42) + 0.5
    confidence = 1 + 4 * torch.rand(28, 42)
    confidence[0] = 0.0  # no prediction
    confidence[1] = 1.0
    confidence[2] = 1e6
    image = torch.full((28, 42, 3), 77, dtype=torch.uint8)
    store.write_frame(3, image, depth, confidence)
    seen, near, sure = store.read_frame(3)
    assert (seen.int() - image.int()).abs().max() <= 1
    assert ((near - depth).abs() / depth).max() < 5e-4
    assert (sure[0] == 0).all()
    assert (sure[1] == 1).all()
    assert sure[2].min() > 100
    assert ((1 / sure[3:] - 1 / confidence[3:]).abs() <= 0.51 / 254).all()
    assert store.disk_bytes == (tmp_path / "frames" / "00000003.npz").stat().st_size


def test_leftovers_of_killed_processes_go(tmp_path):
    store = StreamStore(tmp_path)
    store.open({}, resume=False)
    store.commit_window(0, {"a": np.zeros(3)}, {"b": np.zeros(5)})
    (tmp_path / "frames" / ".00000004-x").mkdir()
    (tmp_path / "windows" / "00000001.overlap.npz").write_bytes(b"of a window that never was")
    again = StreamStore(tmp_path)
    assert again.open({}, resume=True) == 1
    assert sorted(path.name for path in (tmp_path / "windows").iterdir()) == ["00000000.npz", "00000000.overlap.npz"]
    assert not list((tmp_path / "frames").iterdir())
    assert again.disk_bytes == sum(path.stat().st_size for path in (tmp_path / "windows").iterdir())


def test_a_folder_without_a_window_is_free(tmp_path):
    StreamStore(tmp_path).open({"source": "one"}, resume=False)
    assert StreamStore(tmp_path).open({"source": "another"}, resume=False) == 0


def test_the_oldest_depth_goes_first(tmp_path):
    store = StreamStore(tmp_path, disk_limit_bytes=40_000)
    store.open({}, resume=False)
    generator = torch.Generator().manual_seed(0)
    for index in range(20):
        image = torch.zeros(28, 42, 3, dtype=torch.uint8)
        store.write_frame(index, image, torch.rand(28, 42, generator=generator), torch.full((28, 42), 2.0))
    assert store.disk_bytes <= 40_000
    kept = store.frames()
    assert kept[-1] == 19
    assert kept == sorted(int(path.stem) for path in (tmp_path / "frames").glob("*.npz"))
    gaps = [later - earlier for earlier, later in itertools.pairwise(kept)]
    assert gaps[0] >= gaps[-1]


@pytest.mark.parametrize("resume", [True, False])
def test_another_description_is_refused(resume, tmp_path):
    store = StreamStore(tmp_path)
    store.open({"source": "one"}, resume=False)
    store.commit_window(0, {"a": np.zeros(3)}, {"b": np.zeros(5)})
    message = "source was 'one', now 'another'" if resume else "holds a stream of 1 windows; pass --resume"
    with pytest.raises(ValueError, match=message):
        StreamStore(tmp_path).open({"source": "another"}, resume=resume)
