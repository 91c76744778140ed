"""Data sets of single pictures with depth: KITTI, NYUv2, Sintel, DIODE, SUN RGB-D (benchmark 3.3)."""

import json
import re
from collections.abc import Callable, Iterable
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from anyview.bench.datasets.files import need, need_scene, picture_reader, read_gray, size_reader
from anyview.bench.datasets.scene import BenchFrame, BenchScene
from anyview.bench.options import Task
from anyview.images.decode import picture_size
from anyview.options import Protocol

KITTI_LAYOUT = "DATE/DRIVE/image_02/data/ID.png and DRIVE/proj_depth/groundtruth/image_02/ID.png (16 bits, metres·256)"
EIGEN_LIST = "eigen_test.txt"
"""The 697 pictures of Eigen's test set, 45 of which have no depth; not part of KITTI's download."""
NYU_LAYOUT = "nyu_depth_v2_labeled.mat and splits.mat"
SINTEL_LAYOUT = "training/final/SCENE/frame_0001.png and training/depth/SCENE/frame_0001.dpt"
DIODE_LAYOUT = "val/{indoors,outdoor}/scene_*/scan_*/NAME.png with NAME_depth.npy and NAME_depth_mask.npy"
SUN_LAYOUT = "SENSOR/**/NAME/{image/*.jpg, depth/*.png}, and test.txt with the folders NAME, one a line"
MOGE_LAYOUT = "BUNDLE/**/{image.jpg, depth.png, meta.json}"
NYU_INTRINSICS = np.array([[518.8579, 0, 325.58245], [0, 519.46961, 253.73617], [0, 0, 1]], np.float32)
DIODE_INTRINSICS = np.array([[886.81, 0, 512], [0, 927.06, 384], [0, 0, 1]], np.float32)
PICTURES_PER_SCENE = 50
"""Large sets come in parts of this many pictures, so that little is lost when a run is ended."""
SINTEL_TAG = 202021.25
MOGE_STEPS = 65533


class SinglePictures:
    """Groups of pictures with depth at a place on disk."""

    tasks: tuple[Task, ...] = ("depth",)

    def __init__(self, dataset: str, layout: str, root: Path, find: Callable[[Path], dict[str, list[BenchFrame]]]):
        """``find`` lists the frames of every scene below ``root``; it may read lists, but no pictures."""
        self.dataset, self.layout, self.root, self._find = dataset, layout, root, find

    @cached_property
    def _frames(self) -> dict[str, list[BenchFrame]]:
        frames = self._find(self.root)
        if not frames:
            raise ValueError(f"{self.root} holds no pictures with depth; expected {self.layout}")
        return frames

    def scenes(self) -> tuple[str, ...]:
        """Name the scenes that are there."""
        return tuple(self._frames)

    def load(self, name: str) -> BenchScene:
        """Return a scene.

        Raises:
            ValueError: there is no such scene.
        """
        need_scene(name, self.scenes(), self.dataset)
        return BenchScene(dataset=self.dataset, name=name, frames=tuple(self._frames[name]))


def kitti(root: Path, _protocol: Protocol) -> SinglePictures:
    """Open KITTI: all pictures that have depth, but only those of `EIGEN_LIST` where that file is there."""
    return SinglePictures("kitti", KITTI_LAYOUT, root, _find_kitti)


def nyu(root: Path, _protocol: Protocol) -> SinglePictures:
    """Open the test set of NYUv2. Needs h5py (extra ``train``) and scipy."""
    return SinglePictures("nyu", NYU_LAYOUT, root, _find_nyu)


def sintel(root: Path, _protocol: Protocol) -> SinglePictures:
    """Open the training set of Sintel, the final pass."""
    return SinglePictures("sintel", SINTEL_LAYOUT, root, _find_sintel)


def diode(root: Path, _protocol: Protocol) -> SinglePictures:
    """Open the validation set of DIODE, scans of indoors and of outdoor."""
    return SinglePictures("diode", DIODE_LAYOUT, root, _find_diode)


def sunrgbd(root: Path, _protocol: Protocol) -> SinglePictures:
    """Open the test set of SUN RGB-D."""
    return SinglePictures("sunrgbd", SUN_LAYOUT, root, _find_sun)


def moge(root: Path, _protocol: Protocol) -> SinglePictures:
    """Open the bundles that MoGe is evaluated on, one or several of them."""
    return SinglePictures("moge", MOGE_LAYOUT, root, _find_moge)


def _frame(name: str, picture: Path, read_depth: Callable[[], Float[np.ndarray, "h w"]], **known: Any) -> BenchFrame:
    return BenchFrame(
        name=name,
        read_picture=picture_reader(picture),
        read_size=size_reader(picture),
        read_depth=read_depth,
        **known,
    )


