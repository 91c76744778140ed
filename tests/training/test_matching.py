"""Patches match where they show the same; attention is told so, and learns it."""

import math

import torch
from rooms import Rooms, tiny

from anyview.geometry.pose import decode_pose, normalize_poses
from anyview.images.preprocess import normalize
from anyview.training.losses import SHIFT_WEIGHT, hint_loss, match_loss
from anyview.training.matching import CENTER_GAIN, SHIFT_GAIN, TURN_GAIN, Matches, true_hints, true_matches
from anyview.training.start import starting_network
from anyview.training.step import Reader, compare, told_shifts, weigh
from anyview.training.targets import make_targets
from anyview.types import Cameras


def wall(shift: float, depth: float = 2.0) -> tuple[torch.Tensor, Cameras]:
    """Two views of 28 × 56 pixels of a wall, the second one ``shift`` to the right; a patch is 1 wide at depth 2."""
    poses = torch.eye(4).repeat(1, 2, 1, 1)
    poses[0, 1, 0, 3] = -shift
    intrinsics = torch.tensor([[28.0, 0, 28], [0, 28, 14], [0, 0, 1]]).expand(1, 2, 3, 3)
    return torch.full((1, 2, 28, 56), depth), Cameras(poses, intrinsics)


def test_a_wall_moves_by_a_patch():
    matches, shift = true_matches(*wall(1.0))
    assert matches.shape == (1, 2, 8, 2)
    itself = list(range(8))
    assert matches[0, 0, :, 0].tolist() == itself
    assert matches[0, 1, :, 1].tolist() == itself
    assert matches[0, 0, :, 1].tolist() == [-1, 0, 1, 2, -1, 4, 5, 6]
    assert matches[0, 1, :, 0].tolist() == [1, 2, 3, -1, 5, 6, 7, -1]
    assert torch.equal(shift[0, 0], torch.zeros(8, 2))
    right = torch.tensor([[0.0, 0.25]] * 3 + [[0.0, 0.0]])  # a patch of four; what is not seen has none
    torch.testing.assert_close(shift[0, 1], right.repeat(2, 1))


def test_shifts_are_finer_than_patches():
    matches, shift = true_matches(*wall(0.4))
    assert matches[0, 1, :3, 0].tolist() == [0, 1, 2]
    torch.testing.assert_close(shift[0, 1, :3], torch.tensor([[0.0, 0.1]] * 3))


def test_hidden_and_unknown_patches_match_nothing():
    depth, cameras = wall(1.0)
    depth[0, 1, :14] = 1.0  # the second view has something before the upper half
    depth[0, 0, 14:] = 0.0
    matches, shift = true_matches(depth, cameras)
    assert (matches[0, 0, :, 1] == -1).all()
    assert (matches[0, 0, 4:, 0] == -1).all()
    assert matches[0, 0, :4, 0].tolist() == [0, 1, 2, 3]
    assert (shift[0, 0, 4:] == 0).all()


