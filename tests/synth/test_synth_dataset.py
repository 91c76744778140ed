from dataclasses import replace

import numpy as np
import pytest
import torch
from agreement import reprojection_errors

from anyview.geometry.pose import check_cameras
from anyview.synth import dataset
from anyview.synth.dataset import batch_at, scene_at, scene_seed
from anyview.synth.options import SynthOptions
from anyview.synth.prefetch import prefetch
from anyview.synth.preview import contact_sheet

KINDS = ("room", "street", "landscape", "still_life")
SMALL = SynthOptions(views=2, height=32, width=48)


@pytest.mark.parametrize("kind", KINDS)
def test_depth_normals_cameras_and_masks_agree(kind):
    options = SynthOptions(kinds=(kind,), views=3, height=96, width=96, shadows=False, augment=False)
    for index in range(2):
        scene = scene_at(options, "test", index)
        errors, turns = reprojection_errors(scene)
        assert len(errors) > 2000
        assert errors.median() < 1e-3
        assert (errors < 5e-3).float().mean() > 0.95  # the others lie just behind an edge
        assert turns.median() > 0.999
        check_cameras(scene.cameras, 3)
        reached = scene.depth > 0
        assert scene.depth.isfinite().all()
        assert not (scene.sky & reached).any()
        assert not (scene.objects & ~reached).any()
        assert scene.objects.any()
        torch.testing.assert_close(scene.normals.norm(dim=-1), reached.float())
        assert scene.images.float().std() > 10


@pytest.mark.parametrize("kind", KINDS)
def test_normals_are_those_of_the_depth(kind):
    from anyview.geometry.camera import unproject

    options = SynthOptions(kinds=(kind,), views=1, height=128, width=128, shadows=False, augment=False)
    scene = scene_at(options, "test", 3)
    points = unproject(scene.depth, scene.cameras.intrinsics)
    right, down = points.diff(dim=2)[:, :-1], points.diff(dim=1)[:, :, :-1]
    slope = torch.nn.functional.normalize(torch.linalg.cross(down, right), dim=-1)
    corners = scene.normals.unfold(1, 2, 1).unfold(2, 2, 1).flatten(-2)
    same = (corners - corners[..., :1]).abs().amax((-2, -1)) < 0.01
    smooth = same & (scene.depth[:, :-1, :-1] > 0)
    agreement = (slope * corners[..., 0]).sum(-1)[smooth]
    assert len(agreement) > 1000
    assert (agreement > 0.98).float().mean() > 0.93  # the others are steps between parallel faces


def test_a_scene_is_a_function_of_options_split_and_index():
    first, again = scene_at(SMALL, "train", 5), scene_at(SMALL, "train", 5)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.depth, again.depth)
    assert first.metric
    others = [scene_at(SMALL, "train", 6), scene_at(SMALL, "test", 5), scene_at(replace(SMALL, seed=1), "train", 5)]
    for other in others:
        assert not torch.equal(first.cameras.world_to_camera, other.cameras.world_to_camera)


def test_batches_hold_the_same_scenes():
    batch = batch_at(SMALL, "validation", [4, 0, 7])
    assert batch.images.shape == (3, 2, 32, 48, 3)
    for place, index in enumerate((4, 0, 7)):
        scene = scene_at(SMALL, "validation", index)
        torch.testing.assert_close(
            batch.cameras.world_to_camera[place], scene.cameras.world_to_camera, atol=1e-5, rtol=0
        )
        far_off = (batch.depth[place] - scene.depth).abs() > 1e-3 * scene.depth
        assert far_off.float().mean() < 1e-3
        assert (batch.images[place].int() - scene.images.int()).abs().float().mean() < 0.1


def test_a_scene_without_a_place_for_cameras_is_drawn_again(monkeypatch):
    place, asked = dataset.place_cameras, []

    def reluctant(world, rigs, seeds, **options):
        cameras, placed = place(world, rigs, seeds, **options)
        asked.append(seeds.tolist())
        if len(asked) == 1:
            placed[1] = False
        return cameras, placed

    usual = batch_at(SMALL, "train", [0, 1, 2])
    monkeypatch.setattr(dataset, "place_cameras", reluctant)
    batch = batch_at(SMALL, "train", [0, 1, 2])
    assert [len(seeds) for seeds in asked] == [3, 1]
    assert asked[1][0] not in asked[0]
    same = (batch.cameras.world_to_camera == usual.cameras.world_to_camera).flatten(1).all(1)
    assert same.tolist() == [True, False, True]
    monkeypatch.setattr(dataset, "place_cameras", lambda world, rigs, seeds, **o: (usual.cameras[:1], seeds < 0))
    with pytest.raises(ValueError, match=r"expected cameras with an overlap of at least 0\.3, found none in 5 draws"):
        batch_at(SMALL, "train", [0])


