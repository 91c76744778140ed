"""A whole server: pictures in, results out."""

import io
import json
import urllib.request
import zipfile

import numpy as np
import pytest
import trimesh
from PIL import Image
from serving import QUICK, Running, picture

from anyview.exporters import FORMATS
from anyview.exporters.depth_png import read_depth_png
from anyview.exporters.npz import read_npz
from anyview.serve.client import ServerError
from anyview.serve.examples import EXAMPLES
from anyview.serve.requests import JobOptions, options_defaults
from anyview.serve.view import POINT


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / f"photo {index}.png" for index in range(2)]
    for index, path in enumerate(paths):
        path.write_bytes(picture(index))
    return paths


@pytest.fixture(scope="module")
def done(live: Running, photos):
    """A job that has ended well, and what was said of it on the way."""
    options = {"predict": {"resolution": 56}, "formats": ["glb", "npz", "depth_png"], "export": {"max_points": 500}}
    job = live.client.submit(photos, options)
    told = []
    ended = live.client.wait(job["id"], progress=told.append)
    assert ended["state"] == "done", ended
    return ended, told


def test_a_job_is_queued_then_runs_through_its_stages(done):
    ended, told = done
    assert told[0]["state"] in ("queued", "running")
    fractions = [job["progress"] for job in told]
    assert fractions == sorted(fractions)
    stages = list(dict.fromkeys(job["stage"] for job in told if job["state"] == "running"))
    assert [stage for stage in ("predicting", "exporting") if stage in stages]
    assert ended["progress"] == 1.0
    assert ended["views"] == 2
    assert ended["inputs"] == ["photo_0.png", "photo_1.png"]
    assert ended["created"] <= ended["started"] <= ended["finished"] < ended["expires"]


def test_results_are_those_of_the_exporters(done, live: Running, tmp_path):
    ended, _ = done
    prediction = read_npz(live.client.download(ended["id"], "results.npz", tmp_path / "results.npz"))
    assert prediction.model == "tiny"
    assert prediction.names == ("photo_0.png", "photo_1.png")
    assert np.array_equal(prediction.images[0], np.asarray(Image.open(io.BytesIO(picture(0)))))
    scene = trimesh.load(live.client.download(ended["id"], "scene.glb", tmp_path / "scene.glb"))
    assert len(scene.geometry["points"].vertices) == 500
    depth, _ = read_depth_png(live.client.download(ended["id"], "depth_png/photo_0.png", tmp_path / "depth.png"))
    assert depth.shape == prediction.depth.shape[1:]


def test_the_archive_holds_the_formats_and_nothing_of_the_page(done, live: Running, tmp_path):
    ended, _ = done
    with zipfile.ZipFile(live.client.download_archive(ended["id"], tmp_path / "all.zip")) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == [
            "depth_png/photo_0.png",
            "depth_png/photo_1.png",
            "results.npz",
            "scene.glb",
        ]
        live.client.download(ended["id"], "results.npz", tmp_path / "one.npz")
        assert archive.read("results.npz") == (tmp_path / "one.npz").read_bytes()


def test_sizes_and_types_are_said_before_a_download(done, live: Running, tmp_path):
    ended, _ = done
    for file in ended["files"]:
        path = live.client.download(ended["id"], file["name"], tmp_path / file["name"])
        assert path.stat().st_size == file["size"]
    types = {file["name"].rpartition(".")[2]: file["media_type"] for file in ended["files"]}
    assert types["glb"] == "model/gltf-binary"
    assert types["png"] == "image/png"
    assert types["depth"] == "application/octet-stream"


def test_the_view_of_the_page_fits_the_result(done, live: Running, tmp_path):
    ended, _ = done
    for name in ("results.npz", "view/scene.json", "view/points.bin", "view/001.depth", "thumb.jpg"):
        live.client.download(ended["id"], name, tmp_path / name)
    prediction = read_npz(tmp_path / "results.npz")
    scene = json.loads((tmp_path / "view" / "scene.json").read_text())
    assert [view["name"] for view in scene["views"]] == ["photo_0.png", "photo_1.png"]
    depth = np.fromfile(tmp_path / "view" / "001.depth", "<f4").reshape(
        scene["views"][1]["height"], scene["views"][1]["width"]
    )
    assert np.array_equal(depth, prediction.depth[1].numpy())
    assert len(np.fromfile(tmp_path / "view" / "points.bin", POINT)) == scene["points"]["count"] == 500
    with Image.open(tmp_path / "thumb.jpg") as thumbnail:
        assert thumbnail.format == "JPEG"


