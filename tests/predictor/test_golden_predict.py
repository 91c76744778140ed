"""The whole way from 8-bit pictures to results, against the reference."""

import functools
import json

import numpy as np
import pytest
import torch

from anyview.options import PredictOptions
from anyview.types import Cameras, Prediction
from filled import GOLDEN, filled_model
from golden import fill

MANIFEST = json.loads((GOLDEN / "predict" / "manifest.json").read_text())
TOLERANCE = {"tolerance": 1e-4, "reason": "what compatibility with published weights means (network.md)"}


@functools.cache
def reference(case: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "predict" / f"{case}.npz") as file:
        return dict(file)


@functools.cache
def ours(case: str) -> Prediction:
    about = MANIFEST[case]
    images = [fill.image(name, *size) for name, size in zip(about["image_names"], about["sizes"], strict=True)]
    cameras = None
    if about["posed"]:
        cameras = Cameras.from_arrays(reference(case)["input.extrinsics"], reference(case)["input.intrinsics"])
    arguments = about["arguments"]
    options = PredictOptions(
        resolution=arguments["process_res"],
        resize=arguments.get("process_res_method", "upper_bound_resize"),
        pose_frame="input" if arguments.get("align_to_input_ext_scale", True) else "predicted",
    )
    return filled_model(about["model"]).predict(images, cameras, options=options)


@pytest.mark.parametrize("case", MANIFEST)
def test_depth_is_the_reference_s(case, assert_close):
    assert_close(ours(case).depth, reference(case)["depth"], **TOLERANCE)


@pytest.mark.parametrize("case", MANIFEST)
def test_confidence_is_the_reference_s(case, assert_close):
    assert_close(ours(case).confidence, reference(case)["conf"], **TOLERANCE)


@pytest.mark.parametrize("case", MANIFEST)
def test_cameras_are_the_reference_s(case, assert_close):
    cameras, expected = ours(case).cameras, reference(case)
    rows = expected["extrinsics"].shape[1]  # 4 where the reference moved the given ones
    assert_close(cameras.world_to_camera[:, :rows], expected["extrinsics"], **TOLERANCE)
    assert_close(cameras.intrinsics, expected["intrinsics"], **TOLERANCE)


@pytest.mark.parametrize("case", MANIFEST)
def test_pictures_are_the_reference_s(case):
    """The reference normalises them, undoes that, and truncates: it loses up to one step of 255."""
    difference = ours(case).images.int() - torch.from_numpy(reference(case)["processed_images"]).int()
    assert difference.min() >= 0
    assert difference.max() <= 1


def test_units_follow_the_cameras():
    assert ours("api_upper_resize").units == "arbitrary"
    assert ours("api_posed_3views").units == "caller"
    assert ours("api_posed_3views_keep_pred").units == "arbitrary"


def test_all_outputs_are_compared():
    outputs = {key for about in MANIFEST.values() for key in about["outputs"] if not key.startswith("input.")}
    assert outputs == {"depth", "conf", "extrinsics", "intrinsics", "processed_images"}
