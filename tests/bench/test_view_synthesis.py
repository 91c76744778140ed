"""View synthesis: which views are shown and rendered, and how renderings score."""

import json
import math
import sys
from dataclasses import replace
from types import SimpleNamespace

import fake_sets
import numpy as np
import pytest
import torch
from PIL import Image

from anyview.bench.baselines import nearest_views
from anyview.bench.datasets.catalog import open_benchmark
from anyview.bench.datasets.scene import BenchFrame, BenchScene
from anyview.bench.datasets.view_synthesis import MEGADEPTH_SCENES, TANKS_SCENES
from anyview.bench.options import BenchOptions
from anyview.bench.predicting import question_of
from anyview.bench.results import Outcome, RunFolder
from anyview.bench.rivals.catalog import open_rival
from anyview.bench.rivals.nearest import NearestView
from anyview.bench.rivals.rendering import render_targets
from anyview.bench.rivals.rival import Answer, Question
from anyview.bench.runner import find_work, run
from anyview.bench.synthesis import lost_area, split_views
from anyview.bench.tables import Run, comparison
from anyview.images.colmap import find_models, list_colmap, read_colmap
from anyview.images.transforms import list_transforms, read_transforms
from anyview.model.checkpoint import save
from anyview.render.lpips import WEIGHTS
from anyview.render.psnr import psnr
from anyview.types import Cameras, Picture, Placement, Prediction
from box_room import render_room, room_cameras
from filled import filled


class Truth:
    """Renders the true pictures, a known step too bright."""

    name, tasks = "truth", ("view_syn",)

    def __init__(self, work, brighter: int = 0) -> None:
        self.identity = {"model": f"truth {brighter}"}
        self.scenes = {
            item.scene.frames[0].read_picture().tobytes(): [
                item.scene.frames[target].read_picture() for target in item.scene.targets
            ]
            for item in work
        }
        self.brighter, self.asked = brighter, 0

    def answer(self, question: Question) -> Answer:
        self.asked += 1
        rendered = np.stack(self.scenes[question.pictures[0].pixels.tobytes()])
        return Answer(rendered=(rendered.astype(int) + self.brighter).clip(0, 255).astype(np.uint8))


class Rounded(Truth):
    """Every colour is one step off: an error of exactly 1 / 255."""

    def answer(self, question: Question) -> Answer:
        rendered = super().answer(question).rendered
        return Answer(rendered=np.where(rendered < 255, rendered + 1, 254).astype(np.uint8))


def opened(name: str):
    return open_rival(name, device="cpu", dtype="float32", resolution=56, offline=True)


def flat_scene(sizes: list[tuple[int, int]], **changes) -> BenchScene:
    """Plain pictures of these (height, width), cameras in a row."""

    def frame(index: int, height: int, width: int) -> BenchFrame:
        pose = np.eye(4, dtype=np.float32)
        pose[0, 3] = -index
        return BenchFrame(
            name=f"{index:02d}.png",
            read_picture=lambda: np.full((height, width, 3), index, np.uint8),
            read_size=lambda: (height, width),
            world_to_camera=pose,
            intrinsics=fake_sets.pinhole(100, width / 2 + 10, height / 2).astype(np.float32),
        )

    frames = tuple(frame(index, *size) for index, size in enumerate(sizes))
    return BenchScene(dataset="own", name="row", frames=frames, **{"pixel_origin": "corner", **changes})


def test_every_eighth_view_by_name_is_rendered_from_views_far_apart():
    scene = flat_scene([(48, 64)] * 20)
    scene = replace(scene, frames=scene.frames[::-1])
    split = split_views(scene, 3)
    assert [frame.name for frame in split.frames] == ["10.png", "01.png", "19.png", "00.png", "08.png", "16.png"]
    assert split.targets == (3, 4, 5)
    question = question_of(split, "context", "sane")
    assert [picture.name for picture in question.pictures] == ["10.png", "01.png", "19.png"]
    assert question.cameras.world_to_camera[:, 0, 3].tolist() == [-10, -1, -19]
    assert question.targets.world_to_camera[:, 0, 3].tolist() == [0, -8, -16]
    assert len(split_views(scene, 99).frames) == 20
    assert not question.black_holes
    assert question_of(split, "context", "compat").black_holes


