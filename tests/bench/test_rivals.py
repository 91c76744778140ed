"""Adapters: what they say of scenes whose truth is known."""

import importlib.util

import fake_sets
import numpy as np
import pytest
import torch

from anyview.bench.metrics.poses import score_poses
from anyview.bench.predicting import question_of
from anyview.bench.rivals.catalog import PACKAGES, RIVALS, open_rival
from anyview.bench.rivals.constant import Constant
from anyview.bench.rivals.rival import Question, Rival
from anyview.model.checkpoint import save
from anyview.types import Cameras, Picture
from box_room import render_room, room_cameras
from filled import filled


def pictures(count: int = 2, height: int = 48, width: int = 64) -> tuple[Picture, ...]:
    draw = np.random.default_rng(0)
    return tuple(Picture(draw.integers(0, 255, (height, width, 3), np.uint8), f"{index}.png") for index in range(count))


def known_cameras(count: int = 2) -> Cameras:
    poses = np.stack(fake_sets.ring(count, 1.0, of=24))
    return Cameras.from_arrays(poses, np.tile(fake_sets.pinhole(60, 32, 24), (count, 1, 1)))


def opened(name: str) -> Rival:
    return open_rival(name, device="cpu", dtype="float32", resolution=70, offline=True)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "anyview.safetensors"
    save(filled("anyview"), path, name="anyview")
    return path


def test_the_constant_says_the_same_of_everything():
    said = opened("constant").answer(Question(pictures=pictures()))
    assert said.world_to_camera.tolist() == np.tile(np.eye(4), (2, 1, 1)).tolist()
    assert {depth.shape for depth in said.depth} == {(84, 112)}
    assert said.intrinsics[0, 0, 2] == 56
    assert 2 * np.degrees(np.arctan(56 / said.intrinsics[0, 0, 0])) == pytest.approx(60)
    posed = Constant().answer(Question(pictures=pictures(), cameras=known_cameras()))
    assert np.allclose(posed.world_to_camera, known_cameras().world_to_camera)


def test_ours_predicts_with_and_without_cameras(model_file):
    rival = opened(str(model_file))
    assert rival.tasks == ("pose", "recon_unposed", "recon_posed", "depth", "view_syn")
    said = rival.answer(Question(pictures=pictures()))
    assert said.world_to_camera.shape == (2, 4, 4)
    assert said.depth[0].shape == (56, 70)
    assert said.placements is not None
    cameras = known_cameras()
    posed = rival.answer(Question(pictures=pictures(), cameras=cameras))
    assert np.allclose(posed.world_to_camera, cameras.world_to_camera)
    raw = rival.answer(Question(pictures=pictures(), cameras=cameras, raw_scale=True))
    assert not np.allclose(raw.world_to_camera, cameras.world_to_camera, atol=1e-3)
    ratio = posed.depth[0] / raw.depth[0]
    assert ratio.std() < 1e-4 * ratio.mean()  # the same up to the scale of the known cameras


def test_other_weights_are_another_identity(model_file, tmp_path):
    import copy

    network = copy.deepcopy(filled("anyview"))
    with torch.no_grad():
        next(network.parameters()).flatten()[0] += 1
    save(network, tmp_path / "anyview.safetensors", name="anyview")
    first, second = (opened(str(path)).identity for path in (model_file, tmp_path / "anyview.safetensors"))
    assert {name for name in first if first[name] != second[name]} == {"weights"}


def test_single_image_models_are_asked_for_depth_only(tmp_path):
    save(filled("mono"), tmp_path / "mono.safetensors", name="mono")
    rival = opened(str(tmp_path / "mono.safetensors"))
    assert rival.tasks == ("depth",)
    said = rival.answer(Question(pictures=pictures(1)))
    assert said.world_to_camera is None
    assert len(said.depth) == 1


@pytest.mark.parametrize("name", PACKAGES)
def test_a_rival_whose_package_is_absent_is_refused(name):
    module = {"vggt": "vggt", "mapanything": "mapanything", "moge": "moge", "depth-anything-2": "transformers"}[name]
    if importlib.util.find_spec(module) is not None:
        pytest.skip(f"{module} is installed")
    with pytest.raises(
        ImportError, match=f"this rival needs the package {module}, which is not installed: pip"
    ) as said:
        opened(name)
    assert "\n" not in str(said.value)


def test_colmap_finds_the_cameras_of_a_room():
    """Nine views of a papered room; all are placed, within half a degree."""
    pytest.importorskip("pycolmap")
    cameras = room_cameras(6, 240, 320)
    images, _ = render_room(cameras, 240, 320)
    rival = opened("colmap")
    assert rival.tasks == ("pose",)
    shown = tuple(Picture(image.numpy(), f"{index}.png") for index, image in enumerate(images))
    said = rival.answer(Question(pictures=shown))
    assert np.isfinite(said.world_to_camera).all()
    scores = score_poses(torch.from_numpy(said.world_to_camera), cameras.world_to_camera)
    assert scores.auc_exact is not None
    assert scores.auc_exact[30] > 0.95
    again = rival.answer(Question(pictures=shown))
    assert np.array_equal(again.world_to_camera, said.world_to_camera)


def test_colmap_says_when_it_finds_nothing():
    pytest.importorskip("pycolmap")
    plain = tuple(Picture(np.full((48, 64, 3), value, np.uint8), f"{value}") for value in (100, 101))
    with pytest.raises(ValueError, match="COLMAP found no reconstruction of 2 pictures"):
        opened("colmap").answer(Question(pictures=plain))


def test_questions_pass_cameras_on_by_protocol(fake_data):
    """compat: as published; sane: in our convention, half a pixel further where the data set counts from centres."""
    from anyview.bench.datasets.catalog import open_benchmark

    for protocol, shift in (("compat", 0.0), ("sane", 0.5)):
        reader = open_benchmark(f"hiroom:{fake_data('hiroom')}", "pose", protocol)["hiroom"]
        scene = reader.load("aa/bb/cc")
        question = question_of(scene, "posed", protocol)
        assert question.raw_scale == (protocol == "sane")
        assert question.cameras.intrinsics[0].tolist() == [[130, 0, 80 + shift], [0, 130, 60 + shift], [0, 0, 1]]
        assert question_of(scene, "unposed", protocol).cameras is None


def test_names_of_rivals_are_known():
    assert RIVALS == (
        "constant",
        "colmap",
        "nearest-view",
        "warp",
        "stored",
        "vggt",
        "mapanything",
        "moge",
        "depth-anything-2",
    )
