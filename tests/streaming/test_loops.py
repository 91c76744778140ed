"""Loop candidates, by hand-made descriptors, and what counts as seeing the same."""

from dataclasses import replace

import pytest
import torch

from anyview.geometry.alignment import Similarity
from anyview.streaming import loops
from anyview.streaming.frames import PosedViews
from anyview.streaming.injected import box_depth, box_pictures, circle_cameras
from anyview.streaming.loops import correlation, find_candidates, see_the_same, usual_agreement
from anyview.streaming.seams import Seam
from anyview.types import Cameras


def walk(places: torch.Tensor) -> torch.Tensor:
    """Descriptors of places on a circle: neighbours are alike."""
    waves = torch.arange(1, 5) * places[:, None]
    return torch.cat([waves.cos(), waves.sin()], -1)


def test_a_second_lap_finds_the_first():
    places = torch.arange(60) * 0.15  # a lap is 42 frames
    found = find_candidates(walk(places), 50, gap=20, lag=3, most=1)
    assert len(found) == 1
    assert abs((found[0].later - found[0].earlier) - 42) <= 1
    assert found[0].later >= 50


def test_a_way_back_counts_too():
    places = torch.cat([torch.arange(40), torch.arange(40).flip(0)]) * 0.1
    found = find_candidates(walk(places), 70, gap=20, lag=3, most=1)
    assert found[0].earlier + found[0].later == 79


def test_one_picture_that_looks_alike_is_none():
    """Frame 45 has the descriptor of frame 5, and its neighbours have not."""
    descriptors = walk(torch.arange(60) * 0.1)
    descriptors[45] = descriptors[5]
    assert find_candidates(descriptors, 40, gap=20, lag=3) == []


def test_new_ground_has_no_candidates():
    assert find_candidates(walk(torch.arange(60) * 0.1), 50, gap=20, lag=3) == []


def test_short_streams_have_none():
    assert find_candidates(torch.ones(20, 4), 10, gap=20, lag=3) == []
    assert find_candidates(torch.ones(30, 4), 30, gap=20, lag=3) == []


def test_candidates_lie_apart():
    """Three laps: the third finds both others, and not the same place twice."""
    places = torch.arange(130) * 0.15
    found = find_candidates(walk(places), 125, gap=20, lag=3, most=2)
    assert len(found) == 2
    assert abs(found[0].earlier - found[1].earlier) > 3


@pytest.mark.parametrize("block", [7, 1024])
def test_blocks_find_what_one_product_of_all_finds(block, monkeypatch, assert_close):
    """The readable way, in float64: every frame with every frame, then means along the way."""
    monkeypatch.setattr(loops, "BLOCK", block)
    descriptors = walk(torch.arange(60) * 0.15) + 0.1 * torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    centered = descriptors.double() - descriptors.double().mean(0)
    directions = centered / centered.norm(dim=-1, keepdim=True)
    every = directions @ directions.T
    expected = torch.stack(
        [
            torch.stack(
                [
                    sum(every[min(row + step, 59), max(0, min(old + way * step, 59))] for step in range(-2, 3)) / 5
                    for old in range(60)
                ]
            )
            for way in (1, -1)
            for row in range(50, 60)
        ]
    ).view(2, 10, 60)
    found = loops._along_the_way(descriptors, descriptors.mean(0), 50)
    assert_close(found.double(), expected.amax(0), 1e-5, reason="float32 against float64")
    usual = (directions[3:] * directions[:-3]).sum(-1).quantile(0.25)
    for candidate in find_candidates(descriptors, 50, gap=20, lag=3):
        assert candidate.similarity == pytest.approx(float(expected.amax(0)[candidate.later - 50, candidate.earlier]))
        assert candidate.similarity >= usual


def views(cameras: Cameras) -> PosedViews:
    depth = box_depth(cameras, 28, 42).float()
    poses = Cameras(cameras.world_to_camera.float(), cameras.intrinsics.float())
    return PosedViews(box_pictures(cameras, 28, 42), depth, torch.full_like(depth, 2.0), poses)


def test_views_of_one_place_see_the_same():
    cameras = circle_cameras(200, 28, 42)
    assert see_the_same(views(cameras[:3]), views(cameras[5:8]))


def test_views_of_opposite_walls_do_not():
    cameras = circle_cameras(200, 28, 42)
    assert not see_the_same(views(cameras[:3]), views(cameras[100:103]))


def test_surfaces_that_do_not_agree_do_not():
    """Two corners of the room, put one onto the other."""
    cameras = circle_cameras(200, 28, 42)
    there = views(cameras[30:31])
    onto = Cameras(cameras.world_to_camera[:1].float(), there.cameras.intrinsics)
    assert not see_the_same(views(cameras[:1]), PosedViews(there.images, there.depth, there.confidence, onto))


def test_places_that_agree_and_look_different_are_two():
    """What a network makes of a room with four equal walls, or one that places all views alike."""
    one = views(circle_cameras(200, 28, 42)[:3])
    elsewhere = box_pictures(circle_cameras(200, 28, 42)[100:103], 28, 42)
    assert see_the_same(one, one)
    assert not see_the_same(one, replace(one, images=elsewhere))
    assert see_the_same(one, replace(one, images=one.images // 2))  # a cloud has come
    assert not see_the_same(one, replace(one, images=torch.full_like(one.images, 90)))  # and a blank wall tells nothing


def test_a_loop_need_agree_no_better_than_seams_do():
    """Medians of three: inliers 0.8, error 0.1. Exact seams leave the tolerance as it is."""
    still = Similarity(torch.ones(()).double(), torch.eye(3).double(), torch.zeros(3).double())
    seams = [Seam(still, inliers, error, 0.01) for inliers, error in ((0.5, 0.3), (0.8, 0.1), (0.9, 0.05))]
    assert usual_agreement(seams) == pytest.approx((0.56, 0.2))
    assert usual_agreement([Seam(still, 1.0, 0.001, 0.001)]) == pytest.approx((0.7, 0.1))


def test_surfaces_further_apart_count_where_seams_are_as_far_apart():
    one = views(circle_cameras(200, 28, 42)[:3])
    nearer = replace(one, depth=0.85 * one.depth)
    assert not see_the_same(one, nearer)
    assert see_the_same(one, nearer, tolerance=0.3)


def test_correlation_by_hand():
    first, second = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 3.0, 2.0])
    assert correlation(first, second) == pytest.approx(0.5)
    assert correlation(first, -first) == pytest.approx(-1.0)
    assert correlation(first, torch.ones(3)) == 0.0


def test_sky_is_seen_by_nobody():
    """Depth without confidence is made up: half of it takes no part, and all of it shows nothing."""
    one, other = views(circle_cameras(200, 28, 42)[:3]), views(circle_cameras(200, 28, 42)[5:8])
    confidence = one.confidence.clone()
    confidence[:, :14] = 0.0
    depth = torch.where(confidence == 0, 50.0, one.depth)
    assert see_the_same(PosedViews(one.images, depth, confidence, one.cameras), other)
    assert not see_the_same(PosedViews(one.images, one.depth, torch.zeros_like(confidence), one.cameras), other)
