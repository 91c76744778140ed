"""Files of Gaussians, read back by trimesh, NumPy and PyAV, and what is refused."""

import dataclasses
import re
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
import trimesh

from anyview.cli.summary import summarise
from anyview.exporters import export
from anyview.exporters.gaussians_ply import read_gaussians_ply
from anyview.geometry.gaussians import covariances
from anyview.geometry.pose import matrix_from_quaternion_xyzw
from anyview.options import ExportOptions
from anyview.render.rasterize import rasterize
from anyview.render.scene import scene_gaussians
from anyview.types import Gaussians, Prediction

C0 = 0.28209479177387814
FROM_DEPTH = ExportOptions(pixel_gaussians=True)


def some_gaussians(degree: int = 2, count: int = 50) -> Gaussians:
    generator = torch.Generator().manual_seed(degree)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    return Gaussians(
        means=4 * uniform(count, 3) - 2,
        scales=0.01 + 0.2 * uniform(count, 3),
        quaternions_wxyz=uniform(count, 4) - 0.5,
        harmonics=uniform(count, 3, (degree + 1) ** 2) - 0.5,
        opacities=0.02 + 0.96 * uniform(count),
    )


@pytest.fixture
def splatted(room) -> Prediction:
    return dataclasses.replace(room, gaussians=some_gaussians())


def test_ply_has_the_layout_of_gaussian_splatting(splatted, tmp_path, assert_close):
    (path,) = export(splatted, tmp_path, "gaussians_ply")["gaussians_ply"]
    header, _, body = path.read_bytes().partition(b"end_header\n")
    names = re.findall(r"property float (\S+)", header.decode())
    rest = [f"f_rest_{index}" for index in range(24)]
    first = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    last = ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    assert names == [*first, *rest, *last]
    rows = dict(zip(names, np.frombuffer(body, "<f4").reshape(-1, len(names)).T.copy(), strict=True))
    gaussians = splatted.gaussians
    assert_close(1 / (1 + np.exp(-rows["opacity"])), gaussians.opacities)
    assert_close(np.exp(rows["scale_1"]), gaussians.scales[:, 1])
    # Channel by channel: the eight of red, then those of green, then those of blue.
    assert_close(rows["f_rest_0"], gaussians.harmonics[:, 0, 1])
    assert_close(rows["f_rest_8"], gaussians.harmonics[:, 1, 1])
    assert_close(rows["f_rest_23"], gaussians.harmonics[:, 2, 8])
    quaternions = np.stack([rows[f"rot_{index}"] for index in range(4)], -1)
    assert_close(quaternions, torch.nn.functional.normalize(gaussians.quaternions_wxyz, dim=-1))


def test_ply_opens_in_an_independent_reader(splatted, tmp_path):
    (path,) = export(splatted, tmp_path, "gaussians_ply")["gaussians_ply"]
    vertices = trimesh.load(path, process=False).metadata["_ply_raw"]["vertex"]["data"]
    assert np.abs(np.stack([vertices[axis] for axis in "xyz"], -1) - splatted.gaussians.means.numpy()).max() < 1e-5
    colors = np.stack([vertices[f"f_dc_{channel}"] for channel in range(3)], -1) * C0 + 0.5
    assert np.abs(colors * 255 - (splatted.gaussians.harmonics[..., 0] * C0 + 0.5).numpy() * 255).max() < 1


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_ply_is_read_back_and_looks_the_same(degree, room, tmp_path, assert_close):
    scene = dataclasses.replace(room, gaussians=some_gaussians(degree))
    (path,) = export(scene, tmp_path, "gaussians_ply")["gaussians_ply"]
    file = read_gaussians_ply(path)
    assert file.size == tuple(room.depth.shape[1:])
    assert_close(file.cameras.world_to_camera, room.cameras.world_to_camera)
    assert_close(file.cameras.intrinsics, room.cameras.intrinsics)
    assert torch.equal(file.gaussians.means, scene.gaussians.means)
    assert torch.equal(file.gaussians.harmonics, scene.gaussians.harmonics)
    assert_close(covariances(file.gaussians), covariances(scene.gaussians))
    before, after = (rasterize(g, room.cameras[:1], 72, 96).color for g in (scene.gaussians, file.gaussians))
    assert (before - after).abs().max() < 1 / 255


