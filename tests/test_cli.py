"""The command line: what it writes, what it says, and what it refuses in one line with nothing written."""

import contextlib
import json
import os
import re
import resource
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from safetensors.torch import save_file

import anyview.exporters
from anyview import demo
from anyview.cli import main
from anyview.exporters import FORMATS
from anyview.exporters.gaussians_ply import read_gaussians_ply
from anyview.images.video import write_video
from anyview.model.checkpoint import METADATA_KEY, save
from anyview.model.config import PRESETS
from anyview.options import PredictOptions
from anyview.predictor import DepthAnything3
from filled import SMALL_CONFIGS, filled, write_published_folder
from golden import fill
from writable import WRITABLE

HEIGHT, WIDTH = 60, 80
PROGRESS = re.compile(r"^(reading|loading|predicting|exporting) .* \d+/\d+ \d\d:\d\d$")
INTRINSICS = [[70.0, 0, 40], [0, 75, 30], [0, 0, 1]]
WORLD_TO_CAMERA = np.stack([np.eye(4)] * 3)
WORLD_TO_CAMERA[:, :3, 3] = [[0, 0, 0], [-1, 0, 0], [0, -1, 2]]

Spoil = Callable[[Path], object]


@dataclass(frozen=True)
class Ran:
    code: int
    output: str
    errors: list[str]
    """Lines on stderr beside progress bars."""


Run = Callable[..., Ran]


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """A published da3-small, and small networks in our format: all filled."""
    folder = tmp_path_factory.mktemp("models")
    write_published_folder(folder / "da3-small", "da3-small")
    for name in SMALL_CONFIGS:
        save(filled(name), folder / f"{name}.safetensors", name=name)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys, here) -> Run:
    """Run ``anyview`` with arguments in the current folder."""

    def run_main(*arguments: object) -> Ran:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        lines = re.split(r"[\r\n]+", captured.err)
        return Ran(code, captured.out, [line for line in lines if line.strip() and not PROGRESS.match(line.strip())])

    return run_main


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, with what is in the files."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }


def refused(run: Run, *arguments: object) -> str:
    """Assert that ``anyview`` refuses in one line, with exit code 2 and nothing changed; return the line."""
    before = tree(Path.cwd())
    ran = run(*arguments)
    assert ran.code == 2, ran
    assert tree(Path.cwd()) == before
    assert ran.output == ""
    (line,) = ran.errors
    assert line.startswith("anyview: ")
    assert not re.search(r"Traceback|[a-z]Error\b|Exception|<class|\bNone\b", line), line
    return line.removeprefix("anyview: ")


def picture(path: str | Path, height: int = HEIGHT, width: int = WIDTH, **options: object) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(fill.image(path.name, height, width)).save(path, **options)
    return path


def photos(folder: str | Path = "photos", count: int = 3) -> Path:
    for index in range(count):
        picture(Path(folder) / f"{index}.png")
    return Path(folder)


def clip(path: str | Path) -> Path:
    return write_video(path, (fill.image(f"clip:{index}", HEIGHT, WIDTH) for index in range(20)), 10.0)


def transforms_project(folder: str | Path, edit: Callable[[dict], object] = lambda document: None) -> Path:
    """Pictures with known cameras as nerfstudio writes them, with OpenGL's axes."""
    folder = photos(Path(folder) / "images").parent
    opengl = np.diag([1.0, -1, -1, 1])
    poses = [np.linalg.inv(pose) @ opengl for pose in WORLD_TO_CAMERA]
    frames = [{"file_path": f"images/{i}.png", "transform_matrix": pose.tolist()} for i, pose in enumerate(poses)]
    document = {"fl_x": 70.0, "fl_y": 75.0, "cx": 40.0, "cy": 30.0, "w": WIDTH, "h": HEIGHT, "frames": frames}
    edit(document)
    (folder / "transforms.json").write_text(json.dumps(document))
    return folder


def colmap_project(
    folder: str | Path, *, camera: str = "PINHOLE 80 60 70 75 40 30", second: str = "1 0 0 0 -1 0 0"
) -> Path:
    """The same as COLMAP writes it, in text; ``second`` is the second picture's quaternion wxyz and translation."""
    folder = photos(Path(folder) / "images").parent
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    poses = ["1 0 0 0 0 0 0", second, "1 0 0 0 0 -1 2"]
    (model / "cameras.txt").write_text(f"1 {camera}\n")
    (model / "images.txt").write_text("".join(f"{i + 1} {pose} 1 {i}.png\n\n" for i, pose in enumerate(poses)))
    (model / "points3D.txt").write_text("")
    return folder


def results(folder: str | Path) -> dict[str, np.ndarray]:
    with np.load(Path(folder) / "results.npz") as file:
        return dict(file)


