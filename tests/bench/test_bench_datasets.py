"""Readers of published layouts: what they find, and what they say of what is missing."""

import shutil
from pathlib import Path

import cv2
import fake_pictures
import fake_sets
import numpy as np
import pytest

from anyview.bench.datasets import single_pictures
from anyview.bench.datasets.catalog import DATASETS, open_benchmark
from anyview.bench.datasets.eth3d import Eth3d
from anyview.bench.datasets.lens import Lens
from anyview.bench.datasets.scannetpp import view_of
from anyview.bench.options import TASKS, BenchOptions
from anyview.bench.runner import find_work


def opened(name: str, path: Path, task="pose", protocol="sane"):
    return open_benchmark(f"{name}:{path}", task, protocol)[name]


def loaded(name: str, path: Path, task="pose", protocol="sane"):
    reader = opened(name, path, task, protocol)
    return reader.load(reader.scenes()[0])


def copy_of(fake_data, name: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fake_data(name), tmp_path / name))


@pytest.mark.parametrize("name", fake_sets.LAYOUTS)
@pytest.mark.parametrize("protocol", ["sane", "compat"])
def test_true_depth_and_masks_fit_the_cameras(name, protocol, fake_data):
    """Every frame's depth is that of the formula under its camera, and masks have the size that depth is fused at."""
    scene = loaded(name, fake_data(name, protocol), protocol=protocol)
    layout = fake_sets.LAYOUTS[name]
    frame = scene.frames[1]
    height, width = frame.read_size()
    assert frame.read_picture().shape == (height, width, 3)
    if name != "dtu64":
        size = scene.read_recipe().fusion_size if scene.read_recipe else None
        assert frame.read_valid().shape == (size or (height, width))
    if frame.read_depth is not None:
        depth = frame.read_depth()
        first_pixel = 0.5 if (name, protocol) == ("eth3d", "sane") else 0
        expected = layout.depth(frame.world_to_camera, frame.intrinsics, height, width, first_pixel)
        known = np.isfinite(depth) & (depth > 0)
        assert known.mean() > 0.8
        assert np.nanmax(np.abs(depth - expected)[known]) < 2e-3
    poses = np.stack([frame.world_to_camera for frame in scene.frames])
    assert np.abs(poses[:, :3, :3] @ poses[:, :3, :3].transpose(0, 2, 1) - np.eye(3)).max() < 1e-6


def test_the_reference_view_of_dtu_is_at_position_33(fake_data):
    names = [frame.name for frame in loaded("dtu", fake_data("dtu")).frames]
    assert names[:3] == [f"rect_{number:03d}_3_r5000.png" for number in (34, 1, 2)]
    assert names[-2:] == [f"rect_{number:03d}_3_r5000.png" for number in (35, 36)]
    assert loaded("dtu64", fake_data("dtu64")).frames[0].name == "image/00000033.png"


def test_eth3d_leaves_frames_out_and_masks_by_value(tmp_path):
    fake_sets.write_eth3d_relief(tmp_path)
    scene = loaded("eth3d", tmp_path, protocol="compat")
    assert [frame.name[-7:-4] for frame in scene.frames] == [str(number) for number in range(420, 427)]
    valid = scene.frames[0].read_valid()
    assert not valid[:4].any()
    assert valid[4:-6].all()  # 2 is kept
    assert not valid[-6:].any()  # 1 is not


def test_a_fisheye_camera_is_straightened_in_sane(tmp_path):
    """Its picture is wider than the pinhole camera's, so that all of this has a source, further inside."""
    fake_sets.write_eth3d(tmp_path)
    frame = loaded("eth3d", tmp_path).frames[0]
    valid, raw = frame.read_valid(), loaded("eth3d", tmp_path, protocol="compat").frames[0].read_valid()
    assert valid.sum() > raw.sum()
    assert not np.array_equal(
        frame.read_picture(), loaded("eth3d", tmp_path, protocol="compat").frames[0].read_picture()
    )


