"""The demonstration: its pictures are rendered or the user's, and its files come to be."""

from dataclasses import replace

import numpy as np
from PIL import Image

from anyview import demo
from anyview.model.checkpoint import save
from anyview.model.config import PRESETS


def run(inputs, output):
    said, stages = [], []
    prediction, written = demo.run_demo(inputs, output, lambda *stage: stages.append(stage), said.append)
    return prediction, written, said, stages


def test_generated_pictures_are_predicted_with_random_weights_and_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "is_local", lambda name: False)
    monkeypatch.setattr(demo, "ROOM", replace(demo.ROOM, height=63, width=84))
    prediction, written, said, stages = run((), tmp_path / "out")
    assert len(said) == 1
    assert said[0].startswith("NOTE: no trained da3-nano comes with this version: its weights are random")
    assert (prediction.model, len(prediction)) == ("da3-nano (random weights)", demo.ROOM.views)
    assert prediction.names == ("room_0.png", "room_1.png", "room_2.png", "room_3.png")
    assert list(written) == list(demo.FORMATS)
    assert all(path.is_file() for paths in written.values() for path in paths)
    assert len(list((tmp_path / "out" / "pictures").iterdir())) == demo.ROOM.views
    assert {"reading", "predicting", "exporting"} == {stage for stage, _, _ in stages}


def test_trained_weights_are_used_where_there_are_any(tmp_path, monkeypatch):
    monkeypatch.setattr("anyview.model.checkpoint.BUNDLED", tmp_path)
    monkeypatch.setattr(demo, "ROOM", replace(demo.ROOM, height=63, width=84))
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
