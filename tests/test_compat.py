"""Scripts written for the reference toolkit: its argument names, its result's fields, its numbers."""

import dataclasses
import functools
import inspect
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from anyview import compat
from anyview.predictor import DepthAnything3
from filled import GOLDEN, filled_model
from golden import fill

MANIFEST = json.loads((GOLDEN / "predict" / "manifest.json").read_text())
TOLERANCE = {"tolerance": 1e-4, "reason": "what compatibility with published weights means (network.md)"}
SOME_IMAGES = [fill.image(f"compat:{index}", 60, 80) for index in range(3)]


def toolkit(name: str = "anyview") -> compat.DepthAnything3:
    return compat.DepthAnything3(filled_model(name))


@functools.cache
def reference(case: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "predict" / f"{case}.npz") as file:
        return dict(file)


@functools.cache
def ours(case: str) -> compat.Prediction:
    about, expected = MANIFEST[case], reference(case)
    images = [fill.image(name, *size) for name, size in zip(about["image_names"], about["sizes"], strict=True)]
    cameras = (expected["input.extrinsics"], expected["input.intrinsics"]) if about["posed"] else (None, None)
    return toolkit(about["model"]).inference(images, *cameras, **about["arguments"])


@pytest.mark.parametrize("case", MANIFEST)
@pytest.mark.parametrize("field", ["depth", "conf", "extrinsics", "intrinsics"])
def test_values_are_the_reference_s(case, field, assert_close):
    value = getattr(ours(case), field)
    assert value.dtype == np.float32
    assert_close(value, reference(case)[field], **TOLERANCE)


@pytest.mark.parametrize("case", MANIFEST)
def test_pictures_are_the_reference_s(case):
    """The reference normalises them, undoes that, and truncates: it loses up to one step of 255."""
    pictures, expected = ours(case).processed_images, reference(case)["processed_images"]
    assert pictures.dtype == np.uint8
    difference = pictures.astype(int) - expected
    assert difference.min() >= 0
    assert difference.max() <= 1


def test_given_poses_in_the_predicted_frame_stay_4_by_4():
    assert ours("api_posed_3views_keep_pred").extrinsics.shape == (3, 4, 4)
    assert ours("api_posed_3views").extrinsics.shape == (3, 3, 4)


def test_the_fields_are_the_reference_s():
    names = {field.name for field in dataclasses.fields(compat.Prediction)}
    assert names == {
        *("depth", "is_metric", "sky", "conf", "extrinsics", "intrinsics", "processed_images", "gaussians", "aux"),
        "scale_factor",
    }
    prediction = ours("api_upper_resize")
    assert (prediction.is_metric, prediction.scale_factor) == (0, None)
    assert prediction.sky is None
    assert prediction.gaussians is None
    assert prediction.aux == {}


def test_the_first_arguments_are_the_reference_s_by_position():
    arguments = list(inspect.signature(compat.DepthAnything3.inference).parameters)
    assert arguments[1:8] == [
        *("image", "extrinsics", "intrinsics", "align_to_input_ext_scale"),
        *("infer_gs", "use_ray_pose", "ref_view_strategy"),
    ]


def test_features_come_under_the_reference_s_names():
    prediction = toolkit().inference(SOME_IMAGES, process_res=56, export_feat_layers=[3, 7])
    assert {name: tokens.shape for name, tokens in prediction.aux.items()} == {
        "feat_layer_3": (3, 3, 4, 64),
        "feat_layer_7": (3, 3, 4, 64),
    }


def test_gaussians_and_metric_scale():
    plain = toolkit("gaussian").inference(SOME_IMAGES, process_res=56, infer_gs=True)
    assert plain.gaussians.means.shape == (3 * 42 * 56, 3)
    nested = toolkit("nested").inference(SOME_IMAGES, process_res=56)
    assert nested.is_metric == 1
    assert nested.scale_factor > 0
    assert nested.sky.shape == nested.depth.shape


