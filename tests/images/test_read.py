import io
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anyview.images.decode import decode_bytes, decode_file
from anyview.images.read import natural_key, read_pictures, unique_names
from anyview.types import Picture


def photo(height: int = 24, width: int = 32, seed: int = 0) -> np.ndarray:
    """A smooth picture, so that lossy formats keep it."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [np.sin(3 * x + seed), np.cos(2 * y + seed), np.sin(2 * x + 3 * y)]
    return np.rint(127 + 120 * np.stack(waves, -1)).astype(np.uint8)


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def pixels_of(source: object) -> np.ndarray:
    (picture,) = read_pictures(source)
    return picture.pixels


@pytest.mark.parametrize("suffix", ["png", "PNG", "bmp", "tif", "tiff"])
def test_lossless_formats_keep_every_pixel(tmp_path, suffix):
    assert np.array_equal(pixels_of(save(tmp_path / f"a.{suffix}", photo())), photo())


@pytest.mark.parametrize("suffix", ["jpg", "JPEG", "webp"])
def test_lossy_formats_come_close(tmp_path, suffix):
    read = pixels_of(str(save(tmp_path / f"a.{suffix}", photo(), quality=95)))
    assert np.abs(read.astype(int) - photo()).mean() < 3


def test_heic_is_read_upright(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = 6
    heif.from_pillow(Image.fromarray(photo(48, 64))).save(tmp_path / "a.HEIC", quality=95, exif=exif.tobytes())
    read = pixels_of(tmp_path / "a.HEIC")
    assert np.abs(read.astype(int) - np.rot90(photo(48, 64), -1)).mean() < 4


def test_heic_without_its_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ValueError, match=r'HEIC pictures need `pip install "anyview\[heic\]"`'):
        decode_bytes(b"\0\0\0\x1cftypheic\0\0\0\0", "a")


def test_broken_heic_is_refused():
    pytest.importorskip("pillow_heif")
    with pytest.raises(ValueError, match=r"picture a is a broken or truncated picture"):
        decode_bytes(b"\0\0\0\x1cftypheic\0\0\0\0", "a")


ORIENTED = {  # how the stored pixels must be turned, by EXIF's own words for row 0 and column 0
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: np.rot90(p, 1),
}


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"a.{suffix}", photo(), exif=exif)
    assert np.array_equal(pixels_of(path), ORIENTED[orientation](photo()))
    with Image.open(path) as image:
        assert np.array_equal(pixels_of(image), ORIENTED[orientation](photo()))


def test_pixels_can_be_had_as_stored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.png", photo(), exif=exif)
    assert np.array_equal(decode_file(path, "a", upright=False).pixels, photo())


def encoded(array: np.ndarray, suffix: str) -> bytes:
    import cv2

    return cv2.imencode(suffix, array)[1].tobytes()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_become_8_by_division(suffix):
    grey = np.array([[0, 128, 129, 257, 20000, 65535]], np.uint16)
    expected = np.array([0, 0, 1, 1, 78, 255])  # 20000 / 257 = 77.8
    assert np.array_equal(pixels_of(encoded(grey, suffix))[0], np.stack([expected] * 3, -1))
    colour = np.stack([grey, grey[:, ::-1], np.full_like(grey, 257 * 9)], -1)
    assert np.array_equal(pixels_of(encoded(colour, suffix))[0], np.stack([[9] * 6, expected[::-1], expected], -1))


def test_16_bit_alpha_lies_over_white():
    rgba = np.array([[[257 * 100, 257 * 50, 0, 257 * 51]]], np.uint16)  # OpenCV's order: blue first; alpha 1/5
    assert pixels_of(encoded(rgba, ".png")).tolist() == [[[204, 214, 224]]]


def test_16_bit_png_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(np.array([[0, 25700, 65535]], np.uint16)).save(tmp_path / "a.png", exif=exif)
    assert pixels_of(tmp_path / "a.png")[..., 0].tolist() == [[255], [100], [0]]


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 3)])
def test_float_tiff_spans_0_to_1(shape):
    values = np.linspace(0, 1, np.prod(shape), dtype=np.float32).reshape(shape)
    expected = np.rint((values if values.ndim == 3 else np.stack([values] * 3, -1))[..., ::-1] * 255)
    assert np.array_equal(pixels_of(encoded(values, ".tif")), expected)


def test_float_tiff_beyond_1_is_refused():
    with pytest.raises(ValueError, match=r"picture 0000: float values must lie between 0 and 1; got 0 to 7"):
        read_pictures(encoded(np.array([[0.0, 7.0]], np.float32), ".tif"))


def test_all_modes_of_pil_become_rgb():
    colour = Image.fromarray(photo())
    grey = colour.convert("L")
    assert np.array_equal(pixels_of(grey), np.stack([np.asarray(grey)] * 3, -1))
    assert np.array_equal(pixels_of(colour.convert("CMYK")), photo())
    palette = colour.quantize(16)
    assert np.array_equal(pixels_of(palette), np.asarray(palette.convert("RGB")))
    assert set(np.unique(pixels_of(grey.convert("1")))) == {0, 255}
    assert np.array_equal(pixels_of(Image.fromarray(np.array([[25700]], np.uint16)))[0, 0], [100, 100, 100])


def test_alpha_lies_over_white(tmp_path):
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [100, 0, 255, 51]]], np.uint8)
    expected = [[[10, 20, 30], [255, 255, 255], [224, 204, 255]]]
    assert pixels_of(rgba).tolist() == expected
    assert pixels_of(save(tmp_path / "a.png", rgba)).tolist() == expected
    grey_alpha = Image.fromarray(np.array([[[40, 255], [40, 0]]], np.uint8), mode=None).convert("LA")
    assert pixels_of(grey_alpha).tolist() == [[[40] * 3, [255] * 3]]
    palette = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    palette.putpalette([9, 9, 9, 77, 77, 77])
    palette.info["transparency"] = 1
    assert pixels_of(palette).tolist() == [[[9] * 3, [255] * 3]]


def test_arrays_and_tensors():
    rgb = photo()
    assert np.array_equal(pixels_of(rgb), rgb)
    assert np.array_equal(pixels_of(torch.from_numpy(rgb)), rgb)
    assert np.array_equal(pixels_of(rgb[..., 0]), np.stack([rgb[..., 0]] * 3, -1))
    assert np.array_equal(pixels_of(rgb[..., :1]), np.stack([rgb[..., 0]] * 3, -1))
    assert np.array_equal(pixels_of(rgb.astype(np.uint16) * 257), rgb)
    for dtype in (np.float16, np.float32, np.float64):
        assert np.array_equal(pixels_of((rgb / 255).astype(dtype)), rgb)
    assert pixels_of(torch.tensor([[[0.0, 1.0, 1.0005]]], dtype=torch.float32)).tolist() == [[[0, 255, 255]]]
    assert len(read_pictures(np.stack([rgb] * 5))) == 5


def test_reading_changes_and_shares_nothing_of_the_callers():
    rgb = photo()[::-1]
    assert pixels_of(rgb).flags.c_contiguous
    assert np.array_equal(rgb, photo()[::-1])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.full((2, 2, 3), 100.0), "float values must lie between 0 and 1; got 100 to 100"),
        (np.full((2, 2, 3), np.nan), "float values must lie between 0 and 1; got nan to nan"),
        (np.zeros((2, 2, 3), np.int64), "expected values of type uint8, uint16 or float; got int64"),
        (np.zeros((3, 20, 30), np.uint8), r"channels last; got \[3, 20, 30\]"),
        (np.zeros((0, 20, 3), np.uint8), r"got \[0, 20, 3\]"),
        (np.zeros(20, np.uint8), r"got \[20\]"),
        ([], "no pictures given"),
        ([[]], "no pictures given"),
        ([7], "a picture is a path, bytes, an array or a PIL image; got int"),
        (b"", r"picture 0000 is empty \(0 bytes\)"),
    ],
)
def test_what_is_not_a_picture_is_refused(source, message):
    with pytest.raises(ValueError, match=message):
        read_pictures(source)


def test_folder_in_natural_order(tmp_path, caplog):
    for name in ("img10.png", "img2.png", "IMG1.PNG", ".hidden.png", "deeper/img0.png"):
        save(tmp_path / name, photo())
    (tmp_path / "notes.txt").write_text("no picture")
    with caplog.at_level(logging.INFO):
        pictures = read_pictures(tmp_path)
    assert [picture.name for picture in pictures] == ["IMG1.PNG", "img2.png", "img10.png"]
    assert "ignored 1 files that are not pictures: notes.txt" in caplog.text


def test_patterns(tmp_path):
    for name in ("a2.png", "a10.png", "b.png", "deeper/a3.png"):
        save(tmp_path / name, photo())
    (tmp_path / "a.txt").write_text("no picture")
    assert [p.name for p in read_pictures(str(tmp_path / "a*"))] == ["a2.png", "a10.png"]
    assert len(read_pictures(str(tmp_path / "**" / "*.png"))) == 4
    literal = save(tmp_path / "odd[1].png", photo())
    assert read_pictures(str(literal))[0].name == "odd[1].png"


def test_mixed_sources_keep_their_order_and_get_names(tmp_path):
    save(tmp_path / "set" / "2.png", photo(seed=2))
    save(tmp_path / "set" / "10.png", photo(seed=10))
    one = save(tmp_path / "one.png", photo(seed=1))
    own = Picture(photo(seed=5), "own", focal_length=50.0)
    pictures = read_pictures([photo(seed=3), tmp_path / "set", one.read_bytes(), own, str(one), Image.open(one)])
    assert [picture.name for picture in pictures] == ["0000", "2.png", "10.png", "0003", "own", "one.png", "0006"]
    for picture, seed in zip(pictures, (3, 2, 10, 1, 5, 1, 1), strict=True):
        assert np.array_equal(picture.pixels, photo(seed=seed))
    assert pictures[4].focal_length == 50.0


def test_equal_names_are_told_apart(tmp_path):
    paths = [save(tmp_path / name, photo()) for name in ("a/1.png", "b/1.png", "a/2.png")]
    assert [p.name for p in read_pictures(paths)] == ["a/1.png", "b/1.png", "2.png"]
    assert [p.name for p in read_pictures([paths[0], paths[0]])] == ["1.png", "1_2.png"]
    assert unique_names(["1.png", "1_2.png", "1.png", "x", "x"]) == ("1.png", "1_2.png", "1_3.png", "x", "x_2")


def test_natural_key():
    assert sorted(["b1", "a10", "a9", "A2", "a02b", "7"], key=natural_key) == ["7", "A2", "a02b", "a9", "a10", "b1"]


def test_progress_is_told_in_order(tmp_path):
    calls = []
    read_pictures([photo()] * 20, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 20) for done in range(1, 21)]


def broken(tmp_path: Path) -> dict[str, Path]:
    jpeg = save(tmp_path / "whole.jpg", photo(200, 200), quality=95).read_bytes()
    png = save(tmp_path / "whole.png", photo(200, 200)).read_bytes()
    contents = {
        "text.jpg": b"dear diary",
        "half.jpg": jpeg[: len(jpeg) // 2],
        "half.png": png[: len(png) // 2],
        "head.png": png[:20],
        "zero.png": b"",
        "deep.png": encoded(np.zeros((200, 200), np.uint16), ".png")[:60],
        "deep.tif": encoded(np.zeros((200, 200, 3), np.float32), ".tif")[:60],
    }
    return {name: Path(tmp_path / name) for name, data in contents.items() if (tmp_path / name).write_bytes(data) >= 0}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # Pillow, on TIFFs that end early
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text.jpg", "is not a picture in a known format"),
        ("half.jpg", "is a broken or truncated picture"),
        ("half.png", "is a broken or truncated picture"),
        ("head.png", "is (a broken or truncated|not a) picture"),
        ("zero.png", r"is empty \(0 bytes\)"),
        ("deep.png", "is a broken or truncated picture"),
        ("deep.tif", "is (a broken or truncated|not a) picture"),
    ],
)
def test_broken_files_are_refused_by_name(tmp_path, name, message):
    path = broken(tmp_path)[name]
    with pytest.raises(ValueError, match=f"{name} {message}") as caught:
        read_pictures([photo(), path])
    assert "\n" not in str(caught.value)


def test_missing_things_are_refused_by_name(tmp_path):
    save(tmp_path / "garden.jpg", photo())
    with pytest.raises(ValueError, match=r"no such path: .*gardan\.jpg; did you mean '.*garden\.jpg'\?"):
        read_pictures(tmp_path / "gardan.jpg")
    with pytest.raises(ValueError, match=r"no such path: .*nowhere/a\.jpg \(there is no folder .*nowhere\)"):
        read_pictures(tmp_path / "nowhere" / "a.jpg")
    with pytest.raises(ValueError, match=r"no picture matches the pattern .*x\*\.jpg"):
        read_pictures(str(tmp_path / "x*.jpg"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"the folder .*empty holds no pictures \(bmp, .*\); it holds 0 other entries"):
        read_pictures(tmp_path / "empty")


def test_unreadable_file_is_refused(tmp_path, monkeypatch):
    path = save(tmp_path / "secret.png", photo())

    def denied(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(ValueError, match=r"secret\.png cannot be read: Permission denied"):
        read_pictures(path)


def test_decompression_bombs_are_refused(tmp_path, monkeypatch):
    path = save(tmp_path / "bomb.png", photo(40, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)
    with pytest.raises(ValueError, match=r"bomb\.png is too large: Image size \(1600 pixels\) exceeds limit"):
        read_pictures(path)


def test_formats_are_told_by_content_not_by_suffix(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(photo()).save(buffer, "PNG")
    (tmp_path / "really_png.jpg").write_bytes(buffer.getvalue())
    assert np.array_equal(pixels_of(tmp_path / "really_png.jpg"), photo())


def test_sets_that_do_not_fit_into_memory_are_refused_while_they_are_read(tmp_path, monkeypatch):
    for index in range(30):
        Image.new("RGB", (100, 50)).save(tmp_path / f"{index}.png")
    monkeypatch.setattr("anyview.images.budget.available_memory", lambda _device: 20 * 100 * 50 * 3)
    read = []
    with pytest.raises(ValueError, match=r"30 pictures like \d+.png .* GiB are available; .*--separate"):
        read_pictures(tmp_path, progress=lambda done, _total: read.append(done))
    assert len(read) < 20
    assert len(read_pictures(sorted(tmp_path.iterdir())[:20])) == 20
