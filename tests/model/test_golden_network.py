"""The reference's outputs, and every place where the spec says that ours are not the reference's."""

import functools
import json
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from anyview.types import Cameras
from filled import GOLDEN, filled, pictures

MANIFEST = json.loads((GOLDEN / "network" / "manifest.json").read_text())
TOLERANCE = {"tolerance": 1e-4, "reason": "what compatibility with published weights means (network.md)"}
OURS_DIFFER = {
    ("mono_2views", "depth"),
    ("nested_3views_gaussians", "gaussians.means"),
    ("nested_3views_gaussians", "gaussians.scales"),
}
"""Each has a test of its own below."""


@functools.cache
def reference(case: str) -> Mapping[str, np.ndarray]:
    with np.load(GOLDEN / "network" / f"{case}.npz") as file:
        arrays = dict(file)
    # Stored once where the head's raw maps are the results.
    raw = {f"head.{key}": arrays[key] for key in ("depth", "depth_conf") if key in arrays}
    return {**raw, **arrays}


@functools.cache
def ours(case: str) -> Mapping[str, Tensor]:
    """Our outputs under the reference's names."""
    about = MANIFEST[case]
    images = torch.cat(
        [pictures(*names, height=about["height"], width=about["width"]) for names in about["image_names"]]
    )
    cameras = None
    if about["posed"]:
        poses, intrinsics = reference(case)["input.extrinsics"], reference(case)["input.intrinsics"]
        cameras = Cameras(torch.from_numpy(poses)[None], torch.from_numpy(intrinsics)[None])
    arguments = about["arguments"]
    options = {}
    if about["net"] != "mono":
        options = {
            "rays": True,
            "gaussians": arguments.get("infer_gs", False),
            "reference_view": arguments.get("ref_view_strategy", "saddle_balanced"),
            "features": arguments.get("export_feat_layers", ()),
        }
    network = filled(about["net"])
    heads = []
    head = network.any_view.head if about["net"] == "nested" else network.head
    handle = head.register_forward_hook(lambda _module, _inputs, maps: heads.append(maps))
    try:
        with torch.inference_mode():
            output = network(images, cameras, **options)
    finally:
        handle.remove()
    (raw,) = heads
    outputs = {
        "depth": output.depth,
        "depth_conf": output.confidence,
        "sky": output.sky,
        "scale_factor": output.metric_scale,
        "head.depth": raw.depth,
        "head.depth_conf": raw.confidence,
        "head.ray": raw.rays,
        "head.ray_conf": raw.ray_confidence,
        "head.sky": raw.sky,
    }
    outputs |= {f"aux.feat_layer_{block}": tokens for block, tokens in output.features.items()}
    if output.cameras is not None:
        outputs["extrinsics"] = output.cameras.world_to_camera[..., :3, :]
        outputs["intrinsics"] = output.cameras.intrinsics
    if output.gaussians is not None:
        outputs["gaussians.means"] = output.gaussians.means
        outputs["gaussians.scales"] = output.gaussians.scales
        outputs["gaussians.rotations"] = output.gaussians.quaternions_wxyz
        outputs["gaussians.harmonics"] = output.gaussians.harmonics
        outputs["gaussians.opacities"] = output.gaussians.opacities
    return {key: value for key, value in outputs.items() if value is not None}


def outputs_of(case: str) -> list[str]:
    return [key for key in reference(case) if not key.startswith("input.") and (case, key) not in OURS_DIFFER]


@pytest.mark.parametrize(("case", "key"), [(case, key) for case in MANIFEST for key in outputs_of(case)])
def test_the_reference_is_met(case, key, assert_close):
    actual, expected = ours(case)[key], reference(case)[key]
    if key == "scale_factor":  # the reference has one per call, we have one per scene
        expected = expected[None]
    assert_close(actual, expected, **TOLERANCE)


def test_no_reference_output_is_left_out():
    compared = {f"{case}/{key}" for case in MANIFEST for key in outputs_of(case)}
    listed = {f"{case}/{key}" for case, about in MANIFEST.items() for key in about["outputs"] if "input." not in key}
    assert listed - compared == {f"{case}/{key}" for case, key in OURS_DIFFER}


def test_sky_is_filled_for_each_view_alone(assert_close):
    """The reference takes one quantile over all views of a call, so that a view's sky depends on its neighbours."""
    sky = reference("mono_2views")["head.sky"][0] >= 0.3
    depth = reference("mono_2views")["head.depth"][0]
    assert 10 < sky[0].sum() < sky[0].size - 10
    assert 10 < sky[1].sum() < sky[1].size - 10

    joint = np.where(sky, np.quantile(depth[~sky], 0.99), depth)
    assert_close(reference("mono_2views")["depth"][0], joint)

    far = [np.quantile(one[~above], 0.99) for one, above in zip(depth, sky, strict=True)]
    assert abs(far[0] - far[1]) > 0.01
    each = np.stack([np.where(above, value, one) for one, above, value in zip(depth, sky, far, strict=True)])
    assert_close(ours("mono_2views")["depth"][0], each.astype(np.float32), **TOLERANCE)


@pytest.mark.parametrize("key", ["gaussians.means", "gaussians.scales"])
def test_nested_gaussians_are_in_metres_like_the_depth(key, assert_close):
    """The reference leaves them in the any-view network's unit."""
    values = reference("nested_3views_gaussians")
    assert abs(values["scale_factor"] - 1) > 0.5
    assert_close(ours("nested_3views_gaussians")[key], values[key] * values["scale_factor"], **TOLERANCE)


def test_nested_networks_return_the_sky():
    """The reference uses it and drops it."""
    assert "sky" not in reference("nested_3views")
    assert ours("nested_3views")["sky"].shape == reference("nested_3views")["depth"].shape


def test_features_are_in_input_order(assert_close):
    """The reference returns them with the chosen view first. Block 2 comes after the choice, and sees one view."""
    names = MANIFEST["anyview_6views_middle"]["image_names"][0]
    network = filled("anyview")
    with torch.inference_mode():
        together = network(pictures(*names), reference_view="middle", features=[2]).features[2]
        alone = [network(pictures(name), features=[2]).features[2] for name in names]
    assert_close(together, torch.cat(alone, dim=1))


def test_of_two_most_alike_views_the_first_is_the_reference_view():
    """Both have the same largest similarity. In the reference rounding decides; here it took the first."""
    names = MANIFEST["anyview_6views_simrange"]["image_names"][0]
    network = filled("anyview")
    with torch.inference_mode():
        x = network.backbone.embed(pictures(*names))
        for block in network.backbone.blocks[:2]:
            x = block(x.flatten(0, 1)).unflatten(0, (1, -1))
    directions = torch.nn.functional.normalize(x[0, :, 0].double(), dim=-1)
    similarity = (directions @ directions.mT).triu(1)
    first, second = divmod(int(similarity.argmax()), len(names))

    def depth(order: list[int]) -> Tensor:
        with torch.inference_mode():
            images = pictures(*[names[view] for view in order])
            return network(images, reference_view="first").depth[:, [order.index(view) for view in range(len(names))]]

    others = [view for view in range(len(names)) if view != first]
    chosen = ours("anyview_6views_simrange")["depth"]
    torch.testing.assert_close(depth([first, *others]), chosen, rtol=1e-4, atol=1e-4)
    others = [view for view in range(len(names)) if view != second]
    assert (depth([second, *others]) - chosen).abs().max() > 1e-3