def test_opacities_of_0_and_1_stay_finite(room, tmp_path):
    gaussians = dataclasses.replace(some_gaussians(0, 2), opacities=torch.tensor([0.0, 1.0]))
    (path,) = export(dataclasses.replace(room, gaussians=gaussians), tmp_path, "gaussians_ply")["gaussians_ply"]
    assert read_gaussians_ply(path).gaussians.opacities.tolist() == pytest.approx([0, 1], abs=2e-6)


def test_files_of_other_programs_are_read(tmp_path):
    """Another order of properties, doubles, no harmonics beyond the first, colours that nobody asked for."""
    fields = ["opacity", "x", "y", "z", *(f"f_dc_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
    fields += [f"scale_{i}" for i in range(3)]
    layout = np.dtype([(name, "<f8") for name in fields] + [("red", "u1")])
    rows = np.zeros(2, layout)
    rows["x"], rows["rot_0"], rows["scale_0"] = [1, 2], 1, np.log(0.5)
    lines = [f"property double {name}" for name in fields] + ["property uchar red"]
    header = "\n".join(["ply", "format binary_little_endian 1.0", "element vertex 2", *lines, "end_header\n"])
    (tmp_path / "other.ply").write_bytes(header.encode() + rows.tobytes())
    file = read_gaussians_ply(tmp_path / "other.ply")
    assert file.cameras is file.size is None
    assert file.gaussians.means.tolist() == [[1, 0, 0], [2, 0, 0]]
    assert file.gaussians.scales[0].tolist() == pytest.approx([0.5, 1, 1])
    assert file.gaussians.opacities.tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text[:-4], "ends too early"),
        (lambda text: text.replace(b"binary_little", b"binary_big"), "is not a binary little-endian PLY file"),
        (lambda text: b"solid" + text, "is not a binary little-endian PLY file"),
        (lambda text: text.replace(b" f_dc_1\n", b" green\n"), "holds no Gaussians: it has no property f_dc_1"),
        (
            lambda text: text.replace(b" f_rest_3\n", b" strange\n"),
            "expected 0, 9, 24 or 45 properties f_rest_, got 23",
        ),
        (lambda text: text.replace(b"element vertex", b"element face"), "expected one element, vertex; got face"),
        (lambda text: text.replace(b"float x\n", b"real x\n"), "one number each, got 'property real x'"),
        (lambda text: text.replace(b"float x\n", b"list uchar int x\n"), "one number each, got 'property list uchar"),
    ],
)
def test_other_files_are_refused(splatted, tmp_path, spoil, message):
    (path,) = export(splatted, tmp_path, "gaussians_ply")["gaussians_ply"]
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=message):
        read_gaussians_ply(path)


def test_splat_holds_the_same_scene(splatted, tmp_path, assert_close):
    (path,) = export(splatted, tmp_path, "splat")["splat"]
    gaussians = splatted.gaussians
    assert path.stat().st_size == 32 * len(gaussians.means)
    raw = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, 32)
    numbers = raw[:, :24].copy().view("<f4")
    order = [int((gaussians.means - torch.from_numpy(row[:3])).abs().sum(-1).argmin()) for row in numbers]
    assert sorted(order) == [*range(len(gaussians.means))]
    assert_close(numbers[:, 3:], gaussians.scales[order])
    colors = torch.cat([gaussians.harmonics[order, :, 0] * C0 + 0.5, gaussians.opacities[order, None]], -1)
    assert (torch.from_numpy(raw[:, 24:28].copy()).float() - 255 * colors).abs().max() <= 0.51
    importance = gaussians.scales[order].prod(-1) * gaussians.opacities[order]
    assert (importance.diff() <= 0).all()
    turned = (torch.from_numpy(raw[:, 28:].copy()).double() - 128) / 128
    rotations = [
        matrix_from_quaternion_xyzw(q.roll(-1, -1)) for q in (turned, gaussians.quaternions_wxyz[order].double())
    ]
    assert (rotations[0] - rotations[1]).abs().max() < 0.03  # eight bits a number


