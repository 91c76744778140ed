import fake_sets
import numpy as np
import pytest

from anyview.bench.sampling import choose_context, choose_targets, sample_frames


@pytest.mark.parametrize(
    ("count", "first", "last", "total"),
    [
        (1000, [1, 16, 18, 24, 33, 34, 38, 49, 53, 56, 76, 85], [911, 922, 924, 928, 940, 965], 49150),
        (500, [4, 6, 7, 11, 21, 26, 37, 41, 45, 50, 53, 59], [442, 443, 453, 462, 468, 479], 22902),
        (150, [0, 2, 3, 4, 9, 10, 14, 16, 17, 18, 21, 24], [], 8051),
    ],
)
def test_the_published_frames_are_drawn(count, first, last, total):
    chosen = sample_frames(count, 100)
    assert len(chosen) == 100
    assert chosen[: len(first)] == first
    assert chosen[100 - len(last) :] == last
    assert sum(chosen) == total


@pytest.mark.parametrize(("count", "most"), [(100, 100), (7, 100), (500, 0), (500, -1)])
def test_all_frames_are_kept(count, most):
    assert sample_frames(count, most) == list(range(count))


def test_every_eighth_picture_is_a_target():
    assert choose_targets(20) == [0, 8, 16]


def test_context_views_lie_far_apart():
    """Ten cameras on a line that look the same way: first the middle, then the ends, then between."""
    poses = np.tile(np.eye(4), (9, 1, 1))
    poses[:, 0, 3] = -np.arange(9)
    assert choose_context(poses, 5) == [4, 0, 8, 2, 6]
    assert choose_context(poses, 20)[:3] == [4, 0, 8]
    assert sorted(choose_context(poses, 20)) == list(range(9))


def test_turned_cameras_are_far_apart_too():
    poses = np.stack(fake_sets.ring(1, 1.0) * 3)
    poses[2, :3, :3] = np.diag([-1.0, -1, 1]) @ poses[2, :3, :3]
    poses[2, :3, 3] = np.diag([-1.0, -1, 1]) @ poses[2, :3, 3]  # turned by 180 degrees in its place
    assert choose_context(poses, 2) == [0, 2]
