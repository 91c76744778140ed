import json
from pathlib import Path

import numpy as np
import pytest
import torch

from anyview.geometry.camera import place_intrinsics, unplace_intrinsics
from anyview.images.preprocess import (
    IMAGE_DEVIATION,
    IMAGE_MEAN,
    PADDING,
    describe_losses,
    normalize,
    prepare_views,
)
from anyview.types import Picture, Placement, Views
from golden import fill

GOLDEN = Path(__file__).parents[1] / "golden" / "predict"
CASES = json.loads((GOLDEN / "manifest.json").read_text())


def picture(height: int, width: int, name: str = "x") -> Picture:
    return Picture(fill.image(name, height, width), name)


def size_of(height: int, width: int, resize: str, resolution: int = 504) -> tuple[int, int]:
    return tuple(prepare_views([picture(height, width)], resolution=resolution, resize=resize).images.shape[1:3])


def golden_views(case: dict) -> Views:
    pictures = [picture(*size, name) for name, size in zip(case["image_names"], case["sizes"], strict=True)]
    arguments = case["arguments"]
    resize = arguments.get("process_res_method", "upper_bound_resize")
    return prepare_views(pictures, resolution=arguments["process_res"], resize=resize, mixed_sizes="crop")


def as_the_reference_shows_them(images: torch.Tensor) -> np.ndarray:
    """It undoes the normalisation in float64 and cuts off fractions, by which a fifth of all values lose 1."""
    normal = normalize(images).movedim(-3, -1).double()
    deviation, mean = (torch.tensor(numbers, dtype=torch.float64) for numbers in (IMAGE_DEVIATION, IMAGE_MEAN))
    shown = normal * deviation + mean
    return (shown.clamp(0, 1) * 255).numpy().astype(np.uint8)


@pytest.mark.parametrize("name", CASES)
def test_pixels_are_the_references(name):
    expected = np.load(GOLDEN / f"{name}.npz")["processed_images"]
    assert np.array_equal(as_the_reference_shows_them(golden_views(CASES[name]).images), expected)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["posed"]])
def test_intrinsics_follow_as_in_the_reference(name, assert_close):
    stored = np.load(GOLDEN / f"{name}.npz")
    placed = place_intrinsics(torch.from_numpy(stored["input.intrinsics"]), golden_views(CASES[name]).placements)
    assert_close(placed, stored["intrinsics"])


POLICIES = ("upper_bound_resize", "upper_bound_crop", "lower_bound_resize", "lower_bound_crop")


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [  # network.md, section 9
        (480, 640, [(378, 504), (378, 504), (504, 672), (504, 672)]),
        (1080, 1920, [(280, 504), (280, 504), (504, 896), (504, 896)]),
        (680, 1208, [(280, 504), (280, 504), (504, 896), (504, 882)]),
        (511, 504, [(504, 504), (504, 490), (518, 504), (504, 504)]),
    ],
)
def test_sizes_of_the_four_policies(height, width, expected):
    assert [size_of(height, width, policy) for policy in POLICIES] == expected


def test_ties_go_up_and_rounding_is_bankers():
    assert size_of(63, 112, "upper_bound_resize", 112) == (70, 112)  # 63 lies between 56 and 70
    assert size_of(125, 224, "upper_bound_resize", 112) == (56, 112)  # 62.5 becomes 62, not 63


def test_no_resizing_leaves_the_pixels_alone():
    whole = picture(98, 140)
    views = prepare_views([whole], resolution=140)
    assert np.array_equal(views.images[0], whole.pixels)
    assert views.placements == (Placement(98, 140),)
    assert views.mask is None


def test_placements_of_resizing_and_cropping():
    (placement,) = prepare_views([picture(120, 161)], resolution=140, resize="upper_bound_resize").placements
    assert placement == Placement(120, 161, scale_x=140 / 161, scale_y=98 / 120)  # 104.3 -> 104 -> 98
    (placement,) = prepare_views([picture(120, 161)], resolution=140, resize="upper_bound_crop").placements
    assert placement == Placement(120, 161, scale_x=140 / 161, scale_y=104 / 120, offset_y=-3.0)


@pytest.mark.parametrize("mixed_sizes", ["crop", "pad"])
@pytest.mark.parametrize("policy", POLICIES)
def test_intrinsics_come_back(policy, mixed_sizes, assert_close):
    pictures = [picture(*size) for size in ((120, 161), (161, 120), (50, 90))]
    intrinsics = torch.tensor([[[150.0, 0, 70], [0, 140, 60], [0, 0, 1]]] * 3)
    views = prepare_views(pictures, resolution=112, resize=policy, mixed_sizes=mixed_sizes)
    placed = place_intrinsics(intrinsics, views.placements)
    assert not torch.allclose(placed, intrinsics)
    assert_close(unplace_intrinsics(placed, views.placements), intrinsics)


