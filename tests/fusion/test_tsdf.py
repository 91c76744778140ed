import platform
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from anyview.fusion import tsdf
from anyview.fusion.mesh import Mesh
from anyview.fusion.tsdf import Tsdf, check_open3d

pytestmark = pytest.mark.skipif(
    sys.version_info >= (3, 13) or platform.machine() == "aarch64", reason="Open3D below 0.20 has no wheel for this"
)

VOXEL, TRUNCATION = 0.0390625, 0.2
INTRINSICS = np.array([[120.0, 0, 72.5], [0, 120, 48.5], [0, 0, 1]])  # the benchmark's (72, 48), counted from corners
WALL = np.full((96, 144), 2, np.float32)
RAMP = (2 + 0.004 * (np.arange(144) - 72) + 0.002 * (np.arange(96)[:, None] - 48)).astype(np.float32)
SECOND_POSE = np.array([[1, 0, 0, 0.1], [0, 1, 0, -0.05], [0, 0, 1, 0.2], [0, 0, 0, 1.0]])


def fused(*depths: np.ndarray, max_depth=None, color=None) -> Mesh:
    volume = Tsdf(VOXEL, TRUNCATION, max_depth)
    for depth, pose in zip(depths, (np.eye(4), SECOND_POSE), strict=False):
        volume.integrate(depth, INTRINSICS, pose, color)
    return volume.mesh()


@pytest.mark.parametrize(
    ("depths", "max_depth", "vertices", "faces", "area"),
    [
        ([WALL], None, 2440, 4680, 3.570557),
        ([RAMP], None, 3379, 6482, 3.781319),
        ([RAMP, np.full_like(WALL, 2.3)], None, 6711, 12833, 8.323986),
        ([RAMP], 2.0, 1381, 2588, None),
    ],
)
def test_the_benchmarks_cases(depths, max_depth, vertices, faces, area):
    mesh = fused(*depths, max_depth=max_depth)
    assert (len(mesh.vertices), len(mesh.faces)) == (vertices, faces)
    if area is not None:
        assert mesh.face_areas().sum() == pytest.approx(area, abs=1e-6)


def test_where_the_benchmarks_cases_lie():
    wall = fused(WALL).vertices
    np.testing.assert_allclose(wall.min(0), [-1.191406, -0.761719, 2.0], atol=1e-6)
    np.testing.assert_allclose(wall.max(0), [1.152344, 0.761719, 2.00007], atol=1e-5)
    np.testing.assert_allclose(fused(RAMP).vertices.mean(0), [0.188023, 0.034370, 2.034210], atol=1e-6)
    both = fused(RAMP, np.full_like(WALL, 2.3)).vertices
    np.testing.assert_allclose(both.mean(0), [-0.206694, 0.033566, 2.041932], atol=1e-6)
    assert fused(RAMP, max_depth=2.0).vertices[:, 2].max() == pytest.approx(1.998, abs=1e-6)


def test_faces_turn_towards_the_camera():
    wall = fused(WALL)
    first, second, third = np.moveaxis(wall.vertices[wall.faces], 1, 0)
    assert (np.cross(second - first, third - first)[:, 2] < 0).all()


def test_open3d_called_by_hand_gives_the_same_mesh():
    color = np.random.default_rng(0).integers(0, 255, (96, 144, 3), dtype=np.uint8)
    ours = fused(RAMP, WALL, color=color)
    import open3d

    integration = open3d.pipelines.integration
    volume = integration.ScalableTSDFVolume(VOXEL, TRUNCATION, integration.TSDFVolumeColorType.RGB8)
    for depth, pose in ((RAMP, np.eye(4)), (WALL, SECOND_POSE)):
        view = open3d.geometry.RGBDImage.create_from_color_and_depth(
            open3d.geometry.Image(color), open3d.geometry.Image(depth), 1.0, 100.0, False
        )
        volume.integrate(view, open3d.camera.PinholeCameraIntrinsic(144, 96, 120, 120, 72, 48), pose)
    theirs = volume.extract_triangle_mesh()
    np.testing.assert_array_equal(ours.vertices, np.asarray(theirs.vertices))
    np.testing.assert_array_equal(ours.faces, np.asarray(theirs.triangles))
    np.testing.assert_allclose(ours.colors, 255 * np.asarray(theirs.vertex_colors), atol=0.5)


def test_the_same_frames_give_the_same_mesh():
    first, again = fused(RAMP, WALL), fused(RAMP, WALL)
    np.testing.assert_array_equal(first.vertices, again.vertices)
    np.testing.assert_array_equal(first.faces, again.faces)


def test_colours_come_through():
    color = np.broadcast_to(np.array([200, 100, 30], np.uint8), (96, 144, 3))
    assert np.unique(fused(WALL, color=color).colors, axis=0).tolist() == [[200, 100, 30]]
    assert not fused(WALL).colors.any()


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_pixels_without_depth_are_left_out(bad):
    half = RAMP.copy()
    half[:, :72] = bad
    expected = fused(np.where(np.arange(144) < 72, 0, RAMP))
    mesh = fused(half)
    assert 0 < len(mesh.faces) < 6482
    np.testing.assert_array_equal(mesh.vertices, expected.vertices)


def test_nothing_seen_is_an_empty_mesh():
    assert fused(np.zeros_like(WALL)).faces.shape == (0, 3)
    assert fused().vertices.shape == (0, 3)


@pytest.mark.parametrize("sizes", [(0.0, 0.2, None), (0.1, -1.0, None), (0.1, 0.2, 0.0), (np.nan, 0.2, None)])
def test_sizes_must_be_positive(sizes):
    with pytest.raises(ValueError, match=r"expected a \w+ above 0, got"):
        Tsdf(*sizes)


@pytest.fixture
def forgetful():
    """The self-test runs once per process."""
    check_open3d.cache_clear()
    yield
    check_open3d.cache_clear()


def test_a_missing_open3d_names_its_extra(monkeypatch, forgetful):
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(ImportError, match=r'needs open3d: pip install "anyview\[mesh\]"'):
        Tsdf(VOXEL, TRUNCATION)


def test_a_version_that_integrates_nothing_is_refused(monkeypatch, forgetful):
    real = tsdf._open3d()
    volume = SimpleNamespace(integrate=lambda *_: None, extract_triangle_mesh=real.geometry.TriangleMesh)
    integration = SimpleNamespace(ScalableTSDFVolume=lambda **_: volume, TSDFVolumeColorType=SimpleNamespace(RGB8=0))
    broken = SimpleNamespace(
        __version__="0.20.0",
        pipelines=SimpleNamespace(integration=integration),
        geometry=real.geometry,
        camera=real.camera,
    )
    monkeypatch.setattr(tsdf, "_open3d", lambda: broken)
    with pytest.raises(ImportError, match=r"Open3D 0\.20\.0 does not fuse depth: a flat wall gave 0 vertices and 0"):
        Tsdf(VOXEL, TRUNCATION)
