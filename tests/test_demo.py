"""The demonstration: its pictures are rendered or the user's, and its files come to be."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from anyview import demo
from anyview.demo import report
from anyview.model.checkpoint import save
from anyview.model.config import PRESETS
from anyview.options import ExportOptions
from anyview.synth.dataset import scene_at
from anyview.synth.options import SynthOptions
from anyview.types import Cameras, Placement, Prediction, TrueViews


def run(inputs, output):
    said, stages = [], []
    prediction, written = demo.run_demo(
        inputs, output, lambda *stage: stages.append(stage), said.append, lambda prediction, truth: {"views": "4"}
    )
    return prediction, written, said, stages


def test_generated_pictures_are_predicted_with_random_weights_and_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "is_local", lambda name: False)
    monkeypatch.setattr(demo, "ROOM", replace(demo.ROOM, height=63, width=84))
    prediction, written, said, stages = run((), tmp_path / "out")
    assert len(said) == 1
    assert said[0].startswith("NOTE: no trained da3-nano comes with this version: its weights are random")
    assert (prediction.model, len(prediction)) == ("da3-nano (random weights)", demo.ROOM.views)
    assert prediction.names == ("room_0.png", "room_1.png", "room_2.png", "room_3.png")
    assert list(written) == [*demo.FORMATS, "report"]
    assert all(path.is_file() for paths in written.values() for path in paths)
    assert len(list((tmp_path / "out" / "pictures").iterdir())) == demo.ROOM.views
    assert {"rendering", "reading", "predicting", "exporting"} == {stage for stage, _, _ in stages}


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


@pytest.fixture(scope="module")
def scene():
    options = SynthOptions(kinds=("room",), views=3, height=56, width=70, shadows=False, augment=False)
    return scene_at(options, "test", 0)


def perfect(truth, scale=1.0, views=3):
    """The truth as a prediction in another frame and unit."""
    turn = torch.tensor([[0.0, -1, 0, 3], [1, 0, 0, -2], [0, 0, 1, 5], [0, 0, 0, 1]])
    poses = truth.cameras.world_to_camera[:views] @ turn
    poses[:, :3, 3] *= scale
    return Prediction(
        images=truth.images[:views],
        depth=truth.depth[:views] * scale,
        units="arbitrary",
        model="truth",
        names=tuple(f"{view}.png" for view in range(views)),
        placements=(Placement(56, 70),) * views,
        cameras=Cameras(poses, truth.cameras.intrinsics[:views]),
    )


def test_a_perfect_prediction_is_drawn_where_the_truth_is(scene, assert_close):
    guess, real = report.clouds(perfect(scene, 0.2), scene, ExportOptions(confidence_percentile=0.0))
    assert_close(guess.points, real.points, 1e-4, reason="float32 points metres away")
    assert_close(guess.cameras.world_to_camera, real.cameras.world_to_camera, 1e-4, reason="as above")
    pose = report.look_from_aside(real, 35.0)
    one, other = report.draw_points(guess, pose), report.draw_points(real, pose)
    assert (one == other).all(-1).mean() > 0.97
    assert (one != 250).any(-1).mean() > 0.1


def test_points_are_drawn_where_they_are():
    eye = Cameras(torch.eye(4)[None], torch.eye(3)[None])
    points, colors = (
        torch.tensor([[0.0, 0, 2], [0, 0, 1], [0, 0, -1]]),
        torch.tensor([[255, 0, 0], [0, 0, 255], [0, 255, 0]]),
    )
    drawn = report.draw_points(report.Cloud(points, colors.byte(), eye), torch.eye(4))
    middle = report.PANEL // 2
    assert drawn[middle, middle].tolist() == [0, 0, 255]  # the nearer hides the farther; what is behind is not seen
    assert (drawn != 250).any(-1).sum() == 9


def size_of(path):
    with Image.open(path) as picture:
        return picture.size


@pytest.mark.parametrize("views", [1, 3])
def test_a_report_has_the_truth_where_there_is_one(scene, tmp_path, views):
    truth = TrueViews(scene.images[:views], scene.depth[:views], scene.cameras[:views])
    with_truth, alone = (
        report.write_report(perfect(scene, views=views), known, {"error": "0"}, tmp_path / name, ExportOptions())
        for known, name in ((truth, "truth.png"), (None, "alone.png"))
    )
    assert size_of(with_truth)[1] > size_of(alone)[1] + report.PANEL
    assert size_of(alone)[0] >= 3 * report.PANEL


def test_more_views_than_columns_are_spread(scene, tmp_path):
    three = perfect(scene)
    many = [view % 3 for view in range(9)]
    nine = replace(
        three,
        images=three.images[many],
        depth=three.depth[many],
        names=tuple(map(str, many)),
        placements=three.placements * 3,
        cameras=three.cameras[many],
    )
    sizes = [
        size_of(report.write_report(some, None, {}, tmp_path / "report.png", ExportOptions())) for some in (three, nine)
    ]
    assert sizes[0][0] == sizes[1][0]
