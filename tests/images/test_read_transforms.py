import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anyview.images.transforms import read_transforms

HEIGHT, WIDTH = 30, 40
# OpenGL's camera looks along -z with y up: this one stands at (1, 2, 3) and looks along the world's x axis, z up
CAMERA_TO_WORLD = [[0, 0, -1, 1], [-1, 0, 0, 2], [0, 1, 0, 3], [0, 0, 0, 1]]


def save_picture(path: Path, height: int = HEIGHT, width: int = WIDTH, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (width, height), (10, 20, 30) if mode == "RGB" else (10, 20, 30, 0)).save(path)


def write(folder: Path, frames: list[dict], **document: object) -> Path:
    for frame in frames:
        frame.setdefault("transform_matrix", CAMERA_TO_WORLD)
    (folder / "transforms.json").write_text(json.dumps({**document, "frames": frames}))
    return folder / "transforms.json"


def test_cameras_follow_opencv(tmp_path):
    save_picture(tmp_path / "images" / "a.png")
    frames = [{"file_path": "images/a.png"}]
    path = write(tmp_path, frames, fl_x=50, fl_y=52, cx=21, cy=14, w=WIDTH, h=HEIGHT)
    scene = read_transforms(path)
    assert [picture.name for picture in scene.pictures] == ["a.png"]
    assert scene.cameras.intrinsics.tolist() == [[[50, 0, 21], [0, 52, 14], [0, 0, 1]]]
    in_front, above, right = (torch.tensor([*point, 1.0]) for point in ((6.0, 2, 3), (6, 2, 4), (6, 1, 3)))
    pose = scene.cameras.world_to_camera[0]
    assert (pose @ in_front).tolist() == [0, 0, 5, 1]
    assert (pose @ above).tolist() == [0, -1, 5, 1]
    assert (pose @ right).tolist() == [1, 0, 5, 1]
    same = read_transforms(tmp_path)
    assert torch.equal(same.cameras.world_to_camera, scene.cameras.world_to_camera)
    assert same.source == str(path)


def test_blender_style(tmp_path):
    """No suffix, one angle, transparent pictures; the first name wins over a depth picture beside it."""
    save_picture(tmp_path / "train" / "r_0.png", mode="RGBA")
    scene = read_transforms(write(tmp_path, [{"file_path": "./train/r_0"}], camera_angle_x=0.8))
    focal = WIDTH / 2 / math.tan(0.4)
    expected = torch.tensor([[[focal, 0, 20], [0, focal, 15], [0, 0, 1]]])
    assert torch.allclose(scene.cameras.intrinsics, expected)
    assert (scene.pictures[0].pixels == 255).all()
    assert scene.pictures[0].name == "r_0.png"


def test_frames_may_differ_and_keep_their_order(tmp_path):
    frames = [{"file_path": f"{name}.png", "fl_x": focal} for name, focal in (("z", 50), ("b", 60), ("a10", 70))]
    for frame in frames:
        save_picture(tmp_path / frame["file_path"])
    frames[1]["cx"] = 19.5
    frames[2]["transform_matrix"] = CAMERA_TO_WORLD[:3]
    scene = read_transforms(write(tmp_path, frames, fl_x=1, fl_y=55, cy=15.5))
    assert [picture.name for picture in scene.pictures] == ["z.png", "b.png", "a10.png"]
    assert scene.cameras.intrinsics[:, 0, 0].tolist() == [50, 60, 70]
    assert scene.cameras.intrinsics[:, 1, 1].tolist() == [55] * 3
    assert scene.cameras.intrinsics[:, 0, 2].tolist() == [20, 19.5, 20]
    assert scene.cameras.intrinsics[:, 1, 2].tolist() == [15.5] * 3


def test_equal_names_become_paths(tmp_path):
    frames = [{"file_path": f"cam{camera}/0.png"} for camera in (0, 1)]
    for frame in frames:
        save_picture(tmp_path / frame["file_path"])
    scene = read_transforms(write(tmp_path, frames, fl_x=50))
    assert [picture.name for picture in scene.pictures] == ["cam0/0.png", "cam1/0.png"]


def test_smaller_pictures_get_smaller_intrinsics(tmp_path):
    save_picture(tmp_path / "a.png", HEIGHT // 2, WIDTH // 2)
    scene = read_transforms(
        write(tmp_path, [{"file_path": "a.png"}], fl_x=50, fl_y=52, cx=21, cy=14, w=WIDTH, h=HEIGHT)
    )
    assert scene.cameras.intrinsics.tolist() == [[[25, 0, 10.5], [0, 26, 7], [0, 0, 1]]]


def test_pixels_are_taken_as_stored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.jpg", exif=exif)
    scene = read_transforms(write(tmp_path, [{"file_path": "a.jpg"}], fl_x=50, w=WIDTH, h=HEIGHT))
    assert scene.pictures[0].pixels.shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    "lens",
    [
        {"k1": -0.1, "k2": 0.01, "k3": 0.001, "p1": 0.002, "p2": -0.001},
        {"camera_model": "OPENCV_FISHEYE", "k1": 0.02, "k2": 0.0, "k3": 0.0, "k4": 0.0},
        {"is_fisheye": True, "k1": 0.02},
    ],
)
def test_lenses_are_taken_out(tmp_path, lens):
    from anyview.images.pinhole import undistort

    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.stack([x * 6, y * 8, x + y], -1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    scene = read_transforms(write(tmp_path, [{"file_path": "a.png"}], fl_x=30, **lens))
    fisheye = "k2" not in lens or "camera_model" in lens
    order = ("k1", "k2", "k3", "k4") if fisheye else ("k1", "k2", "p1", "p2", "k3")
    intrinsics = np.array([[30.0, 0, 20], [0, 30, 15], [0, 0, 1]])
    straight, pinhole = undistort(pixels, intrinsics, [lens.get(name, 0.0) for name in order], fisheye=fisheye)
    assert np.array_equal(scene.pictures[0].pixels, straight)
    assert not np.array_equal(straight, pixels)
    assert torch.allclose(scene.cameras.intrinsics[0], torch.from_numpy(pinhole).float())


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match="no such path"):
        read_transforms(tmp_path)
    path = tmp_path / "transforms.json"
    for text, message in (
        ("{", "is not JSON"),
        ("[]", "has no list 'frames'"),
        ('{"frames": []}', "has no list 'frames'"),
        ('{"frames": [{}]}', "has no list 'frames' with a 'file_path' in each"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"transforms\.json {message}"):
            read_transforms(path)
    save_picture(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"names 2 pictures that do not exist: .*b\.png, .*c"):
        read_transforms(write(tmp_path, [{"file_path": name} for name in ("a.png", "b.png", "c")]))
    with pytest.raises(ValueError, match="no focal length"):
        read_transforms(write(tmp_path, [{"file_path": "a.png"}]))
    with pytest.raises(ValueError, match=r"expected a 4x4 'transform_matrix' for a\.png; got the shape \[3\]"):
        read_transforms(write(tmp_path, [{"file_path": "a.png", "transform_matrix": [1, 2, 3]}], fl_x=50))
    with pytest.raises(ValueError, match="camera model EQUIRECTANGULAR with k4 = 0 cannot become a pinhole"):
        read_transforms(write(tmp_path, [{"file_path": "a.png"}], fl_x=50, camera_model="EQUIRECTANGULAR"))
    with pytest.raises(ValueError, match=r"a\.png has 40x30 pixels, and its known camera 30x40"):
        read_transforms(write(tmp_path, [{"file_path": "a.png"}], fl_x=50, w=30, h=40))