def _find_kitti(root: Path) -> dict[str, list[BenchFrame]]:
    scenes: dict[str, list[BenchFrame]] = {}
    listed = _eigen_pictures(root / EIGEN_LIST) if (root / EIGEN_LIST).is_file() else None
    for depth in sorted(root.rglob("proj_depth/groundtruth/image_02/*.png")):
        drive = depth.parents[3].name
        if listed is not None and (drive, depth.stem) not in listed:
            continue
        picture = root / drive[:10] / drive / "image_02" / "data" / depth.name
        if not picture.is_file():
            raise ValueError(f"{picture} is missing, of which there is depth; expected {KITTI_LAYOUT}")
        intrinsics = _kitti_intrinsics(root / drive[:10] / "calib_cam_to_cam.txt")
        frame = _frame(depth.name, picture, partial(_read_kitti_depth, depth), intrinsics=intrinsics)
        scenes.setdefault(drive, []).append(frame)
    return scenes


def _eigen_pictures(path: Path) -> set[tuple[str, str]]:
    """Read the drives and numbers of a list's left pictures; lists write them as paths, or as ``DATE/DRIVE ID l``."""
    pictures = set()
    for line in filter(None, map(str.strip, path.read_text(encoding="utf-8").splitlines())):
        found = re.match(
            r"(?:\S*/)?(\d{4}_\d\d_\d\d_drive_\d{4}_sync)(?:/image_02/data/(\d{10})\.(?:png|jpg)|\s+(\d+))", line
        )
        if found is None:
            raise ValueError(f"{path}: expected DATE/DRIVE/image_02/data/ID.png or DATE/DRIVE ID, got {line!r}")
        pictures.add((found[1], (found[2] or found[3]).zfill(10)))
    return pictures


def _read_kitti_depth(path: Path) -> Float[np.ndarray, "height width"]:
    return read_gray(path, np.uint16) / np.float32(256)


@lru_cache
def _kitti_intrinsics(path: Path) -> Float[np.ndarray, "3 3"] | None:
    """Return K of the rectified left colour camera, where the day's calibration is there."""
    if not path.is_file():
        return None
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("P_rect_02:"):
            return np.array(line.split()[1:], np.float32).reshape(3, 4)[:, :3]
    raise ValueError(f"{path} has no line P_rect_02")


def _find_nyu(root: Path) -> dict[str, list[BenchFrame]]:
    try:
        import h5py
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError('NYUv2 needs h5py and scipy: pip install "anyview[bench]"') from error
    file = need(root / "nyu_depth_v2_labeled.mat", NYU_LAYOUT)
    numbers = loadmat(need(root / "splits.mat", NYU_LAYOUT))["testNdxs"].ravel().astype(int)
    try:
        store = h5py.File(file, "r")
    except OSError as error:
        raise ValueError(f"{file} is not a readable file of HDF5 ({error})") from error
    if not {"images", "rawDepths"} <= set(store) or len(store["images"]) < numbers.max():
        raise ValueError(f"{file} lacks images or rawDepths of {numbers.max()} pictures")

    def read_picture(index: int) -> UInt8[np.ndarray, "480 640 3"]:
        return np.ascontiguousarray(np.asarray(store["images"][index]).transpose(2, 1, 0))

    def read_depth(index: int) -> Float[np.ndarray, "480 640"]:
        return np.asarray(store["rawDepths"][index], np.float32).T

    def read_size() -> tuple[int, int]:
        return store["images"].shape[3], store["images"].shape[2]

    frames = [
        BenchFrame(
            name=f"{number:05d}",
            read_picture=partial(read_picture, number - 1),
            read_size=read_size,
            read_depth=partial(read_depth, number - 1),
            intrinsics=NYU_INTRINSICS,
        )
        for number in numbers.tolist()
    ]
    return _in_parts("test-", frames)


def _in_parts(name: str, frames: list[BenchFrame]) -> dict[str, list[BenchFrame]]:
    starts = range(0, len(frames), PICTURES_PER_SCENE)
    return {f"{name}{start:04d}": frames[start : start + PICTURES_PER_SCENE] for start in starts}


def _find_sintel(root: Path) -> dict[str, list[BenchFrame]]:
    scenes: dict[str, list[BenchFrame]] = {}
    for picture in sorted((root / "training" / "final").glob("*/frame_*.png")):
        scene = picture.parent.name
        depth = need(root / "training" / "depth" / scene / f"{picture.stem}.dpt", SINTEL_LAYOUT)
        scenes.setdefault(scene, []).append(_frame(picture.name, picture, partial(read_dpt, depth)))
    return scenes