def test_a_header_of_another_length_shifts_compat_only(tmp_path):
    fake_sets.write_eth3d(tmp_path)
    file = tmp_path / "courtyard" / "dslr_calibration_jpg" / "images.txt"
    file.write_text("# one more line\n" + file.read_text())
    assert len(loaded("eth3d", tmp_path)) == 8
    with pytest.raises(ValueError, match="no frame with a picture and a camera"):
        loaded("eth3d", tmp_path, protocol="compat")  # Q29


def test_eth3d_dispatches_on_the_camera_model_in_sane(tmp_path):
    fake_sets.write_eth3d(tmp_path)
    file = tmp_path / "courtyard" / "dslr_calibration_jpg" / "cameras.txt"
    file.write_text(file.read_text().replace("THIN_PRISM_FISHEYE 144 96 120 120", "SIMPLE_RADIAL 144 96 120"))
    intrinsics = loaded("eth3d", tmp_path).frames[0].intrinsics
    assert intrinsics.tolist() == [[120, 0, 72], [0, 120, 48], [0, 0, 1]]
    misread = loaded("eth3d", tmp_path, protocol="compat").frames[0].intrinsics
    assert misread.tolist() == [[120, 0, 48], [0, 72, 0], [0, 0, 1]]  # Q28


def test_lenses_are_straightened():
    """A bright spot where the distorted camera sees a ray lands where the pinhole camera sees it."""
    pytest.importorskip("pycolmap")
    import pycolmap

    parameters = (100.0, 100.0, 64.0, 48.0, 0.3, -0.1, 0.0, 0.0)
    lens = Lens("OPENCV", 128, 96, parameters)
    assert not lens.is_pinhole
    ray = np.array([[0.3, -0.2, 1.0]])
    camera = pycolmap.Camera(model="OPENCV", width=128, height=96, params=list(parameters))
    (x, y) = camera.img_from_cam(ray)[0]
    depth = np.zeros((96, 128), np.float32)
    depth[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2] = 5
    straight = lens.straighten_nearest(depth)
    u, v = 100 * 0.3 + 64, 100 * -0.2 + 48
    assert straight[int(v), int(u)] == 5
    rows, columns = straight.nonzero()
    assert abs(rows.mean() + 0.5 - v) < 1
    assert abs(columns.mean() + 0.5 - u) < 1
    assert Lens("THIN_PRISM_FISHEYE", 8, 8, (1.0, 1.0, 4.0, 4.0, *[0.0] * 8)).is_pinhole is False


def test_the_optimal_camera_matrix_is_opencvs():
    view = view_of("OPENCV", (1500.0, 1500.0, 960.0, 720.0, -0.05, 0.01, 0.0, 0.0), 1440, 1920)
    assert view.matrix[0, 0] == pytest.approx(1456.0204, abs=1e-3)
    assert view.matrix[:2, 2].tolist() == pytest.approx([959.5, 719.5])
    assert view.crop == (10, 13, 1900, 1413)
    assert view_of("PINHOLE", (10.0, 10.0, 4.0, 4.0), 6, 8).crop == (0, 0, 8, 6)


def test_a_root_called_color_loses_its_masks_in_compat_only(fake_data, tmp_path):
    root = tmp_path / "color"
    shutil.copytree(fake_data("7scenes"), root)
    assert loaded("7scenes", root).frames[0].read_valid() is not None
    assert loaded("7scenes", root, protocol="compat").frames[0].read_valid() is None  # Q32


