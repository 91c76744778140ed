"""A network as a predictor of windows: conditions, descriptors, intrinsics, memory, refusals."""

import numpy as np
import pytest
import torch

from anyview import DepthAnything3
from anyview.geometry.pose import normalize_poses
from anyview.images.video import write_video
from anyview.options import StreamOptions
from anyview.streaming import stream
from anyview.streaming.frames import StreamFrame
from anyview.streaming.network import NetworkPredictor
from anyview.types import Cameras, Picture
from box_room import render_room, room_cameras
from filled import filled


@pytest.fixture(scope="module")
def model():
    return DepthAnything3.with_random_weights("da3-nano", device="cpu")


@pytest.fixture(scope="module")
def room():
    cameras = room_cameras(5, 42, 56)
    return cameras, render_room(cameras, 42, 56)[0].numpy()


OPTIONS = StreamOptions(window=4, overlap=2, resolution=56, keyframe_change=0.0, loops=False)


def frames_of(pictures) -> list[StreamFrame]:
    return [StreamFrame(index, index / 30, Picture(pixels, f"{index}")) for index, pixels in enumerate(pictures)]


def test_it_says_what_the_model_says(model, room):
    from anyview import PredictOptions

    _, pictures = room
    geometry = NetworkPredictor(model, OPTIONS).predict_window(frames_of(pictures[:3]))
    prediction = model.predict(list(pictures[:3]), options=PredictOptions(resolution=56))
    assert torch.equal(geometry.views.depth, prediction.depth)
    assert torch.equal(geometry.views.confidence, prediction.confidence)
    assert torch.equal(geometry.views.cameras.world_to_camera, prediction.cameras.world_to_camera)
    assert geometry.units == "arbitrary"


def test_descriptors_do_not_depend_on_the_other_views(model, room, assert_close):
    _, pictures = room
    predictor = NetworkPredictor(model, OPTIONS)
    together = predictor.predict_window(frames_of(pictures)).descriptors
    alone = torch.cat([predictor.predict_window([frame]).descriptors for frame in frames_of(pictures)])
    assert_close(together, alone)
    assert not torch.allclose(together[0], together[4], rtol=1e-3)


def test_some_known_cameras_condition_the_network(model, room):
    """All views known is what it was; one known among others changes the prediction of all."""
    cameras, pictures = room
    images = torch.from_numpy(pictures[None, :3])
    from anyview.images.preprocess import normalize

    poses = normalize_poses(cameras.world_to_camera[:3])
    known = Cameras(poses[None], cameras.intrinsics[None, :3])
    with torch.no_grad():
        every = model.network(normalize(images), known)
        listed = model.network(normalize(images), known, known_views=(0, 1, 2))
        some = model.network(normalize(images), known[:, :2], known_views=(0, 1))
        none = model.network(normalize(images))
    assert torch.equal(every.depth, listed.depth)
    for view in range(3):
        assert not torch.equal(some.depth[0, view], none.depth[0, view])
        assert not torch.equal(some.depth[0, view], every.depth[0, view])


def test_known_cameras_are_told_only_if_wanted(model, room):
    cameras, pictures = room
    known = Cameras(cameras.world_to_camera[:2], cameras.intrinsics[:2])
    frames = frames_of(pictures[:3])
    plain = NetworkPredictor(model, OPTIONS).predict_window(frames).views.depth
    told = NetworkPredictor(model, OPTIONS).predict_window(frames, known, (0, 1)).views.depth
    silent = StreamOptions(window=4, overlap=2, resolution=56, conditioning="none")
    untold = NetworkPredictor(model, silent).predict_window(frames, known, (0, 1)).views.depth
    assert torch.equal(plain, untold)
    assert not torch.equal(plain, told)


def test_a_stream_of_pictures_runs_through(model, room):
    """Random weights say nothing true; what comes out is whole, finite, and in order."""
    _, pictures = room
    with stream(model, list(pictures), OPTIONS) as run:
        windows = list(run)
        assert torch.cat([window.frames for window in windows]).tolist() == [0, 1, 2, 3, 4]
        for window in windows:
            assert window.depth.isfinite().all()
            assert window.cameras.world_to_camera.isfinite().all()