def test_patches_match_both_ways_in_a_room():
    truth = Rooms().batch((3,), 2, 112, 112, 0.2)
    matches = make_targets(truth).matches.patch[0]
    there = matches[0, :, 1]
    seen = there >= 0
    assert seen.float().mean() > 0.5
    back = matches[1, there.clamp(min=0), 0]
    known = seen & (back >= 0)
    apart = torch.stack([back // 8 - torch.arange(64) // 8, back % 8 - torch.arange(64) % 8]).abs().amax(0)
    assert (apart[known] <= 1).float().mean() > 0.95  # a patch lies across up to four of the other view


def test_the_loss_by_hand(assert_close):
    matches = torch.tensor([[[[0, 1], [1, -1]], [[0, 0], [-1, 1]]]])  # two views of two patches
    similarity = torch.zeros(1, 1, 2, 2, 2, 2, 2)
    coin, dice = math.log(2), math.log(4)
    # Each view by itself: two known pairs, both a coin toss. The first view among both: one known pair, one of four.
    assert_close(match_loss(similarity, matches), torch.tensor([coin + dice]))
    similarity[0, 0, 0, 0, 0, 1] = torch.tensor([0.0, math.log(3)])  # patch 0 looks at patch 1 of view 1: 3 to 1
    everywhere = (math.log(4 / 3) + coin) / 2
    assert_close(match_loss(similarity, matches), torch.tensor([everywhere + dice]))
    similarity[0, 0, 0, 0, 1, 1] = 9.0  # of patch 1 nothing is known there, and views do not look at themselves
    similarity[0, 0, 0, 0, 0, 0] = torch.tensor([0.0, 9.0])
    assert_close(match_loss(similarity, matches), torch.tensor([everywhere + dice]))
    similarity[0, 0, 1, 1, 0, 0] = torch.tensor([math.log(3), 0.0])  # 3 of 6
    similarity[0, 0, 1, 0, 0, 0] = 9.0  # the first view is not asked
    assert_close(match_loss(similarity, matches), torch.tensor([everywhere + coin]))
    assert_close(match_loss(similarity, torch.full_like(matches, -1)), torch.zeros(1))
    assert_close(match_loss(similarity[..., :1, :, :1, :], matches[:, :1, :, :1]), torch.zeros(1))  # nothing to match


def test_hints_by_hand(assert_close):
    # Two views of one row of two patches; the second view's first patch shows what the first view's second one does.
    matches = torch.tensor([[[[0, -1], [1, 0]], [[1, 0], [-1, 1]]]])
    places = torch.tensor([[[[0.0, 0], [0, 0]], [[0.0, 0.5], [0, 0]]]])
    encoding = torch.tensor([[[0.0, 0, 0, 0, 0, 0, 1, 1, 1], [0.5, 0, -1, 0.1, 0, 0, -0.99, 1, 1]]])
    shift, camera = true_hints(Matches(matches, places), encoding)
    assert_close(shift, SHIFT_GAIN * places)
    expected = torch.tensor([0.5 * CENTER_GAIN, 0, -CENTER_GAIN, -0.1 * TURN_GAIN, 0, 0])  # the nearer sign
    assert_close(camera[0], torch.stack([torch.zeros(6), expected]))
    hints = torch.zeros(1, 2, 2, 3, 8)
    hints[:, :, 1, 1, :2] = shift[:, None, 1, 0]
    hints[:, 1:, :, 0, 2:] = camera[:, None]
    assert_close(hint_loss(hints, matches, shift, camera), torch.zeros(1))
    hints[:, :, 1, 2] = 9.0  # its match is unknown
    hints[:, 0, :, 0] = 9.0  # cameras cannot know yet
    hints[:, :, 0, 1:] = 9.0  # the first view is not asked
    assert_close(hint_loss(hints, matches, shift, camera), torch.zeros(1))
    hints[:, 1, 1, 1, 0] += 0.5  # in one of two blocks, of one patch
    hints[:, 1, 1, 0, 2] += 0.5  # in the one block that knows, of one of two views
    assert_close(hint_loss(hints, matches, shift, camera), torch.tensor([SHIFT_WEIGHT * 0.25 + 0.25]))


def test_watched_similarity_is_that_of_attention(assert_close):
    network = starting_network(tiny())
    truth = Rooms().batch((0,), 2, 28, 42, 0.5)
    known = torch.zeros(1, dtype=torch.bool)
    seen = {}
    across = network.backbone.blocks[3]  # looks at all views
    across.attention.qkv.register_forward_hook(lambda module, inputs, output: seen.update(qkv=output))
    across.register_forward_hook(lambda module, inputs, output: seen.update(tokens=output))
    reading = Reader(network, watches_matches=True)(normalize(truth.images), truth.cameras, known)
    assert reading.similarity.shape == (1, 2, 2, 2, 6, 2, 6)
    query, key, _ = seen["qkv"][0].unflatten(-1, (3, 3, 32)).permute(1, 2, 0, 3)
    query, key = across.attention.query_norm(query)[:2], across.attention.key_norm(key)[:2]
    patches = [1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13]
    logits = query[:, patches] @ key[:, patches].mT / 32**0.5
    assert_close(reading.similarity[0, 0].flatten(1, 2).flatten(2), logits, 1e-5, reason="float32 sums")
    assert reading.hints.shape == (1, 2, 2, 7, 8)
    assert torch.equal(reading.hints[0, 0], seen["tokens"][0, :, :8].unflatten(0, (2, 7)))


def test_cameras_of_some_views_are_told_in_training_as_the_network_takes_them(assert_close):
    network = starting_network(tiny())
    truth = Rooms().batch((0,), 3, 28, 42, 0.5)
    pictures, chosen = normalize(truth.images), truth.cameras[:, [0, 2]]
    reader, known = Reader(network), torch.ones(1, dtype=torch.bool)
    told = Cameras(normalize_poses(chosen.world_to_camera), chosen.intrinsics)
    expected = network(pictures, told, known_views=(0, 2), reference_view="first").cameras
    found = decode_pose(reader(pictures, truth.cameras, known, known_views=(0, 2)).encoding, 28, 42)
    assert_close(found.world_to_camera, expected.world_to_camera)
    assert not torch.equal(
        reader(pictures, truth.cameras, known).encoding, reader(pictures, truth.cameras, ~known).encoding
    )
    # Of the view in between nothing is told.
    moved = truth.cameras.world_to_camera.clone()
    moved[:, 1, :3, 3] += 1
    elsewhere = reader(pictures, Cameras(moved, truth.cameras.intrinsics), known, known_views=(0, 2))
    assert torch.equal(elsewhere.encoding, reader(pictures, truth.cameras, known, known_views=(0, 2)).encoding)


def test_told_shifts_stand_where_the_networks_own_would():
    network = starting_network(tiny())
    truth = Rooms().batch((0, 1), 2, 28, 42, 0.5)
    targets = make_targets(truth)
    told = told_shifts(targets, torch.tensor([False, True]))
    assert not told.told[0].any()
    assert torch.equal(told.told[1], targets.matches.patch[1, ..., 0] >= 0)
    assert torch.equal(told.shift, SHIFT_GAIN * targets.matches.shift)

    seen = {}
    network.backbone.blocks[3].register_forward_hook(lambda module, inputs, output: seen.update(own=output))
    reader = Reader(network, watches_matches=True)
    network.backbone.blocks[4].register_forward_pre_hook(lambda module, inputs: seen.update(passed=inputs[0]))
    pictures, known = normalize(truth.images), torch.zeros(2, dtype=torch.bool)
    plain = reader(pictures, truth.cameras, known)
    informed = reader(pictures, truth.cameras, known, told=told)
    passed = seen["passed"].reshape(2, 2, 7, -1)
    own = seen["own"].reshape(2, 2, 7, -1)
    assert torch.equal(passed[:, :, 1:, :2][told.told], told.shift[told.told])
    assert torch.equal(passed[:, :, 1:, :2][~told.told], own[:, :, 1:, :2][~told.told])
    assert torch.equal(passed[:, :, 0], own[:, :, 0])
    assert torch.equal(passed[..., 2:], own[..., 2:])
    # What the block found by itself is what is asked of it; what follows it knows better.
    assert torch.equal(informed.hints[:, 0], plain.hints[:, 0])
    assert torch.equal(informed.encoding[0], plain.encoding[0])
    assert not torch.equal(informed.encoding[1], plain.encoding[1])
    assert torch.equal(reader(pictures, truth.cameras, known).encoding, plain.encoding)  # it is forgotten


def test_a_step_without_maps_trains_cameras_and_matches_alone():
    options = tiny(match_weight=1.0, hint_weight=0.5)
    network = starting_network(options)
    truth = Rooms().batch((0,), 2, 56, 56, 0.5)
    targets = make_targets(truth)
    reader = Reader(network, watches_matches=True)
    known = torch.zeros(1, dtype=torch.bool)
    dense = reader(normalize(truth.images), truth.cameras, known)
    light = reader(normalize(truth.images), truth.cameras, known, dense=False)
    assert light[:4] == (None,) * 4
    for one, other in zip(light[4:], dense[4:], strict=True):
        assert torch.equal(one, other)
    terms = compare(light, targets, 0.2)
    assert set(terms) == {"camera", "matches", "hints"}
    torch.testing.assert_close(weigh(terms, options), terms["camera"] + 1.0 * terms["matches"] + 0.5 * terms["hints"])
    weigh(terms, options).sum().backward()
    without = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    # The norm stands between the blocks and the maps.
    assert {name.removesuffix(".weight").removesuffix(".bias") for name in without if name[:4] != "head"} == {
        "backbone.norm"
    }


def test_attention_learns_to_match():
    options = tiny(match_weight=1.0, hint_weight=0.5)
    network = starting_network(options)
    reader = Reader(network, watches_matches=True)
    truth = Rooms().batch((0,), 2, 56, 56, 0.5)
    targets = make_targets(truth)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    found = []
    for _ in range(25):
        terms = compare(reader(normalize(truth.images), truth.cameras, torch.zeros(1, dtype=torch.bool)), targets, 0.2)
        weigh(terms, options).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(terms["matches"].item())
    assert found[0] > 0.9 * (math.log(16) + math.log(32))  # 16 patches, two views of them
    assert found[-1] < 0.7 * found[0]
    without = {name: value for name, value in terms.items() if name not in ("matches", "hints")}
    told = terms["matches"] + 0.5 * terms["hints"]
    torch.testing.assert_close(weigh(terms, options), weigh(without, options) + told)
