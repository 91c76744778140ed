import contextlib
import copy
import dataclasses
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from anyview.exporters import FORMATS, check_request, export
from anyview.options import ExportOptions
from anyview.types import Prediction
from writable import WRITABLE


def files_below(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_same(first, second):
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    elif dataclasses.is_dataclass(first):
        for field in dataclasses.fields(first):
            assert_same(getattr(first, field.name), getattr(second, field.name))
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key, value in first.items():
            assert_same(value, second[key])
    else:
        assert first == second


@contextlib.contextmanager
def file_size_limit(size: int):
    """Let writing fail beyond a file size, with an OSError as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_every_format_returns_what_it_wrote(full_room, tmp_path):
    paths = export(full_room, tmp_path, WRITABLE)
    assert list(paths) == WRITABLE
    assert all(written for written in paths.values())
    assert {path.relative_to(tmp_path) for written in paths.values() for path in written} == files_below(
        tmp_path
    ).keys()


def test_two_exports_give_the_same_bytes_and_leave_the_prediction_alone(full_room, tmp_path):
    before = copy.deepcopy(full_room)
    options = ExportOptions(max_points=500, max_tracks=300)
    export(full_room, tmp_path / "first", WRITABLE, options)
    torch.rand(3)  # the global generator has no say
    export(full_room, tmp_path / "second", WRITABLE, options)
    first, second = files_below(tmp_path / "first"), files_below(tmp_path / "second")
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    assert_same(before, full_room)


def test_an_export_replaces_the_one_before(room, tmp_path):
    export(room, tmp_path, ["depth_png", "colmap"])
    (tmp_path / "colmap" / "images").mkdir()
    fewer = dataclasses.replace(
        room,
        **{
            name: getattr(room, name)[:2]
            for name in ("images", "depth", "names", "placements", "confidence", "cameras")
        },
    )
    paths = export(fewer, tmp_path, ["depth_png", "colmap"])
    assert sorted((tmp_path / "depth_png").iterdir()) == paths["depth_png"]
    assert (tmp_path / "colmap" / "images").is_dir()


def test_one_name_is_a_list_of_one_and_names_count_once(room, tmp_path):
    assert list(export(room, tmp_path, "npz")) == ["npz"]
    calls = []
    export(room, tmp_path, ["npz", "ply", "npz"], progress=lambda done, total: calls.append((done, total)))
    assert calls == [(0, 2), (1, 2), (2, 2)]


def test_unknown_formats_are_refused_with_the_nearest_name(room, tmp_path):
    with pytest.raises(ValueError, match=r"unknown format 'depth_pngs': did you mean 'depth_png'"):
        export(room, tmp_path / "out", ["npz", "depth_pngs"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [name for name in WRITABLE if "cameras" in FORMATS[name].needs])
def test_what_a_format_needs_is_checked_before_anything_is_written(room, tmp_path, name):
    mono = dataclasses.replace(room, cameras=None, lacks={"cameras": "da3mono-large looks at one picture at a time"})
    with pytest.raises(ValueError, match=f"{name!r} needs cameras, .* none: da3mono-large looks at one"):
        export(mono, tmp_path / "out", ["npz", name])
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="'features' needs features, and this prediction has none: they were not"):
        export(room, tmp_path / "out", ["features"])


def test_formats_without_cameras_serve_monocular_models(room, tmp_path):
    mono = dataclasses.replace(room, cameras=None, confidence=None, units="canonical")
    names = ["npz", "depth_png", "depth_exr", "depth_vis", "depth_video"]
    assert list(export(mono, tmp_path, names)) == names


def test_points_and_tracks_do_not_need_confidence(room, tmp_path):
    export(dataclasses.replace(room, confidence=None), tmp_path, ["glb", "ply", "colmap", "transforms"])


def test_no_point_left_is_refused_before_anything_is_written(room, tmp_path):
    only_sky = dataclasses.replace(room, sky=torch.ones_like(room.depth, dtype=torch.bool))
    with pytest.raises(ValueError, match="no point is left"):
        export(only_sky, tmp_path / "out", ["npz", "glb"])
    assert not (tmp_path / "out").exists()
    nothing = dataclasses.replace(room, mask=torch.zeros_like(room.depth, dtype=torch.bool))
    with pytest.raises(ValueError, match="no point is left"):
        export(nothing, tmp_path / "out", ["ply"])
    export(nothing, tmp_path / "out", ["npz", "depth_png", "depth_exr", "depth_vis", "depth_video", "colmap"])


def test_a_file_in_the_way_is_refused(room, tmp_path):
    (tmp_path / "file").write_text("here first")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match=r"cannot write into .*: .*file is a file, not a folder"):
            export(room, folder, "npz")
    assert (tmp_path / "file").read_text() == "here first"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="root may write anywhere but to such file systems")
def test_a_folder_that_takes_no_files_is_refused():
    with pytest.raises(ValueError, match=r"cannot write into /proc/out: /proc takes no files \(No such file or dir"):
        check_request("/proc/out", ["npz"], ExportOptions())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ExportOptions(confidence_percentile=140.0), "confidence_percentile must be 0 to 100, got 140.0"),
        (ExportOptions(max_points=0), "max_points must be above 0, got 0"),
        (ExportOptions(fps=-1.0), "fps must be above 0, got -1.0"),
        (ExportOptions(mesh_voxel=0.0), "mesh_voxel must be above 0, got 0.0"),
        (ExportOptions(mesh_voxel=float("nan")), "mesh_voxel must be above 0, got nan"),
    ],
)
def test_bad_options_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        check_request(tmp_path, ["npz"], options)


def test_a_missing_package_names_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    with pytest.raises(ImportError, match=r'needs pycolmap: pip install "anyview\[colmap\]"'):
        check_request(tmp_path, ["colmap"], ExportOptions())


@pytest.mark.parametrize("name", WRITABLE)
def test_a_full_disk_leaves_nothing_half_written(full_room, tmp_path, name):
    prediction: Prediction = full_room
    with file_size_limit(600), pytest.raises(OSError, match=f"{name} could not be written") as caught:
        export(prediction, tmp_path / "out", name)
    assert "\n" not in str(caught.value)
    assert files_below(tmp_path) == {}


def test_the_table_of_formats_comes_without_torch():
    code = "import sys, anyview.exporters; assert 'torch' not in sys.modules, 'torch was imported'"
    subprocess.run([sys.executable, "-c", code], check=True)