def test_what_no_gaussian_shows_is_filled_from_beside_or_black():
    """A grey wall that ends in the middle of the target's picture."""
    camera = Cameras(torch.eye(4)[None], torch.tensor([[[40.0, 0, 16], [0, 40, 12], [0, 0, 1]]]))
    moved = camera.world_to_camera.clone()
    moved[:, 0, 3] = -0.8  # at depth 2 by 16 pixels
    pixels = torch.full((1, 24, 32, 3), 128, dtype=torch.uint8)
    prediction = Prediction(
        images=pixels,
        depth=torch.full((1, 24, 32), 2.0),
        units="caller",
        model="wall",
        names=("a",),
        placements=(Placement(24, 32),),
        cameras=camera,
    )
    question = Question(
        pictures=(Picture(pixels[0].numpy(), "a"),), cameras=camera, targets=Cameras(moved, camera.intrinsics)
    )
    filled, black = (
        render_targets(prediction, replace(question, black_holes=black_holes), 0, torch.device("cpu"))[0]
        for black_holes in (False, True)
    )
    assert abs(filled.astype(int) - 128).max() <= 2
    assert abs(black[2:-2, 2:14].astype(int) - 128).max() <= 2
    assert black[:, 20:].max() == 0


def test_pictures_are_scaled_until_they_cover_and_cut_in_the_middle():
    """540 × 1280 at half size is 270 × 640: 80 columns go on either side. 600 × 960 loses 15 rows above and below."""
    split = split_views(flat_scene([(540, 1280), (600, 960), (540, 960)], cut_to=(270, 480)), 12)
    assert {frame.read_picture().shape for frame in split.frames} == {(270, 480, 3)}
    matrices = {frame.name: frame.intrinsics.tolist() for frame in split.frames}
    assert matrices["00.png"] == [[50, 0, 325 - 80], [0, 50, 135], [0, 0, 1]]
    assert matrices["01.png"] == [[50, 0, 245], [0, 50, 150 - 15], [0, 0, 1]]
    centred = split_views(flat_scene([(540, 960)] * 2, cut_to=(270, 480), pixel_origin="centre"), 12)
    assert centred.frames[0].intrinsics[0, 2] == 245.25  # half a pixel further before it is halved


def test_what_is_cut_is_what_the_camera_sees():
    """A spot of a picture lies where the cut picture's camera projects its ray."""
    pixels = np.zeros((300, 400, 3), np.uint8)
    pixels[120:140, 250:270] = 255
    scene = flat_scene([(300, 400)] * 2, cut_to=(90, 160))
    frames = tuple(replace(frame, read_picture=lambda: pixels) for frame in scene.frames)
    frame = split_views(replace(scene, frames=frames), 1).frames[0]
    rows, columns = frame.read_picture()[..., 0].nonzero()
    focal, center_x, center_y = frame.intrinsics[0, 0], frame.intrinsics[0, 2], frame.intrinsics[1, 2]
    ray = (260 - 210) / 100, (130 - 150) / 100
    assert columns.mean() + 0.5 == pytest.approx(focal * ray[0] + center_x, abs=0.3)
    assert rows.mean() + 0.5 == pytest.approx(focal * ray[1] + center_y, abs=0.3)


def test_pictures_of_another_aspect_are_left_out_and_counted():
    assert lost_area((270, 480), (270, 480)) == 0
    assert lost_area((100, 100), (100, 200)) == 0.5
    split = split_views(flat_scene([(48, 64), (64, 48), (48, 64), (480, 640)]), 12)
    assert [frame.name for frame in split.frames] == ["02.png", "03.png", "00.png"]
    assert split.notes == ("1 of 4 pictures of another aspect left out",)
    assert split.frames[1].read_picture().shape == (48, 64, 3)  # the size that most have


def test_large_pictures_of_no_prescribed_size_are_reduced():
    assert split_views(flat_scene([(1536, 1024)] * 2), 1).frames[0].read_picture().shape == (480, 320, 3)


def test_one_picture_is_refused():
    with pytest.raises(ValueError, match="own row: expected pictures to show and pictures to render, got 1 of 1 that"):
        split_views(flat_scene([(48, 64)]), 12)


