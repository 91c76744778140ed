"""Every layout gives back the room that was written; whatever is wrong with one is said with the file's name."""

import json
import random
from pathlib import Path

import layouts
import numpy as np
import pytest
import torch
from layouts import FRAMES, HEIGHT, WIDTH
from rooms import room_cameras, tiny

from anyview.geometry.pose import camera_centers
from anyview.recordings.catalog import LAYOUTS, open_dataset
from anyview.recordings.scene import Frame, SparseDepth
from anyview.training.recorded import SceneSource, choose_views, fit_frame, scatter_depth, split_scenes
from anyview.training.trainer import train
from box_room import render_room

EXACT = [layouts.write_folder, layouts.write_colmap, layouts.write_shards]
ROUNDED = [  # depth in steps of 0.2 or 1 mm, or of 11 bits
    layouts.write_folder_of_pngs,
    layouts.write_tartanair,
    layouts.write_scannetpp,
    layouts.write_hypersim,
    layouts.write_hypersim_with_tilted_lens,
]


def skip_without_libraries(write) -> None:
    needed = {"hypersim": "h5py", "colmap": "pycolmap", "dl3dv": "pycolmap", "shards": "webdataset"}
    for word, library in needed.items():
        if word in write.__name__:
            pytest.importorskip(library)


def open_source(write, path: Path) -> SceneSource:
    skip_without_libraries(write)
    return SceneSource(open_dataset(write(path)))


@pytest.mark.parametrize("write", [*EXACT, *ROUNDED])
def test_every_layout_gives_back_the_room(tmp_path, write):
    source = open_source(write, tmp_path)
    height, width = (480, 640) if write is layouts.write_tartanair else (HEIGHT, WIDTH)
    truth = source.batch((0,), FRAMES, height, width, 1.0)
    pictures, depth = render_room(truth.cameras[0], height, width)
    known = truth.depth[0] > 0
    assert known.float().mean() > 0.99
    ratio = (truth.depth[0] / depth)[known]
    tolerance = 1e-5 if write in EXACT else 1e-3
    # A rounded ray may leave the room by the neighbouring wall, where walls meet.
    assert ((ratio - 1).abs() < tolerance).float().mean() > 0.999
    assert (truth.images[0].int() - pictures.int()).abs().float().mean() < (0.1 if write in EXACT else 4)


def test_sparse_points_are_depth_where_they_are(tmp_path):
    source = open_source(layouts.write_dl3dv, tmp_path)
    # Tracks of one picture are too short to be trusted.
    with pytest.raises(ValueError, match="no view of 48x64 pixels of any scene has depth"):
        source.batch((0,), 2, HEIGHT, WIDTH, 1.0)


def test_trusted_points_give_depth(tmp_path, monkeypatch):
    monkeypatch.setattr("anyview.recordings.colmap.SHORTEST_TRACK", 1)
    source = open_source(layouts.write_dl3dv, tmp_path)
    truth = source.batch((0,), FRAMES, HEIGHT, WIDTH, 1.0)
    _, depth = render_room(truth.cameras[0], HEIGHT, WIDTH)
    known = truth.depth[0] > 0
    assert 0.08 < known.float().mean() < 0.14  # 400 of 3072 pixels, some of them twice
    assert torch.allclose(truth.depth[0][known], depth[known], rtol=1e-4)


def test_cutting_keeps_geometry():
    cameras = room_cameras(0, 1, 90, 144, 0.0)
    pictures, depth = render_room(cameras, 90, 144)
    frame = Frame(pictures[0].numpy(), cameras.intrinsics[0].double().numpy(), depth[0].numpy())
    # A third of the resolution: a new pixel's centre is that of the middle one of nine.
    for height, width in ((30, 48), (30, 30), (28, 48)):
        pixels, cut, intrinsics = fit_frame(frame, height, width)
        camera = type(cameras)(cameras.world_to_camera, torch.from_numpy(intrinsics)[None].float())
        expected_pixels, expected = render_room(camera, height, width)
        assert cut.shape == pixels.shape[:2] == (height, width)
        assert np.allclose(cut, expected[0].numpy(), rtol=1e-5)
        assert np.abs(pixels.astype(int) - expected_pixels[0].numpy()).mean() < 20
        assert intrinsics[0, 2] == pytest.approx(width / 2)


