import dataclasses

import numpy as np
import pytest
import torch

from anyview.exporters import export
from anyview.exporters.colors import SPECTRAL, index_color, spectral
from anyview.exporters.depth_exr import encode_exr
from anyview.exporters.depth_png import read_depth_png
from anyview.exporters.depth_vis import NO_DEPTH, DepthRange, depth_pictures, depth_range
from anyview.exporters.features import feature_colors


def read_exr(path) -> np.ndarray:
    """FFmpeg's reader knows nothing of ours."""
    import av

    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    rows = np.frombuffer(bytes(frame.planes[0]), "<f4").reshape(frame.height, -1)
    return rows[:, : frame.width]


@pytest.mark.parametrize(("units", "factor"), [("metres", 1.0), ("arbitrary", 1.0), ("metres", 30.0)])
def test_depth_png_keeps_depth_to_half_a_step(full_room, tmp_path, units, factor):
    prediction = dataclasses.replace(full_room, units=units, depth=full_room.depth * factor)
    paths = export(prediction, tmp_path, "depth_png")["depth_png"]
    fits_millimetres = units == "metres" and prediction.depth[prediction.valid()].max() < 65
    step = 0.001 if fits_millimetres else float(prediction.depth[prediction.valid()].max()) / 65535
    for path, depth, valid in zip(paths, prediction.depth, prediction.valid(), strict=True):
        read, unit = read_depth_png(path)
        assert unit == units
        assert ((read - depth)[valid].abs() <= 0.51 * step).all()
        assert (read[~valid] == 0).all()


def test_opencv_and_pillow_read_depth_png(room, tmp_path):
    import cv2
    from PIL import Image

    path = export(room, tmp_path, "depth_png")["depth_png"][2]
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert values.dtype == np.uint16
    with Image.open(path) as image:
        text = image.info
    assert text["depth_scale"] == "0.001"
    assert (text["depth_unit"], text["model"], text["picture"]) == ("metres", "exact", "room/2.jpg")
    np.testing.assert_allclose(values * float(text["depth_scale"]), room.depth[2], atol=0.00051)


def test_the_smallest_depth_does_not_become_none(room, tmp_path):
    depth = room.depth.clone()
    depth[0, 0, :3] = torch.tensor([1e-6, 0, torch.nan])
    path = export(dataclasses.replace(room, depth=depth), tmp_path, "depth_png")["depth_png"][0]
    assert read_depth_png(path)[0][0, :3].tolist() == pytest.approx([0.001, 0, 0])


def test_a_png_without_scale_is_refused(tmp_path):
    from PIL import Image

    Image.new("I;16", (3, 3)).save(tmp_path / "plain.png")
    with pytest.raises(ValueError, match=r"plain.png has no depth_scale and depth_unit"):
        read_depth_png(tmp_path / "plain.png")


def test_ffmpeg_reads_depth_exr(full_room, tmp_path):
    paths = export(full_room, tmp_path, "depth_exr")["depth_exr"]
    for path, depth, valid in zip(paths, full_room.depth, full_room.valid(), strict=True):
        np.testing.assert_array_equal(read_exr(path), torch.where(valid, depth, 0))
        assert b"depthUnit\0string\0\6\0\0\0metres" in path.read_bytes()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (16, 5), (17, 3), (33, 70)])
def test_exr_of_any_size_and_of_noise_that_does_not_compress(tmp_path, height, width):
    values = np.random.default_rng(0).integers(0, 2**23, (height, width)).astype(np.uint32) + 0x3F000000
    values = values.view(np.float32)
    (tmp_path / "noise.exr").write_bytes(encode_exr(values, "Y", {}))
    np.testing.assert_array_equal(read_exr(tmp_path / "noise.exr"), values)


def test_spectral_is_matplotlibs():
    values = np.array([0, 0.05, 0.1, 0.137, 0.25, 0.5, 0.618, 0.9, 0.999])
    # matplotlib 3.10: colormaps["Spectral"](value, bytes=True)
    expected = [
        (158, 1, 66),
        (183, 29, 72),
        (211, 60, 78),
        (224, 79, 74),
        (248, 142, 82),
        (254, 254, 190),
        (218, 240, 154),
        (50, 134, 188),
        (94, 79, 162),
    ]
    assert abs(spectral(values).astype(int) - expected).max() <= 1
    np.testing.assert_array_equal(spectral(np.array([[-1.0, 2.0]])), [SPECTRAL[[0, -1]]])


def test_index_colors_are_hues_of_one_saturation():
    assert [index_color(i, 3) for i in range(3)] == [(242, 36, 36), (36, 242, 36), (36, 36, 242)]


def test_depth_range_is_that_of_inverse_depth():
    depth = 1 / np.linspace(1, 2, 101, dtype=np.float32)
    found = depth_range(np.concatenate([depth[:1] * 0, depth]), np.concatenate([[False], np.ones(101, bool)]))
    assert (found.near, found.far) == pytest.approx((1 / 1.98, 1 / 1.02))
    assert found.place(np.array([found.near, found.far], np.float32)).tolist() == pytest.approx([0, 1], abs=1e-5)
    assert [found.at(0.0), found.at(0.5), found.at(1.0)] == pytest.approx([1 / 1.98, 1 / 1.5, 1 / 1.02])
    assert depth_range(depth, np.zeros(101, bool)) == DepthRange(1.0, 1.0)