def test_listed_views_are_those_that_are_read(tmp_path):
    """COLMAP and transforms.json, with and without a lens: the same cameras and pixels, but read when asked for."""
    pytest.importorskip("pycolmap")
    fake_sets.write_views(tmp_path, "plain", [(54, 96)] * 3)
    fake_sets.write_views(tmp_path, "lens", [(54, 96)] * 3)
    cameras = tmp_path / "lens" / "sparse" / "0" / "cameras.txt"
    cameras.write_text("".join(f"{i} OPENCV 192 108 160 160 97 54 -0.05 0.01 0 0\n" for i in (1, 2, 3)))
    for name in ("plain", "lens"):
        folder = tmp_path / name
        check_listed(list_colmap(find_models(folder)[0], [folder / "images"]), read_colmap(folder))
    fake_sets.write_transforms(tmp_path, "nerf", count=3)
    check_listed(list_transforms(tmp_path / "nerf"), read_transforms(tmp_path / "nerf"))
    file = tmp_path / "nerf" / "transforms.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "k1": -0.05, "k2": 0.01, "w": 192, "h": 108}))
    check_listed(list_transforms(file), read_transforms(file))


def check_listed(listed, scene) -> None:
    assert [view.name for view in listed] == [picture.name for picture in scene.pictures]
    for index, view in enumerate(listed):
        pixels = view.read()
        assert view.size == pixels.shape[:2]
        assert np.array_equal(pixels, scene.pictures[index].pixels)
        assert torch.equal(view.world_to_camera, scene.cameras.world_to_camera[index])
        assert np.allclose(view.intrinsics, scene.cameras.intrinsics[index], atol=1e-4)


@pytest.mark.parametrize(
    ("dataset", "scene", "folder"),
    [
        ("dl3dv", "0a1b", "colmap/sparse/0"),
        ("tanks_and_temples", "Barn", "sparse/0"),
        ("megadepth", "5001", "sparse/manhattan/0"),
        ("colmap", "mine", "sparse"),
    ],
)
def test_every_layout_scores_perfect_renderings_perfectly(dataset, scene, folder, tmp_path):
    pytest.importorskip("pycolmap")
    fake_sets.write_views(tmp_path / "data", scene, [(54, 96)] * 9, folder)
    work = find_work([f"{dataset}:{tmp_path / 'data'}"], "view_syn", BenchOptions())
    size = (54, 96) if dataset == "colmap" else (270, 480)
    assert work[0].scene.frames[0].read_picture().shape == (*size, 3)
    (perfect,) = run(work, Truth(work), BenchOptions(), RunFolder(tmp_path / "run"))
    assert (perfect.dataset, perfect.scene, perfect.frames) == (dataset, scene, 9)
    assert perfect.metrics["psnr"] == math.inf
    assert perfect.metrics["ssim"] == pytest.approx(1)
    (off,) = run(work, Rounded(work), BenchOptions(), RunFolder(tmp_path / "off"))
    assert off.metrics["psnr"] == pytest.approx(20 * math.log10(255), abs=1e-4)


def test_a_project_may_be_given_itself(tmp_path):
    fake_sets.write_transforms(tmp_path, "mine", count=9)
    reader = open_benchmark(f"colmap:{tmp_path / 'mine'}", "view_syn", "sane")["colmap"]
    assert reader.scenes() == ("mine",)
    assert reader.load("mine").cut_to is None


@pytest.mark.parametrize(("name", "scenes"), [("tanks_and_temples", TANKS_SCENES), ("megadepth", MEGADEPTH_SCENES)])
def test_only_published_scenes_count(name, scenes, tmp_path):
    fake_sets.write_transforms(tmp_path, "Courthouse")
    with pytest.raises(ValueError, match=f"holds none of the scenes of {name}; expected SCENE/ with a COLMAP model"):
        open_benchmark(f"{name}:{tmp_path}", "view_syn", "sane")[name].scenes()
    fake_sets.write_transforms(tmp_path, scenes[-1], count=2)
    assert open_benchmark(f"{name}:{tmp_path}", "view_syn", "sane")[name].scenes() == (scenes[-1],)