def test_depth_of_another_resolution_is_read_where_the_picture_is():
    picture = np.zeros((40, 60, 3), np.uint8)
    depth = np.arange(24, dtype=np.float32).reshape(4, 6)
    _, cut, _ = fit_frame(Frame(picture, np.eye(3), depth), 40, 60)
    assert (cut == depth.repeat(10, 0).repeat(10, 1)).all()


def test_of_points_in_one_pixel_the_nearest_stays():
    depth = scatter_depth(
        np.array([1.2, 1.8, 0.5, -1.0]), np.array([0.5, 0.1, 1.5, 0.5]), np.array([3.0, 2, 5, 1]), 2, 3
    )
    assert depth.tolist() == [[0, 2, 0], [5, 0, 0]]


def test_sparse_depth_survives_shrinking():
    points = SparseDepth(np.array([[31.0, 10.0], [63.0, 47.0]]), np.array([2.0, 3.0]))
    _, cut, _ = fit_frame(Frame(np.zeros((48, 64, 3), np.uint8), np.eye(3), points), 12, 16)
    assert cut[2, 7] == 2
    assert cut[11, 15] == 3
    assert (cut > 0).sum() == 2


def test_spread_decides_how_far_views_are_apart():
    poses = room_cameras(0, 30, 56, 56, 0.0).world_to_camera
    centers = camera_centers(poses)

    def reach(spread: float) -> float:
        chosen = [choose_views(poses, 3, spread, random.Random(seed)) for seed in range(40)]
        assert all(len(set(views)) == 3 for views in chosen)
        return sum((centers[views] - centers[views[0]]).norm(dim=-1).max().item() for views in chosen) / 40

    assert reach(0.0) < 0.5 * reach(0.3) < 0.4 * reach(1.0)


def test_the_same_number_is_the_same_scene(tmp_path):
    for name in ("a", "b", "c", "d"):
        layouts.write_folder(tmp_path, name)
    batches = [
        SceneSource(open_dataset(str(tmp_path))).batch(indices, 2, 28, 42, 0.5) for indices in ((3, 8), (3,), (8,))
    ]
    assert torch.equal(batches[0].images, torch.cat([batches[1].images, batches[2].images]))
    assert torch.equal(batches[0].depth, torch.cat([batches[1].depth, batches[2].depth]))


def test_every_epoch_shows_every_scene_once_shard_by_shard(tmp_path):
    source = open_source(layouts.write_shards, tmp_path)
    orders = [[next(source._numbers(3 * epoch + place, 1)) for place in range(3)] for epoch in range(20)]
    assert all(sorted(order) == [0, 1, 2] for order in orders)
    assert {tuple(order) for order in orders} == {(0, 1, 2), (1, 0, 2), (2, 0, 1), (2, 1, 0)}


def test_training_and_validation_share_no_scene(tmp_path):
    for number in range(5):
        layouts.write_folder(tmp_path, f"room{number}")
    train_source, validation_source = split_scenes(open_dataset(str(tmp_path)), 0.3)
    shown = [{next(source._numbers(index, 1)) for index in range(40)} for source in (train_source, validation_source)]
    assert list(map(len, shown)) == [3, 2]
    assert set.union(*shown) == set(range(5))
    for share, expected in ((0.0, 1), (1.0, 4)):
        assert len(split_scenes(open_dataset(str(tmp_path)), share)[1].numbers) == expected


def test_a_single_scene_is_trained_and_validated_on(tmp_path):
    sources = split_scenes(open_dataset(layouts.write_folder(tmp_path)))
    assert [next(source._numbers(3, 1)) for source in sources] == [0, 0]