def read_dpt(path: Path) -> Float[np.ndarray, "height width"]:
    """Read a map of Sintel's: a tag, width, height, float32 values.

    Raises:
        ValueError: the file is cut off, or no such map.
    """
    content = path.read_bytes()
    tag = np.frombuffer(content[:4], "<f4")
    width, height = np.frombuffer(content[4:12], "<i4").tolist() if len(content) >= 12 else (0, 0)
    if len(tag) == 0 or tag[0] != np.float32(SINTEL_TAG) or len(content) != 12 + 4 * width * height:
        raise ValueError(f"{path} is no depth map of Sintel, or cut off")
    return np.frombuffer(content[12:], "<f4").reshape(height, width)


def _find_diode(root: Path) -> dict[str, list[BenchFrame]]:
    scenes: dict[str, list[BenchFrame]] = {}
    for half in ("indoors", "outdoor"):
        for picture in sorted((root / "val" / half).glob("scene_*/scan_*/*.png")):
            depth, mask = (
                need(picture.with_name(picture.stem + suffix), DIODE_LAYOUT)
                for suffix in ("_depth.npy", "_depth_mask.npy")
            )
            scan = f"{half}/{picture.parent.parent.name}-{picture.parent.name}"
            read = partial(_read_diode_depth, depth, mask)
            scenes.setdefault(scan, []).append(_frame(picture.name, picture, read, intrinsics=DIODE_INTRINSICS))
    return scenes


def _read_diode_depth(depth: Path, mask: Path) -> Float[np.ndarray, "height width"]:
    values, valid = (np.load(path, allow_pickle=False) for path in (depth, mask))
    values = values.reshape(values.shape[:2]).astype(np.float32)
    if valid.shape != values.shape:
        raise ValueError(f"{mask}: expected {values.shape} values as its depth, got {valid.shape}")
    return np.where(valid > 0, values, np.float32(0))


def _find_sun(root: Path) -> dict[str, list[BenchFrame]]:
    listed = need(root / "test.txt", SUN_LAYOUT).read_text(encoding="utf-8").split()
    frames = []
    for name in listed:
        picture, depth = _only(root / name / "image", "*.jpg"), _only(root / name / "depth", "*.png")
        intrinsics = root / name / "intrinsics.txt"
        matrix = np.loadtxt(intrinsics).reshape(3, 3).astype(np.float32) if intrinsics.is_file() else None
        frames.append(_frame(name, picture, partial(read_sun_depth, depth), intrinsics=matrix))
    return _in_parts("test-", frames)


def _only(folder: Path, pattern: str) -> Path:
    files: Iterable[Path] = sorted(folder.glob(pattern))
    first = next(iter(files), None)
    if first is None:
        raise ValueError(f"{folder} has no {pattern}; expected {SUN_LAYOUT}")
    return first


def read_sun_depth(path: Path) -> Float[np.ndarray, "height width"]:
    """Read depth in metres from steps of a millimetre whose 16 bits are rotated by three."""
    values = read_gray(path, np.uint16)
    return ((values >> 3) | (values << 13)).astype(np.float32) / 1000


def _find_moge(root: Path) -> dict[str, list[BenchFrame]]:
    bundles: dict[str, list[BenchFrame]] = {}
    for picture in sorted(root.glob("*/**/image.jpg")):
        depth, meta = (need(picture.with_name(name), MOGE_LAYOUT) for name in ("depth.png", "meta.json"))
        frame = _frame(
            picture.parent.relative_to(root).as_posix(),
            picture,
            partial(read_moge_depth, depth),
            intrinsics=_moge_intrinsics(meta, picture_size(picture)),
        )
        bundles.setdefault(picture.relative_to(root).parts[0], []).append(frame)
    return {name: part for bundle, frames in bundles.items() for name, part in _in_parts(f"{bundle}/", frames).items()}


def _moge_intrinsics(path: Path, size: tuple[int, int]) -> Float[np.ndarray, "3 3"]:
    """Read K, which is stored in parts of the picture's width and height."""
    try:
        matrix = np.array(json.loads(path.read_text(encoding="utf-8"))["intrinsics"], np.float32).reshape(3, 3)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected 3×3 intrinsics ({error!r})") from error
    return np.diag(np.array([size[1], size[0], 1], np.float32)) @ matrix


def read_moge_depth(path: Path) -> Float[np.ndarray, "height width"]:
    """Read depth whose logarithm is stored in 65533 steps from ``near`` to ``far``; 0 where there is none.

    Step 0 is for unknown depth and the last one for infinite depth; the file's text says what near and far are.

    Raises:
        ValueError: the file is no such picture.
    """
    steps = read_gray(path, np.uint16)
    with Image.open(path) as image:
        limits = [image.info.get(name) for name in ("near", "far")]
    try:
        near, far = (float(limit) for limit in limits)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected numbers near and far in its text, got {limits}") from error
    part = (steps.astype(np.float64) - 1) / MOGE_STEPS
    depth = (near ** (1 - part) * far**part).astype(np.float32)
    return np.where((steps == 0) | (steps > MOGE_STEPS + 1), np.float32(0), depth)
