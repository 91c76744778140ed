"""7-Scenes (Shotton et al., 2013): Kinect sequences of rooms (benchmark 2.2).

The intrinsics are those of the depth camera, and depth is not registered to colour; the community keeps both.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from anyview.bench.datasets.files import need, picture_reader, read_gray, read_matrix, size_reader
from anyview.bench.datasets.published_set import PublishedSet
from anyview.bench.datasets.scene import BenchFrame, BenchScene, MeshTruth, TsdfRecipe

LAYOUT = "7Scenes/{SCENE/seq-01/frame-000000.{color.png,depth.png,pose.txt} (stairs: seq-02), meshes/SCENE.ply}"
FRAMES = {"chess": 1000, "fire": 1000, "heads": 1000, "office": 1000, "pumpkin": 1000, "redkitchen": 1000}
FRAMES["stairs"] = 500
INTRINSICS = np.array([[585, 0, 320], [0, 585, 240], [0, 0, 1]], np.float32)
RECIPE = TsdfRecipe(
    voxel_size=4 / 512, truncation=0.04, largest_depth=1_000_000.0, threshold=0.05, evaluation_voxel=4 / 512
)
NO_MEASUREMENT = 65535


class SevenScenes(PublishedSet):
    """7-Scenes at a place on disk."""

    dataset, layout, published, scene_root = "7scenes", LAYOUT, tuple(FRAMES), "7Scenes"

    def _load(self, name: str) -> BenchScene:
        sequence = "seq-02" if name == "stairs" else "seq-01"
        folder = need(self.root / self.scene_root / name / sequence, LAYOUT)
        frames, broken = [], []
        for number in range(FRAMES[name]):
            color, pose = (folder / f"frame-{number:06d}.{what}" for what in ("color.png", "pose.txt"))
            if color.is_file() and pose.is_file():
                frames.append(self._frame(color, pose))
            elif color.is_file() or pose.is_file():
                broken.append(pose if color.is_file() else color)
        self.refuse_missing(broken)
        if not frames:
            raise ValueError(f"{folder} has no frames; expected {LAYOUT}")
        mesh = self.root / self.scene_root / "meshes" / f"{name}.ply"
        if not self.compat:
            need(mesh, LAYOUT)
        few = (f"{len(frames)} of the {FRAMES[name]} published frames",) if len(frames) < FRAMES[name] else ()
        return BenchScene(
            dataset="7scenes",
            name=name,
            frames=tuple(frames),
            truth=MeshTruth(mesh),
            read_recipe=lambda: RECIPE,
            notes=few,
        )

    def _frame(self, color: Path, pose: Path) -> BenchFrame:
        def depth_path() -> Path:
            if self.compat:  # Q32: every "color" of the path
                return Path(str(color).replace("color", "depth"))
            return color.with_name(color.name.replace("color", "depth"))

        def read_valid() -> Bool[np.ndarray, "height width"] | None:
            path = depth_path()
            if not path.is_file() and self.compat:
                return None
            depth = read_gray(path, np.uint16)
            return (depth > 0) & (depth != NO_MEASUREMENT)

        def read_depth() -> Float[np.ndarray, "height width"]:
            depth = read_gray(color.with_name(color.name.replace("color", "depth")), np.uint16)
            return np.where(depth == NO_MEASUREMENT, 0, depth).astype(np.float32) / 1000

        return BenchFrame(
            name=color.name,
            read_picture=picture_reader(color),
            read_size=size_reader(color),
            world_to_camera=np.linalg.inv(read_matrix(pose, 4, 4)).astype(np.float32),
            intrinsics=INTRINSICS,
            read_valid=read_valid,
            read_depth=read_depth,
            valid_files=(depth_path(),),
        )