def test_scenes_with_too_few_frames_give_way(tmp_path):
    layouts.write_folder(tmp_path, "long")
    layouts.write_folder(tmp_path, "short")
    file = tmp_path / "short" / "cameras.json"
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, "frames": document["frames"][:2]}))
    source = SceneSource(open_dataset(str(tmp_path)))
    assert {next(source._numbers(index, 3)) for index in range(10)} == {0}
    assert {next(source._numbers(index, 2)) for index in range(10)} == {0, 1}
    with pytest.raises(ValueError, match="no scene has 5 frames; the most that one has is 4"):
        source.batch((0,), 5, 28, 28, 0.5)


def test_training_runs_on_a_folder(tmp_path):
    source = SceneSource(open_dataset(layouts.write_folder(tmp_path / "data")))
    assert train(tiny(steps=2), source, tmp_path / "run", device="cpu") == "finished"


def test_unknown_layouts_are_answered_with_the_nearest(tmp_path):
    with pytest.raises(ValueError, match=r"unknown layout of data 'hypersin'; did you mean 'hypersim'"):
        open_dataset(f"hypersin:{tmp_path}")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folders_of_nothing_are_refused(tmp_path, layout):
    with pytest.raises(ValueError, match=str(tmp_path)):
        open_dataset(f"{layout}:{tmp_path}")


def spoil_array(change):
    def spoil(path: Path) -> None:
        values = np.load(path)
        np.save(path, change(values))

    return spoil


def with_value(value: float):
    def change(values: np.ndarray) -> np.ndarray:
        values = values.copy()
        values[3, 4] = value
        return values

    return change


def spoil_cameras(field: str, change):
    def spoil(path: Path) -> None:
        document = json.loads(path.read_text())
        document["frames"][1][field] = change(np.array(document["frames"][1][field])).tolist()
        path.write_text(json.dumps(document))

    return spoil


def write_small_mask(path: Path) -> None:
    layouts.save_picture(path, np.zeros((4, 4, 3), np.uint8))


SPOILED = [
    ("depth/2.npy", Path.unlink, "no depth for .*images/2.png"),
    ("images/2.png", Path.unlink, "no such picture: .*images/2.png"),
    ("images/2.png", lambda path: path.write_bytes(b"x"), "images/2.png is not a picture"),
    ("depth/2.npy", lambda path: path.write_bytes(b"x"), "depth/2.npy is not a readable .npy file"),
    ("depth/2.npy", spoil_array(lambda x: x[:-1]), r"depth/2.npy: expected depth of 48x64 values.*\[47, 64\]"),
    ("depth/2.npy", spoil_array(lambda x: x[None]), r"depth/2.npy: expected depth of 48x64 values.*\[1, 48, 64\]"),
    ("depth/2.npy", spoil_array(lambda x: x.astype(complex)), "depth/2.npy: expected numbers"),
    ("depth/2.npy", spoil_array(with_value(np.nan)), "depth/2.npy: depth holds NaN or infinite values"),
    ("depth/2.npy", spoil_array(with_value(-1)), "depth/2.npy: depth holds negative values"),
    ("cameras.json", lambda path: path.write_text("{"), "cameras.json is not readable JSON"),
    (
        "cameras.json",
        lambda path: path.write_text("[]"),
        "cameras.json: expected a list 'frames' with intrinsics, name",
    ),
    ("cameras.json", spoil_cameras("intrinsics", lambda k: k[:2]), "cameras.json: misshapen cameras"),
    ("cameras.json", spoil_cameras("world_to_camera", lambda p: p * np.nan), "cameras.json: camera of view 1: .* NaN"),
    (
        "cameras.json",
        spoil_cameras("world_to_camera", lambda p: p * [[-1], [1], [1], [1]]),
        "cameras.json: camera of view 1: the rotation is left-handed",
    ),
    (
        "masks/2.png",
        lambda path: layouts.save_picture(path, np.zeros((4, 4, 3), np.uint8)),
        "masks/2.png: expected a mask",
    ),
]


@pytest.mark.parametrize(("file", "spoil", "message"), SPOILED)
def test_what_is_wrong_with_a_folder_is_said(tmp_path, file, spoil, message):
    data = layouts.write_folder(tmp_path)
    spoil(tmp_path / "room" / file)
    with pytest.raises(ValueError, match=message):
        SceneSource(open_dataset(data)).batch((0,), FRAMES, 28, 28, 1.0)


