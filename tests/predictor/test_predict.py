"""What a prediction holds, and that nothing but its pictures and options decides it."""

import copy
import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from anyview.model.checkpoint import save
from anyview.model.config import PRESETS
from anyview.options import PredictOptions
from anyview.predictor import DepthAnything3
from anyview.types import Cameras, Picture, Prediction
from filled import filled, filled_model, write_published_folder
from golden import fill

OPTIONS = PredictOptions(resolution=112)
SIZES = [(120, 160), (90, 120), (160, 120), (120, 160), (60, 150)]


def picture(name: str, height: int = 120, width: int = 160, focal_length: float | None = None) -> Picture:
    return Picture(fill.image(name, height, width), name, focal_length)


PICTURES = [picture("a"), picture("b"), picture("c")]


def tensors(prediction: Prediction) -> dict[str, torch.Tensor]:
    found = {}
    for field in fields(prediction):
        value = getattr(prediction, field.name)
        if isinstance(value, torch.Tensor):
            found[field.name] = value
        elif field.name in ("cameras", "gaussians") and value is not None:
            found |= {f"{field.name}.{part.name}": getattr(value, part.name) for part in fields(value)}
    return found


def assert_same_bits(actual: Prediction, expected: Prediction) -> None:
    assert list(tensors(actual)) == list(tensors(expected))
    for key, value in tensors(expected).items():
        assert torch.equal(tensors(actual)[key], value), key
    assert actual.notes == expected.notes
    assert actual.lacks == expected.lacks


@pytest.mark.parametrize("name", ["anyview", "gaussian", "mono", "metric", "nested"])
def test_two_runs_give_the_same_bytes(name):
    model = filled_model(name)
    options = OPTIONS
    if model.abilities.any_view:
        options = replace(OPTIONS, rays=True, gaussians=model.abilities.gaussians, camera_source="rays", features=(2,))
    one = model.predict(PICTURES, options=options)
    torch.rand(3)
    two = model.predict(PICTURES, options=options)
    assert_same_bits(one, two)
    for block, tokens in one.features.items():
        assert torch.equal(tokens, two.features[block])


def test_predicting_draws_nothing_from_the_global_generator():
    before = torch.random.get_rng_state()
    filled_model("anyview").predict(PICTURES, options=replace(OPTIONS, camera_source="rays"))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_seed_decides_the_draws_of_the_ray_solver():
    model = filled_model("anyview")
    poses = [
        model.predict(PICTURES, options=replace(OPTIONS, camera_source="rays", seed=seed)).cameras.world_to_camera
        for seed in (0, 1, 0)
    ]
    assert torch.equal(poses[0], poses[2])
    assert not torch.equal(poses[0], poses[1])


def test_an_any_view_prediction_is_complete():
    options = replace(OPTIONS, rays=True, features=(0, 5))
    prediction = filled_model("anyview").predict(PICTURES, options=options)
    assert len(prediction) == 3
    assert prediction.model == "anyview"
    assert prediction.names == ("a", "b", "c")
    assert prediction.images.shape == (3, 84, 112, 3)
    assert prediction.images.dtype == torch.uint8
    assert prediction.depth.shape == prediction.confidence.shape == (3, 84, 112)
    assert prediction.cameras.world_to_camera.shape == (3, 4, 4)
    assert prediction.cameras.intrinsics.shape == (3, 3, 3)
    assert prediction.rays.shape == (3, 48, 64, 6)
    assert prediction.ray_confidence.shape == (3, 48, 64)
    assert {block: tuple(tokens.shape) for block, tokens in prediction.features.items()} == {
        0: (3, 6, 8, 64),
        5: (3, 6, 8, 64),
    }
    assert (prediction.units, prediction.is_metric) == ("arbitrary", False)
    assert (prediction.placements[0].scale_x, prediction.placements[0].input_width) == (0.7, 160)


def test_missing_fields_say_why():
    lacks = {name: dict(filled_model(name).predict([picture("a")], options=OPTIONS).lacks) for name in NAMES}
    assert lacks["anyview"] == {
        "rays": "not asked for (rays)",
        "gaussians": "anyview has no Gaussian head",
        "sky": "anyview predicts no sky",
        "features": "not asked for (features)",
        "metres": "anyview predicts depth up to scale",
        "canonical_depth": "only metric models of single images have one",
        "metric_scale": "only nested models have one",
        "ray_confidence": "not asked for (rays)",
    }
    assert lacks["nested"] == {
        "rays": "not asked for (rays)",
        "gaussians": "not asked for (gaussians)",
        "features": "not asked for (features)",
        "canonical_depth": "only metric models of single images have one",
        "ray_confidence": "not asked for (rays)",
    }
    single = "mono predicts depth and sky of single images"
    assert lacks["mono"] == {
        "confidence": single,
        "cameras": f"{single}, and no focal length is known to lift it with",
        "rays": single,
        "gaussians": "mono has no Gaussian head",
        "features": "not asked for (features)",
        "metres": "mono predicts depth up to scale",
        "canonical_depth": "only metric models of single images have one",
        "metric_scale": "only nested models have one",
        "ray_confidence": single,
    }
    assert lacks["metric"]["metres"] == "no focal length is known: give intrinsics, focal_length or field_of_view"


