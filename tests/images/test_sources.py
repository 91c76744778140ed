import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anyview.images.sources import read_scene
from anyview.images.video import write_video


def save(path: Path, grey: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 30, 3), grey, np.uint8)).save(path)
    return path


def clip(path: Path) -> Path:
    return write_video(path, (np.full((64, 96, 3), 10 * number, np.uint8) for number in range(20)), 10.0)


def colmap_project(folder: Path, name: str = "a.png") -> Path:
    """Written by hand, as COLMAP's text format: one camera, one picture, no points."""
    save(folder / "images" / name)
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    (model / "cameras.txt").write_text("1 PINHOLE 30 20 25 26 15 10\n")
    (model / "images.txt").write_text(f"1 1 0 0 0 7 8 9 1 {name}\n\n")
    (model / "points3D.txt").write_text("")
    return folder


def transforms_project(folder: Path) -> Path:
    save(folder / "images" / "t.png")
    frame = {"file_path": "images/t.png", "transform_matrix": np.eye(4).tolist()}
    (folder / "transforms.json").write_text(json.dumps({"fl_x": 25, "frames": [frame]}))
    return folder


def test_pictures(tmp_path):
    scene = read_scene([save(tmp_path / "set" / "1.png"), np.zeros((5, 6, 3), np.uint8), tmp_path / "set"])
    assert [picture.name for picture in scene.pictures] == ["1.png", "0001", "1_2.png"]
    assert scene.cameras is None
    assert scene.source == "pictures"
    assert len(read_scene(np.zeros((5, 6, 3), np.uint8)).pictures) == 1


@pytest.mark.parametrize("name", ["dog.mp4", "DOG.MOV"])
def test_videos(tmp_path, name):
    path = clip(tmp_path / name)
    scene = read_scene(path, frames_per_second=5.0, max_frames=4)
    stem = path.stem
    assert [picture.name for picture in scene.pictures] == [f"{stem}_{number:05d}" for number in range(4)]
    assert [round(picture.pixels.mean() / 10) for picture in scene.pictures] == [0, 6, 12, 18]
    assert scene.source == f"video {path}"
    assert len(read_scene(str(path)).pictures) == 20


def test_colmap_projects(tmp_path):
    project = colmap_project(tmp_path / "p")
    scene = read_scene(project)
    assert scene.cameras.intrinsics.tolist() == [[[25, 0, 15], [0, 26, 10], [0, 0, 1]]]
    assert scene.cameras.world_to_camera[0, :3, 3].tolist() == [7, 8, 9]
    assert len(read_scene(project / "sparse" / "0").cameras) == 1
    (project / "images").rename(tmp_path / "elsewhere")
    assert len(read_scene(project, image_folder=tmp_path / "elsewhere").cameras) == 1


def test_transforms(tmp_path):
    project = transforms_project(tmp_path / "t")
    for path in (project, project / "transforms.json"):
        assert len(read_scene(path).cameras) == 1


def test_pictures_of_a_project_alone(tmp_path):
    assert read_scene(colmap_project(tmp_path / "p") / "images").cameras is None


def test_cameras_can_be_left_out(tmp_path):
    scene = read_scene([colmap_project(tmp_path / "p"), transforms_project(tmp_path / "t")], use_cameras=False)
    assert scene.cameras is None
    assert [picture.name for picture in scene.pictures] == ["a.png", "t.png"]


def test_sources_mix_in_order(tmp_path):
    path = clip(tmp_path / "dog.mp4")
    scene = read_scene([save(tmp_path / "1.png"), path, path, tmp_path / "1.png"], max_frames=1)
    assert [picture.name for picture in scene.pictures] == ["1.png", "dog_00000", "dog_00000_2", "1_2.png"]
    assert scene.source == f"pictures, video {path}, video {path}, pictures"


def test_progress_reaches_every_source(tmp_path):
    calls = []
    read_scene(
        [save(tmp_path / "1.png"), clip(tmp_path / "dog.mp4"), colmap_project(tmp_path / "p")],
        max_frames=2,
        use_cameras=False,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(1, 1), (1, 2), (2, 2), (1, 1)]


def test_refusals(tmp_path):
    project = colmap_project(tmp_path / "p")
    with pytest.raises(ValueError, match=r"COLMAP project .*p knows its cameras, so it must be given alone"):
        read_scene([save(tmp_path / "1.png"), project])
    with pytest.raises(ValueError, match=r"an image folder \(.*\) belongs to a COLMAP project, and none is given"):
        read_scene(tmp_path / "1.png", image_folder=tmp_path)
    with pytest.raises(ValueError, match=r"no such path: .*nothing\.mp4"):
        read_scene(tmp_path / "nothing.mp4")
    with pytest.raises(ValueError, match=r"no such path: .*nothing\.json"):
        read_scene(tmp_path / "nothing.json")
    with pytest.raises(ValueError, match=r"no such path: .*nothing"):
        read_scene(tmp_path / "nothing")
    with pytest.raises(ValueError, match="no pictures given"):
        read_scene([])