def test_masked_pixels_have_no_depth(tmp_path):
    data = layouts.write_folder(tmp_path)
    mask = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    mask[:, :32] = 0
    for number in range(FRAMES):
        layouts.save_picture(tmp_path / "room" / "masks" / f"{number}.png", mask)
    depth = SceneSource(open_dataset(data)).batch((0,), 1, HEIGHT, WIDTH, 0.0).depth
    assert not depth[..., :32].any()
    assert (depth[..., 32:] > 0).all()


ELSEWHERE = [
    (
        layouts.write_tartanair,
        "**/pose_left.txt",
        "expected 7 numbers for each of the 4 pictures",
        b"1 2\n",
    ),
    (layouts.write_tartanair, "**/000002_left_depth.npy", "no such depth file: .*000002_left_depth.npy", None),
    (layouts.write_scannetpp, "**/pose_intrinsic_imu.json", "expected 'aligned_poses' and 'intrinsic'", b'{"a": {}}'),
    (layouts.write_scannetpp, "**/depth/frame_000020.png", "frame_000020.png: expected a PNG of 16 bits", b""),
    (layouts.write_scannetpp, "**/rgb/frame_000020.jpg", "frame_000020.jpg cannot be read", None),
    (layouts.write_hypersim, "**/metadata_scene.csv", "no such file: .*metadata_scene.csv", None),
    (layouts.write_hypersim, "**/metadata_scene.csv", "does not give meters_per_asset_unit", b"a,b\n"),
    (layouts.write_hypersim, "**/frame.0003.depth_meters.hdf5", "frame.0003.depth_meters.hdf5 cannot be read", b"x"),
    (layouts.write_colmap, "**/2.png.geometric.bin", "2.png.geometric.bin: expected 12288 bytes", b"64&48&1&half"),
    (layouts.write_colmap, "**/2.png.geometric.bin", "is no depth map of COLMAP", b"x"),
    (layouts.write_colmap, "**/images/2.png", "lacks 1 of 4 pictures: 2.png", None),
    (layouts.write_dl3dv, "**/images_4/2.png", "lacks 1 of 4 pictures: 2.png", None),
    (layouts.write_shards, "shards/shards.json", "shards.json is not a readable index", b"{}"),
    (layouts.write_shards, "shards/000000.tar", "no such shard: .*000000.tar", None),
    (layouts.write_shards, "shards/000000.tar", "000000.tar is not a readable shard", b"x" * 1024),
]


@pytest.mark.parametrize(("write", "pattern", "message", "content"), ELSEWHERE)
def test_what_is_wrong_with_other_layouts_is_said(tmp_path, write, pattern, message, content):
    skip_without_libraries(write)
    data = write(tmp_path)
    (path,) = [path for path in tmp_path.glob(pattern) if "amusement" not in path.parts]
    path.unlink() if content is None else path.write_bytes(content)

    def read_all() -> None:
        source = SceneSource(open_dataset(data))
        for index in range(len(source.library.frames)):
            source.batch((index,), FRAMES, HEIGHT, WIDTH, 1.0)

    with pytest.raises(ValueError, match=message):
        read_all()


def test_scenes_that_show_no_depth_give_their_turn_to_the_next(tmp_path):
    for name in ("a", "b", "c"):
        layouts.write_folder(tmp_path, name)
    for number in range(FRAMES):
        np.save(tmp_path / "b" / "depth" / f"{number}.npy", np.zeros((HEIGHT, WIDTH), np.float32))
    source = SceneSource(open_dataset(str(tmp_path)))
    batch = source.batch(range(9), 2, 42, 56, 0.5)
    assert (batch.depth > 0).flatten(1).any(1).all()
    for name in ("a", "c"):
        for number in range(FRAMES):
            np.save(tmp_path / name / "depth" / f"{number}.npy", np.zeros((HEIGHT, WIDTH), np.float32))
    with pytest.raises(ValueError, match="no view of 42x56 pixels of any scene has depth"):
        source.batch((0,), 2, 42, 56, 0.5)
