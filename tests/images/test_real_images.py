import json
from pathlib import Path

import numpy as np
import pytest
import torch

from anyview.images.preprocess import prepare_views
from anyview.images.restore import restore_depth, restore_mask
from anyview.images.sources import read_scene
from anyview.images.video import read_frames

pytestmark = pytest.mark.real

SETS = {
    "7scenes_redkitchen": 20,
    "hololens_a": 30,
    "imc_reichstag": 10,
    "kitti_odo_1": 25,
    "metric3d_kitti": 3,
    "metric3d_nyu": 3,
    "middlebury_templering": 19,
    "misc_images": 6,
    "pi3_room": 8,
    "slambook_icl5": 5,
    "strecha_fountain_p11": 11,
}


@pytest.mark.parametrize("name", SETS)
def test_every_set_is_read_and_prepared(shared_data, name):
    folder = shared_data / name
    scene = read_scene(folder / "images" if (folder / "images").is_dir() else folder)
    assert len(scene.pictures) == SETS[name]
    for mixed_sizes in ("crop", "pad"):
        views = prepare_views(scene.pictures, resolution=126, mixed_sizes=mixed_sizes)
        assert len(views.images) == SETS[name]
        assert views.images.float().std() > 20


@pytest.mark.parametrize(("name", "shape"), [("robot_unitree", (576, 1024)), ("01_dog", (720, 1280))])
def test_videos_are_read(shared_data, name, shape):
    frames = list(read_frames(shared_data / "videos" / f"{name}.mp4", count=3))
    assert [frame.pixels.shape for frame in frames] == [(*shape, 3)] * 3
    assert frames[0].time_s == 0
    assert frames[1].time_s < frames[2].time_s
    assert np.abs(frames[0].pixels.astype(int) - frames[2].pixels).mean() > 1


def fountain(shared_data: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    folder = shared_data / "strecha_fountain_p11"
    frames = json.loads((folder / "scene.json").read_text())["frames"]
    return folder, np.array([frame["w2c"] for frame in frames]), np.array([frame["K"] for frame in frames])


def check_is_fountain(source: Path, poses: np.ndarray, intrinsics: np.ndarray) -> None:
    scene = read_scene(source)
    assert [picture.name for picture in scene.pictures] == [f"{number:04d}.jpg" for number in range(11)]
    assert torch.allclose(scene.cameras.world_to_camera, torch.from_numpy(poses).float(), atol=1e-4)
    assert torch.allclose(scene.cameras.intrinsics, torch.from_numpy(intrinsics).float())


def test_fountain_as_a_colmap_project(shared_data, tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    folder, poses, intrinsics = fountain(shared_data)
    reconstruction = pycolmap.Reconstruction()
    matrix = intrinsics[0]
    parameters = matrix[[0, 1, 0, 1], [0, 1, 2, 2]]
    camera = pycolmap.Camera(model="PINHOLE", width=1536, height=1024, params=parameters, camera_id=1)
    reconstruction.add_camera_with_trivial_rig(camera)
    for number, pose in enumerate(poses):
        image = pycolmap.Image(name=f"{number:04d}.jpg", camera_id=1, image_id=number + 1)
        reconstruction.add_image_with_trivial_frame(image, pycolmap.Rigid3d(pose[:3]))
    (tmp_path / "sparse" / "0").mkdir(parents=True)
    reconstruction.write_binary(tmp_path / "sparse" / "0")
    (tmp_path / "images").symlink_to(folder / "images")
    check_is_fountain(tmp_path, poses, intrinsics)


def test_fountain_as_transforms(shared_data, tmp_path):
    folder, poses, intrinsics = fountain(shared_data)
    frames = []
    for number, pose in enumerate(poses):
        camera_to_world = np.linalg.inv(pose) @ np.diag([1, -1, -1, 1])  # OpenCV's axes to OpenGL's
        path = str(folder / "images" / f"{number:04d}.jpg")
        frames.append({"file_path": path, "transform_matrix": camera_to_world.tolist()})
    matrix = intrinsics[0]
    document = {
        "fl_x": matrix[0, 0],
        "fl_y": matrix[1, 1],
        "cx": matrix[0, 2],
        "cy": matrix[1, 2],
        "w": 1536,
        "h": 1024,
    }
    (tmp_path / "transforms.json").write_text(json.dumps({**document, "frames": frames}))
    check_is_fountain(tmp_path / "transforms.json", poses, intrinsics)


def test_exact_depth_survives_the_way_down_and_up(shared_data):
    """On the true depth of synthetic rooms fewer pixels go wrong than by plain interpolation, by little or by much."""
    import cv2

    for name in ("pi3_room", "slambook_icl5"):
        folder = shared_data / name
        description = json.loads((folder / "scene.json").read_text())
        frame = description["frames"][0]
        truth = cv2.imread(str(folder / frame["depth"]), cv2.IMREAD_UNCHANGED) / float(description["depth_scale"])
        pictures = read_scene(folder / frame["file"]).pictures
        views = prepare_views(pictures, resolution=252)
        height, width = views.images.shape[1:3]
        small = cv2.resize(truth, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.float32)
        small[small == 0] = 1  # a few pixels without truth
        known = truth > 0
        assert known.mean() > 0.99
        assert restore_mask(views).all()
        restored = restore_depth(torch.from_numpy(small)[None], views, pictures)[0].numpy()
        size = (truth.shape[1], truth.shape[0])
        for other in (cv2.INTER_NEAREST, cv2.INTER_LINEAR):
            plain = cv2.resize(small, size, interpolation=other)
            for limit in (0.01, 0.05):
                wrong, plain_wrong = (
                    np.mean((np.abs(depth - truth) > limit * truth)[known]) for depth in (restored, plain)
                )
                assert wrong < 0.92 * plain_wrong
