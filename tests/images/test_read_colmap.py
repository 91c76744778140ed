import logging
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anyview.images.colmap import read_colmap

pycolmap = pytest.importorskip("pycolmap")

HEIGHT, WIDTH = 96, 128
LENSES = {  # mild, but far from nothing
    "SIMPLE_PINHOLE": [100, 66, 45],
    "PINHOLE": [100, 95, 66, 45],
    "SIMPLE_RADIAL": [100, 66, 45, -0.1],
    "SIMPLE_RADIAL_FISHEYE": [100, 66, 45, 0.03],
    "RADIAL": [100, 66, 45, -0.1, 0.02],
    "RADIAL_FISHEYE": [100, 66, 45, 0.03, -0.01],
    "OPENCV": [100, 95, 66, 45, -0.1, 0.02, 0.003, -0.004],
    "OPENCV_FISHEYE": [100, 95, 66, 45, 0.03, -0.01, 0.002, 0.001],
    "FULL_OPENCV": [100, 95, 66, 45, -0.1, 0.02, 0.003, -0.004, 0.01, 0.02, 0.01, 0.0],
    "FOV": [100, 95, 66, 45, 0.7],
    "THIN_PRISM_FISHEYE": [100, 95, 66, 45, 0.03, -0.01, 0.003, -0.004, 0.002, 0.001, 0.002, -0.002],
    "RAD_TAN_THIN_PRISM_FISHEYE": [100, 95, 66, 45, 0.03, -0.01, 0.002, 0, 0, 0, 0.003, -0.004, 0.001, 0, 0.002, 0],
    "SIMPLE_DIVISION": [100, 66, 45, -0.1],
    "DIVISION": [100, 95, 66, 45, -0.1],
    "SIMPLE_FISHEYE": [100, 66, 45],
    "FISHEYE": [100, 95, 66, 45],
    "EUCM": [100, 95, 66, 45, 0.5, 1.1],
}
POSES = {
    "b/10.png": np.array([[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3]], float),
    "b/2.png": np.array([[1, 0, 0, 4], [0, 0, -1, 5], [0, 1, 0, 6]], float),
    "a.png": np.array([[1, 0, 0, 7], [0, 1, 0, 8], [0, 0, 1, 9]], float),
}