def frames_of(path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_the_video_flies_through_the_cameras(room, tmp_path):
    fields = ("images", "depth", "names", "placements", "cameras", "confidence")
    smaller = dataclasses.replace(room, **{name: getattr(room, name)[:2] for name in fields})
    options = dataclasses.replace(FROM_DEPTH, fps=12.5)
    (path,) = export(smaller, tmp_path, "gaussians_video", options)["gaussians_video"]
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == Fraction(25, 2)
    frames = frames_of(path)
    assert len(frames) == 48
    assert frames[0].shape == (72, 2 * 96 + 8, 3)
    seen = rasterize(scene_gaussians(smaller, FROM_DEPTH), smaller.cameras, 72, 96).color.clamp(0, 1) * 255
    for frame, color in zip((frames[0], frames[-1]), seen, strict=True):
        assert (
            np.abs(frame[:, :96] - color.numpy()).mean() < 6
        )  # what the codec leaves of colours that change from pixel to pixel
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["gaussians_video.mp4"]


def test_one_view_of_odd_size_makes_a_video(room, tmp_path, capsys):
    one = dataclasses.replace(
        room,
        **{name: getattr(room, name)[:1, :21, :31] for name in ("images", "depth", "confidence")},
        names=("a",),
        placements=room.placements[:1],
        cameras=room.cameras[:1],
    )
    (path,) = export(one, tmp_path, "gaussians_video", FROM_DEPTH)["gaussians_video"]
    frames = frames_of(path)
    assert len(frames) == 48
    assert frames[0].shape == (22, 2 * 32 + 8, 3)
    assert np.abs(frames[24][:, :32].astype(int) - frames[0][:, :32]).mean() > 1
    summarise(one, {"gaussians_video": [path]})
    assert "note: videos have even sides, so 31×21 became 32×22\n" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["gaussians_ply", "splat", "spz", "gaussians_video"])
def test_asking_for_one_never_makes_another(splatted, tmp_path, name):
    paths = export(splatted, tmp_path / name, name)[name]
    assert [*(tmp_path / name).iterdir()] == paths


@pytest.mark.parametrize("name", ["gaussians_ply", "splat", "spz", "gaussians_video"])
@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        (
            {"gaussians": None, "lacks": {"gaussians": "da3-base has no Gaussian head"}},
            {},
            "needs gaussians, .* has no G",
        ),
        (
            {"gaussians": None, "cameras": None},
            {"pixel_gaussians": True},
            "needs cameras, and this prediction has none",
        ),
        ({}, {"least_opacity": 1.0}, "no Gaussian is left: all 50 are dropped"),
        ({}, {"voxel_size": -1.0}, "voxel_size must be 0 or above, got -1.0"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is(splatted, tmp_path, name, changes, options, message):
    if name == "gaussians_video" and "cameras" in changes:
        message = "needs cameras"
    with pytest.raises(ValueError, match=message):
        export(dataclasses.replace(splatted, **changes), tmp_path / "out", ["npz", name], ExportOptions(**options))
    assert not (tmp_path / "out").exists()


def test_merging_and_pruning_reach_the_files(splatted, tmp_path):
    everything, fewer, merged = (
        len(
            read_gaussians_ply(export(splatted, tmp_path, "gaussians_ply", options)["gaussians_ply"][0]).gaussians.means
        )
        for options in (ExportOptions(), ExportOptions(least_opacity=0.5), ExportOptions(voxel_size=1.0))
    )
    assert everything == 50
    assert fewer == int((splatted.gaussians.opacities >= 0.5).sum())
    assert 1 < merged < 50
