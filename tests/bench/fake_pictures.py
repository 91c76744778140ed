"""Writers of small fake folders in the layouts of single-picture depth."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from fake_sets import array, picture, save, text, write_eth3d
from PIL import Image


def write_single_kitti(root: Path) -> None:
    for index in range(2):
        name = f"{index:010d}.png"
        drive = "2011_09_26_drive_0002_sync"
        picture(root / "2011_09_26" / drive / "image_02" / "data" / name, 376, 1242, f"kitti{index}")
        depth = np.tile(np.linspace(90, 4, 376)[:, None], (1, 1242))
        save(root / drive / "proj_depth" / "groundtruth" / "image_02" / name, np.round(depth * 256).astype(np.uint16))
    text(root / "2011_09_26" / "calib_cam_to_cam.txt", "P_rect_02: 721 0 609 44 0 721 172 0 0 0 1 0")


def write_single_nyu(root: Path) -> None:
    import h5py
    from scipy.io import savemat

    draw = np.random.default_rng(0)
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w") as store:
        store["images"] = draw.integers(0, 255, (3, 3, 640, 480), np.uint8)
        store["rawDepths"] = np.tile(np.linspace(0, 12, 640, dtype=np.float32)[None, :, None], (3, 1, 480))
    savemat(root / "splits.mat", {"testNdxs": np.array([[1], [3]])})


def write_single_sintel(root: Path) -> None:
    for index in range(2):
        stem = f"frame_{index + 1:04d}"
        picture(root / "training" / "final" / "alley_1" / f"{stem}.png", 48, 64, f"sintel{index}")
        depth = np.tile(np.linspace(1, 100, 64, dtype="<f4"), (48, 1))
        path = root / "training" / "depth" / "alley_1" / f"{stem}.dpt"
        path.parent.mkdir(parents=True, exist_ok=True)
        header = np.array([202021.25], "<f4").tobytes() + np.array([64, 48], "<i4").tobytes()
        path.write_bytes(header + depth.tobytes())


def write_single_diode(root: Path) -> None:
    for half in ("indoors", "outdoor"):
        folder = root / "val" / half / "scene_00001" / "scan_00001"
        picture(folder / "a.png", 48, 64, half)
        array(folder / "a_depth.npy", np.tile(np.linspace(1, 20, 64, dtype=np.float32)[None, :, None], (48, 1, 1)))
        array(folder / "a_depth_mask.npy", np.pad(np.ones((40, 64)), ((8, 0), (0, 0))))


def write_single_sunrgbd(root: Path) -> None:
    names = [f"kv1/scene{index}" for index in range(2)]
    for name in names:
        picture(root / name / "image" / "a.jpg", 48, 64, name)
        millimetres = np.tile(np.linspace(500, 8000, 64).astype(np.uint16), (48, 1))
        save(root / name / "depth" / "a.png", (millimetres << 3) | (millimetres >> 13))
        text(root / name / "intrinsics.txt", "60 0 32 0 60 24 0 0 1")
    text(root / "test.txt", *names)


def write_single_moge(root: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    for bundle in ("NYUv2", "Sintel"):
        folder = root / bundle / "some" / "0001"
        picture(folder / "image.jpg", 48, 64, bundle)
        part = np.tile(np.log(np.linspace(2, 8, 64)) / np.log(16), (48, 1))  # between near 1 and far 16
        steps16 = np.round(1 + 65533 * part).astype(np.uint16)
        steps16[0], steps16[1] = 0, 65535  # unknown, infinite
        info = PngInfo()
        info.add_text("near", "1.0")
        info.add_text("far", "16.0")
        Image.fromarray(steps16).save(folder / "depth.png", pnginfo=info)
        text(folder / "meta.json", json.dumps({"intrinsics": [[0.9, 0, 0.5], [0, 1.2, 0.5], [0, 0, 1]]}))


SINGLE: Mapping[str, Callable[[Path], None]] = {
    "kitti": write_single_kitti,
    "nyu": write_single_nyu,
    "sintel": write_single_sintel,
    "eth3d": write_eth3d,
    "diode": write_single_diode,
    "sunrgbd": write_single_sunrgbd,
    "moge": write_single_moge,
}