def test_a_way_back_is_looked_into_with_the_network(model):
    """Its tokens find the place, and both ends are predicted together; random weights may believe it or not."""
    pictures = list(render_room(room_cameras(14, 42, 56), 42, 56)[0].numpy())
    options = StreamOptions(window=4, overlap=2, resolution=56, keyframe_change=0.0, loop_gap=8, loop_views=2)
    with stream(model, pictures + pictures[::-1][1:], options) as run:
        assert sum(map(len, run)) == 27
        assert run.report.loop_candidates > 0
        assert run.scene.loops
        for first, second in ((edge.first, edge.second) for edge in run.scene.loops):
            assert second - first > 2


def test_pictures_are_brought_to_what_the_model_is_made_for(model, room):
    _, pictures = room
    assert model.network.config.resolution == 112
    with stream(model, list(pictures), StreamOptions(loops=False, keyframe_change=0.0)) as run:
        list(run)
        assert run.map_size == (84, 112)
        assert run.options.resolution == 112


def test_known_intrinsics_belong_to_the_pictures_as_given(model, room):
    cameras, pictures = room
    large = np.repeat(np.repeat(pictures, 2, 1), 2, 2)
    intrinsics = cameras.intrinsics[0].clone()
    intrinsics[:2] *= 2
    with stream(model, list(large), OPTIONS, intrinsics=intrinsics.tolist()) as run:
        window = next(iter(run))
        assert torch.allclose(window.cameras.intrinsics[0], cameras.intrinsics[0])


def test_known_intrinsics_reach_the_metres_of_nested_models(room, assert_close):
    """Metres grow with the focal length, which is the known one."""
    cameras, pictures = room
    nested = DepthAnything3(filled("nested"), "nested", device="cpu")
    depths = []
    for factor in (1.0, 2.0):
        intrinsics = cameras.intrinsics[0].clone()
        intrinsics[[0, 1], [0, 1]] *= factor
        with stream(nested, list(pictures[:3]), OPTIONS, intrinsics=intrinsics) as run:
            window = next(iter(run))
        assert window.units == "metres"
        depths.append(window.depth)
    assert_close(depths[1], 2 * depths[0])


def test_models_of_single_pictures_are_refused():
    mono = DepthAnything3(filled("mono"), "mono", device="cpu")
    with pytest.raises(ValueError, match="sees one picture at a time and knows no cameras; choose an any-view model"):
        NetworkPredictor(mono, OPTIONS)


def test_other_weights_intrinsics_and_rates_are_refused(model, room, tmp_path):
    """They have no name that would tell them apart."""
    _, pictures = room
    clip = write_video(tmp_path / "clip.mp4", list(pictures), 10.0)
    given = {"folder": tmp_path / "run", "intrinsics": np.diag([50.0, 50.0, 1.0]) + np.eye(3, k=2) * 28}
    given["intrinsics"][1, 2] = 21
    given["frames_per_second"] = 10.0
    with stream(model, clip, OPTIONS, **given) as run:
        list(run)
    again = {**given, "resume": True}
    stream(model, clip, OPTIONS, **again).close()
    other = DepthAnything3.with_random_weights("da3-nano", device="cpu", seed=1)
    changes = [
        (other, {}, r"weights was '[0-9a-f]{16}', now '[0-9a-f]{16}'$"),
        (model, {"intrinsics": given["intrinsics"] + np.diag([1.0, 0, 0])}, r"intrinsics was \[\[50.0, .*\[\[51.0, "),
        (model, {"frames_per_second": 5.0}, r"source was '.* at 10 frames a second', now '.* at 5 frames a second'$"),
    ]
    for network, change, message in changes:
        with pytest.raises(ValueError, match=f"cannot be resumed: {message}"):
            stream(network, clip, OPTIONS, **{**again, **change})


def test_windows_that_do_not_fit_are_refused(model, room):
    _, pictures = room
    small = StreamOptions(window=4, overlap=2, resolution=56, memory_limit=0.01)
    with pytest.raises(ValueError, match=r"a window of 3 frames of 56×42 pixels .* try a smaller --window"):
        NetworkPredictor(model, small).predict_window(frames_of(pictures[:3]))


def test_intrinsics_that_cannot_be_right_are_refused(model):
    with pytest.raises(ValueError, match="focal lengths must be positive"):
        NetworkPredictor(model, OPTIONS, torch.diag(torch.tensor([1.0, -1.0, 1.0])))
    with pytest.raises(ValueError, match="intrinsics have no meaning for it"):
        stream(NetworkPredictor(model, OPTIONS), [], OPTIONS, intrinsics=np.eye(3))
