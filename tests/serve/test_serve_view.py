"""What the page is given of a result, and what the worker makes of a task besides the network's work."""

import io
import json
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anyview.exporters import splat
from anyview.exporters.points import point_cloud
from anyview.options import ExportOptions
from anyview.serve import examples
from anyview.serve.archive import zip_stream
from anyview.serve.options import ServeOptions
from anyview.serve.requests import parse_request
from anyview.serve.view import POINT, write_view
from anyview.serve.worker import SHARES, fraction_of, known_cameras
from anyview.types import Cameras, Gaussians, Placement, Prediction


@pytest.fixture
def plane() -> Prediction:
    """Two cameras half a unit apart look at the plane z = 2; one pixel has no depth."""
    poses = torch.eye(4).repeat(2, 1, 1)
    poses[1, 0, 3] = -0.5
    intrinsics = torch.tensor([[4.0, 0, 2], [0, 4, 1], [0, 0, 1]]).repeat(2, 1, 1)
    depth = torch.full((2, 2, 4), 2.0)
    depth[1, 0, 3] = torch.nan
    return Prediction(
        images=torch.arange(48, dtype=torch.uint8).view(2, 2, 4, 3),
        depth=depth,
        units="metres",
        model="exact",
        names=("a.png", "b.png"),
        placements=(Placement(2, 4), Placement(2, 4)),
        confidence=torch.arange(1.0, 17.0).view(2, 2, 4),
        cameras=Cameras(poses, intrinsics),
        notes=("a remark",),
    )


def written(prediction: Prediction, folder: Path, options: ExportOptions = ExportOptions(), most_points: int = 1000):
    write_view(prediction, folder, options, most_points=most_points)
    return json.loads((folder / "view" / "scene.json").read_text())


def test_maps_and_cameras_are_the_prediction_s(plane: Prediction, tmp_path: Path):
    scene = written(plane, tmp_path)
    assert (scene["units"], scene["metric"], scene["notes"]) == ("metres", True, ["a remark"])
    assert scene["depth_range"] == [2.0, 2.0]
    assert scene["confidence_range"] == [1.0, 16.0]
    view = scene["views"][1]
    assert (view["name"], view["width"], view["height"]) == ("b.png", 4, 2)
    assert view["world_to_camera"][0] == [1.0, 0.0, 0.0, -0.5]
    assert view["intrinsics"][0] == [4.0, 0.0, 2.0]
    depth = np.fromfile(tmp_path / view["depth"], "<f4").reshape(2, 4)
    assert depth.tolist() == [[2, 2, 2, 0], [2, 2, 2, 2]]  # 0: none
    confidence = np.fromfile(tmp_path / view["confidence"], "<f4").reshape(2, 4)
    assert confidence.tolist() == [[9, 10, 11, 12], [13, 14, 15, 16]]
    with Image.open(tmp_path / view["image"]) as image:
        assert image.size == (4, 2)
    with Image.open(tmp_path / "thumb.jpg") as thumbnail:
        assert thumbnail.size == (8, 2)


def test_points_are_lifted_pixels(plane: Prediction, tmp_path: Path):
    """By hand: the top left pixel's centre (0.5, 0.5) at depth 2 is ((0.5 - 2) / 4 · 2, (0.5 - 1) / 4 · 2, 2)."""
    scene = written(plane, tmp_path)
    rows = np.fromfile(tmp_path / scene["points"]["file"], POINT)
    assert POINT.itemsize == 28
    assert len(rows) == scene["points"]["count"] == 15
    assert rows["position"][0].tolist() == [-0.75, -0.25, 2]
    assert rows["position"][8].tolist() == [-0.25, -0.25, 2]  # the second camera stands half a unit to the right
    assert rows["color"][1].tolist() == [3, 4, 5, 255]
    assert rows["view"].tolist() == [0] * 8 + [1] * 7
    assert rows["confidence"].tolist() == [*range(1, 12), *range(13, 17)]
    assert rows["depth"].tolist() == [2.0] * 15
    assert scene["points"]["bounds"] == [[-0.75, -0.25, 2.0], [1.25, 0.25, 2.0]]


def test_the_points_of_the_formats_are_those_from_the_threshold_on(plane: Prediction, tmp_path: Path):
    options = ExportOptions(confidence_percentile=60.0)
    scene = written(plane, tmp_path, options)
    rows = np.fromfile(tmp_path / scene["points"]["file"], POINT)
    shown = rows[rows["confidence"] >= scene["points"]["confidence_threshold"]]
    assert np.array_equal(shown["position"], point_cloud(plane, options).positions.numpy())
    assert 0 < len(shown) < len(rows)


def test_points_are_thinned_to_what_the_page_can_show(plane: Prediction, tmp_path: Path):
    assert written(plane, tmp_path, most_points=5)["points"]["count"] == 5
    assert written(plane, tmp_path, ExportOptions(max_points=3), most_points=5)["points"]["count"] == 3


