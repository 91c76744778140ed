"""The demonstration: its room is exact, its pictures show it, and its files come to be."""

import numpy as np
import pytest
import torch
from PIL import Image

from anyview import demo
from anyview.geometry.camera import project, unproject_to_world
from anyview.geometry.pose import camera_centers, check_cameras
from anyview.model.checkpoint import save
from anyview.model.config import PRESETS


@pytest.fixture(scope="module")
def room():
    cameras = demo.room_cameras(4, 63, 84)
    return cameras, *demo.render_room(cameras, 63, 84)


def run(inputs, output):
    said, stages = [], []
    prediction, written = demo.run_demo(inputs, output, lambda *stage: stages.append(stage), said.append)
    return prediction, written, said, stages


def test_cameras_are_sound_and_stand_within_the_room():
    cameras = demo.room_cameras(9, 63, 84)
    check_cameras(cameras, views=9)
    assert (camera_centers(cameras.world_to_camera).abs() < torch.tensor(demo.ROOM)).all()


def test_all_that_is_seen_lies_on_the_walls(room, assert_close):
    cameras, _, depth = room
    assert (depth > 0.1).all()
    points = unproject_to_world(depth, cameras)
    nearness = (points.abs() / torch.tensor(demo.ROOM)).amax(-1)
    assert_close(nearness, torch.ones_like(nearness))


def test_pictures_show_something(room):
    _, pictures, _ = room
    assert pictures.dtype == torch.uint8
    assert (pictures.float().flatten(1, 2).std(1) > 10).all()
    assert not torch.equal(pictures[0], pictures[1])


def test_two_views_of_a_spot_have_its_colour(room):
    cameras, pictures, depth = room
    spot = unproject_to_world(depth, cameras)[0, 30, 42]
    pixels, _ = project(spot[None], cameras[1])
    column, row = map(int, pixels[0])
    around = pictures[1, row - 1 : row + 2, column - 1 : column + 2].int()
    assert (around - pictures[0, 30, 42].int()).abs().amax(-1).min() <= 12


def test_generated_pictures_are_predicted_with_random_weights_and_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "is_local", lambda name: False)
    monkeypatch.setattr(demo, "HEIGHT", 63)
    monkeypatch.setattr(demo, "WIDTH", 84)
    prediction, written, said, stages = run((), tmp_path / "out")
    assert len(said) == 1
    assert said[0].startswith("NOTE: no trained da3-nano comes with this version: its weights are random")
    assert (prediction.model, len(prediction)) == ("da3-nano (random weights)", demo.VIEWS)
    assert prediction.names == ("room_0.png", "room_1.png", "room_2.png", "room_3.png")
    assert list(written) == list(demo.FORMATS)
    assert all(path.is_file() for paths in written.values() for path in paths)
    assert len(list((tmp_path / "out" / "pictures").iterdir())) == demo.VIEWS
    assert {"reading", "predicting", "exporting"} == {stage for stage, _, _ in stages}


def test_trained_weights_are_used_where_there_are_any(tmp_path, monkeypatch):
    monkeypatch.setattr("anyview.model.checkpoint.BUNDLED", tmp_path)
    monkeypatch.setattr(demo, "WIDTH", 84)
    model = demo.DepthAnything3.with_random_weights(demo.MODEL, seed=3)
    save(model.network, tmp_path / f"{demo.MODEL}.safetensors", name=demo.MODEL)
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(tmp_path / "mine.png")
    prediction, _, said, stages = run((str(tmp_path / "mine.png"),), tmp_path / "out")
    assert said == []
    assert prediction.model == demo.MODEL
    assert "loading" in {stage for stage, _, _ in stages}
    assert not (tmp_path / "out" / "pictures").exists()


def test_its_model_is_a_preset():
    assert demo.MODEL in PRESETS