NAMES = ["anyview", "gaussian", "mono", "metric", "nested"]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_there_does_not_lack(name):
    model = filled_model(name)
    options = replace(OPTIONS, rays=model.abilities.any_view, gaussians=model.abilities.gaussians, features=(1,))
    prediction = model.predict([picture("a", focal_length=150.0)], options=options)
    for field in ("confidence", "cameras", "rays", "gaussians", "sky", "features"):
        value = getattr(prediction, field)
        missing = value is None or (field == "features" and not value)
        assert missing == (field in prediction.lacks), field
    assert ("metres" in prediction.lacks) == (not prediction.is_metric)


def test_several_pictures_of_a_monocular_model_get_no_cameras():
    prediction = filled_model("mono").predict(PICTURES, options=OPTIONS)
    assert prediction.cameras is None
    assert prediction.lacks["cameras"].endswith("predict the images one by one to get a point cloud of each")


def test_any_view_models_see_all_pictures_together():
    together = filled_model("anyview").predict(PICTURES, options=OPTIONS)
    alone = filled_model("anyview").predict(PICTURES[:1], options=OPTIONS)
    assert (together.depth[0] - alone.depth[0]).abs().max() > 1e-3


def test_mixed_sizes_are_cropped_with_a_note():
    prediction = filled_model("anyview").predict([picture("a"), picture("b", 160, 120)], options=OPTIONS)
    assert prediction.depth.shape == (2, 84, 84)
    assert prediction.mask is None
    assert prediction.notes == ("25.0% of views 0, 1 was cropped away",)


def test_mixed_sizes_are_padded_and_masked():
    options = replace(OPTIONS, mixed_sizes="pad")
    prediction = filled_model("anyview").predict([picture("a"), picture("b", 160, 120)], options=options)
    assert prediction.depth.shape == (2, 112, 112)
    assert prediction.notes == ()
    assert prediction.mask[0, 14:98].all()
    assert not prediction.mask[0, :14].any()
    assert not prediction.mask[1, :, 98:].any()
    assert prediction.valid().sum() == 2 * 84 * 112


def nested_under_the_sky() -> DepthAnything3:
    network = copy.deepcopy(filled("nested"))
    network.metric.head.sky_reader.output.bias.data.fill_(10.0)
    return DepthAnything3(network, "nested", device="cpu")


def test_nothing_but_sky_leaves_a_nested_model_without_metres():
    prediction = nested_under_the_sky().predict(PICTURES, options=OPTIONS)
    assert (prediction.units, prediction.is_metric, prediction.metric_scale) == ("arbitrary", False, None)
    assert prediction.sky.all()
    (note,) = prediction.notes
    assert note.startswith("almost everything is sky")
    with torch.inference_mode():
        plain = filled_model("nested").network.any_view
        expected = DepthAnything3(plain, "gaussian", device="cpu").predict(PICTURES, options=OPTIONS)
    assert torch.equal(prediction.depth, expected.depth)


def test_a_nested_prediction_is_in_metres():
    prediction = filled_model("nested").predict(PICTURES, options=OPTIONS)
    assert prediction.is_metric
    assert math.isfinite(prediction.metric_scale)
    assert prediction.sky.dtype == torch.bool


@pytest.mark.parametrize("name", ["anyview", "mono"])
def test_predictions_can_be_edited_and_learned_from(name):
    prediction = filled_model(name).predict(PICTURES, options=OPTIONS)
    for key, value in tensors(prediction).items():
        assert not value.requires_grad, key
        assert not value.is_inference(), key
    prediction.depth[0, 0] = 1.0
    weight = torch.ones((), requires_grad=True)
    (weight * prediction.depth).sum().backward()


def test_progress_is_told():
    told = []
    filled_model("anyview").predict(PICTURES, options=OPTIONS, progress=lambda *stage: told.append(stage))
    assert {stage for stage, _, _ in told} == {"reading", "predicting"}
    for stage in ("reading", "predicting"):
        done = [(part, total) for name, part, total in told if name == stage]
        assert done == sorted(done)
        assert done[-1][0] == done[-1][1]


def test_models_load_from_a_folder_and_a_file(tmp_path):
    expected = filled_model("da3-small").predict(PICTURES, options=OPTIONS)
    folder = write_published_folder(tmp_path / "folder", "da3-small")
    file = save(filled("da3-small"), tmp_path / "small.safetensors", name="da3-small")
    for path in (folder, file):
        model = DepthAnything3.from_pretrained(path, device="cpu")
        assert model.name == "da3-small"
        assert_same_bits(model.predict(PICTURES, options=OPTIONS), expected)