def test_mixed_sizes_are_cropped_to_the_common_rectangle():
    pictures = [picture(84, 112), picture(112, 84)]
    views = prepare_views(pictures, resolution=112, mixed_sizes="crop")
    assert views.images.shape == (2, 84, 84, 3)
    assert np.array_equal(views.images[0], pictures[0].pixels[:, 14:98])
    assert np.array_equal(views.images[1], pictures[1].pixels[14:98])
    assert [(p.offset_x, p.offset_y) for p in views.placements] == [(-14, 0), (0, -14)]
    assert views.mask is None
    assert describe_losses(views) == ("25.0% of views 0, 1 was cropped away",)


def test_mixed_sizes_are_padded_evenly():
    pictures = [picture(84, 112), picture(112, 70)]
    views = prepare_views(pictures, resolution=112, mixed_sizes="pad")
    assert views.images.shape == (2, 112, 112, 3)
    assert np.array_equal(views.images[0, 14:98], pictures[0].pixels)
    assert np.array_equal(views.images[1, :, 21:91], pictures[1].pixels)
    assert [(p.offset_x, p.offset_y) for p in views.placements] == [(0, 14), (21, 0)]
    assert views.mask.sum((1, 2)).tolist() == [84 * 112, 112 * 70]
    assert views.mask[0, 14:98].all()
    assert views.mask[1, :, 21:91].all()
    assert (views.images[~views.mask] == torch.tensor(PADDING)).all()
    assert describe_losses(views) == ()
    # the centre of each picture stays the centre of its view, where the network expects the principal point
    centres = [
        (p.scale_x * p.input_width / 2 + p.offset_x, p.scale_y * p.input_height / 2 + p.offset_y)
        for p in views.placements
    ]
    assert centres == [(56, 56), (56, 56)]


def test_padding_is_neutral():
    padding = torch.tensor(PADDING, dtype=torch.uint8)[None, None]
    assert normalize(padding).abs().max() < 0.01


def test_losses_name_the_views_they_happened_to():
    views = prepare_views(
        [picture(70, 70), picture(70, 70), picture(70, 140)],
        resolution=70,
        mixed_sizes="crop",
        resize="lower_bound_resize",
    )
    assert describe_losses(views) == ("50.0% of view 2 was cropped away",)


@pytest.mark.parametrize("batch", [(), (2,), (3, 1, 2)])
def test_normalize(batch):
    images = torch.from_numpy(fill.image("n", 5, 7)).expand(*batch, 5, 7, 3)
    normal = normalize(images)
    assert normal.shape == (*batch, 3, 5, 7)
    assert normal.dtype == torch.float32
    for channel, (mean, deviation) in enumerate(zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)):
        value = images[..., channel].to(torch.float32).div(255)
        assert torch.equal(normal[..., channel, :, :], value.sub(torch.tensor(mean)).div(torch.tensor(deviation)))


def test_nothing_given_is_changed():
    given = picture(120, 161)
    before = given.pixels.copy()
    views = prepare_views([given], resolution=161, resize="upper_bound_crop")
    views.images.zero_()
    assert np.array_equal(given.pixels, before)


@pytest.mark.parametrize("policy", POLICIES)
def test_elongated_pictures_are_refused(policy):
    thin = Picture(np.zeros((1, 5000, 3), np.uint8), "thin.png")
    with pytest.raises(
        ValueError, match=r"thin\.png is too elongated: 5000x1 pixels would become \d+x\d+ at resolution 504"
    ):
        prepare_views([thin], resolution=504, resize=policy)


def test_side_below_one_patch_is_refused():
    assert size_of(14, 200, "upper_bound_resize", 100) == (14, 98)  # 7 goes up to 14
    with pytest.raises(
        ValueError, match=r"200x14 pixels would become 98x0 at resolution 100; both sides must reach 14"
    ):
        size_of(14, 200, "upper_bound_crop", 100)
    with pytest.raises(ValueError, match="200x12 pixels would become 98x0"):
        size_of(12, 200, "upper_bound_resize", 100)


def test_resolution_below_one_patch_is_refused():
    with pytest.raises(ValueError, match="at least 14 pixels, one patch; got 13"):
        prepare_views([picture(20, 20)], resolution=13)


def test_no_pictures_are_refused():
    with pytest.raises(ValueError, match="no pictures given"):
        prepare_views([], resolution=504)