def test_parts_of_files_can_be_asked_for(done, live: Running):
    ended, _ = done
    url = f"{live.address}/v1/jobs/{ended['id']}/files/scene.glb"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Range": "bytes=0-3"})) as answer:
        assert answer.status == 206
        assert answer.read() == b"glTF"


def test_one_picture_becomes_depth_in_one_call(live: Running, photos, tmp_path):
    before = [job["id"] for job in live.client.jobs()]
    png = live.client.depth(photos[0], {"predict": {"resolution": 56}})
    (tmp_path / "depth.png").write_bytes(png)
    depth, units = read_depth_png(tmp_path / "depth.png")
    assert depth.shape == (42, 56)
    assert units == "arbitrary"
    (tmp_path / "all.npz").write_bytes(live.client.depth(photos[0], {"predict": {"resolution": 56}}, arrays=True))
    assert read_npz(tmp_path / "all.npz").depth.shape == (1, 42, 56)
    assert [job["id"] for job in live.client.jobs()] == before


def test_the_client_is_told_what_there_is(live: Running):
    options = live.client.options()
    assert options["defaults"] == options_defaults()
    assert options["limits"]["view_points"] == live.service.options.view_points
    assert options["json_schema"]["properties"].keys() == JobOptions.model_fields.keys()
    assert {entry["name"]: entry["description"] for entry in live.client.formats()} == {
        name: entry.description for name, entry in FORMATS.items()
    }
    assert [entry["name"] for entry in live.client.examples()] == list(EXAMPLES)
    assert [model["name"] for model in live.client.models() if model["available"]] == ["tiny"]


def test_known_cameras_are_used(live: Running, photos, tmp_path):
    poses = np.stack([np.eye(4), np.eye(4)])
    poses[1, 0, 3] = -0.5
    intrinsics = [[[50.0, 0, 28], [0, 50, 21], [0, 0, 1]]] * 2
    options = {**QUICK, "world_to_camera": poses.tolist(), "intrinsics": intrinsics}
    job = live.client.wait(live.client.submit(photos, options)["id"])
    prediction = read_npz(live.client.download(job["id"], "results.npz", tmp_path / "known.npz"))
    assert prediction.units == "caller"
    assert np.allclose(prediction.cameras.world_to_camera, poses, atol=1e-6)
    job = live.client.wait(live.client.submit(photos[:1], options)["id"])
    assert job["state"] == "failed"
    assert job["error"] == "expected world_to_camera of 1 pictures, got 2"


def test_a_broken_picture_fails_its_job_and_is_named(live: Running, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(picture(0, 200, 200)[:20_000])
    job = live.client.wait(live.client.submit([broken], QUICK)["id"])
    assert job["state"] == "failed"
    assert job["error"].startswith("broken.png is a broken or truncated picture")
    assert job["files"] == []
    with pytest.raises(ServerError, match="is a broken or truncated picture") as refusal:
        live.client.depth(broken)
    assert refusal.value.status == 422


def test_a_removed_job_is_gone_with_its_files(live: Running, photos):
    id = live.client.wait(live.client.submit(photos, QUICK)["id"])["id"]
    folder = live.service.folders.job(id)
    assert [entry.name for entry in folder.iterdir()] == ["result"]
    live.client.remove(id)
    with pytest.raises(ServerError, match="no such job"):
        live.client.job(id)
    live.service.sweeper.sweep()
    assert folder.exists()  # for who had asked for a file before
    live.service.sweeper.sweep()
    assert not folder.exists()


def test_a_shared_job_can_be_seen_until_it_no_longer_is(done, live: Running):
    id = done[0]["id"]
    link = live.client.share(id)
    with urllib.request.urlopen(link) as answer:
        assert json.load(answer)["id"] == id
    with urllib.request.urlopen(f"{link}/files/scene.glb") as answer:
        assert answer.read(4) == b"glTF"
    with urllib.request.urlopen(f"{link}/archive.zip") as answer:
        assert answer.read(2) == b"PK"
    live.client.unshare(id)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(link)
