"""The live viewer: what it shows, how it keeps to its bounds and follows corrections, and the page it serves."""

import sys
import urllib.request

import pytest
import torch

from anyview.geometry.camera import unproject_to_world
from anyview.geometry.pose import camera_centers
from anyview.streaming import stream
from anyview.streaming.live import LiveViewer
from anyview.streaming.live_scene import LiveScene
from anyview.streaming.outputs import stored_frames


def shown_centers(scene: LiveScene) -> torch.Tensor:
    return camera_centers(torch.stack([camera.world_to_camera for camera in scene.cameras.values()]))


def test_points_and_cameras_grow_with_the_stream(circling, options):
    scene, counts = LiveScene(), []
    truth = circling(20)
    with stream(truth, truth.frames(), options()) as run:
        for window in run:
            changed = scene.add(window)
            assert changed == set(window.owners.tolist())
            counts.append((scene.count_points(), len(scene.cameras)))
    assert counts == sorted(counts)
    assert list(scene.cameras) == list(range(20))
    assert scene.count_points() == 20 * 28 * 42  # all are sure, and 1,176 a frame are few enough


def test_corrections_move_what_was_there(circling, options, assert_close):
    """After a loop the page shows what the stream says now."""
    truth = circling(60, laps=1.2, drift=0.004)
    scene, corrections = LiveScene(), 0
    with stream(truth, truth.frames(), options(loops=True)) as run:
        for window in run:
            scene.add(window)
            corrections += len(window.corrections)
        rows = run.all_frames()
        now = run.scene.world_cameras(rows).world_to_camera
        stored = [unproject_to_world(frame.depth[0], frame.cameras[0]).flatten(0, 1) for frame in stored_frames(run)]
    assert corrections > 0
    assert_close(shown_centers(scene), camera_centers(now).float(), 1e-5, reason="float32 through several corrections")
    for part, points in scene.points.items():
        expected = torch.cat([stored[row] for row in (rows.owner == part).nonzero()[:, 0].tolist()])
        assert_close(points, expected, 2e-3, reason="depth is stored in half precision")


def test_numbers_are_bounded(circling, options):
    truth = circling(20)
    scene = LiveScene(most_points=5000, most_cameras=6)
    with stream(truth, truth.frames(), options()) as run:
        for window in run:
            scene.add(window)
            assert scene.count_points() <= 5000
            assert len(scene.cameras) <= 6
            assert all(len(scene.points[part]) == len(scene.colors[part]) for part in scene.points)
    assert list(scene.cameras) == [0, 4, 8, 12, 16]  # evenly, from the first on
    assert scene.count_points() > 1000


def test_the_page_has_points_cameras_and_numbers(circling, options):
    truth = circling(14)
    viewer = LiveViewer(port=18080)
    try:
        with urllib.request.urlopen(viewer.address, timeout=10) as page:
            assert b"<html" in page.read(2000).lower()
        with stream(truth, truth.frames(), options()) as run:
            for window in run:
                viewer.show(window)
        nodes = viewer._server.scene
        for part, points in viewer.scene.points.items():
            handle = nodes.get_handle_by_name(f"/points/{part:06d}")
            assert handle.points.shape == points.shape
            assert (handle.points == points.numpy()).all()
        for frame, center in zip(range(14), shown_centers(viewer.scene).numpy(), strict=True):
            handle = nodes.get_handle_by_name(f"/cameras/{frame:08d}")
            assert tuple(handle.position) == pytest.approx(tuple(center))
            assert handle.aspect == 1.5
            assert handle.fov == pytest.approx(0.9382, abs=1e-4)  # 2 atan(tan(0.65) 28 / 42)
        assert nodes.get_handle_by_name("/path").points.shape == (13, 2, 3)
        assert "14 frames, 3 windows" in viewer._state.content
    finally:
        viewer.close()


def test_cameras_let_go_of_leave_the_page(circling, options):
    truth = circling(14)
    viewer = LiveViewer(port=18080, scene=LiveScene(most_cameras=4))
    try:
        with stream(truth, truth.frames(), options()) as run:
            for window in run:
                viewer.show(window)
        there = [frame for frame in range(14) if viewer._server.scene.get_handle_by_name(f"/cameras/{frame:08d}")]
        assert there == list(viewer.scene.cameras) == [0, 4, 8, 12]
    finally:
        viewer.close()


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(ImportError, match=r'needs viser: pip install "anyview\[view\]"'):
        LiveViewer()