BROKEN = [
    # data set, what is removed, part of the refusal
    ("eth3d", "courtyard/combined_mesh.ply", "combined_mesh.ply is missing; expected SCENE/{images"),
    ("eth3d", "courtyard/dslr_calibration_jpg/images.txt", "images.txt is missing; expected"),
    ("eth3d", "courtyard/images/dslr_images/DSC_0288.JPG", "lacks 1 of 8 pictures or their cameras"),
    ("eth3d", "courtyard", "holds none of the scenes; expected"),
    ("7scenes", "7Scenes/chess/seq-01/frame-000002.pose.txt", "frame-000002.pose.txt is missing"),
    ("7scenes", "7Scenes/meshes/chess.ply", "chess.ply is missing; expected"),
    ("7scenes", "7Scenes", "holds none of the scenes; expected"),
    ("scannetpp", "09c1414f1b/scans/mesh_aligned_0.05.ply", "mesh_aligned_0.05.ply is missing"),
    ("scannetpp", "09c1414f1b/merge_dslr_iphone/images/iphone/frame_000001.jpg", "frame_000001.jpg is missing"),
    ("scannetpp", "09c1414f1b/merge_dslr_iphone/colmap/sparse_render_rgb", "sparse_render_rgb is missing; expected"),
    ("hiroom", "selected_scene_list_val.txt", "selected_scene_list_val.txt is missing; expected"),
    ("hiroom", "fused_pcd/aa-bb-cc.ply", "aa-bb-cc.ply is missing; expected"),
    ("hiroom", "data/aa/bb/cc/pose/0003.npy", "0003.npy is missing; expected"),
    ("dtu", "Points", "stl001_total.ply is missing; expected"),
    ("dtu", "Cameras/00000003_cam.txt", "00000003_cam.txt is missing; expected"),
    ("dtu64", "Cameras/00000003_cam.txt", "00000003_cam.txt is missing; expected"),
]


@pytest.mark.parametrize(("name", "removed", "message"), BROKEN, ids=[f"{n}-{Path(r).name}" for n, r, _ in BROKEN])
def test_missing_data_is_said_with_the_layout(name, removed, message, fake_data, tmp_path):
    root = copy_of(fake_data, name, tmp_path)
    path = root / removed
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(ValueError, match=f".*{message.replace('{', '.')}") as refusal:
        loaded(name, root)
    assert "\n" not in str(refusal.value)


UNMASKED = [
    # data set, what says where depth counts
    ("eth3d", "courtyard/ground_truth_depth"),
    ("eth3d", "courtyard/masks_for_images/dslr_images/DSC_0288.png"),
    ("7scenes", "7Scenes/chess/seq-01/frame-000002.depth.png"),
    ("scannetpp", "09c1414f1b/merge_dslr_iphone/render_depth"),
    ("hiroom", "data/aa/bb/cc/depth/0003.png"),
]


@pytest.mark.parametrize(("name", "removed"), UNMASKED, ids=[f"{n}-{Path(r).name}" for n, r in UNMASKED])
def test_geometry_is_refused_without_the_files_that_say_where_it_counts(name, removed, fake_data, tmp_path):
    """Poses need none of them, and the published evaluator goes on without (Q16)."""
    root = copy_of(fake_data, name, tmp_path)
    path = root / removed
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    data = [f"{name}:{root}"]
    with pytest.raises(ValueError, match=r"is missing.*; expected ") as refusal:
        find_work(data, "recon_posed", BenchOptions())
    assert "\n" not in str(refusal.value)
    assert len(find_work(data, "pose", BenchOptions())) == 1
    assert len(find_work(data, "recon_posed", BenchOptions(protocol="compat"))) == 1


def test_scenes_that_are_not_there_are_counted(fake_data):
    """A mean over one scene must not look like one over all."""
    assert "1 of the 11 published scenes" in loaded("eth3d", fake_data("eth3d", "sane")).notes
    assert loaded("hiroom", fake_data("hiroom")).notes == ()


BROKEN_SINGLE = [
    # data set, what is removed, part of the refusal
    ("kitti", "2011_09_26/2011_09_26_drive_0002_sync/image_02", "0000000000.png is missing, of which there is depth;"),
    ("kitti", "2011_09_26_drive_0002_sync", "holds no pictures with depth; expected DATE/DRIVE"),
    ("nyu", "splits.mat", "splits.mat is missing; expected nyu_depth_v2_labeled.mat and splits.mat"),
    ("nyu", "nyu_depth_v2_labeled.mat", "nyu_depth_v2_labeled.mat is missing; expected"),
    ("sintel", "training/depth/alley_1/frame_0002.dpt", "frame_0002.dpt is missing; expected training/final"),
    ("sintel", "training/final", "holds no pictures with depth; expected training/final"),
    ("diode", "val/indoors/scene_00001/scan_00001/a_depth_mask.npy", "a_depth_mask.npy is missing; expected val/"),
    ("sunrgbd", "test.txt", "test.txt is missing; expected SENSOR"),
    ("sunrgbd", "kv1/scene1/depth", "kv1/scene1/depth has no [*].png; expected SENSOR"),
    ("moge", "Sintel/some/0001/meta.json", "meta.json is missing; expected BUNDLE"),
]


