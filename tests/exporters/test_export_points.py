import dataclasses

import pytest
import torch

from anyview.exporters.names import file_stems
from anyview.exporters.points import point_cloud, select_pixels, thin
from anyview.options import ExportOptions
from anyview.types import Cameras, Placement, Prediction

KEEP_ALL = ExportOptions(confidence_percentile=0.0)


def flat_prediction(values: list[float], **changes) -> Prediction:
    """One row of pixels at depth 2, one confidence each."""
    width = len(values)
    prediction = Prediction(
        images=torch.full((1, 1, width, 3), 100, dtype=torch.uint8),
        depth=torch.full((1, 1, width), 2.0),
        units="arbitrary",
        model="test",
        names=("a.png",),
        placements=(Placement(1, width),),
        confidence=torch.tensor([[values]]),
        cameras=Cameras(torch.eye(4)[None], torch.eye(3)[None]),
    )
    return dataclasses.replace(prediction, **changes)


def kept(prediction: Prediction, **options) -> list[int]:
    return select_pixels(prediction, ExportOptions(**options))[0, 0].nonzero().flatten().tolist()


def test_the_confidence_percentile_decides():
    prediction = flat_prediction([2.0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
    assert kept(prediction) == [4, 5, 6, 7, 8, 9, 10]  # the 40th percentile is 6, and counts itself
    assert kept(prediction, confidence_percentile=0.0) == [*range(11)]


def test_the_floor_drops_what_is_not_confident_at_all():
    prediction = flat_prediction([1.0, 1.01, 1.02, 1.03, 1.04, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0])
    assert kept(prediction, confidence_percentile=10.0) == [5, 6, 7, 8, 9, 10]


def test_the_floor_leaves_a_tenth_of_the_pixels():
    assert kept(flat_prediction([1.0, 1.001, 1.002, 1.003, 1.004, 1.005, 1.006, 1.007, 1.008, 1.009, 1.01])) == [9, 10]
    assert kept(flat_prediction([1.0] * 5)) == [0, 1, 2, 3, 4]


def test_masked_pixels_have_no_say_in_the_percentile():
    mask = torch.tensor([[[False, False, False, True, True, True, True, True]]])
    prediction = flat_prediction([50.0, 60, 70, 2, 3, 4, 5, 6], mask=mask)
    assert kept(prediction, confidence_percentile=50.0) == [5, 6, 7]


def test_bad_depth_makes_no_point():
    depth = torch.tensor([[[1.0, 0, -1, torch.nan, torch.inf, 2]]])
    prediction = flat_prediction([2.0] * 6, depth=depth)
    assert kept(prediction) == [0, 5]
    assert torch.isfinite(point_cloud(prediction, KEEP_ALL, normals=True).normals).all()


def test_sky_and_backgrounds_are_dropped_where_asked():
    colors = [[0, 0, 0], [15, 15, 15], [15, 15, 16], [240, 240, 240], [240, 239, 255]]
    prediction = flat_prediction(
        [2.0] * 5,
        images=torch.tensor([[colors]], dtype=torch.uint8),
        sky=torch.tensor([[[False, False, False, False, True]]]),
    )
    assert kept(prediction) == [0, 1, 2, 3]
    assert kept(prediction, drop_sky=False) == [0, 1, 2, 3, 4]
    assert kept(prediction, drop_black_background=True) == [2, 3]
    assert kept(prediction, drop_white_background=True, drop_sky=False) == [0, 1, 2, 4]


def test_thinning_is_seeded_and_exact():
    chosen = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0)) < 0.5
    first, again, other = thin(chosen, 100, 1), thin(chosen, 100, 1), thin(chosen, 100, 2)
    assert first.sum() == 100
    assert not (first & ~chosen).any()
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(thin(chosen, 10**6, 1), chosen)
    assert thin(chosen, 0, 1).sum() == 0


def test_points_lie_at_pixel_centres_and_keep_their_colour():
    prediction = flat_prediction([2.0, 3.0])
    cloud = point_cloud(prediction, KEEP_ALL)
    assert cloud.positions.tolist() == [[1.0, 1.0, 2.0], [3.0, 1.0, 2.0]]
    assert cloud.colors.tolist() == [[100, 100, 100]] * 2
    assert cloud.confidence.tolist() == [2.0, 3.0]
    assert cloud.normals is None


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (["0000", "0001"], ("0000", "0001")),
        (["a.jpg", "b.v2.png"], ("a", "b.v2")),
        (["left/1.jpg", "right/1.jpg"], ("left_1", "right_1")),
        (["a.jpg", "A.png"], ("0000_a", "0001_A")),
        ([".jpg"], ("view",)),
    ],
)
def test_files_are_named_after_their_pictures(names, stems):
    assert file_stems(names) == stems
