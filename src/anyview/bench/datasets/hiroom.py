"""HiRoom, the benchmark's own rendered rooms (benchmark 2.4)."""

from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from anyview.bench.datasets.files import need, picture_reader, read_gray, read_matrix, size_reader
from anyview.bench.datasets.published_set import PublishedSet
from anyview.bench.datasets.scene import BenchFrame, BenchScene, CloudTruth, TsdfRecipe

LIST = "selected_scene_list_val.txt"
LAYOUT = (
    f"{LIST}, data/A/B/C/{{image/*, depth/*.png, pose/*.npy, aliasing_mask/*.png, cam_K.npy}} and fused_pcd/A-B-C.ply"
)
FARTHEST = 100.0
"""Metres that the largest 16-bit value stands for."""
RECIPE = TsdfRecipe(
    voxel_size=4 / 512, truncation=0.04, largest_depth=10_000.0, threshold=0.05, evaluation_voxel=4 / 512
)


class HiRoom(PublishedSet):
    """HiRoom at a place on disk; its scenes are those of a list."""

    dataset, layout = "hiroom", LAYOUT

    @cached_property
    def _names(self) -> tuple[str, ...]:
        lines = need(self.root / LIST, LAYOUT).read_text(encoding="utf-8").splitlines()
        names = tuple(line.strip() for line in lines if line.strip())
        if not names:
            raise ValueError(f"{self.root / LIST} names no scenes; expected {LAYOUT}")
        return names

    def _load(self, name: str) -> BenchScene:
        folder = need(self.root / "data" / name, LAYOUT)
        intrinsics = read_matrix(need(folder / "cam_K.npy", LAYOUT), 3, 3).astype(np.float32)
        frames, missing = [], []
        for picture in sorted(need(folder / "image", LAYOUT).iterdir(), key=lambda path: path.name):
            pose = folder / "pose" / f"{picture.name.partition('.')[0]}.npy"
            if pose.is_file():
                frames.append(self._frame(folder, picture, pose, intrinsics))
            else:
                missing.append(pose)
        self.refuse_missing(missing)
        if not frames:
            raise ValueError(f"{folder} has no frames; expected {LAYOUT}")
        truth = self.root / "fused_pcd" / ("-".join(Path(name).parts[-3:]) + ".ply")
        if not self.compat:
            need(truth, LAYOUT)
        return BenchScene(
            dataset="hiroom", name=name, frames=tuple(frames), truth=CloudTruth(truth), read_recipe=lambda: RECIPE
        )

    def _frame(self, folder: Path, picture: Path, pose: Path, intrinsics: Float[np.ndarray, "3 3"]) -> BenchFrame:
        file = f"{picture.name.partition('.')[0]}.png"

        def read_valid() -> Bool[np.ndarray, "height width"] | None:
            depth_file, aliasing_file = folder / "depth" / file, folder / "aliasing_mask" / file
            if not depth_file.is_file() and self.compat:
                return None
            valid = read_gray(depth_file, np.uint16) > 0
            return valid & ~(read_gray(aliasing_file, np.uint8) > 0) if aliasing_file.is_file() else valid

        return BenchFrame(
            name=f"image/{picture.name}",
            read_picture=picture_reader(picture),
            read_size=size_reader(picture),
            world_to_camera=read_matrix(pose, 4, 4).astype(np.float32),
            intrinsics=intrinsics,
            read_valid=read_valid,
            read_depth=lambda: read_gray(folder / "depth" / file, np.uint16) / np.float32(65535 / FARTHEST),
            valid_files=(folder / "depth" / file,),
        )