def test_depth_pictures_show_picture_depth_and_legend(full_room):
    pictures = list(depth_pictures(full_room))
    width = full_room.depth.shape[2]
    assert len({picture.shape for picture in pictures}) == 1
    for picture, image, depth, mask in zip(pictures, full_room.images, full_room.depth, full_room.mask, strict=True):
        np.testing.assert_array_equal(picture[:, :width], image)
        colored = picture[:, width + 8 : 2 * width + 8]
        assert (colored[~mask.numpy()] == NO_DEPTH).all()
        shown = depth_range(depth.numpy(), mask.numpy())
        np.testing.assert_array_equal(colored[mask.numpy()], spectral(shown.place(depth.numpy()))[mask.numpy()])
        legend = picture[:, 2 * width + 16 :].reshape(-1, 3)
        assert {tuple(SPECTRAL[0]), tuple(SPECTRAL[-1])} <= {tuple(color) for color in legend}
        assert (legend < 100).all(-1).sum() > 50  # letters


def test_a_common_range_gives_equal_depths_equal_colours(room):
    farther = dataclasses.replace(
        room,
        depth=torch.cat([room.depth[:1], room.depth[:1] * 2]),
        images=room.images[:2],
        confidence=None,
        cameras=None,
    )
    own = list(depth_pictures(farther))
    assert np.array_equal(own[0][:, 104:200], own[1][:, 104:200])
    common = list(depth_pictures(farther, common_range=True))
    assert common[0][:, 104:200, 0].mean() > common[1][:, 104:200, 0].mean() + 30
    np.testing.assert_array_equal(common[0][:, 208:], common[1][:, 208:])


@pytest.mark.parametrize(("height", "width"), [(14, 14), (70, 700), (700, 70)])
def test_depth_pictures_of_any_size(room, height, width):
    prediction = dataclasses.replace(
        room,
        images=torch.zeros(1, height, width, 3, dtype=torch.uint8),
        depth=torch.full((1, height, width), 3.0),
        confidence=None,
        cameras=None,
    )
    (picture,) = depth_pictures(prediction)
    assert picture.shape[0] == height
    assert (picture[:, width + 8 : 2 * width + 8] == SPECTRAL[0]).all()


def test_pillow_reads_depth_vis(room, tmp_path):
    from PIL import Image

    paths = export(room, tmp_path, "depth_vis")["depth_vis"]
    assert [path.name for path in paths] == [f"room_{view}.jpg" for view in range(5)]
    with Image.open(paths[0]) as picture:
        assert picture.format == "JPEG"
        difference = np.asarray(picture)[:, :96].astype(int) - room.images[0].numpy()
    assert abs(difference).mean() < 4


def test_pyav_reads_depth_video(room, tmp_path):
    import av

    path = export(room, tmp_path, "depth_video")["depth_video"][0]
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == 15
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 5
    for frame, picture in zip(frames, depth_pictures(room, common_range=True), strict=True):
        height, width = min(len(frame), len(picture)), min(frame.shape[1], picture.shape[1])
        assert abs(frame[:height, :width].astype(int) - picture[:height, :width]).mean() < 12


def test_feature_colours_follow_the_main_directions():
    views, rows, columns = 2, 30, 40
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(views, rows, columns, 3, generator=generator) * torch.tensor([9.0, 3.0, 1.0])
    directions = torch.linalg.qr(torch.randn(12, 3, generator=generator))[0]
    directions = directions * directions.gather(0, directions.abs().argmax(0, keepdim=True)).sign()
    mask = torch.ones(views, rows, columns, dtype=torch.bool)
    mask[0, 0] = False
    colors = feature_colors(hidden @ directions.T + 100, mask)
    assert (colors[~mask] == 0).all()
    values, shown = hidden[mask], colors[mask].double()
    for channel in range(3):
        low, high = np.percentile(values[:, channel], [10, 90])
        expected = ((values[:, channel] - low) / (high - low)).clamp(0, 1) * 255
        correlation = torch.corrcoef(torch.stack([expected.double(), shown[:, channel]]))[0, 1]
        assert correlation > 0.97


def test_features_stand_beside_their_pictures(full_room, tmp_path):
    from PIL import Image

    paths = export(full_room, tmp_path, "features")["features"]
    assert len(paths) == 10
    assert paths[0].relative_to(tmp_path).parts == ("features", "block_03", "room_0.png")
    with Image.open(paths[7]) as file:
        picture = np.asarray(file)
    np.testing.assert_array_equal(picture[:, :96], full_room.images[2])
    colors = picture[:, 96:]
    assert (colors[:, :14] == 0).all()  # masked
    patches = colors.reshape(6, 12, 8, 12, 3)[:, :, 2:]
    assert (patches == patches[:, :1, :, :1]).all()
    assert len(np.unique(patches[:, 0, :, 0].reshape(-1, 3), axis=0)) > 30