def pattern(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A smooth picture on the plane of depth 1."""
    return np.stack([127 + 100 * np.sin(5 * x + 1), 127 + 100 * np.cos(4 * y), 127 + 100 * np.sin(3 * (x + y))], -1)


def pixel_centres(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width] + 0.5
    return np.stack([x, y], -1).reshape(-1, 2)


def camera_of(model: str = "PINHOLE", camera_id: int = 1) -> "pycolmap.Camera":
    parameters = np.array(LENSES[model], float)
    return pycolmap.Camera(model=model, width=WIDTH, height=HEIGHT, params=parameters, camera_id=camera_id)


def taken_with(camera: "pycolmap.Camera") -> np.ndarray:
    rays = camera.cam_from_img(pixel_centres(HEIGHT, WIDTH)).reshape(HEIGHT, WIDTH, -1)
    return np.rint(pattern(rays[..., 0], rays[..., 1])).astype(np.uint8)


def save(path: Path, pixels: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def project(
    folder: Path,
    cameras: dict[str, "pycolmap.Camera"] | None = None,
    *,
    model_folder: str = "sparse/0",
    text: bool = False,
    old: bool = False,
) -> Path:
    """Write one picture of each camera, and the model of all of them."""
    cameras = cameras or dict.fromkeys(POSES, camera_of())
    reconstruction = pycolmap.Reconstruction()
    for camera in {camera.camera_id: camera for camera in cameras.values()}.values():
        reconstruction.add_camera_with_trivial_rig(camera)
    for image_id, (name, camera) in enumerate(cameras.items(), start=1):
        image = pycolmap.Image(name=name, camera_id=camera.camera_id, image_id=image_id)
        reconstruction.add_image_with_trivial_frame(image, pycolmap.Rigid3d(POSES[name]))
        save(folder / "images" / name, taken_with(camera))
    model = folder / model_folder
    model.mkdir(parents=True, exist_ok=True)
    reconstruction.write_text(model) if text else reconstruction.write_binary(model)
    if old:  # COLMAP before 3.12 knew no rigs and frames
        for path in [*model.glob("rigs.*"), *model.glob("frames.*")]:
            path.unlink()
    return folder


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("model_folder", ["sparse/0", "sparse", "."])
def test_all_layouts_give_the_same_scene(tmp_path, model_folder, text, old):
    project(tmp_path, model_folder=model_folder, text=text, old=old)
    scene = read_colmap(tmp_path)
    assert [picture.name for picture in scene.pictures] == ["a.png", "b/2.png", "b/10.png"]
    assert scene.cameras.intrinsics.tolist() == [[[100, 0, 66], [0, 95, 45], [0, 0, 1]]] * 3
    expected = torch.tensor(np.stack([POSES[picture.name] for picture in scene.pictures])).float()
    assert torch.allclose(scene.cameras.world_to_camera[:, :3], expected, atol=1e-6)
    assert scene.cameras.world_to_camera[:, 3].tolist() == [[0, 0, 0, 1]] * 3
    for picture in scene.pictures:
        assert np.array_equal(picture.pixels, taken_with(camera_of()))
    assert scene.source == f"COLMAP project {tmp_path}"
    same = read_colmap(tmp_path / model_folder)
    assert torch.equal(same.cameras.world_to_camera, scene.cameras.world_to_camera)


@pytest.mark.parametrize("lens", LENSES)
def test_a_pinhole_would_have_taken_every_picture(tmp_path, lens):
    scene = read_colmap(project(tmp_path, {"a.png": camera_of(lens)}))
    pixels, intrinsics = scene.pictures[0].pixels, scene.cameras.intrinsics[0].double().numpy()
    height, width = pixels.shape[:2]
    centres = pixel_centres(height, width).reshape(height, width, 2)
    rays = (centres - intrinsics[:2, 2]) / intrinsics[[0, 1], [0, 1]]
    difference = np.abs(pixels - pattern(rays[..., 0], rays[..., 1]))[3:-3, 3:-3]
    assert difference.mean() < 0.6
    assert difference.max() < 6
    assert intrinsics[2].tolist() == [0, 0, 1]
    assert (pixels.shape == (HEIGHT, WIDTH, 3)) or "PINHOLE" not in lens


def test_rigs_of_several_cameras(tmp_path):
    """The pose of a picture is that of its frame, then that of its camera in the rig."""
    reconstruction = pycolmap.Reconstruction()
    rig = pycolmap.Rig(rig_id=1)
    for camera_id in (1, 2):
        reconstruction.add_camera(camera_of(camera_id=camera_id))
    rig.add_ref_sensor(camera_of(camera_id=1).sensor_id)
    second_from_rig = np.array([[0, 0, 1, 0.5], [0, 1, 0, 0], [-1, 0, 0, 0.25]])
    rig.add_sensor(camera_of(camera_id=2).sensor_id, pycolmap.Rigid3d(second_from_rig))
    reconstruction.add_rig(rig)
    frame = pycolmap.Frame(frame_id=1, rig_id=1)
    for image_id in (1, 2):
        frame.add_data_id(pycolmap.data_t(camera_of(camera_id=image_id).sensor_id, image_id))
    frame.rig_from_world = pycolmap.Rigid3d(POSES["b/2.png"])
    reconstruction.add_frame(frame)
    for image_id in (1, 2):
        image = pycolmap.Image(name=f"cam{image_id}/0.png", camera_id=image_id, image_id=image_id)
        image.frame_id = 1
        reconstruction.add_image(image)
        save(tmp_path / "images" / f"cam{image_id}" / "0.png", taken_with(camera_of()))
    reconstruction.register_frame(1)
    (tmp_path / "sparse").mkdir()
    reconstruction.write_binary(tmp_path / "sparse")
    scene = read_colmap(tmp_path)
    assert [picture.name for picture in scene.pictures] == ["cam1/0.png", "cam2/0.png"]
    rig_from_world = np.vstack([POSES["b/2.png"], [0, 0, 0, 1]])
    expected = np.stack([rig_from_world[:3], second_from_rig @ rig_from_world])
    assert torch.allclose(scene.cameras.world_to_camera[:, :3], torch.tensor(expected).float(), atol=1e-6)


@pytest.mark.parametrize("lens", ["PINHOLE", "SIMPLE_RADIAL"])
def test_smaller_pictures_get_smaller_intrinsics(tmp_path, lens):
    project(tmp_path, {"a.png": camera_of(lens)})
    full = read_colmap(tmp_path)
    save(tmp_path / "images_2" / "a.png", np.asarray(Image.fromarray(taken_with(camera_of(lens))).reduce(2)))
    half = read_colmap(tmp_path, image_folder=tmp_path / "images_2")
    focal, half_focal = full.cameras.intrinsics[0, 0, 0], half.cameras.intrinsics[0, 0, 0]
    assert half_focal.item() == pytest.approx(focal.item() / 2, rel=0.02)
    assert abs(half.pictures[0].pixels.shape[1] - full.pictures[0].pixels.shape[1] / 2) <= 1


def test_pictures_beside_the_model_or_in_the_folder_itself(tmp_path):
    project(tmp_path, {"a.png": camera_of()}, model_folder=".")
    (tmp_path / "images" / "a.png").rename(tmp_path / "a.png")
    assert len(read_colmap(tmp_path).pictures) == 1


def test_pixels_are_taken_as_stored(tmp_path):
    project(tmp_path, {"a.png": camera_of()})
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "images" / "a.png", taken_with(camera_of()), exif=exif)
    assert np.array_equal(read_colmap(tmp_path).pictures[0].pixels, taken_with(camera_of()))


def test_several_models(tmp_path, caplog):
    project(tmp_path, {"a.png": camera_of()}, model_folder="sparse/10")
    project(tmp_path, {"b/2.png": camera_of()}, model_folder="sparse/2")
    with caplog.at_level(logging.WARNING):
        assert [picture.name for picture in read_colmap(tmp_path).pictures] == ["b/2.png"]
    assert "holds 2 COLMAP models" in caplog.text


def test_progress(tmp_path):
    calls: list[tuple[int, int]] = []
    read_colmap(project(tmp_path), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def refuses(message: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_refusals(tmp_path):
    refuses("no such path", lambda: read_colmap(tmp_path / "nowhere"))
    refuses("holds no COLMAP model", lambda: read_colmap(tmp_path))
    project(tmp_path)
    (tmp_path / "images" / "b" / "2.png").unlink()
    refuses(r"images lacks 1 of 3 pictures: b/2\.png", lambda: read_colmap(tmp_path))
    refuses(
        r"none of the 3 pictures \(a\.png and so on\) is in .*elsewhere",
        lambda: read_colmap(tmp_path, image_folder=tmp_path / "elsewhere"),
    )
    (tmp_path / "images" / "a.png").write_text("dear diary")
    save(tmp_path / "images" / "b" / "2.png", taken_with(camera_of()))
    refuses(r"a\.png is not a picture", lambda: read_colmap(tmp_path))
    save(tmp_path / "images" / "a.png", np.zeros((WIDTH, HEIGHT, 3), np.uint8))
    refuses(r"a\.png has 96x128 pixels, and its known camera 128x96", lambda: read_colmap(tmp_path))


@pytest.mark.parametrize("file", ["cameras.bin", "images.bin", "points3D.bin", "frames.bin", "rigs.bin"])
def test_empty_models_are_refused(tmp_path, file):
    project(tmp_path)
    for content in (b"", b"\1"):
        (tmp_path / "sparse" / "0" / file).write_bytes(content)
        refuses(f"{file} is cut off", lambda: read_colmap(tmp_path))


@pytest.mark.parametrize("file", ["cameras.bin", "images.bin"])
def test_broken_models_are_refused(tmp_path, file):
    project(tmp_path)
    (tmp_path / "sparse" / "0" / file).write_bytes(b"nonsense" * 30)
    refuses("the COLMAP model .* cannot be read", lambda: read_colmap(tmp_path))


def test_models_without_images_are_refused(tmp_path):
    pycolmap.Reconstruction().write_binary(tmp_path)
    refuses("has no registered images", lambda: read_colmap(tmp_path))


def test_missing_points_are_refused(tmp_path):
    project(tmp_path)
    (tmp_path / "sparse" / "0" / "points3D.bin").unlink()
    refuses("the COLMAP model .* cannot be read", lambda: read_colmap(tmp_path))


def test_panoramas_are_refused(tmp_path):
    project(tmp_path)
    panorama = pycolmap.Camera.create_from_model_name(1, "EQUIRECTANGULAR", 1.0, WIDTH, HEIGHT)
    reconstruction = pycolmap.Reconstruction(tmp_path / "sparse" / "0")
    reconstruction.cameras[1].model = panorama.model
    reconstruction.cameras[1].params = panorama.params
    reconstruction.write_binary(tmp_path / "sparse" / "0")
    refuses("EQUIRECTANGULAR cameras see all around", lambda: read_colmap(tmp_path))


def test_without_the_extra_says_what_to_install(tmp_path, monkeypatch):
    project(tmp_path)
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    refuses(r'COLMAP projects need `pip install "anyview\[colmap\]"`', lambda: read_colmap(tmp_path))