def test_what_a_prediction_lacks_is_null(plane: Prediction, tmp_path: Path):
    scene = written(replace(plane, cameras=None, confidence=None), tmp_path)
    assert (scene["points"], scene["gaussians"], scene["mesh"]) == (None, None, None)
    assert scene["confidence_range"] is None
    assert [scene["views"][0][name] for name in ("intrinsics", "world_to_camera", "confidence")] == [None] * 3
    scene = written(replace(plane, confidence=None), tmp_path)
    assert scene["points"]["confidence_threshold"] is None
    assert np.fromfile(tmp_path / "view" / "points.bin", POINT)["confidence"].tolist() == [0.0] * 15


def test_a_prediction_without_any_depth_can_be_looked_at(plane: Prediction, tmp_path: Path):
    scene = written(replace(plane, depth=torch.full((2, 2, 4), torch.nan)), tmp_path)
    assert scene["points"] == {"file": "view/points.bin", "count": 0, "bounds": None, "confidence_threshold": None}
    assert scene["depth_range"] is None


def test_gaussians_come_as_a_file_for_viewers(plane: Prediction, tmp_path: Path):
    gaussians = Gaussians(torch.rand(3, 3), torch.rand(3, 3), torch.rand(3, 4), torch.rand(3, 3, 1), torch.rand(3))
    scene = written(replace(plane, gaussians=gaussians), tmp_path)
    assert scene["gaussians"] == {"file": "view/gaussians.splat", "count": 3, "total": 3}
    assert (tmp_path / "view" / "gaussians.splat").stat().st_size == 3 * 32


@pytest.mark.parametrize("is_exported", [False, True])
def test_the_page_gets_the_largest_and_most_opaque_gaussians(plane: Prediction, tmp_path: Path, is_exported: bool):
    """Sizes 1, 8, 1 and opacities 0.5, 0.25, 1: what counts is 0.5, 2, 1."""
    scales = torch.tensor([1.0, 2, 1])[:, None].expand(3, 3)
    means, opacities = torch.eye(3), torch.tensor([0.5, 0.25, 1])
    turned = torch.tensor([[1.0, 0, 0, 0]]).expand(3, 4)
    many = replace(plane, gaussians=Gaussians(means, scales, turned, torch.rand(3, 3, 1), opacities))
    if is_exported:
        splat.write(many, tmp_path, ExportOptions())
    scene = written(many, tmp_path, most_points=2)
    assert scene["gaussians"] == {"file": "view/gaussians.splat", "count": 2, "total": 3}
    rows = np.fromfile(tmp_path / "view" / "gaussians.splat", splat.LAYOUT)
    assert rows["position"].tolist() == [[0, 1, 0], [0, 0, 1]]


def test_exported_gaussians_are_not_written_twice(plane: Prediction, tmp_path: Path):
    options = ExportOptions(pixel_gaussians=True)
    splat.write(plane, tmp_path, options)
    assert written(plane, tmp_path, options)["gaussians"] == {"file": "gaussians.splat", "count": 15, "total": 15}
    assert not (tmp_path / "view" / "gaussians.splat").exists()


def test_a_zip_is_made_while_it_is_sent(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "ü.bin").write_bytes(bytes(30_000_000))
    (tmp_path / "small.txt").write_text("small")
    tracemalloc.start()
    size = sum(len(chunk) for chunk in zip_stream(tmp_path, ["folder/ü.bin", "small.txt"]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 30_000_000
    assert peak < 3_000_000
    whole = b"".join(zip_stream(tmp_path, ["folder/ü.bin", "small.txt"]))
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["folder/ü.bin", "small.txt"]
        assert archive.read("small.txt") == b"small"


def test_progress_grows_from_stage_to_stage():
    assert sum(SHARES.values()) == pytest.approx(1.0)
    told = [fraction_of(stage, done, 4) for stage in SHARES for done in range(5)]
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0.0, pytest.approx(1.0))
    assert fraction_of("reading", 0, 0) == pytest.approx(SHARES["rendering"] + SHARES["loading"])


def test_cameras_must_be_as_many_as_the_pictures():
    options = '{"intrinsics": [[[50, 0, 28], [0, 50, 21], [0, 0, 1]]]}'
    request = parse_request(options, ServeOptions(), ["tiny"])
    cameras, intrinsics = known_cameras(request, 1)
    assert cameras is None
    assert intrinsics == (((50.0, 0.0, 28.0), (0.0, 50.0, 21.0), (0.0, 0.0, 1.0)),)
    with pytest.raises(ValueError, match="expected intrinsics of 2 pictures, got 1"):
        known_cameras(request, 2)


def test_examples_are_rendered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in (("VIEWS", 2), ("HEIGHT", 28), ("WIDTH", 42)):
        monkeypatch.setattr(examples, name, value)
    told: list[tuple[int, int]] = []
    paths = examples.example_pictures("still_life", tmp_path, lambda done, total: told.append((done, total)))
    assert [path.name for path in paths] == ["still_life_0.png", "still_life_1.png"]
    with Image.open(paths[0]) as image:
        assert image.size == (42, 28)
    assert told == [(0, 1), (1, 1)]
    assert examples.example_pictures("still_life", tmp_path, lambda done, total: told.append((0, 0))) == paths
    assert told == [(0, 1), (1, 1)]