class TestPredict:
    """With da3-small as it is published."""

    @pytest.fixture
    def predict(self, run, models) -> Callable[..., Ran]:
        def run_predict(*arguments: object, formats: str = "npz", output: str = "out") -> Ran:
            model = models / "da3-small"
            ran = run("predict", *arguments, "-o", output, "-m", model, "-f", formats, "--resolution", 56)
            assert (ran.code, ran.errors) == (0, [])
            return ran

        return run_predict

    def test_every_format_at_once_twice_gives_the_same_bytes(self, predict):
        photos()
        formats = ",".join(WRITABLE)
        options = ("--features", 5, 11, "--pixel-gaussians")
        first = predict("photos", *options, formats=formats, output="first")
        second = predict("photos", *options, formats=formats, output="second")
        assert tree(Path("first")) == tree(Path("second"))
        times = r"^took reading \d+\.\d s, loading \d+\.\d s, predicting \d+\.\d s, exporting \d+\.\d s on cpu$"
        assert re.search(times, first.output, re.MULTILINE)
        without_times = [re.sub(r"(?m)^took .*$", "", ran.output) for ran in (first, second)]
        assert without_times[0].replace("first", "second") == without_times[1]
        assert {Path(name).parts[0].partition(".")[0] for name in tree(Path("first"))} == {
            *(set(WRITABLE) - {"npz", "glb", "ply", "gaussians_ply", "splat", "spz"}),
            *("results", "scene", "points", "gaussians"),
        }

    def test_the_summary_says_what_was_written_and_in_which_unit(self, predict):
        photos()
        lines = predict("photos", formats="npz,depth_png").output.splitlines()
        assert lines[0] == "3 views of 56×42 pixels with da3-small"
        depth = results("out")["depth"]
        median = torch.from_numpy(depth).median()
        low_to_high = f"depth {depth.min():.3g} to {depth.max():.3g}, median {median:.3g}"
        assert lines[1] == f"{low_to_high}, in an arbitrary unit, the same in all views"
        size = Path("out/results.npz").stat().st_size / 1e6
        assert lines[2] == f"wrote out/results.npz ({size:.1f} MB)"
        assert re.fullmatch(r"wrote 3 files in out/depth_png \(0\.\d MB\)", lines[3])
        assert len(lines) == 5

    @pytest.mark.skipif("mesh" not in WRITABLE, reason="Open3D below 0.20 has no wheel for this Python")
    def test_the_summary_describes_the_mesh(self, predict):
        photos()
        lines = predict("photos", "--mesh-voxel", 0.05, formats="mesh").output.splitlines()
        faces = len(trimesh.load("out/mesh.ply", process=False).faces)
        assert lines[2] == f"mesh of {faces:,} faces, not watertight, voxels of 0.05 (arbitrary)"
        assert lines[3].startswith("wrote out/mesh.ply (")

    def test_the_results_are_those_of_the_library(self, predict, models):
        photos()
        predict("photos", "--rays")
        model = DepthAnything3.from_pretrained(models / "da3-small", device="cpu")
        expected = model.predict("photos", options=PredictOptions(resolution=56, rays=True))
        written = results("out")
        assert np.array_equal(written["depth"], expected.depth)
        assert np.array_equal(written["rays"], expected.rays)
        assert np.array_equal(written["world_to_camera"], expected.cameras.world_to_camera)

    def test_default_formats(self, run, models):
        photos()
        ran = run("predict", "photos", "-o", "out", "-m", models / "anyview.safetensors", "--resolution", 56)
        assert ran.code == 0
        assert sorted(path.name for path in Path("out").iterdir()) == ["depth_vis", "results.npz", "scene.glb"]

    def test_a_format_of_gaussians_asks_the_model_for_them(self, run, models):
        photos(count=2)
        arguments = ("-m", models / "gaussian.safetensors", "--resolution", 56, "-f", "gaussians_ply,npz")
        assert run("predict", "photos", "-o", "out", *arguments).code == 0
        predicted, written = read_gaussians_ply("out/gaussians.ply").gaussians, results("out")
        assert np.array_equal(predicted.means, written["gaussian_means"])
        ran = run("predict", "photos", "-o", "made", *arguments, "--pixel-gaussians")
        assert ran.code == 0
        assert "note: the Gaussians are made of depth and colour, one per pixel" in ran.output
        made, written = read_gaussians_ply("made/gaussians.ply").gaussians, results("made")
        assert "gaussian_means" not in written
        assert 0 < len(made.means) <= written["depth"].size

    def test_photos_folders_and_patterns_are_the_same_pictures(self, predict):
        photos()
        files = sorted(Path("photos").iterdir())
        for output, inputs in {"files": files, "folder": ["photos"], "pattern": ["photos/*.png"]}.items():
            predict(*inputs, output=output)
        assert tree(Path("files")) == tree(Path("folder")) == tree(Path("pattern"))
        assert results("files")["names"].tolist() == ["0.png", "1.png", "2.png"]

    def test_videos(self, predict):
        clip("dog.mp4")
        predict("dog.mp4", "--frames-per-second", 2, output="by_rate")
        predict("dog.mp4", "--frames-per-second", 10, "--max-frames", 3, output="by_count")
        assert results("by_rate")["names"].tolist() == [f"dog_{index:05d}" for index in range(4)]
        assert len(results("by_count")["depth"]) == 3

    def test_odd_names(self, predict):
        picture("holiday photos/Übung & 'test'.jpg")
        picture("holiday photos/图 [1].webp")
        formats = "npz,depth_png,depth_vis,colmap,transforms"
        predict("holiday photos", output="out put ü", formats=formats)
        assert sorted(path.name for path in Path("out put ü/depth_png").iterdir()) == [
            "Übung & 'test'.png",
            "图 [1].png",
        ]
        predict("holiday photos/图 [1].webp", output="one")
        assert len(results("one")["depth"]) == 1

    @pytest.mark.skipif(sys.platform != "linux", reason="only there can a name be any bytes")
    def test_names_that_are_not_utf8(self, predict, here):
        shutil.copy(picture("plain.jpg"), os.fsencode(here) + b"/caf\xe9.jpg")
        os.remove("plain.jpg")
        predict(".", formats="npz,depth_png,transforms,colmap")
        assert results("out")["names"].tolist() == ["caf\N{REPLACEMENT CHARACTER}.jpg"]

    @pytest.mark.parametrize("project", [transforms_project, colmap_project])
    def test_known_cameras_are_the_frame_and_unit(self, predict, project, assert_close):
        ran = predict(project("scene"))
        assert "in the unit of the given cameras" in ran.output
        written = results("out")
        assert_close(written["world_to_camera"], WORLD_TO_CAMERA.astype(np.float32))
        to_network = np.array([[56 / WIDTH], [42 / HEIGHT], [1]])
        assert_close(written["intrinsics"], np.stack([INTRINSICS * to_network] * 3).astype(np.float32))

    def test_the_same_cameras_in_two_formats_give_the_same_result(self, predict, assert_close):
        predict(transforms_project("first"), output="out1")
        predict(colmap_project("second"), output="out2")
        assert_close(results("out1")["depth"], results("out2")["depth"])

    def test_known_intrinsics_alone(self, predict):
        predict(transforms_project("scene"), "--cameras", "intrinsics", output="given")
        predict("scene/images", output="unknown")
        given, unknown = results("given"), results("unknown")
        assert np.array_equal(given["depth"], unknown["depth"])
        assert np.array_equal(given["world_to_camera"], unknown["world_to_camera"])
        assert np.allclose(given["intrinsics"][:, 0, 0], 70 * 56 / WIDTH)
        assert not np.allclose(unknown["intrinsics"], given["intrinsics"])

    def test_known_cameras_can_be_ignored(self, predict):
        predict(transforms_project("scene"), "--cameras", "ignore", output="ignored")
        predict("scene/images", output="unknown")
        assert tree(Path("ignored")) == tree(Path("unknown"))

    def test_separate_pictures_are_each_as_if_alone(self, predict):
        photos()
        ran = predict("photos", "--separate", "--batch-size", 2, output="each")
        assert ran.output.count("1 view of 56×42 pixels with da3-small") == 3
        for index in range(3):
            predict(f"photos/{index}.png", output=f"alone/{index}")
        each, alone = (results(f"{folder}/1") for folder in ("each", "alone"))
        assert sorted(path.name for path in Path("each").iterdir()) == ["0", "1", "2"]
        np.testing.assert_allclose(each["depth"], alone["depth"], rtol=1e-5)
        assert each["names"].tolist() == ["1.png"]

    def test_separate_pictures_of_one_name_do_not_share_a_folder(self, predict):
        for path in ("a/view.jpg", "b/view.jpg", "view.png"):
            picture(path)
        predict("a/view.jpg", "b/view.jpg", "view.png", "--separate")
        assert len(list(Path("out").glob("*/results.npz"))) == 3

    def test_output_at_the_input_s_resolution(self, predict):
        photos()
        ran = predict("photos", "--output-resolution", "input", formats="npz,glb,depth_png")
        assert "3 views of 80×60 pixels" in ran.output
        assert results("out")["depth"].shape == (3, HEIGHT, WIDTH)
        with Image.open("out/depth_png/0.png") as depth:
            assert depth.size == (WIDTH, HEIGHT)

    def test_large_pictures_bring_no_warnings(self, predict, monkeypatch):
        """Pillow warns of pictures above a limit, which phones exceed, and refuses those of twice that."""
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", HEIGHT * WIDTH - 1)
        predict(picture("phone.png"))

    def test_output_beside_or_inside_of_the_inputs_leaves_them_alone(self, predict):
        before = tree(photos())
        for output in ("photos", "photos/out", "photos/../photos/other"):
            predict("photos", "--pixel-gaussians", output=output, formats=",".join(set(WRITABLE) - {"features"}))
        assert {name: data for name, data in tree(Path("photos")).items() if name in before} == before

    def test_metres_from_an_assumed_field_of_view(self, run, models):
        photos(count=1)
        arguments = ("-m", models / "metric.safetensors", "--resolution", 56, "-f", "npz")
        without = run("predict", "photos", "-o", "without", *arguments)
        given = run("predict", "photos", "-o", "given", *arguments, "--field-of-view", 60)
        assert "in canonical units (times focal length in pixels / 300: metres)" in without.output
        assert ", in metres" in given.output
        focal_length = 56 / 2 / np.tan(np.radians(30))
        np.testing.assert_allclose(
            results("given")["depth"], results("without")["depth"] * focal_length / 300, rtol=1e-5
        )

    def test_a_network_that_gives_no_depth_is_spoken_of(self, run, models, here):
        network = DepthAnything3.from_pretrained(models / "anyview.safetensors", device="cpu").network
        network.head.depth_reader.output.bias.data.fill_(1e4)  # its exponential is infinite
        save(network, here / "broken.safetensors", name="broken")
        photos()
        ran = run("predict", "photos", "-o", "out", "-m", "broken.safetensors", "--resolution", 56, "-f", "npz")
        assert ran.code == 0
        assert "no pixel has a depth: all are masked, or the network gave no positive, finite values" in ran.output


