"""DTU (Jensen et al., 2014) as MVSNet packed it: 49 views with scans (benchmark 2.5), 64 views for poses (2.6).

Lengths are millimetres.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32

from anyview.bench.datasets.files import need, picture_reader, read_gray, size_reader
from anyview.bench.datasets.published_set import PublishedSet
from anyview.bench.datasets.scene import BenchFrame, BenchScene, DtuTruth
from anyview.bench.options import Task

LAYOUT = (
    "Rectified/scanN/rect_001_*.png, Cameras/00000000_cam.txt, depth_raw/Depths/scanN/depth_visual_0000.png, "
    "Points/stl/stlNNN_total.ply and SampleSet/mvs_data/ObsMask/{ObsMaskN_10,PlaneN}.mat"
)
LAYOUT_64 = "scanN/image/00000000.png and Cameras/00000000_cam.txt"
SCANS = (1, 4, 9, 10, 11, 12, 13, 15, 23, 24, 29, 32, 33, 34, 48, 49, 62, 75, 77, 110, 114, 118)
SCANS_64 = (105, 114, 118, 122, 24, 37, 40, 55, 63, 65, 69, 83, 97)
REFERENCE = 33
"""Position of the file that comes first."""
LEAST_MASK = 10
"""Masks are brighter than this where there is something."""
CAMERA_LINES = 10


class Dtu(PublishedSet):
    """The 49 views of DTU's scans at a place on disk."""

    dataset, layout = "dtu", LAYOUT
    published = tuple(f"scan{number}" for number in SCANS)
    scene_root = "Rectified"

    def _load(self, name: str) -> BenchScene:
        number = int(name.removeprefix("scan"))
        files = sorted((self.root / "Rectified" / name).glob("*.png"), key=lambda path: path.name)
        if len(files) <= REFERENCE:  # Q38
            raise ValueError(
                f"{self.root / 'Rectified' / name} has {len(files)} pictures, and the one at position {REFERENCE} is "
                f"the reference view; expected {LAYOUT}"
            )
        files = [files[REFERENCE], *files[:REFERENCE], *files[REFERENCE + 1 :]]
        masks = self.root / "SampleSet" / "mvs_data" / "ObsMask"
        truth = DtuTruth(
            need(self.root / "Points" / "stl" / f"stl{number:03d}_total.ply", LAYOUT),
            need(masks / f"ObsMask{number}_10.mat", LAYOUT),
            need(masks / f"Plane{number}.mat", LAYOUT),
        )
        frames = tuple(self._frame(name, file) for file in files)
        return BenchScene(dataset="dtu", name=name, frames=frames, truth=truth)

    def _frame(self, scan: str, file: Path) -> BenchFrame:
        fields = file.name.split("_")
        if len(fields) < 2 or not fields[1].isdecimal():
            raise ValueError(f"{file}: expected the number of its view after the first underscore of its name")
        view = int(fields[1]) - 1
        pose, intrinsics = read_camera(need(self.root / "Cameras" / f"{view:08d}_cam.txt", LAYOUT))
        mask = need(self.root / "depth_raw" / "Depths" / scan / f"depth_visual_{view:04d}.png", LAYOUT)

        def read_valid() -> Bool[np.ndarray, "height width"]:
            return read_gray(mask, np.uint8) > LEAST_MASK

        return BenchFrame(
            name=file.name,
            read_picture=picture_reader(file),
            read_size=size_reader(file),
            world_to_camera=pose,
            intrinsics=intrinsics,
            read_valid=read_valid,
        )


class Dtu64(PublishedSet):
    """The 64 views of DTU's scans at a place on disk, for poses only."""

    dataset, layout = "dtu64", LAYOUT_64
    published = tuple(f"scan{number}" for number in SCANS_64)
    tasks: tuple[Task, ...] = ("pose",)

    def _load(self, name: str) -> BenchScene:
        folder = need(self.root / name / "image", LAYOUT_64)
        files = sorted(folder.glob("*.png"), key=lambda path: path.name)
        if len(files) > REFERENCE:
            files = [files[REFERENCE], *files[:REFERENCE], *files[REFERENCE + 1 :]]
        frames = []
        for file in files:
            number = file.name.partition(".")[0]
            if not number.isdecimal():
                raise ValueError(f"{file}: expected the number of its view as its name")
            camera = self.root / "Cameras" / f"{int(number):08d}_cam.txt"
            if not camera.is_file() and self.compat:
                continue
            pose, intrinsics = read_camera(need(camera, LAYOUT_64))
            frames.append(
                BenchFrame(
                    name=f"image/{file.name}",
                    read_picture=picture_reader(file),
                    read_size=size_reader(file),
                    world_to_camera=pose,
                    intrinsics=intrinsics,
                )
            )
        if not frames:
            raise ValueError(f"{folder} has no frames; expected {LAYOUT_64}")
        return BenchScene(dataset="dtu64", name=name, frames=tuple(frames))


def read_camera(path: Path) -> tuple[Float32[np.ndarray, "4 4"], Float32[np.ndarray, "3 3"]]:
    """Read pose and intrinsics, by the numbers of the lines.

    Raises:
        ValueError: the lines are not as MVSNet writes them.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    if len(lines) < CAMERA_LINES or lines[0].strip() != "extrinsic" or lines[6].strip() != "intrinsic":
        raise ValueError(f"{path}: expected 'extrinsic' and 4 lines, a blank one, 'intrinsic' and 3 lines")
    try:
        pose, intrinsics = (
            np.array([line.split() for line in lines[first:last]], np.float32) for first, last in ((1, 5), (7, 10))
        )
    except ValueError as error:
        raise ValueError(f"{path}: a matrix is misshapen ({error})") from error
    if pose.shape != (4, 4) or intrinsics.shape != (3, 3):
        raise ValueError(f"{path}: expected 4×4 and 3×3 matrices, got {pose.shape} and {intrinsics.shape}")
    return pose, intrinsics
