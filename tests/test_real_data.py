"""Real pictures through the command line with a published-format model, and every file opened by another's reader."""

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pycolmap
import pytest
import torch
import trimesh

from anyview.cli import main
from anyview.exporters import FORMATS
from filled import write_published_folder

pytestmark = pytest.mark.real

SETS = {
    "7scenes_redkitchen": "7scenes_redkitchen/images",
    "hololens_a": "hololens_a/images",
    "imc_reichstag": "imc_reichstag/images",
    "kitti_odo_1": "kitti_odo_1/images",
    "metric3d_kitti": "metric3d_kitti/images",
    "metric3d_nyu": "metric3d_nyu/images",
    "middlebury_templering": "middlebury_templering/images",
    "misc_images": "misc_images",
    "pi3_room": "pi3_room/images",
    "slambook_icl5": "slambook_icl5/images",
    "strecha_fountain_p11": "strecha_fountain_p11/images",
    "dog": "videos/01_dog.mp4",
    "robot": "videos/robot_unitree.mp4",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published folder of da3-small, filled."""
    return write_published_folder(tmp_path_factory.mktemp("model") / "DA3-SMALL", "da3-small")


@pytest.fixture(scope="module")
def fountain_projects(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The fountain's cameras, as a COLMAP project and as transforms.json."""
    folder = tmp_path_factory.mktemp("fountain")
    source = shared_data / "strecha_fountain_p11"
    frames = json.loads((source / "scene.json").read_text())["frames"]
    images = folder / "colmap" / "images"
    images.parent.mkdir()
    images.symlink_to(source / "images")
    model = pycolmap.Reconstruction()
    for number, frame in enumerate(frames, start=1):
        matrix, pose = np.array(frame["K"]), np.array(frame["w2c"])
        lens = [matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]]
        size = (frame["width"], frame["height"])
        model.add_camera_with_trivial_rig(
            pycolmap.Camera(camera_id=number, model="PINHOLE", width=size[0], height=size[1], params=lens)
        )
        model.add_image_with_trivial_frame(
            pycolmap.Image(image_id=number, camera_id=number, name=Path(frame["file"]).name),
            pycolmap.Rigid3d(pose[:3]),
        )
    (folder / "colmap" / "sparse" / "0").mkdir(parents=True)
    model.write(folder / "colmap" / "sparse" / "0")
    entries = []
    for frame in frames:
        camera_to_world = np.linalg.inv(np.array(frame["w2c"])) @ np.diag([1, -1, -1, 1])
        matrix = frame["K"]
        entries.append(
            {
                "file_path": str(source / frame["file"]),
                "transform_matrix": camera_to_world.tolist(),
                "fl_x": matrix[0][0],
                "fl_y": matrix[1][1],
                "cx": matrix[0][2],
                "cy": matrix[1][2],
                "w": frame["width"],
                "h": frame["height"],
            }
        )
    transforms = folder / "transforms.json"
    transforms.write_text(json.dumps({"frames": entries}))
    return {"colmap": folder / "colmap", "transforms": transforms}


def run(source: Path, model: Path, output: Path, *more: str, flight: bool = False) -> None:
    """Predict with every format; a flight takes minutes where there are many views."""
    formats = [name for name in FORMATS if name != "gaussians_video" or flight]
    arguments = [str(source), "-o", str(output), "-m", str(model), "--formats", ",".join(formats)]
    assert main(["predict", *arguments, "--resolution", "140", "--features", "11", "--pixel-gaussians", *more]) == 0


def check_files(output: Path, views: int) -> None:
    """Open every format with a reader that is not ours."""
    with np.load(output / "results.npz") as arrays:
        assert len(arrays["depth"]) == views
        assert np.isfinite(arrays["depth"]).all()
    scene = trimesh.load(output / "scene.glb")
    assert sum(isinstance(part, trimesh.PointCloud) for part in scene.geometry.values()) == 1
    assert len(trimesh.load(output / "points.ply").vertices) > 0
    model = pycolmap.Reconstruction(output / "colmap" / "sparse" / "0")
    assert model.num_reg_images() == views
    assert len(json.loads((output / "transforms" / "transforms.json").read_text())["frames"]) == views
    depth = sorted((output / "depth_png").glob("*.png"))
    assert len(depth) == views
    assert cv2.imread(str(depth[0]), cv2.IMREAD_UNCHANGED).dtype == np.uint16
    assert len(list((output / "depth_exr").glob("*.exr"))) == views
    assert len(list((output / "depth_vis").glob("*.jpg"))) == views
    assert len(list((output / "features").rglob("*.png"))) == views
    with av.open(str(output / "depth_video.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == views


@pytest.mark.parametrize("name", SETS)
def test_every_set(name: str, shared_data: Path, small: Path, tmp_path: Path) -> None:
    run(shared_data / SETS[name], small, tmp_path / "out", "--max-frames", "6", flight=name == "slambook_icl5")
    assert (tmp_path / "out" / "gaussians_video.mp4").exists() == (name == "slambook_icl5")
    with np.load(tmp_path / "out" / "results.npz") as arrays:
        views = len(arrays["names"])
    if name in SETS and not SETS[name].startswith("videos"):
        assert views == len([path for path in (shared_data / SETS[name]).iterdir() if path.is_file()])
    check_files(tmp_path / "out", views)


@pytest.mark.parametrize("kind", ["colmap", "transforms"])
def test_the_fountain_with_its_cameras(
    kind: str, fountain_projects: dict[str, Path], shared_data: Path, small: Path, tmp_path: Path
) -> None:
    run(fountain_projects[kind], small, tmp_path / "out")
    check_files(tmp_path / "out", 11)
    frames = json.loads((shared_data / "strecha_fountain_p11" / "scene.json").read_text())["frames"]
    with np.load(tmp_path / "out" / "results.npz") as arrays:
        known = torch.tensor([frame["w2c"] for frame in frames]).numpy()
        np.testing.assert_allclose(arrays["world_to_camera"], known, atol=1e-4)
        assert str(arrays["units"]) == "caller"
