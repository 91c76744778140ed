"""ScanNet++ (Yeshwanth et al., 2023) with the benchmark's own COLMAP poses of the telephone's frames (2.3)."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from anyview.bench.datasets.files import need, picture_reader, read_gray, size_reader
from anyview.bench.datasets.published_set import PublishedSet
from anyview.bench.datasets.scene import BenchFrame, BenchScene, MeshTruth, TsdfRecipe
from anyview.fusion.depth import resize_linear, resize_nearest
from anyview.images.colmap import read_model

LAYOUT = (
    "SCENE/{merge_dslr_iphone/{colmap/sparse_render_rgb/{cameras,images,points3D}.{bin,txt}, images/*, "
    "render_depth/*.png}, scans/mesh_aligned_0.05.ply}"
)
SCENES = (
    "09c1414f1b",
    "1ada7a0617",
    "40aec5fffa",
    "3e8bba0176",
    "acd95847c5",
    "578511c8a9",
    "5f99900f09",
    "c4c04e6d6c",
    "f3d64c30f8",
    "7bc286c1b6",
    "c5439f4607",
    "286b55a2bf",
    "fb5a96b1a2",
    "7831862f02",
    "38d58a7a31",
    "bde1e479ad",
    "9071e139d9",
    "21d970d8de",
    "bcd2436daf",
    "cc5237fd77",
)
FUSION_SIZE = (768, 1024)
RECIPE = TsdfRecipe(
    voxel_size=0.02,
    truncation=0.15,
    largest_depth=5.0,
    threshold=0.05,
    evaluation_voxel=0.02,
    fusion_size=FUSION_SIZE,
    crop_margin=0.1,
)
Rectangle = tuple[int, int, int, int]
"""x, y, width, height."""


class ScanNetPlusPlus(PublishedSet):
    """ScanNet++ at a place on disk. Needs the extra ``colmap``."""

    dataset, layout, published = "scannetpp", LAYOUT, SCENES

    def _load(self, name: str) -> BenchScene:
        scene = self.root / name
        folder = scene / "merge_dslr_iphone"
        model = read_model(need(folder / "colmap" / "sparse_render_rgb", LAYOUT))
        frames, missing = [], []
        for image in sorted(model.images.values(), key=lambda image: image.name):
            if "iphone" not in image.name:
                continue
            if not (folder / "images" / image.name).is_file():
                missing.append(folder / "images" / image.name)
                continue
            camera = model.cameras[image.camera_id]
            pose = np.eye(4, dtype=np.float32)
            pose[:3] = image.cam_from_world().matrix()
            view = view_of(camera.model_name, tuple(camera.params), camera.height, camera.width)
            frames.append(self._frame(folder, image.name, pose, view))
        self.refuse_missing(missing)
        if not frames:
            raise ValueError(f"{folder} has no frame of the telephone; expected {LAYOUT}")
        mesh = scene / "scans" / "mesh_aligned_0.05.ply"
        if not self.compat:
            need(mesh, LAYOUT)
        models = ", ".join(sorted({camera.model_name for camera in model.cameras.values()}))
        return BenchScene(
            dataset="scannetpp",
            name=name,
            frames=tuple(frames),
            truth=MeshTruth(mesh),
            read_recipe=lambda: RECIPE,
            notes=(f"camera models: {models}",),
        )

    def _frame(self, folder: Path, image: str, pose: Float32[np.ndarray, "4 4"], view: "View") -> BenchFrame:
        path = folder / "images" / image
        depth_file = folder / "render_depth" / (Path(image).name[:-4] + ".png")
        compat = self.compat

        def read_valid() -> Bool[np.ndarray, "768 1024"] | None:
            if compat and not depth_file.is_file():
                return None
            metres = read_gray(depth_file, np.uint16) / 1000
            if compat:  # Q35: valid where any of the pixels that are mixed is; Q37: the crop is ignored
                return resize_linear(metres, *FUSION_SIZE) > 0
            return resize_nearest(view.crop_map(metres), *FUSION_SIZE) > 0

        def read_picture() -> UInt8[np.ndarray, "height width 3"]:
            pixels = picture_reader(path)()
            return pixels if compat else view.straighten(pixels)  # Q33: models get raw pictures with a straight K

        left, top, width, height = view.crop
        matrix = view.matrix.copy()
        if not compat:
            matrix[:2, 2] -= (left, top)
        return BenchFrame(
            name=f"images/{image}",
            read_picture=read_picture,
            read_size=size_reader(path) if compat else lambda: (height, width),
            world_to_camera=pose,
            intrinsics=matrix.astype(np.float32),
            camera_size=view.size if compat else (height, width),
            read_valid=read_valid,
            read_depth=lambda: (read_gray(depth_file, np.uint16) / 1000).astype(np.float32),
            valid_files=(depth_file,),
        )


class View:
    """A camera of the model: its straight intrinsics, and how its pictures become straight."""

    def __init__(
        self,
        published: Float[np.ndarray, "3 3"],
        distortion: tuple[float, ...],
        matrix: Float[np.ndarray, "3 3"],
        crop: Rectangle,
        size: tuple[int, int],
    ) -> None:
        """Both matrices count from the centre of the first pixel; ``crop`` is what the straight picture fills."""
        self.published, self.distortion, self.matrix, self.crop, self.size = published, distortion, matrix, crop, size

    def straighten(self, pixels: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "rows columns 3"]:
        """Take the distortion out and keep what the picture fills."""
        if self.distortion:
            lens = np.array([*self.distortion, 0.0])
            pixels = cv2.undistort(pixels, self.published, lens, newCameraMatrix=self.matrix)
        return np.ascontiguousarray(self.crop_map(pixels))

    def crop_map(self, values: np.ndarray) -> np.ndarray:
        """Keep the rectangle that straight pictures fill."""
        left, top, width, height = self.crop
        return values[top : top + height, left : left + width]


def view_of(model: str, parameters: tuple[float, ...], height: int, width: int) -> View:
    """Return the straight view of one of COLMAP's cameras; every model but OPENCV is taken as PINHOLE."""
    fx, fy, cx, cy = parameters[:4]
    published = np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]], np.float64)
    if model != "OPENCV":
        return View(published, (), published, (0, 0, width, height), (height, width))
    distortion = tuple(parameters[4:8])
    matrix, crop = cv2.getOptimalNewCameraMatrix(
        published, np.array([*distortion, 0.0]), (width, height), 1.0, (width, height)
    )
    left, top, columns, rows = map(int, crop)
    return View(published, distortion, matrix, (left, top, columns, rows), (height, width))
