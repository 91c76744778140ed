"""ETH3D (Schöps et al., 2017), high-resolution multi-view (benchmark 2.1), also for single-picture depth (3.3).

Poses and intrinsics come from the COLMAP text files of the distorted calibration.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from anyview.bench.datasets.files import (
    need,
    picture_reader,
    read_gray,
    read_raw_float32,
    size_reader,
    upright_size,
)
from anyview.bench.datasets.lens import Lens
from anyview.bench.datasets.published_set import PublishedSet
from anyview.bench.datasets.scene import BenchFrame, BenchScene, MeshTruth, TsdfRecipe
from anyview.geometry.pose import matrix_from_quaternion_xyzw
from anyview.images.decode import picture_size
from anyview.options import Protocol

LAYOUT = (
    "SCENE/{images/dslr_images/*.JPG, dslr_calibration_jpg/{cameras,images}.txt, ground_truth_depth/dslr_images/*.JPG "
    "(raw float32), masks_for_images/dslr_images/*.png, combined_mesh.ply}"
)
SCENES = (
    "courtyard",
    "electro",
    "kicker",
    "pipes",
    "relief",
    "delivery_area",
    "facade",
    "office",
    "playground",
    "relief_2",
    "terrains",
)
DEPTH_SCENES = (*SCENES, "terrace", "meadow")
LEFT_OUT = {
    "delivery_area": range(711, 715),
    "electro": (9289, 9290, 9291, 9292, 9293, 9298),
    "playground": range(587, 593),
    "relief": range(427, 439),
    "relief_2": range(458, 469),
}
"""Frames whose names end in these numbers do not count."""
RECIPE = TsdfRecipe(
    voxel_size=5 * 4 / 512, truncation=0.2, largest_depth=100_000.0, threshold=0.25, evaluation_voxel=5 * 4 / 512
)


@dataclass(frozen=True)
class _Camera:
    model: str
    width: int
    height: int
    parameters: tuple[float, ...]


class Eth3d(PublishedSet):
    """ETH3D at a place on disk; ``single`` decides whether scenes are sets of views or of single pictures."""

    dataset, layout = "eth3d", LAYOUT

    def __init__(self, root: Path, protocol: Protocol, *, single: bool = False) -> None:
        super().__init__(root, protocol)
        self.single = single
        self.published = DEPTH_SCENES if single else SCENES
        if single:
            self.tasks = ("depth",)

    def _load(self, name: str) -> BenchScene:
        folder = self.root / name
        calibration = folder / "dslr_calibration_jpg"
        compat = self.compat
        cameras = _read_cameras(need(calibration / "cameras.txt", LAYOUT), compat)
        poses = _read_poses(need(calibration / "images.txt", LAYOUT), compat)
        dropped = () if self.single else tuple(f"{number}.JPG" for number in LEFT_OUT.get(name, ()))
        frames, skipped = [], []
        for image, (camera_id, world_to_camera) in poses.items():
            if image.endswith(dropped) and dropped:
                continue
            if (folder / "images" / image).is_file() and camera_id in cameras:
                frames.append(self._frame(folder, image, cameras[camera_id], world_to_camera))
            else:
                skipped.append(image)
        if skipped and not compat:
            raise ValueError(
                f"{folder} lacks {len(skipped)} of {len(skipped) + len(frames)} pictures or their cameras, e.g. "
                f"{skipped[0]}; expected {LAYOUT}"
            )
        if not frames:
            raise ValueError(f"{folder} has no frame with a picture and a camera; expected {LAYOUT}")
        if not (self.single or compat):
            need(folder / "combined_mesh.ply", LAYOUT)
        models = sorted({cameras[camera_id].model for camera_id, _ in poses.values() if camera_id in cameras})
        return BenchScene(
            dataset="eth3d",
            name=name,
            frames=tuple(frames),
            pixel_origin="corner",
            truth=None if self.single else MeshTruth(folder / "combined_mesh.ply"),
            read_recipe=None if self.single else lambda: RECIPE,
            notes=(f"camera models: {', '.join(models)}",),
        )

    def _frame(
        self, folder: Path, image: str, camera: _Camera, world_to_camera: Float[np.ndarray, "4 4"]
    ) -> BenchFrame:
        path, base = folder / "images" / image, Path(image).name
        depth_file = folder / "ground_truth_depth" / "dslr_images" / base
        mask_file = folder / "masks_for_images" / "dslr_images" / base.replace(".JPG", ".png")
        compat = self.compat
        read_size = (lambda: upright_size(path)) if compat else size_reader(path)
        matrix, lens = _intrinsics(camera, compat, path)

        def read_truth() -> tuple[Float[np.ndarray, "height width"], Bool[np.ndarray, "height width"]]:
            size = read_size()
            if compat and not depth_file.is_file():
                depth = np.ones(size, np.float32)
            else:
                depth = read_raw_float32(need(depth_file, LAYOUT), size)
            mask = (
                read_gray(mask_file, np.uint8)
                if mask_file.is_file() or not (compat or self.single)
                else np.zeros(size, np.uint8)
            )
            if mask.shape != depth.shape:
                raise ValueError(f"{mask_file}: expected {depth.shape} pixels as its depth, got {mask.shape}")
            valid = (mask != 1) & (depth != 0) & (depth != np.inf)
            if not compat:
                valid &= ~np.isnan(depth)
            if lens is not None:
                depth, valid = lens.straighten_nearest(depth), lens.straighten_nearest(valid)
            return depth, valid

        def read_depth() -> Float[np.ndarray, "height width"]:
            depth, valid = read_truth()
            return np.where(valid, depth, np.float32(0))

        def read_picture() -> UInt8[np.ndarray, "height width 3"]:
            pixels = picture_reader(path)()
            return pixels if lens is None else lens.straighten(pixels)

        return BenchFrame(
            name=f"images/{image}",
            read_picture=read_picture,
            read_size=read_size,
            world_to_camera=world_to_camera,
            intrinsics=matrix,
            read_valid=lambda: read_truth()[1],
            read_depth=read_depth,
            valid_files=(depth_file,) if self.single else (depth_file, mask_file),
        )


def _intrinsics(camera: _Camera, compat: bool, path: Path) -> tuple[Float[np.ndarray, "3 3"], Lens | None]:
    """Return K and what straightens pictures; compat takes fields 4 to 7 whatever the model, and no distortion."""
    if compat:
        fx, fy, cx, cy = camera.parameters[:4]
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32), None
    lens = Lens(camera.model, camera.width, camera.height, camera.parameters)
    size = picture_size(path)
    if size != (camera.height, camera.width):
        raise ValueError(f"{path} has {size[1]}×{size[0]} pixels, its camera {camera.width}×{camera.height}")
    return lens.intrinsics.astype(np.float32), None if lens.is_pinhole else lens


def _read_cameras(path: Path, compat: bool) -> dict[str, _Camera]:
    """Read cameras.txt by id; compat drops the first three lines whatever they are (Q29)."""
    cameras = {}
    for line in path.read_text(encoding="utf-8").splitlines()[3 if compat else 0 :]:
        fields = line.split()
        if not fields or fields[0].startswith("#") or (compat and len(fields) < 8):
            continue
        try:
            cameras[fields[0]] = _Camera(fields[1], int(fields[2]), int(fields[3]), tuple(map(float, fields[4:])))
        except (ValueError, IndexError) as error:
            raise ValueError(f"{path}: expected ID MODEL WIDTH HEIGHT and numbers, got {line!r}") from error
    return cameras


def _read_poses(path: Path, compat: bool) -> dict[str, tuple[str, Float[np.ndarray, "4 4"]]]:
    """Read images.txt: name -> (camera id, pose); a repeated name keeps its first place and takes the last values."""
    lines = path.read_text(encoding="utf-8").splitlines()
    poses: dict[str, tuple[str, Float[np.ndarray, "4 4"]]] = {}
    for line in lines[4::2] if compat else _pose_lines(lines):
        fields = line.split()
        if not fields or fields[0].startswith("#") or len(fields) < 10:
            continue
        try:
            w, x, y, z, *translation = map(float, fields[1:8])
        except ValueError as error:
            raise ValueError(f"{path}: expected ID QW QX QY QZ TX TY TZ CAMERA NAME, got {line!r}") from error
        pose = np.eye(4, dtype=np.float32)
        quaternion = torch.tensor([x, y, z, w], dtype=torch.float64)
        pose[:3, :3] = _rotation(quaternion.numpy()) if compat else matrix_from_quaternion_xyzw(quaternion).numpy()
        pose[:3, 3] = translation
        poses[fields[9]] = (fields[8], pose)
    return poses


def _pose_lines(lines: list[str]) -> Iterator[str]:
    """Every other line after the comments; the lines between are observations, and may be blank."""
    rows = [line for line in lines if not line.lstrip().startswith("#")]
    while rows and not rows[0].strip():
        rows = rows[1:]
    yield from rows[::2]


def _rotation(quaternion_xyzw: Float[np.ndarray, " 4"]) -> Float[np.ndarray, "3 3"]:
    """The textbook formula, which takes the quaternion's length as 1."""
    x, y, z, w = quaternion_xyzw
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