def test_random_weights_say_so():
    prediction = DepthAnything3.with_random_weights("da3-nano", device="cpu").predict(PICTURES, options=OPTIONS)
    assert prediction.model == "da3-nano (random weights)"
    assert prediction.depth.isfinite().all()


def test_reduced_precision_is_the_backbone_s(assert_close):
    network = copy.deepcopy(filled("anyview"))
    prediction = DepthAnything3(network, "anyview", device="cpu", dtype="bfloat16").predict(PICTURES, options=OPTIONS)
    assert network.backbone_dtype == torch.bfloat16
    assert {value.dtype for value in tensors(prediction).values()} == {torch.float32, torch.uint8}
    assert prediction.depth.isfinite().all()


class TestPredictEach:
    @pytest.mark.parametrize("name", ["anyview", "mono", "nested"])
    def test_results_are_those_of_each_picture_alone(self, name):
        model = filled_model(name)
        pictures = [picture(f"p{index}", *size) for index, size in enumerate(SIZES)]
        alone = [model.predict(one, options=OPTIONS) for one in pictures]
        for batch_size in (1, 2, 4):
            each = list(model.predict_each(pictures, batch_size=batch_size, options=OPTIONS))
            assert [prediction.names for prediction in each] == [(f"p{index}",) for index in range(5)]
            for actual, expected in zip(each, alone, strict=True):
                assert_same_bits(actual, expected)

    def test_other_pictures_of_the_batch_change_no_bit(self):
        model = filled_model("anyview")
        one, other, *_ = (
            list(model.predict_each([*names, *PICTURES], batch_size=4, options=OPTIONS))
            for names in ([picture("x")], [picture("x"), picture("y")])
        )
        assert_same_bits(one[0], other[0])

    def test_pictures_are_read_as_they_are_needed(self):
        """The broken one is met after the batches before it."""
        results = filled_model("mono").predict_each([*PICTURES, b"broken"], batch_size=2, options=OPTIONS)
        assert [next(results).names[0] for _ in range(2)] == ["a", "b"]
        with pytest.raises(ValueError, match="is not a picture in a known format"):
            next(results)

    def test_names_go_on_from_batch_to_batch(self):
        arrays = [one.pixels for one in PICTURES]
        each = filled_model("mono").predict_each(arrays, batch_size=2, options=OPTIONS)
        assert [prediction.names for prediction in each] == [("0000",), ("0001",), ("0002",)]

    def test_a_stack_of_pictures_is_several_pictures(self):
        stack = np.stack([one.pixels for one in PICTURES])
        matrices = [[[100.0 + index, 0, 80], [0, 100 + index, 60], [0, 0, 1]] for index in range(3)]
        each = filled_model("metric").predict_each(stack, intrinsics=matrices, batch_size=2, options=OPTIONS)
        assert [prediction.names for prediction in each] == [("0000",), ("0001",), ("0002",)]

    def test_progress_is_told(self):
        told = []
        each = filled_model("mono").predict_each(
            PICTURES, batch_size=2, options=OPTIONS, progress=lambda *stage: told.append(stage)
        )
        assert len(list(each)) == 3
        assert [done for stage, done, total in told if stage == "predicting"] == [2, 3]

    def test_known_intrinsics_belong_to_their_pictures(self):
        matrices = [[[100.0 + index, 0, 80], [0, 100 + index, 60], [0, 0, 1]] for index in range(3)]
        each = list(filled_model("metric").predict_each(PICTURES, intrinsics=matrices, batch_size=2, options=OPTIONS))
        for index, prediction in enumerate(each):
            assert prediction.cameras.intrinsics[0, 0, 0].item() == pytest.approx(0.7 * (100 + index))
            assert prediction.is_metric

    def test_each_view_of_each_picture_is_its_own_world(self):
        for prediction in filled_model("mono").predict_each(PICTURES, intrinsics=torch.eye(3), options=OPTIONS):
            assert torch.equal(prediction.cameras.world_to_camera, torch.eye(4)[None])
            assert isinstance(prediction.cameras, Cameras)


def test_pictures_are_seen_at_the_resolution_that_the_model_is_made_for():
    small = DepthAnything3.with_random_weights("da3-nano")
    assert small.network.config.resolution == 112
    assert small.predict(PICTURES[:1]).depth.shape == (1, 84, 112)
    assert next(small.predict_each(PICTURES[:1])).depth.shape == (1, 84, 112)
    assert small.predict(PICTURES[:1], options=PredictOptions(resolution=56)).depth.shape == (1, 42, 56)
    published = [preset.config.resolution for name, preset in PRESETS.items() if name != "da3-nano"]
    assert set(published) == {504}
