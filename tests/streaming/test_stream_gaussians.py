"""Gaussians of streams: of a network with a head for them, of depth and colour, and in bounded number."""

from dataclasses import replace

import pytest
import torch

from anyview import DepthAnything3, PredictOptions
from anyview.geometry.alignment import Similarity
from anyview.geometry.gaussians import select_gaussians, transform_gaussians
from anyview.geometry.rotation_vector import rotation_from_vector
from anyview.options import StreamOptions
from anyview.render.pixels import pixel_gaussians
from anyview.streaming import stream, write_outputs
from anyview.streaming.cloud import sure_pixels
from anyview.streaming.frames import PosedViews, StreamFrame
from anyview.streaming.gaussians import GaussianCloud, fuse_gaussians
from anyview.streaming.network import NetworkPredictor
from anyview.types import Gaussians, Picture
from box_room import render_room, room_cameras
from filled import filled

OPTIONS = StreamOptions(window=4, overlap=2, resolution=56, keyframe_change=0.0, loops=False)


@pytest.fixture(scope="module")
def model() -> DepthAnything3:
    return DepthAnything3(filled("gaussian"), "tiny", device="cpu")


@pytest.fixture(scope="module")
def pictures():
    return render_room(room_cameras(5, 42, 56), 42, 56)[0].numpy()


def frames_of(pictures) -> list[StreamFrame]:
    return [StreamFrame(index, index / 30, Picture(pixels, f"{index}")) for index, pixels in enumerate(pictures)]


def gaussian(place: tuple[float, float, float], red: float = 0.0) -> Gaussians:
    return Gaussians(
        means=torch.tensor([place]),
        scales=torch.full((1, 3), 0.01),
        quaternions_wxyz=torch.tensor([[1.0, 0, 0, 0]]),
        harmonics=torch.tensor([red, 0, 0]).view(1, 3, 1),
        opacities=torch.tensor([0.9]),
    )


def test_voxels_double_until_gaussians_are_few_enough():
    """Four pairs, 30 cm apart; the voxels are a centimetre at first, and 64 when each pair falls into one."""
    cloud = GaussianCloud(most_gaussians=4)
    for pair in range(4):
        for shift in (0.3, 0.6):
            cloud.add(gaussian((10.24 * pair + shift, 0.0, 0.0)), typical_depth=2.0)
    merged = cloud.gaussians()
    assert cloud.voxel_size == pytest.approx(0.64)
    assert merged.means[:, 0].tolist() == pytest.approx([10.24 * pair + 0.45 for pair in range(4)])


def test_what_falls_into_one_voxel_becomes_one():
    cloud = GaussianCloud(most_gaussians=10)
    cloud.add(gaussian((0.002, 0.0, 0.0), red=1.0), typical_depth=2.0)
    cloud.add(gaussian((0.004, 0.0, 0.0), red=0.0), typical_depth=50.0)
    merged = cloud.gaussians()
    assert merged.means.tolist() == [pytest.approx([0.003, 0, 0])]
    assert merged.harmonics[0, 0, 0] == pytest.approx(0.5)
    assert merged.opacities.tolist() == pytest.approx([0.99])  # a tenth of a tenth shines through


def test_nothing_sure_is_refused():
    with pytest.raises(ValueError, match="no Gaussian is left to write: no pixel is sure"):
        GaussianCloud(10).gaussians()


def test_the_network_s_own_gaussians_are_what_it_predicts(model, pictures):
    views, gaussians = NetworkPredictor(model, OPTIONS).predict_gaussians(frames_of(pictures[:3]))
    prediction = model.predict(list(pictures[:3]), options=PredictOptions(resolution=56, gaussians=True))
    assert torch.equal(gaussians.means, prediction.gaussians.means)
    assert torch.equal(views.depth, prediction.depth)


def test_they_come_into_the_world_with_their_views(model, pictures, assert_close):
    """Views that lie elsewhere and are larger: predicted once more, the Gaussians go there."""
    predictor = NetworkPredictor(model, OPTIONS)
    views, gaussians = predictor.predict_gaussians(frames_of(pictures[:3]))
    turn = rotation_from_vector(torch.tensor([0.3, -0.8, 0.2]).double())
    elsewhere = Similarity(torch.tensor(2.5).double(), turn, torch.tensor([4.0, -1.0, 2.0]).double())
    fused = fuse_gaussians(iter([views.moved(elsewhere)]), predictor, 1_000_000)
    chosen = torch.stack([sure_pixels(*maps) for maps in zip(views.depth, views.confidence, strict=True)]).flatten()
    single = Similarity(*(part.float() for part in vars(elsewhere).values()))
    expected = transform_gaussians(select_gaussians(gaussians, chosen), single)
    # Those of one voxel are one: every expected one lies near a fused one, and the weighted middle is the same.
    nearest = torch.cdist(expected.means, fused.means).amin(-1)
    voxel = float((2.5 * views.depth.flatten()[chosen]).median()) / 200
    assert nearest.max() <= 3**0.5 * voxel
    assert len(fused.means) <= len(expected.means)
    assert_close(fused.means.amin(0), expected.means.amin(0), 3 * voxel, reason="merged within voxels")


def test_unsure_pixels_give_none(pictures):
    depth = torch.full((1, 42, 56), 2.0)
    confidence = torch.full((1, 42, 56), 3.0)
    confidence[:, :, 40:] = 1.1
    views = PosedViews(torch.from_numpy(pictures[:1]), depth, confidence, room_cameras(1, 42, 56))
    fused = fuse_gaussians(iter([views]), None, 1_000_000)
    left = confidence > 2
    expected = pixel_gaussians(views.images, depth, views.cameras, left)
    assert len(expected.means) == 42 * 40
    assert fused.means[:, 0].max() <= expected.means[:, 0].max()
    with pytest.raises(ValueError, match="no pixel is sure"):
        fuse_gaussians(iter([replace(views, confidence=torch.zeros_like(confidence))]), None, 10)


def test_a_stream_writes_the_network_s_gaussians(model, pictures, tmp_path):
    with stream(model, list(pictures), OPTIONS, folder=tmp_path) as run:
        list(run)
        path = write_outputs(run, tmp_path, ["gaussians"])["gaussians"]
    header = path.read_bytes().partition(b"end_header")[0].decode()
    assert "f_rest_0" in header  # harmonics that depth and colour do not give
    assert "no network predicted them" not in header
    assert header.count("comment anyview_camera") == 5