@pytest.mark.parametrize(
    ("name", "removed", "message"), BROKEN_SINGLE, ids=[f"{n}-{Path(r).name}" for n, r, _ in BROKEN_SINGLE]
)
def test_half_unpacked_pictures_are_said_with_the_layout(name, removed, message, tmp_path):
    if name == "nyu":
        pytest.importorskip("h5py")
    fake_pictures.SINGLE[name](tmp_path)
    path = tmp_path / removed
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(ValueError, match=message) as refusal:
        loaded(name, tmp_path, "depth")
    assert "\n" not in str(refusal.value)


def test_views_that_are_missing_are_said(tmp_path):
    pytest.importorskip("pycolmap")
    fake_sets.write_views(tmp_path, "Barn", [(54, 96)] * 3)
    (tmp_path / "Barn" / "images" / "001.png").unlink()
    with pytest.raises(ValueError, match=r"Barn/images lacks 1 of 3 pictures: 001.png"):
        loaded("tanks_and_temples", tmp_path, "view_syn")
    (tmp_path / "Barn" / "sparse" / "0" / "images.txt").unlink()
    with pytest.raises(ValueError, match=r"the COLMAP model .*Barn/sparse/0 cannot be read"):
        loaded("tanks_and_temples", tmp_path, "view_syn")


def test_dtu_needs_its_reference_view(fake_data, tmp_path):
    root = copy_of(fake_data, "dtu", tmp_path)
    for number in (34, 35, 36):
        (root / "Rectified" / "scan1" / f"rect_{number:03d}_3_r5000.png").unlink()
    with pytest.raises(ValueError, match="has 33 pictures, and the one at position 33 is the reference view"):
        loaded("dtu", root)  # Q38


def test_names_that_do_not_exist_are_refused(fake_data, tmp_path):
    with pytest.raises(ValueError, match=r"unknown data set 'eth3dd'; did you mean 'eth3d'"):
        open_benchmark(f"eth3dd:{tmp_path}", "pose", "sane")
    with pytest.raises(ValueError, match="expected data as NAME:PATH"):
        open_benchmark("eth3d", "pose", "sane")
    with pytest.raises(ValueError, match="is no folder with the data set eth3d"):
        open_benchmark(f"eth3d:{tmp_path}/nowhere", "pose", "sane")
    with pytest.raises(ValueError, match="dtu64 has no truth for recon_posed; it has it for pose"):
        open_benchmark(f"dtu64:{fake_data('dtu64')}", "recon_posed", "sane")
    with pytest.raises(ValueError, match="no data set has a scene 'courtyrd'; did you mean 'courtyard'"):
        find_work([f"eth3d:{fake_data('eth3d')}"], "pose", BenchOptions(scenes=("courtyrd",)))
    with pytest.raises(ValueError, match="eth3d has no scene 'pipes' here"):
        opened("eth3d", fake_data("eth3d")).load("pipes")


def test_one_root_holds_the_published_folders(fake_data, tmp_path):
    for name in ("eth3d", "dtu64"):
        copy_of(fake_data, name, tmp_path)
    assert set(open_benchmark(f"da3-bench:{tmp_path}", "pose", "sane")) == {"eth3d", "dtu64"}
    assert set(open_benchmark(f"da3-bench:{tmp_path}", "recon_posed", "sane")) == {"eth3d"}
    with pytest.raises(ValueError, match="holds none of the folders"):
        open_benchmark(f"da3-bench:{tmp_path / 'eth3d'}", "pose", "sane")