def test_a_file_of_gaussians_comes_without_a_video(tmp_path):
    arguments = {"process_res": 56, "infer_gs": True, "export_dir": str(tmp_path), "export_format": "gs_ply"}
    toolkit("gaussian").inference(SOME_IMAGES, **arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["gaussians.ply"]


@pytest.mark.parametrize("name", ["mono", "metric"])
def test_single_image_models_give_depth_and_sky_alone(name):
    prediction = toolkit(name).inference(SOME_IMAGES, process_res=56)
    assert prediction.sky.dtype == bool
    assert prediction.conf is None
    assert prediction.extrinsics is None
    assert prediction.intrinsics is None


def test_metric_depth_stays_canonical():
    """The reference leaves the multiplication by f / 300 to the caller."""
    intrinsics = np.array([[100.0, 0, 40], [0, 100, 30], [0, 0, 1]])
    with_focal_length = toolkit("metric").inference(SOME_IMAGES[:1], intrinsics=intrinsics, process_res=56)
    without = toolkit("metric").inference(SOME_IMAGES[:1], process_res=56)
    assert np.array_equal(with_focal_length.depth, without.depth)


def test_cameras_from_rays_differ_from_those_of_the_head():
    head, rays = (toolkit().inference(SOME_IMAGES, process_res=56, use_ray_pose=rays) for rays in (False, True))
    assert np.array_equal(head.depth, rays.depth)
    assert not np.allclose(head.intrinsics, rays.intrinsics)


def test_intrinsics_alone_come_back():
    given = np.array([[90.0, 0, 40], [0, 95, 30], [0, 0, 1]])
    prediction = toolkit().inference(SOME_IMAGES, intrinsics=np.stack([given] * 3), process_res=56)
    scaled = given * [[56 / 80], [42 / 60], [1]]
    np.testing.assert_allclose(prediction.intrinsics, np.stack([scaled] * 3), rtol=1e-6)


def test_files_are_complete_when_inference_returns(tmp_path):
    prediction = toolkit().inference(SOME_IMAGES, process_res=56, export_dir=str(tmp_path), export_format="glb-npz")
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    pictures = [f"depth_vis/000{index}.jpg" for index in range(3)]
    assert written == [*pictures, "results.npz", "scene.glb"]
    with np.load(tmp_path / "results.npz") as file:
        assert np.array_equal(file["depth"], prediction.depth)
    assert (tmp_path / "scene.glb").read_bytes()[:4] == b"glTF"


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toolkit().inference(SOME_IMAGES, process_res=56, export_format="glb")
    assert list(tmp_path.iterdir()) == []


def test_feature_pictures(tmp_path):
    toolkit().inference(
        SOME_IMAGES, process_res=56, export_dir=str(tmp_path), export_format="feat_vis", export_feat_layers=[5]
    )
    assert len(list((tmp_path / "features" / "block_05").glob("*.png"))) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"export_dir": "out", "export_format": "glb-plyy"}, "unknown export format 'plyy'; "),
        (
            {"export_dir": "out", "export_format": "gs_videos"},
            "unknown export format 'gs_videos'; did you mean 'gs_vid",
        ),
        (
            {"export_dir": "out", "export_format": "gs_video"},
            "'gaussians_video' needs gaussians, .* has no Gaussian head",
        ),
        ({"export_dir": "out", "export_format": ""}, "unknown export format ''; "),
        ({"extrinsics": np.stack([np.eye(4)] * 3)}, "extrinsics need intrinsics"),
        (
            {"extrinsics": np.stack([np.eye(4)] * 2), "intrinsics": np.stack([np.eye(3)] * 2)},
            "expected one camera per view, got 2 cameras for 3 views",
        ),
        ({"extrinsics": np.eye(4), "intrinsics": np.stack([np.eye(3)] * 3)}, r"got \(4, 4\) and \(3, 3, 3\)"),
        ({"process_res": 13}, "at least 14 pixels, one patch; got 13"),
        ({"infer_gs": True}, "has no Gaussian head"),
        ({"export_feat_layers": [8]}, "has blocks 0 to 7, features were asked of 8"),
    ],
)
def test_refusals(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        toolkit().inference(SOME_IMAGES, **{"process_res": 56, **arguments})
    assert list(tmp_path.iterdir()) == []


def test_unknown_choices_are_refused():
    """In a process without shape checks, which refuse the type before we can."""
    code = """
from anyview import DepthAnything3, compat
model = compat.DepthAnything3(DepthAnything3.with_random_weights("da3-nano"))
for argument in ({"process_res_method": "upper_bound"}, {"ref_view_strategy": "mid"}):
    try:
        model.inference([], **argument)
    except ValueError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    resize, reference_view = done.stdout.splitlines()
    assert resize.startswith("unknown resize 'upper_bound'; did you mean 'upper_bound_crop'")
    assert reference_view.startswith("unknown reference_view 'mid'; did you mean 'middle'")


def test_one_path_is_not_taken_for_a_list_of_letters(tmp_path):
    from PIL import Image

    path = tmp_path / "one.png"
    Image.fromarray(SOME_IMAGES[0]).save(path)
    one, listed = (toolkit().inference(image, process_res=56).depth for image in (str(path), [str(path)]))
    assert np.array_equal(one, listed)


def test_the_usual_calls_on_the_class():
    model = compat.DepthAnything3(DepthAnything3.with_random_weights("da3-nano", device="cpu"))
    assert model.to("cpu").eval() is model
    assert model.device == torch.device("cpu")