def test_scenes_with_cameras_can_be_rendered(tmp_path):
    """Ours and a user's own: the same rules, at the size of the pictures."""
    fake_sets.write_scene_json(tmp_path / "data")
    work = find_work([f"scene_json:{tmp_path / 'data'}", "synth:test/1/2/56"], "view_syn", BenchOptions())
    assert [(item.scene.dataset, len(item.scene.targets), len(item.scene)) for item in work] == [
        ("scene_json", 1, 4),
        ("synth", 1, 2),
    ]
    assert work[1].scene.frames[0].read_picture().shape == (56, 56, 3)


def test_renderings_lie_on_disk_with_their_split(tmp_path):
    fake_sets.write_scene_json(tmp_path / "data")
    work = find_work([f"scene_json:{tmp_path / 'data'}"], "view_syn", BenchOptions(context_views=2))
    folder, model = RunFolder(tmp_path / "run"), Truth(work)
    run(work, model, BenchOptions(), folder)
    run(work, model, BenchOptions(), folder)
    assert model.asked == 1
    split = json.loads((tmp_path / "run/model_results/scene_json/room/context/split.json").read_text())
    assert split["version"] == 1
    assert split["targets"] == ["images/0.png"]
    assert len(split["context"]) == 2
    stored = folder.read_answer(work[0].scene, "context")
    assert np.array_equal(stored.rendered[0], work[0].scene.frames[2].read_picture())
    with Image.open(folder.preview("scene_json", "room", "context")) as shown:
        left, right = (np.asarray(shown)[:, half].astype(int) for half in (slice(0, 213), slice(213, 426)))
    assert np.abs(left - right).mean() < 3  # the picture beside what was rendered in its place


def test_other_renderings_than_asked_for_are_a_failure(tmp_path):
    fake_sets.write_scene_json(tmp_path / "data")
    work = find_work([f"scene_json:{tmp_path / 'data'}"], "view_syn", BenchOptions())

    class Small(Truth):
        def answer(self, question: Question) -> Answer:
            return Answer(rendered=super().answer(question).rendered[:, 1:])

    (outcome,) = run(work, Small(work), BenchOptions(), RunFolder(tmp_path / "run"))
    assert outcome.reason == ("expected rendered pictures of the shape (1, 48, 64, 3), the model gave (1, 47, 64, 3)")


def room_question(
    shown: list[int], hidden: list[int], height: int = 72, width: int = 96
) -> tuple[Question, Prediction, torch.Tensor]:
    """A papered room with its true depth as the prediction, and the pictures that were held back."""
    from anyview.types import Picture

    cameras = room_cameras(5, height, width)
    images, depth = render_room(cameras, height, width)
    question = Question(
        pictures=tuple(Picture(images[index].numpy(), f"{index}") for index in shown),
        cameras=cameras[shown],
        targets=cameras[hidden],
    )
    prediction = Prediction(
        images=images[shown],
        depth=depth[shown],
        units="caller",
        model="truth",
        names=tuple(map(str, shown)),
        placements=(),
        cameras=cameras[shown],
    )
    return question, prediction, images[hidden]


def decibels(rendered: np.ndarray, truth: torch.Tensor) -> float:
    pair = [torch.as_tensor(values[0]).permute(2, 0, 1) / 255 for values in (rendered, truth)]
    return psnr(*pair)


def test_gaussians_of_true_depth_beat_the_nearest_view():
    question, prediction, truth = room_question([0, 1, 3, 4], [2])
    rendered = render_targets(prediction, question, 0, torch.device("cpu"))
    copied = nearest_views(prediction.images, question.cameras, question.targets).numpy()
    assert decibels(rendered, truth) > decibels(copied, truth) + 5