@pytest.mark.parametrize("name", fake_pictures.SINGLE)
def test_single_pictures_have_depth(name, tmp_path):
    if name == "nyu":
        pytest.importorskip("h5py")
    fake_pictures.SINGLE[name](tmp_path)
    reader = opened(name, tmp_path, task="depth")
    assert reader.tasks == ("depth",)
    for scene in map(reader.load, reader.scenes()):
        for frame in scene.frames:
            depth = frame.read_depth()
            assert frame.read_picture().shape == (*depth.shape, 3)
            assert frame.read_size() == depth.shape
            assert 0.5 < np.median(depth[depth > 0]) < 60


def test_depth_is_decoded_as_published(tmp_path):
    fake_pictures.write_single_sunrgbd(tmp_path)
    depth = single_pictures.read_sun_depth(tmp_path / "kv1" / "scene0" / "depth" / "a.png")
    assert depth[0, [0, -1]].tolist() == pytest.approx([0.5, 8.0])
    fake_pictures.write_single_kitti(tmp_path)
    frame = loaded("kitti", tmp_path, "depth").frames[0]
    assert frame.read_depth()[[0, -1], 0].tolist() == pytest.approx([90, 4], abs=1 / 256)
    assert frame.intrinsics.tolist() == [[721, 0, 609], [0, 721, 172], [0, 0, 1]]


def test_a_cut_map_of_sintel_is_refused(tmp_path):
    fake_pictures.write_single_sintel(tmp_path)
    file = tmp_path / "training" / "depth" / "alley_1" / "frame_0001.dpt"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ValueError, match="no depth map of Sintel, or cut off"):
        loaded("sintel", tmp_path, "depth").frames[0].read_depth()


@pytest.mark.parametrize("name", ["tanks_and_temples", "megadepth"])
def test_only_published_scenes_of_view_synthesis_count(name, tmp_path):
    fake_sets.write_transforms(tmp_path, "Courthouse")
    with pytest.raises(ValueError, match=f"holds none of the scenes of {name}"):
        opened(name, tmp_path, "view_syn").scenes()


def test_synthetic_scenes_are_the_same_always():
    first, again = (open_benchmark("synth:test/2/3/56", "pose", "sane")["synth"] for _ in range(2))
    assert first.scenes() == ("test-0000", "test-0001")
    pictures = [reader.load("test-0001").frames[2].read_picture() for reader in (first, again)]
    assert np.array_equal(*pictures)
    assert first.load("test-0001").truth is not None
    with pytest.raises(ValueError, match=r"expected synthetic data as SPLIT"):
        open_benchmark("synth:test/two", "pose", "sane")


def test_folders_of_training_data_are_read(tmp_path):
    from anyview.bench.geometry import read_truth

    fake_sets.write_scene_json(tmp_path)
    reader = opened("scene_json", tmp_path)
    assert reader.tasks == TASKS
    points = read_truth(reader.load("room"), "sane")
    on_walls = np.abs(np.abs(points) / fake_sets.BOX - 1).min(-1)
    assert on_walls.max() < 0.02
    fake_sets.write_scene_json(tmp_path / "poses", depth=False)
    assert opened("scene_json", tmp_path / "poses").tasks == ("pose", "view_syn")


def test_every_data_set_can_be_opened_for_some_task(tmp_path):
    """A folder that holds nothing is refused by each with the layout that it expects."""
    for name in DATASETS:
        messages = []
        for task in TASKS:
            try:
                reader = opened(name, tmp_path, task) if name != "synth" else None
                if reader is not None:
                    reader.scenes()
            except ValueError as error:
                messages.append(str(error))
        assert name == "synth" or len(messages) == len(TASKS), name
        assert all("\n" not in message for message in messages)


def test_compat_reads_a_rotated_picture_as_turned(tmp_path):
    """Q30, for the size of fusion."""
    fake_sets.write_eth3d(tmp_path)
    path = tmp_path / "courtyard" / "images" / "dslr_images" / "DSC_0286.JPG"
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)
    assert loaded("eth3d", tmp_path).frames[0].read_size() == (96, 144)
    assert Eth3d(tmp_path, "compat").load("courtyard").frames[0].read_size() == (144, 96)
    assert cv2.imread(str(path), cv2.IMREAD_IGNORE_ORIENTATION | cv2.IMREAD_COLOR).shape == (96, 144, 3)