def test_splits_share_no_seed():
    seeds = {
        split: {scene_seed(0, split, index) for index in range(20000)} for split in ("train", "validation", "test")
    }
    assert all(len(group) == 20000 for group in seeds.values())
    low_bits = {split: {seed & 0x7FFFFFFF for seed in group} for split, group in seeds.items()}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not seeds[one] & seeds[other]
        assert len(low_bits[one] & low_bits[other]) < 5  # chance: 0.2


def test_shadows_and_photography_change_only_the_pictures():
    plain = replace(SMALL, kinds=("room",), shadows=False, augment=False)
    base, shaded, taken = (
        scene_at(options, "train", 2) for options in (plain, replace(plain, shadows=True), replace(plain, augment=True))
    )
    for other in (shaded, taken):
        assert torch.equal(base.depth, other.depth)
        assert not torch.equal(base.images, other.images)


def test_things_in_a_void_have_no_sky():
    options = SynthOptions(kinds=("still_life",), views=1, height=32, width=32)
    scenes = [scene_at(options, "train", index) for index in range(10)]
    void = [scene for scene in scenes if (scene.depth == 0).any() and not scene.sky.any()]
    sky = [scene for scene in scenes if scene.sky.any()]
    assert void
    assert sky
    assert all(torch.equal(scene.sky, scene.depth == 0) for scene in sky)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kinds": ("rom",)}, "unknown name 'rom' in kinds: did you mean 'room'"),
        ({"kinds": ()}, "expected at least one of room, street, landscape, still_life as kinds, got none"),
        ({"rigs": ("orbits",)}, "unknown name 'orbits' in rigs: did you mean 'orbit'"),
        ({"kind_weights": (1.0,)}, "expected one weight per entry of kinds"),
        ({"views": 0}, "expected views of at least 1, got 0"),
        ({"least_overlap": 1.0}, "expected least_overlap from 0 to below 1, got 1.0"),
    ],
)
def test_bad_options_are_refused(change, message):
    options = SynthOptions()
    for field, value in change.items():
        object.__setattr__(options, field, value)  # past the type checks that only tests have
    with pytest.raises(ValueError, match=message):
        options.__post_init__()


def test_bad_requests_are_refused():
    with pytest.raises(ValueError, match="expected one index or more, none negative, got \\[-1\\]"):
        batch_at(SMALL, "train", [-1])
    with pytest.raises(ValueError, match="expected at least 1 worker, got 0"):
        prefetch([], 0)


def test_weights_choose_the_kinds():
    only_void_things = SynthOptions(kinds=("room", "still_life"), kind_weights=(0.0, 1.0), views=1, height=16, width=16)
    same = replace(only_void_things, kinds=("street", "still_life"))
    assert torch.equal(scene_at(only_void_things, "train", 0).depth, scene_at(same, "train", 0).depth)


def test_prefetched_batches_come_in_order():
    options = SynthOptions(kinds=("still_life",), views=2, height=32, width=32)
    jobs = [(options, "train", [index, index + 1]) for index in range(3)]
    for job, batch in zip(jobs, prefetch(jobs, workers=1), strict=True):
        expected = batch_at(*job)
        assert (batch.depth - expected.depth).abs().max() < 1e-4
        assert (batch.images.int() - expected.images.int()).abs().max() <= 1


def test_the_contact_sheet_has_three_rows_per_scene():
    options = SynthOptions(kinds=("still_life",), views=2, height=24, width=40)
    sheet = contact_sheet(options, "train", list(range(5)))
    assert sheet.shape == (5 * 3 * 24, 2 * 40, 3)
    assert sheet.dtype == np.uint8
    pictures = sheet.reshape(5, 3, 24, 2, 40, 3)
    scene = scene_at(options, "train", 4)
    assert np.abs(pictures[4, 0].transpose(1, 0, 2, 3).astype(int) - scene.images.numpy().astype(int)).mean() < 0.1
    assert (pictures[:, 1].max((1, 2, 3, 4)) > 250).all()