@pytest.fixture
def refuse(run, models) -> Callable[..., str]:
    """Assert that ``predict`` refuses inputs and options; return its line."""

    def refuse_predict(*arguments: object, model: str = "anyview", output: str = "out", resolution: int = 56) -> str:
        path = models / f"{model}.safetensors"
        return refused(run, "predict", *arguments, "-o", output, "-m", path, "--resolution", resolution)

    return refuse_predict


def text_file(folder: Path) -> None:
    (folder / "a.jpg").write_text("not a picture")


def truncated(folder: Path) -> None:
    data = picture(folder / "a.jpg", 200, 300).read_bytes()
    (folder / "a.jpg").write_bytes(data[: len(data) // 2])


def empty_file(folder: Path) -> None:
    (folder / "a.png").write_bytes(b"")


def bomb(folder: Path) -> None:
    """A PNG that claims 40000 × 40000 pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)


class TestInputs:
    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda folder: None, r"^the folder in holds no pictures \(bmp, heic, .*\); it holds 0 other entries$"),
            (text_file, r"^in/a\.jpg is not a picture in a known format$"),
            (truncated, r"^in/a\.jpg is a broken or truncated picture \(image file is truncated"),
            (empty_file, r"^in/a\.png is empty \(0 bytes\)$"),
            (bomb, r"^in/a\.png is too large: Image size \(1600000000 pixels\) exceeds limit"),
            (
                lambda folder: picture(folder / "a.png", 1, 5000),
                r"^a\.png is too elongated: 5000x1 pixels would become",
            ),
            (lambda folder: picture(folder / "a.jpg" / "b.jpg"), r"holds no pictures .* 1 other entries$"),
        ],
    )
    def test_folders(self, refuse, here, spoil, message):
        (here / "in").mkdir()
        spoil(here / "in")
        assert re.search(message, refuse("in"))

    @pytest.mark.parametrize("policy", ["upper_bound_crop", "lower_bound_resize", "lower_bound_crop"])
    def test_slivers_in_every_resize_policy(self, refuse, policy):
        assert "too elongated: 5000x1 pixels" in refuse(picture("a.png", 1, 5000), "--resize", policy)

    def test_one_bad_picture_among_many(self, refuse):
        photos()
        Path("photos/7.png").write_text("x")
        assert refuse("photos") == "photos/7.png is not a picture in a known format"
        assert refuse("photos", "--separate") == "photos/7.png is not a picture in a known format"

    def test_paths_that_do_not_exist(self, refuse):
        photos()
        assert refuse("nowhere") == "no such path: nowhere"
        assert refuse("photos/12.png") == "no such path: photos/12.png; did you mean 'photos/2.png'?"
        assert refuse("nowhere/1.png") == "no such path: nowhere/1.png (there is no folder nowhere)"
        assert refuse("photos/*.jpg") == "no picture matches the pattern photos/*.jpg"
        assert refuse("nowhere.mp4") == "no such path: nowhere.mp4"

    def test_links_that_lead_nowhere(self, refuse, here):
        (here / "a.png").symlink_to("b.png")
        (here / "b.png").symlink_to("a.png")
        (here / "folder").mkdir()
        (here / "folder" / "self").symlink_to("../folder")
        assert refuse("a.png") == "no such path: a.png (a symbolic link that leads nowhere)"
        assert refuse("folder").startswith("the folder folder holds no pictures")

    def test_nothing_at_all(self, run, models):
        line = refused(run, "predict", "-o", "out", "-m", models / "anyview.safetensors")
        assert line == "no pictures given; see anyview predict --help"

    def test_videos(self, refuse):
        Path("empty.mp4").write_bytes(b"")
        Path("text.mp4").write_text("not a video")
        assert re.match(r"empty\.mp4 cannot be decoded as video: ", refuse("empty.mp4"))
        assert re.match(r"text\.mp4 cannot be decoded as video: ", refuse("text.mp4"))

    def test_videos_without_frames(self, refuse):
        with av.open("sound.mov", "w") as container:
            stream = container.add_stream("aac", rate=44100, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 44100
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
        assert refuse("sound.mov") == "sound.mov has no video stream"
        with av.open("still.avi", "w") as container:
            stream = container.add_stream("mpeg4", rate=Fraction(10))
            stream.width = stream.height = 64
            container.start_encoding()
        assert refuse("still.avi") == "still.avi has no frames in its video stream"

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (("--frames-per-second", 0), "expected frames per second above 0, got 0.0"),
            (("--frames-per-second", -1), "expected frames per second above 0, got -1.0"),
            (("--frames-per-second", "nan"), "expected frames per second above 0, got nan"),
            (("--frames-per-second", "inf"), "expected frames per second above 0, got inf"),
            (("--max-frames", 0), "expected at least 1 frame, got 0"),
        ],
    )
    def test_frames_of_a_video(self, refuse, options, message):
        assert refuse(clip("dog.mp4"), *options) == message

    def test_a_project_beside_other_inputs(self, refuse):
        line = refuse(transforms_project("scene"), photos())
        assert line.startswith("scene/transforms.json knows its cameras, so it must be given alone; ")
        assert "--cameras ignore" in line

    def test_an_image_folder_without_a_project(self, refuse):
        line = refuse(photos(), "--image-folder", "photos")
        assert line == "an image folder (photos) belongs to a COLMAP project, and none is given"


def pose_entry(row: int, column: int, value: object) -> Callable[[dict], None]:
    """Change the second frame's pose."""

    def edit(document: dict) -> None:
        document["frames"][1]["transform_matrix"][row][column] = value

    return edit


class TestCameras:
    @pytest.mark.parametrize(
        ("edit", "message"),
        [
            (pose_entry(0, 3, float("nan")), r"camera of view 1: world_to_camera holds NaN .* \(picture 1\.png\)$"),
            (pose_entry(0, 3, float("inf")), r"camera of view 1: world_to_camera holds NaN or infinite values"),
            (
                pose_entry(0, 0, 0.0),
                r"camera of view 1: the rotation is not orthonormal .* by up to 1, allowed is 0\.001",
            ),
            (pose_entry(0, 0, 1.2), r"camera of view 1: the rotation is not orthonormal .* by up to 0\.44, allowed is"),
            (pose_entry(0, 0, -1.0), r"camera of view 1: the rotation is left-handed \(determinant -1\)"),
            (pose_entry(0, 0, "x"), r"^in/transforms\.json: expected a 4x4 .* for images/1\.png; got .* no number$"),
            (
                pose_entry(3, 3, 2.0),
                r"expected a 4x4 .* with the last row \(0, 0, 0, 1\); got \[0\.0, 0\.0, 0\.0, 2\.0\]$",
            ),
            (
                lambda d: d["frames"][1].update(transform_matrix=[[1, 2], [3]]),
                r"for images/1\.png; got rows of different",
            ),
            (lambda d: d["frames"][1].pop("transform_matrix"), r"for images/1\.png; got the shape \[0\]"),
            (lambda d: d["frames"][1].update(file_path=7), "has no list 'frames' with a 'file_path' in each"),
            (lambda d: d["frames"][1].update(file_path="7.png"), r"names 1 pictures that do not exist: in/7\.png"),
            (lambda d: d.update(fl_x=float("nan")), r"in/transforms\.json: expected a number as 'fl_x' .*; got nan"),
            (lambda d: d.update(fl_x="70"), r"expected a number as 'fl_x' of images/0\.png; got '70'"),
            (lambda d: d.update(fl_x=-70), r"focal lengths must be positive, got fx = -70, fy = 75"),
            (lambda d: d.update(fl_x=0), r"in/transforms\.json gives no focal length .* for images/0\.png"),
            (lambda d: d.update(w=0, h=0), r"expected a size of at least 1x1 pixels as 'w' and 'h'; got \(0, 0\)"),
            (lambda d: d.update(w=60), r"in/images/0\.png has 80x60 pixels, and its known camera 60x60"),
            (lambda d: d.update(frames=[]), "has no list 'frames'"),
            (lambda d: d.update(camera_model="EQUIRECTANGULAR"), "camera model EQUIRECTANGULAR .* known: OPENCV"),
        ],
    )
    def test_transforms(self, refuse, edit, message):
        assert re.search(message, refuse(transforms_project("in", edit)))

    @pytest.mark.parametrize("text", ["{", "[" * 100_000, "\x00"])
    def test_transforms_that_are_no_json(self, refuse, text):
        (transforms_project("in") / "transforms.json").write_text(text)
        assert refuse("in").startswith("in/transforms.json is not JSON: ")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"second": "1 0 0 0 nan 0 0"}, r"the COLMAP model in/sparse/0 cannot be read"),
            ({"second": "0 0 0 0 1 0 0"}, r"in/sparse/0: the rotation of 1\.png is the quaternion \(0, 0, 0, 0\)"),
            ({"camera": "PINHOLE 80 60 nan 75 40 30"}, r"the COLMAP model in/sparse/0 cannot be read"),
            ({"camera": "PINHOLE 80 60 0 75 40 30"}, r"camera of view 0: focal lengths must be positive, got fx = 0"),
            (
                {"camera": "PINHOLE 80 60 70 -75 40 30"},
                r"got fx = 70, fy = -75; a negative fy means .* \(picture 0\.png",
            ),
            ({"camera": "PINHOLE 60 60 70 75 40 30"}, r"in/images/0\.png has 80x60 pixels, and its known camera 60x60"),
            (
                {"camera": "SPYGLASS 80 60 70"},
                r"the COLMAP model in/sparse/0 cannot be read: Camera model does not exist",
            ),
        ],
    )
    def test_colmap(self, refuse, changes, message):
        assert re.search(message, refuse(colmap_project("in", **changes)))

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_binary_colmap(self, refuse, value):
        """Other than text, binary models can hold NaN."""
        pycolmap = pytest.importorskip("pycolmap")
        model = colmap_project("in") / "sparse" / "0"
        reconstruction = pycolmap.Reconstruction(model)
        frame = reconstruction.frames[2]
        frame.rig_from_world = pycolmap.Rigid3d(frame.rig_from_world.rotation, np.array([value, 0, 0]))
        reconstruction.write_binary(model)
        for path in model.glob("*.txt"):
            path.unlink()
        assert refuse("in") == "camera of view 1: world_to_camera holds NaN or infinite values (picture 1.png)"

    def test_projects_without_their_pictures(self, refuse):
        (colmap_project("in") / "images" / "1.png").unlink()
        assert refuse("in") == "in/images lacks 1 of 3 pictures: 1.png"
        shutil.rmtree("in/images")
        assert refuse("in").startswith("none of the 3 pictures (0.png and so on) is in ")

    @pytest.mark.parametrize("model", ["mono", "metric"])
    def test_cameras_for_a_model_without_camera_encoder(self, refuse, model):
        line = refuse(transforms_project("in"), "-f", "npz", model=model)
        assert line.startswith(
            f"{model} takes no camera poses: it sees one image at a time and has no camera encoder; "
        )


