"""Metres of a metric model: canonical depth times focal length in pixels of the network's input over 300."""

import io

import pytest
import torch
from PIL import Image

from anyview.options import PredictOptions
from anyview.types import Picture, Prediction
from filled import filled_model
from golden import fill

HEIGHT, WIDTH = 84, 112  # halved by the resolution
OPTIONS = {"resolution": 56}
CANONICAL = "no focal length is known: give intrinsics, focal_length or field_of_view"


def picture(focal_length: float | None = None) -> Picture:
    return Picture(fill.image("metric", HEIGHT, WIDTH), "metric", focal_length)


def predict(exif: float | None = None, *, name: str = "metric", intrinsics=None, **options) -> Prediction:
    predict_options = PredictOptions(**OPTIONS, **options)
    return filled_model(name).predict([picture(exif)], intrinsics=intrinsics, options=predict_options)


def assert_metres(prediction: Prediction, focal_length: float) -> None:
    """``focal_length`` in pixels of the network's input."""
    assert prediction.is_metric
    torch.testing.assert_close(prediction.depth, prediction.canonical_depth * focal_length / 300)
    torch.testing.assert_close(prediction.canonical_depth, predict().depth)
    focal_lengths = prediction.cameras.intrinsics[0].diagonal()[:2]
    assert focal_lengths.mean().item() == pytest.approx(focal_length)
    assert torch.equal(prediction.cameras.world_to_camera, torch.eye(4)[None])
    assert "metres" not in prediction.lacks


def test_without_a_focal_length_depth_is_canonical():
    prediction = predict()
    assert (prediction.units, prediction.is_metric) == ("canonical", False)
    assert torch.equal(prediction.depth, prediction.canonical_depth)
    assert prediction.cameras is None
    assert prediction.lacks["metres"] == CANONICAL


def test_exif_gives_metres_with_a_note():
    prediction = predict(240.0)
    assert_metres(prediction, 120.0)
    assert prediction.notes == ("metres rest on the focal length in the EXIF data",)


def test_the_exif_data_of_a_file_is_used():
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 36  # a focal length of 36 mm on 36 × 24 mm film
    file = io.BytesIO()
    Image.fromarray(fill.image("exif", 84, 126)).save(file, "jpeg", exif=exif)
    prediction = filled_model("metric").predict(file.getvalue(), options=PredictOptions(resolution=126))
    assert prediction.is_metric
    focal_length = prediction.cameras.intrinsics[0, 0, 0].item()
    assert focal_length == pytest.approx(126, rel=0.01)
    torch.testing.assert_close(prediction.depth, prediction.canonical_depth * focal_length / 300)


def test_a_given_focal_length_goes_before_exif():
    prediction = predict(240.0, focal_length=300.0)
    assert_metres(prediction, 150.0)
    assert prediction.notes == ()


def test_given_intrinsics_go_before_all():
    matrix = [[200, 0, 50], [0, 240, 40], [0, 0, 1]]
    prediction = predict(240.0, focal_length=300.0, field_of_view=60.0, intrinsics=matrix)
    assert_metres(prediction, 110.0)
    expected = torch.tensor([[[100.0, 0, 25], [0, 120, 20], [0, 0, 1]]])
    assert torch.equal(prediction.cameras.intrinsics, expected)


def test_a_field_of_view_will_do():
    """tan(45°) = 1: half of the width is the focal length."""
    assert_metres(predict(field_of_view=90.0), 28.0)


def test_a_focal_length_goes_before_a_field_of_view():
    assert_metres(predict(focal_length=300.0, field_of_view=90.0), 150.0)


def test_the_resolution_changes_the_focal_length_with_the_picture():
    full = filled_model("metric").predict([picture()], options=PredictOptions(resolution=112, focal_length=240.0))
    torch.testing.assert_close(full.depth, full.canonical_depth * 240 / 300)


def test_a_relative_model_stays_relative():
    prediction = predict(240.0, name="mono")
    assert prediction.units == "arbitrary"
    assert prediction.canonical_depth is None
    assert prediction.cameras.intrinsics[0, 0, 0] == 120
    assert prediction.lacks["metres"] == "mono predicts depth up to scale"


def test_one_unknown_focal_length_leaves_all_canonical():
    prediction = filled_model("metric").predict([picture(240.0), picture()], options=PredictOptions(**OPTIONS))
    assert prediction.units == "canonical"


def test_exif_does_not_overrule_what_an_any_view_model_predicts():
    with_exif, without = predict(240.0, name="anyview"), predict(name="anyview")
    assert torch.equal(with_exif.cameras.intrinsics, without.cameras.intrinsics)
    assumed = predict(240.0, name="anyview", focal_length=300.0)
    assert assumed.cameras.intrinsics[0, 0, 0] == 150
