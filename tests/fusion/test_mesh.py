import numpy as np
import pytest
import trimesh

from anyview.fusion.mesh import Mesh, read_mesh, read_points, sample_surface, stand_in_points, write_mesh, write_points

CORNERS = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
TETRAHEDRON = Mesh(CORNERS, np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32))


def with_faces(faces: list[list[int]]) -> Mesh:
    return Mesh(CORNERS, np.array(faces, np.int32).reshape(-1, 3))


@pytest.mark.parametrize(
    ("mesh", "closed"),
    [
        (TETRAHEDRON, True),
        (with_faces([[0, 2, 1], [0, 1, 3], [0, 3, 2]]), False),  # one side is missing
        (with_faces([*TETRAHEDRON.faces.tolist(), [1, 2, 3]]), False),  # one is there twice
        (with_faces([]), False),
    ],
)
def test_watertight_means_that_every_edge_has_two_faces(mesh, closed):
    assert mesh.is_watertight == closed


def test_areas_by_hand(assert_close):
    assert_close(TETRAHEDRON.face_areas(), np.array([0.5, 0.5, 0.5, 3**0.5 / 2]))
    assert with_faces([]).face_areas().tolist() == []


def test_samples_lie_on_the_faces_in_proportion_to_their_areas():
    mesh = Mesh(
        np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 0, 2], [8, 0, 2], [5, 1, 2]]),
        np.array([[0, 1, 2], [0, 0, 1], [3, 4, 5]], np.int32),  # areas 0.5, 0, 1.5
    )
    points = sample_surface(mesh, 20_000, seed=3)
    high = points[:, 2] > 1
    assert high.mean() == pytest.approx(0.75, abs=0.01)
    low = points[~high]
    assert (low[:, 2] == 0).all()
    np.testing.assert_allclose(points[high, 2], 2)
    assert (low[:, :2] >= 0).all()
    assert (low.sum(-1) <= 1).all()
    np.testing.assert_allclose(low.mean(0), [1 / 3, 1 / 3, 0], atol=0.01)  # the centroid: uniform within the face
    assert (low[:, :2].sum(-1) < 0.5).mean() == pytest.approx(0.25, abs=0.02)  # a quarter of the area


def test_samples_depend_on_their_seed_only():
    np.random.default_rng(0).random(5)
    first, again, other = (sample_surface(TETRAHEDRON, 50, seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("faces", [[], [[0, 0, 1]]])
def test_no_area_has_no_points(faces):
    with pytest.raises(ValueError, match=f"a mesh with an area to draw points from, got one of {len(faces)} faces"):
        sample_surface(with_faces(faces), 10, seed=0)


def test_the_stand_in_of_the_published_evaluator():
    points = stand_in_points(1000)
    assert np.abs(points).max() <= 1
    np.testing.assert_array_equal(points[0], 2 * np.random.default_rng(42).random(3) - 1)


@pytest.mark.parametrize("colored", [True, False])
def test_meshes_are_read_back(colored, tmp_path):
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 8, 7]], np.uint8) if colored else None
    mesh = Mesh(TETRAHEDRON.vertices + 0.1, TETRAHEDRON.faces, colors)
    write_mesh(tmp_path / "mesh.ply", mesh, ["units metres"])
    theirs = trimesh.load(tmp_path / "mesh.ply", process=False)
    np.testing.assert_allclose(theirs.vertices, mesh.vertices, atol=1e-7)
    np.testing.assert_array_equal(theirs.faces, mesh.faces)
    assert theirs.is_watertight
    assert b"comment units metres\n" in (tmp_path / "mesh.ply").read_bytes()
    ours = read_mesh(tmp_path / "mesh.ply")
    np.testing.assert_allclose(ours.vertices, mesh.vertices, atol=1e-7)
    np.testing.assert_array_equal(ours.faces, mesh.faces)
    assert (ours.colors is None) == (not colored)
    if colored:
        np.testing.assert_array_equal(ours.colors, colors)


def test_points_are_read_back_exactly(tmp_path):
    points = np.random.default_rng(0).normal(size=(7, 3)) * 1000
    write_points(tmp_path / "points.ply", points)
    np.testing.assert_array_equal(read_points(tmp_path / "points.ply"), points)
    np.testing.assert_array_equal(trimesh.load(tmp_path / "points.ply").vertices, points)


def test_the_points_of_a_mesh_are_its_vertices(tmp_path):
    write_mesh(tmp_path / "mesh.ply", TETRAHEDRON)
    np.testing.assert_array_equal(read_points(tmp_path / "mesh.ply"), CORNERS)


def test_several_parts_become_one(tmp_path):
    scene = trimesh.Scene([trimesh.creation.box(), trimesh.creation.box((2, 2, 2))])
    (tmp_path / "parts.glb").write_bytes(scene.export(file_type="glb"))
    assert len(read_mesh(tmp_path / "parts.glb").faces) == 24


@pytest.mark.parametrize("read", [read_mesh, read_points])
def test_files_that_hold_nothing_are_refused(read, tmp_path):
    with pytest.raises(ValueError, match=r"no such file: .*missing\.ply"):
        read(tmp_path / "missing.ply")
    (tmp_path / "text.ply").write_text("hello\n")
    (tmp_path / "text.unknown").write_text("hello\n")
    whole = tmp_path / "whole.ply"
    write_mesh(whole, TETRAHEDRON)
    (tmp_path / "half.ply").write_bytes(whole.read_bytes()[:-30])
    (tmp_path / "header.ply").write_bytes(whole.read_bytes()[:100])
    for name in ("text.ply", "text.unknown", "half.ply", "header.ply"):
        with pytest.raises(ValueError, match=f"{name}") as caught:
            read(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_cloud_is_no_mesh_and_no_points_are_no_cloud(tmp_path):
    write_points(tmp_path / "cloud.ply", CORNERS)
    with pytest.raises(ValueError, match=r"expected a mesh in .*cloud\.ply, got no faces"):
        read_mesh(tmp_path / "cloud.ply")
    write_points(tmp_path / "empty.ply", CORNERS[:0])
    with pytest.raises(ValueError, match=r"expected points in .*empty\.ply, got none"):
        read_points(tmp_path / "empty.ply")
