import math

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from anyview.images.exif import focal_length_px
from anyview.images.read import read_pictures

FOCAL, FILM, X_RESOLUTION, UNIT, TAKEN_WIDTH, TAKEN_HEIGHT = 0x920A, 0xA405, 0xA20E, 0xA210, 0xA002, 0xA003


def exif_of(**tags: object) -> Image.Exif:
    numbers = {"focal": FOCAL, "film": FILM, "resolution": X_RESOLUTION, "unit": UNIT}
    numbers |= {"taken_width": TAKEN_WIDTH, "taken_height": TAKEN_HEIGHT}
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({numbers[name]: value for name, value in tags.items()})
    return exif


def test_35_mm_equivalent_keeps_the_diagonal():
    # 43.2666 mm is the diagonal of the film: a lens of that length sees a diagonal as long as itself
    assert focal_length_px(exif_of(film=50), 3000, 4000) == pytest.approx(5000 * 50 / math.hypot(36, 24))
    assert focal_length_px(exif_of(film=50), 4000, 3000) == focal_length_px(exif_of(film=50), 3000, 4000)


@pytest.mark.parametrize(("unit", "per_unit"), [(2, 25.4), (3, 10), (4, 1), (5, 1e-3)])
def test_sensor_resolution(unit, per_unit):
    exif = exif_of(focal=10.0, resolution=200.0 * per_unit, unit=unit)  # 200 pixels per millimetre
    assert focal_length_px(exif, 3000, 4000) == pytest.approx(2000)


def test_resolution_belongs_to_the_picture_as_taken():
    exif = exif_of(focal=10.0, resolution=2000.0, unit=3, taken_width=4000, taken_height=3000)
    assert focal_length_px(exif, 750, 1000) == pytest.approx(500)
    assert focal_length_px(exif, 1000, 750) == pytest.approx(500)


def test_film_counts_before_the_sensor():
    assert focal_length_px(exif_of(film=43, focal=1.0, resolution=9999.0), 30, 40) == pytest.approx(50, rel=0.01)


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"film": 0},
        {"film": 65535},
        {"film": "fifty"},
        {"film": (1, 2)},
        {"focal": 5.0},
        {"focal": IFDRational(0, 0), "resolution": 2000.0},
        {"focal": 5.0, "resolution": IFDRational(1, 0)},
        {"focal": 5.0, "resolution": 2000.0, "unit": 9},
        {"focal": -5.0, "resolution": 2000.0},
        {"focal": 5.0, "resolution": 1e9},
    ],
)
def test_nonsense_is_ignored(tags):
    assert focal_length_px(exif_of(**tags), 3000, 4000) is None


def test_nonsense_falls_through_to_the_other_way():
    exif = exif_of(film=0, focal=10.0, resolution=2000.0, unit=3)
    assert focal_length_px(exif, 3000, 4000) == pytest.approx(2000)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_files_carry_it_through_rotation(tmp_path, suffix):
    exif = exif_of(film=28)
    exif[0x0112] = 6
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(tmp_path / f"a.{suffix}", exif=exif)
    (picture,) = read_pictures(tmp_path / f"a.{suffix}")
    assert picture.pixels.shape == (40, 30, 3)
    assert picture.focal_length == pytest.approx(50 * 28 / math.hypot(36, 24))


def test_unreadable_exif_leaves_the_picture(tmp_path, caplog):
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(tmp_path / "a.webp", exif=b"Exif\0\0not a TIFF header")
    (picture,) = read_pictures(tmp_path / "a.webp")
    assert picture.pixels.shape == (30, 40, 3)
    assert picture.focal_length is None
    assert "EXIF block ignored" in caplog.text