class TestRequests:
    @pytest.mark.parametrize(
        ("model", "options", "message"),
        [
            ("anyview", ("-f", "glb,plyy"), "unknown format 'plyy': did you mean 'ply' or 'splat'?"),
            ("anyview", ("-f", "xyzzy"), f"unknown format 'xyzzy': known: {', '.join(FORMATS)}"),
            ("anyview", ("-f", ""), f"no format given; known: {', '.join(FORMATS)}"),
            ("anyview", ("-f", " , "), f"no format given; known: {', '.join(FORMATS)}"),
            ("anyview", ("-f", "features"), "format 'features' needs --features with the numbers of backbone blocks, "),
            ("anyview", ("--features", 8), "anyview has blocks 0 to 7, features were asked of 8"),
            ("anyview", ("--features", -1), "anyview has blocks 0 to 7, features were asked of -1"),
            ("anyview", ("--gaussians",), "anyview has no Gaussian head; "),
            ("anyview", ("-f", "gaussians_ply"), "anyview has no Gaussian head; "),
            ("mono", ("--rays", "-f", "npz"), "mono predicts depth and sky only, no rays"),
            ("mono", (), "format 'glb' needs cameras, and this prediction has none: mono predicts depth and sky"),
            ("anyview", ("--focal-length", -3), "expected a positive focal length in pixels, got -3.0"),
            ("anyview", ("--field-of-view", 180), "expected a field of view between 0 and 180 degrees, got 180.0"),
            ("anyview", ("--confidence-percentile", 101), "confidence_percentile must be 0 to 100, got 101.0"),
            ("anyview", ("--max-points", 0), "max_points must be above 0, got 0"),
            ("anyview", ("--fps", 0), "fps must be above 0, got 0.0"),
            ("anyview", ("--least-opacity", 2), "least_opacity must be 0 to 1, got 2.0"),
            ("anyview", ("--separate", "--batch-size", 0), "expected a batch size of at least 1, got 0"),
            ("anyview", ("--memory-limit", -1), "expected a memory limit above 0 GiB, got -1.0"),
            ("anyview", ("--memory-limit", "nan"), "expected a memory limit above 0 GiB, got nan"),
            ("anyview", ("--device", "abacus"), "device 'abacus' cannot be used here: "),
            ("anyview", ("--device", "meta"), "device 'meta' cannot be used here: "),
        ],
    )
    def test_what_cannot_be_asked(self, refuse, model, options, message):
        assert refuse(photos(), *options, model=model).startswith(message)

    @pytest.mark.parametrize("resolution", [13, 0, -56])
    def test_a_resolution_below_one_patch(self, refuse, resolution):
        line = refuse(photos(), resolution=resolution)
        assert line == f"expected a resolution of at least 14 pixels, one patch; got {resolution}"

    def test_a_device_is_checked_before_weights_are_read(self, run):
        photos()
        line = refused(run, "predict", "photos", "-o", "out", "-m", "nowhere/model.safetensors", "--device", "abacus")
        assert line.startswith("device 'abacus' cannot be used here")

    def test_more_memory_than_there_is_and_the_ways_out(self, refuse, run, models):
        for index in range(4):
            picture(f"large/{index}.png", 280, 420)
        limit = ("--memory-limit", 0.08)
        line = refuse("large", *limit, resolution=420)
        match = re.fullmatch(
            r"4 views of 420×280 pixels with anyview need about 0\.1 GiB beside the weights, and 0\.1 GiB are "
            r"available; try --resolution (?P<resolution>\d+) or at most (?P<views>\d) views? at once",
            line,
        )
        assert match, line
        arguments = ("-o", "out", "-f", "npz", "-m", models / "anyview.safetensors", *limit)
        assert run("predict", "large", *arguments, "--resolution", match["resolution"]).code == 0
        fewer = sorted(Path("large").iterdir())[: int(match["views"])]
        assert run("predict", *fewer, *arguments, "--resolution", 420).code == 0

    def test_more_memory_than_there_is_for_single_pictures(self, refuse, run, models):
        picture("large.png", 280, 420)
        limit = ("--memory-limit", 0.02, "--separate")
        line = refuse("large.png", *limit, resolution=420)
        match = re.fullmatch(r"1 view of 420×280 pixels .* are available; try --resolution (\d+)", line)
        assert match, line
        arguments = ("-o", "out", "-f", "npz", "-m", models / "anyview.safetensors", *limit)
        assert run("predict", "large.png", *arguments, "--resolution", match[1]).code == 0

    def test_a_device_that_runs_out_of_memory_all_the_same(self, refuse, monkeypatch):
        def exhausted(*_arguments: object, **_options: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nMore lines")

        monkeypatch.setattr("anyview.model.network.Network.forward", exhausted)
        line = refuse(photos())
        assert line.startswith("3 views of 56×42 pixels with anyview did not fit into the memory of cpu, ")


class TestOutputs:
    def test_files_in_the_way(self, refuse):
        photos()
        Path("file").write_text("here first")
        assert refuse("photos", output="file") == "cannot write into file: file is a file, not a folder"
        assert re.match(
            "cannot write into file/below: .*file is a file, not a folder$", refuse("photos", output="file/below")
        )
        Path("link").symlink_to("nowhere")
        assert refuse("photos", output="link") == "cannot write into link: link is a file, not a folder"

    @pytest.mark.skipif(not Path("/proc/self").exists(), reason="root may write anywhere but to such file systems")
    def test_where_no_files_can_be_made(self, refuse, run, models):
        photos()
        message = "/proc takes no files (No such file or directory)"
        assert refuse("photos", output="/proc/out") == f"cannot write into /proc/out: {message}"
        for target in ("/proc/out", "/proc/out.safetensors"):
            assert refused(run, "convert", models / "anyview.safetensors", target).endswith(message)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write into any folder")
    def test_folders_without_permission(self, refuse):
        photos()
        Path("locked").mkdir(mode=0o500)
        assert refuse("photos", output="locked/out").endswith("takes no files (Permission denied)")

    # A filled network's views share no points, and what is left of a COLMAP model fits anywhere.
    @pytest.mark.parametrize("name", sorted(set(WRITABLE) - {"features", "colmap"}))
    def test_a_full_disk(self, refuse, name):
        photos()
        with file_size_limit(40):
            line = refuse("photos", "-f", name, "--pixel-gaussians")
        assert re.fullmatch(rf"{name} could not be written: (File too large|.*): out", line), line

    def test_a_full_disk_leaves_what_was_there(self, run, models):
        photos()
        arguments = ("predict", "photos", "-o", "out", "-m", models / "anyview.safetensors", "-f", "npz,depth_png")
        assert run(*arguments, "--resolution", 56).code == 0
        with file_size_limit(400):
            assert "npz could not be written" in refused(run, *arguments, "--resolution", 42)

    @pytest.mark.parametrize(
        ("source", "formats"), [("out/depth_vis", "depth_vis"), ("out/transforms", "glb,transforms")]
    )
    def test_inputs_that_an_export_would_replace(self, run, refuse, models, source, formats):
        photos()
        arguments = ("-m", models / "anyview.safetensors", "--resolution", 56)
        assert run("predict", "photos", "-o", "out", "-f", formats, *arguments).code == 0
        message = f"{source} would be replaced by what is written into out; give another output folder"
        assert refuse(source, "-f", formats) == message
        assert refuse(Path("photos/..") / source, "-f", formats).startswith(f"photos/../{source} would be replaced")
        assert refused(run, "demo", source, "-o", "out") == message if "depth_vis" in source else True

    def test_a_video_that_an_export_would_replace(self, refuse):
        Path("out").mkdir()
        clip("out/depth_video.mp4")
        assert "would be replaced" in refuse("out/depth_video.mp4", "-f", "depth_video")


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let writing fail beyond a file size, with an OSError as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestModels:
    @pytest.fixture
    def refuse_model(self, run) -> Callable[[object], str]:
        photos()
        return lambda name: refused(run, "predict", "photos", "-o", "out", "-m", name, "--resolution", 56, "--offline")

    def test_unknown_names(self, refuse_model):
        line = refuse_model("da3-bsae")
        assert line == "unknown model 'da3-bsae'; did you mean 'da3-base' or 'da3-small' or 'da3-large'?"
        assert refuse_model("resnet").startswith("unknown model 'resnet'; known: da3-nano, da3-small, ")
        assert refuse_model("./da3.safetensors") == "no such model folder or file: ./da3.safetensors"

    def test_what_is_not_on_this_machine(self, refuse_model):
        line = refuse_model("nobody/NOTHING")
        assert line.startswith("cannot get config.json of nobody/NOTHING (")
        assert "`hf download nobody/NOTHING config.json model.safetensors --local-dir FOLDER`" in line

    def test_the_checkpoint_of_another_network(self, refuse_model, models, here):
        (here / "other").mkdir()
        (here / "other" / "config.json").write_text('{"model_name": "da3-base"}')
        (here / "other" / "model.safetensors").symlink_to(models / "da3-small" / "model.safetensors")
        line = refuse_model("other")
        assert line.startswith(
            "other/model.safetensors does not hold the weights of this network: model.backbone.pretrained.cls_token "
            "has shape [1, 1, 384] instead of [1, 1, 768], "
        )
        line = refuse_model(models / "da3-small" / "model.safetensors")
        assert line.endswith("a published model.safetensors is loaded by the folder that also holds its config.json")

    @pytest.mark.parametrize("name", ["model.safetensors", "model.pth", "model.bin"])
    @pytest.mark.parametrize("zipped", [True, False])
    def test_pickles(self, refuse_model, name, zipped):
        torch.save({"weight": torch.zeros(3)}, name, _use_new_zipfile_serialization=zipped)
        assert refuse_model(name).endswith(
            f"; {name} is a pickle, which can run any code when opened: only safetensors files are read"
        )

    def test_broken_files(self, refuse_model, models):
        data = (models / "anyview.safetensors").read_bytes()
        for broken in (data[: len(data) // 2], b"", b"nonsense" * 100):
            Path("broken.safetensors").write_bytes(broken)
            assert refuse_model("broken.safetensors").startswith(
                "broken.safetensors is not a readable safetensors file"
            )

    @pytest.mark.parametrize("text", ["{}", "[]", "nonsense", '{"config": "{}", "name": "x"}', '{"name": "x"}'])
    def test_a_file_that_describes_no_network(self, refuse_model, text):
        save_file({"weight": torch.zeros(3)}, "odd.safetensors", {METADATA_KEY: text})
        assert refuse_model("odd.safetensors").startswith("odd.safetensors: the metadata describe no network (")

    def test_a_file_of_somebody_else(self, refuse_model):
        save_file({"weight": torch.zeros(3)}, "odd.safetensors", {"format": "pt"})
        assert refuse_model("odd.safetensors").startswith("odd.safetensors does not say which network it holds (no ")

    def test_the_list_names_every_preset(self, run):
        ran = run("models")
        assert (ran.code, ran.errors) == (0, [])
        header, *rows = ran.output.splitlines()
        assert re.split(r"  +", header) == ["model", "parameters", "licence", "here", "what it does"]
        assert [row.split()[0] for row in rows] == list(PRESETS)
        for row, preset in zip(rows, PRESETS.values(), strict=True):
            _, parameters, licence, here, summary = re.split(r"  +", row)
            assert parameters == f"{preset.parameters / 1e6:,.1f} M"
            assert licence == preset.licence
            assert here in ("yes", "no")
            assert summary == preset.summary

    def test_the_list_sees_what_is_bundled(self, run, monkeypatch, here):
        shutil.copy(picture("weights/x.png"), "weights/da3-nano.safetensors")
        monkeypatch.setattr("anyview.model.checkpoint.BUNDLED", here / "weights")
        rows = run("models").output.splitlines()
        assert "  yes   " in next(row for row in rows if row.startswith("da3-nano"))


class TestConvert:
    def test_there_and_back(self, run, models):
        source = models / "da3-small"
        assert run("convert", source, "ours.safetensors").output == "wrote da3-small to ours.safetensors\n"
        assert run("convert", "ours.safetensors", "back").output == "wrote da3-small to back\n"
        photos()
        for model in (source, "ours.safetensors", "back"):
            arguments = ("-m", model, "--resolution", 56, "-f", "npz", "-o", Path("out") / Path(model).name)
            assert run("predict", "photos", *arguments).code == 0
        first, *others = [tree(folder) for folder in Path("out").iterdir()]
        assert all(other == first for other in others)

    def test_half_precision_is_half_the_size_and_nearly_the_same(self, run, models, assert_close):
        photos()
        source = models / "anyview.safetensors"
        assert run("convert", source, "half.safetensors", "--dtype", "float16").code == 0
        assert Path("half.safetensors").stat().st_size < 0.55 * source.stat().st_size
        for model, output in ((source, "full"), ("half.safetensors", "half")):
            assert run("predict", "photos", "-m", model, "-o", output, "-f", "npz", "--resolution", 56).code == 0
        full, half = results("full")["depth"], results("half")["depth"]
        assert_close(half, full, 1e-2, reason="the parameters have 11 significant bits")
        assert not np.array_equal(half, full)

    @pytest.mark.parametrize(
        ("destination", "options", "message"),
        [
            (
                "new",
                ("--dtype", "float16"),
                "published folders hold float32, not float16; a .safetensors file can hold it",
            ),
            ("model.pth", (), "expected a name that ends in .safetensors, or a folder; got model.pth"),
            ("file", (), "cannot write into file: file is a file, not a folder"),
            ("file/x.safetensors", (), "cannot write into file: file is a file, not a folder"),
            ("photos", (), "photos holds other files (0.png, 1.png, 2.png); give a new folder"),
        ],
    )
    def test_destinations(self, run, models, destination, options, message):
        photos()
        Path("file").write_text("here first")
        assert refused(run, "convert", models / "da3-small", destination, *options) == message

    def test_the_source_is_no_destination(self, run, models, here):
        (here / "own").symlink_to(models / "da3-small")
        assert refused(run, "convert", models / "da3-small", "own") == "own is the source"

    def test_a_network_that_is_no_preset_has_no_published_folder(self, run, models):
        assert refused(run, "convert", models / "anyview.safetensors", "new").startswith("unknown model 'anyview'; ")

    def test_a_full_disk(self, run, models):
        for destination in ("deep/down/x.safetensors", "deep/down"):
            with file_size_limit(4000):
                line = refused(run, "convert", models / "da3-small", destination)
            assert re.match(r".*\.safetensors could not be written: .*File too large", line)


class TestDemo:
    def test_the_first_line_says_that_weights_are_random(self, run, monkeypatch):
        monkeypatch.setattr(demo, "is_local", lambda name: False)
        picture("mine.png")
        ran = run("demo", "mine.png", "-o", "out")
        assert ran.code == 0
        first, second, *_ = ran.output.splitlines()
        assert first.startswith("NOTE: no trained da3-nano comes with this version: its weights are random")
        assert second.startswith("1 view of 112×84 pixels with da3-nano (random weights)")
        assert sorted(path.name for path in Path("out").iterdir()) == [
            *("depth_vis", "points.ply", "report.png", "results.npz", "scene.glb", "transforms")
        ]
        with Image.open("out/report.png") as report:
            assert report.width > 1000

    def test_a_file_in_the_way(self, run):
        Path("file").write_text("here first")
        assert refused(run, "demo", "-o", "file") == "cannot write into file: file is a file, not a folder"


class TestInterruption:
    def test_nothing_half_written_is_left(self, run, models, monkeypatch):
        """Ctrl-C while the second of three pictures of a format is written."""
        photos()
        save_picture, calls = Image.Image.save, []

        def interrupted(*arguments: object, **options: object) -> None:
            calls.append(arguments)
            if len(calls) == 2:
                raise KeyboardInterrupt
            save_picture(*arguments, **options)

        monkeypatch.setattr(Image.Image, "save", interrupted)
        arguments = ("-m", models / "anyview.safetensors", "--resolution", 56, "-f", "npz,depth_png")
        ran = run("predict", "photos", "-o", "out", *arguments)
        assert (ran.code, ran.errors) == (130, ["anyview: interrupted"])
        assert len(calls) == 2
        assert [path.name for path in Path("out").iterdir()] == ["results.npz"]

    def test_before_anything_is_written(self, run, models, monkeypatch):
        def interrupted(*_arguments: object, **_options: object) -> None:
            raise KeyboardInterrupt

        photos()
        monkeypatch.setattr(anyview.exporters, "export", interrupted)
        before = tree(Path.cwd())
        assert (
            run("predict", "photos", "-o", "out", "-m", models / "anyview.safetensors", "--resolution", 56).code == 130
        )
        assert tree(Path.cwd()) == before


def in_process(*arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", "import sys; from anyview.cli import main; sys.exit(main())", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, env={**os.environ, **environment})


class TestProcess:
    """What only a process of its own shows."""

    def test_a_refusal(self, here):
        done = in_process("predict", "nowhere", "-o", "out")
        assert done.returncode == 2
        assert done.stdout == b""
        assert done.stderr == b"anyview: no such path: nowhere\n"
        assert list(here.iterdir()) == []

    def test_a_terminal_that_knows_only_ascii(self, here, models):
        picture("a.png")
        model = models / "anyview.safetensors"
        done = in_process(
            *("predict", "a.png", "-o", "out", "-m", model, "--resolution", 56, "-f", "npz"), PYTHONIOENCODING="ascii"
        )
        assert done.returncode == 0, done.stderr
        assert rb"1 view of 56\xd742 pixels with anyview" in done.stdout

    @pytest.mark.parametrize("arguments", [("--help",), ("predict", "--help")])
    def test_help_loads_no_torch(self, arguments):
        script = (
            "import atexit, sys; from anyview.cli import main\n"
            "atexit.register(lambda: print(*sys.modules, file=sys.stderr)); sys.exit(main())"
        )
        done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
        assert "usage: anyview" in done.stdout
        assert {"torch", "numpy", "PIL"} & set(done.stderr.split()) == set()


class TestSynth:
    def test_a_preview_shows_pictures_depth_and_normals(self, run, here):
        ran = run("synth", "preview", "-o", "sheet.png", "--count", 2, "--views", 2, "--height", 24, "--width", 32)
        assert ran.code == 0
        assert "2 scenes" in ran.output
        with Image.open("sheet.png") as sheet:
            assert sheet.size == (64, 2 * 3 * 24)
            assert len(np.unique(np.asarray(sheet).reshape(-1, 3), axis=0)) > 100

    def test_scenes_are_rendered_to_train_on(self, run, here):
        size = ("--views", 2, "--height", 28, "--width", 28, "--no-shadows", "--kinds", "still_life")
        assert "in multiples of 16, got 4" in refused(run, "synth", "render", "-o", "scenes", "--count", 4, *size)
        assert not Path("scenes").exists()
        ran = run("synth", "render", "-o", "scenes", "--count", 16, *size)
        assert ran.code == 0
        assert "scenes holds scenes 0 to 15 of the train split" in ran.output
        ran = run("train", "tiny", "steps=1", "log_every=1", "-o", "run", "--data", "rendered:scenes")
        assert ran.code == 0
        assert Path("run/model.safetensors").exists()
        gaussians = ("train", "gaussians", "-o", "other", "--data", "rendered:scenes")
        message = "views of changed colours do not show one scene: expected scenes rendered with --no-augment"
        assert message in refused(run, *gaussians)
        for block in Path("scenes").iterdir():
            (block / "options.json").unlink()  # as older blocks are
        assert "training: no scene has 6 frames; the most that one has is 2" in refused(run, *gaussians)
        assert not Path("other").exists()

    def test_what_cannot_be_shown(self, run, here):
        assert "expected the name of a PNG file" in refused(run, "synth", "preview", "-o", "sheet.jpg")
        assert "at least 1; got 0" in refused(run, "synth", "preview", "-o", "sheet.png", "--count", 0)
