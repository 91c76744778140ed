"""Samples follow from seed and step, keep to the budget, and never share a scene."""

from collections import Counter
from dataclasses import replace

import pytest
from rooms import tiny

from anyview.training.config import Stage
from anyview.training.recipes import RECIPES, find_recipe
from anyview.training.samples import check_budget, draw_sample, most_views, stage_at, tokens_of

NANO = RECIPES["nano-gpu"]
STEPS = range(0, NANO.steps, 37)


def test_the_same_seed_and_step_draw_the_same_sample():
    assert [draw_sample(NANO, step) for step in STEPS] == [draw_sample(NANO, step) for step in STEPS]
    other = find_recipe("nano-gpu", seed=1)
    assert any(draw_sample(NANO, step) != draw_sample(other, step) for step in range(5))


def test_tokens_per_step_stay_about_constant():
    tokens = [
        len(sample.indices) * sample.views * tokens_of(sample.height, sample.width)
        for sample in (draw_sample(NANO, step) for step in STEPS)
    ]
    assert max(tokens) <= NANO.tokens_per_step
    assert min(tokens) > 0.75 * NANO.tokens_per_step


def test_every_view_count_and_size_of_a_stage_is_drawn():
    first = [draw_sample(NANO, step) for step in range(300)]
    assert {sample.views for sample in first} == {1, 2, 3}
    assert {(sample.height, sample.width) for sample in first} == set(NANO.stages[0].sizes)
    assert all(0 <= sample.spread <= 0.4 for sample in first)


def test_stages_follow_each_other():
    assert stage_at(NANO, 0) is NANO.stages[0]
    assert stage_at(NANO, int(0.15 * NANO.steps)) is NANO.stages[1]
    assert stage_at(NANO, NANO.steps - 1) is NANO.stages[-1]


def test_no_scene_comes_twice():
    counts = Counter(index for step in STEPS for index in draw_sample(NANO, step).indices)
    assert counts.most_common(1)[0][1] == 1


def test_cameras_are_known_in_the_share_of_scenes_that_is_asked_for():
    known = [flag for step in STEPS for flag in draw_sample(NANO, step).known_cameras]
    assert abs(sum(known) / len(known) - 0.2) < 0.02
    assert not any(draw_sample(find_recipe("nano-gpu", known_cameras=0.0), 3).known_cameras)


def test_matches_are_told_and_maps_read_as_the_stage_has_it():
    stages = (
        Stage(until=0.5, sizes=((56, 56),), views=(2, 2), told_matches=0.25, dense_every=4),
        Stage(sizes=((56, 56),), views=(2, 2)),
    )
    options = tiny(steps=800, stages=stages, tokens_per_step=680)
    first, last = ([draw_sample(options, step) for step in steps] for steps in (range(400), range(400, 800)))
    told = [flag for sample in first for flag in sample.told_matches]
    assert abs(sum(told) / len(told) - 0.25) < 0.02
    assert not any(flag for sample in last for flag in sample.told_matches)
    assert [sample.step for sample in first if sample.dense] == list(range(0, 400, 4))
    assert all(sample.dense for sample in last)


def test_some_steps_tell_the_cameras_of_some_views():
    stages = (Stage(sizes=((56, 56),), views=(1, 4)),)
    options = tiny(stages=stages, tokens_per_step=680, known_in_part=0.5)
    samples = [draw_sample(options, step) for step in range(800)]
    several = [sample for sample in samples if sample.views > 1]
    in_part = [sample for sample in several if sample.known_views is not None]
    assert abs(len(in_part) / len(several) - 0.5) < 0.05
    assert {sample.known_views for sample in in_part if sample.views == 3} == {(0,), (0, 1), (0, 2)}
    assert all(sample.known_views is None for sample in samples if sample.views == 1)
    # All else is drawn as without.
    plain = [draw_sample(replace(options, known_in_part=0.0), step) for step in range(800)]
    assert [replace(sample, known_views=None) for sample in samples] == plain


def test_processes_share_a_sample():
    sample = draw_sample(NANO, 5)
    shares = [sample.share(rank, 3) for rank in range(3)]
    assert sorted(index for share in shares for index in share.indices) == list(sample.indices)
    told = draw_sample(replace(NANO, stages=(replace(NANO.stages[0], told_matches=0.5),)), 5)
    for whole, name in ((sample, "known_cameras"), (told, "told_matches")):
        flags = dict(zip(whole.indices, getattr(whole, name), strict=True))
        assert len(set(flags.values())) == 2
        for rank in range(3):
            share = whole.share(rank, 3)
            assert [flags[index] for index in share.indices] == list(getattr(share, name))


def test_the_budget_bounds_the_views():
    stage = Stage(sizes=((56, 56),), views=(1, 100))
    options = tiny(stages=(stage,), tokens_per_step=17 * 7 + 3)
    assert most_views(options, stage, 56, 56) == 7
    assert max(draw_sample(options, step).views for step in range(100)) == 7


def test_what_cannot_fit_into_the_budget_is_refused():
    with pytest.raises(ValueError, match=r"a batch of 2 views of 56x56 takes 34 tokens.*tokens_per_step = 33"):
        check_budget(tiny(tokens_per_step=33))
    check_budget(tiny(tokens_per_step=68), processes=2)
    with pytest.raises(ValueError, match=r"3 processes need 3 scenes of 2 views of 56x56, which take 102 tokens"):
        check_budget(tiny(tokens_per_step=68), processes=3)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_fits_its_budget(name):
    check_budget(RECIPES[name])