def test_refined_gaussians_come_closer():
    """A prediction that is too dark is made brighter."""
    question, prediction, truth = room_question([1, 3], [2], 36, 48)
    dark = replace(prediction, images=prediction.images // 2)
    plain, refined = (render_targets(dark, question, steps, torch.device("cpu")) for steps in (0, 4))
    assert decibels(refined, truth) > decibels(plain, truth) + 0.2


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name in ("anyview", "gaussian", "mono"):
        save(filled(name), folder / f"{name}.safetensors", name=name)
    return folder


def test_models_render_views_with_and_without_a_gaussian_head(models, tmp_path):
    fake_sets.write_scene_json(tmp_path / "data")
    (item,) = find_work([f"scene_json:{tmp_path / 'data'}"], "view_syn", BenchOptions())
    question = question_of(item.scene, "context", "sane")
    for name, gaussians in (("anyview", "of depth and colour"), ("gaussian", "predicted")):
        rival = opened(str(models / f"{name}.safetensors"))
        assert rival.identity["gaussians"] == gaussians
        assert rival.answer(question).rendered.shape == (1, 48, 64, 3)
    warped = opened(f"warp:{models / 'anyview.safetensors'}")
    assert warped.name == "anyview, warped"
    assert warped.answer(question).rendered.shape == (1, 48, 64, 3)


def test_rivals_that_cannot_render_are_refused(models):
    with pytest.raises(ValueError, match="expected warp:MODEL"):
        opened("warp")
    with pytest.raises(ValueError, match="mono sees single pictures only; warp needs depth that views share"):
        opened(f"warp:{models / 'mono.safetensors'}")
    with pytest.raises(ValueError, match="nearest-view has no Gaussians to refine"):
        open_rival("nearest-view", device="cpu", dtype="auto", resolution=None, offline=True, refine_steps=3)
    refined = open_rival(
        str(models / "anyview.safetensors"),
        device="cpu",
        dtype="auto",
        resolution=56,
        offline=True,
        refine_steps=3,
    )
    assert refined.name == "anyview, 3 steps"


def test_lpips_is_a_column_where_it_can_be_computed(tmp_path, monkeypatch):
    fake_sets.write_scene_json(tmp_path / "data")
    work = find_work([f"scene_json:{tmp_path / 'data'}"], "view_syn", BenchOptions())
    monkeypatch.setitem(sys.modules, "lpips", None)
    (without,) = run(work, NearestView(), BenchOptions(), RunFolder(tmp_path / "without"))
    assert set(without.metrics) == {"psnr", "ssim"}
    assert without.notes == (
        "LPIPS needs the packages lpips and torchvision, built for this torch: pip install lpips torchvision",
    )

    class Distance(torch.nn.Module):
        def __init__(self, net: str, verbose: bool) -> None:
            super().__init__()

        def forward(self, first: torch.Tensor, second: torch.Tensor, normalize: bool) -> torch.Tensor:
            return (first - second).abs().mean()

    monkeypatch.setitem(sys.modules, "lpips", SimpleNamespace(LPIPS=Distance))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / WEIGHTS).touch()
    (one,) = run(work, Truth(work, brighter=0), BenchOptions(), RunFolder(tmp_path / "with"))
    assert one.metrics["lpips"] == 0
    assert one.notes == ()
    tables = [comparison([Run("a", "sane", (outcome,))])[0] for outcome in (without, one)]
    assert [[row[1].text for row in table.rows] for table in tables] == [["psnr", "ssim"], ["psnr", "ssim", "lpips"]]


def test_published_rows_stand_beside_ours():
    ours = Outcome(dataset="dl3dv", scene="a", task="view_syn", metrics={"psnr": 30.0, "ssim": 0.9, "lpips": 0.2})
    (table,) = comparison([Run("ours", "sane", (ours,))], published=True)
    rows = {(row[0].text, row[1].text): row[3] for row in table.rows}
    assert rows["DA3 [arXiv v1, Table 5]", "psnr"].value == 21.33
    assert rows["pixelSplat [arXiv v1, Table 5]", "lpips"].value == 0.48
    assert rows["ours", "lpips"].best  # lower is better


def test_cameras_of_the_nearest_view_count_turns_too():
    cameras = Cameras.from_arrays(np.stack(fake_sets.ring(3, 1.0)), np.tile(fake_sets.pinhole(60, 32, 24), (3, 1, 1)))
    question = room_question([0], [1])[0]
    pictures = tuple(replace(question.pictures[0], pixels=np.full((4, 4, 3), i, np.uint8)) for i in range(3))
    said = NearestView().answer(Question(pictures=pictures, cameras=cameras, targets=cameras[[2, 0]]))
    assert said.rendered[:, 0, 0, 0].tolist() == [2, 0]
