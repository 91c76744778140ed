"""Writers of small fake folders in every published layout, with scenes whose geometry is a formula (benchmark A.5).

A ring of cameras inside of a box, or cameras around a sphere. `Oracle` is a model that knows the formula.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from anyview.bench.datasets.scene import BenchFrame, BenchScene
from anyview.bench.rivals.rival import Answer, Question
from anyview.fusion.mesh import Mesh, write_mesh, write_points

BOX = np.array([2.0, 1.5, 2.5])
SPHERE, AROUND = 50.0, 600.0
"""Radius, and how far the cameras are from the middle; also the depth of what misses the sphere."""
Depth = Callable[[np.ndarray, np.ndarray, int, int, float], np.ndarray]
"""(world_to_camera, intrinsics, height, width, coordinates of the first pixel's centre) -> depth."""


def look_at(center: np.ndarray, target: np.ndarray) -> np.ndarray:
    z = (target - center) / np.linalg.norm(target - center)
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x)
    pose = np.eye(4)
    pose[:3, :3] = [x, np.cross(z, x), z]
    pose[:3, 3] = -pose[:3, :3] @ center
    return pose


def ring(count: int, factor: float, of: int | None = None) -> list[np.ndarray]:
    """The first ``count`` cameras of a ring of ``of``."""
    poses = []
    for index in range(count):
        a = 2 * np.pi * index / (of or count)
        center = factor * np.array([0.8 * np.cos(a), 0.3 * np.sin(2 * a), 0.9 * np.sin(a)])
        target = factor * np.array([2 * np.cos(a + 0.3), 0.5 * np.sin(a), 2.5 * np.sin(a + 0.3)])
        poses.append(look_at(center, target))
    return poses


def around_sphere(count: int) -> list[np.ndarray]:
    poses = []
    for index in range(count):
        a, b = 0.9 * np.sin(0.7 * index), 0.5 * np.cos(1.3 * index)
        center = AROUND * np.array([np.sin(a) * np.cos(b), np.sin(b), -np.cos(a) * np.cos(b)])
        poses.append(look_at(center, np.zeros(3)))
    return poses


def rays(pose: np.ndarray, intrinsics: np.ndarray, height: int, width: int, first: float):
    """Centre of the camera, and world directions with z-depth 1."""
    u, v = np.meshgrid(np.arange(width) + first, np.arange(height) + first)
    fx, fy, cx, cy = intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]].astype(np.float64)
    directions = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones_like(u, float)], -1)
    rotation = pose[:3, :3].astype(np.float64)
    return -rotation.T @ pose[:3, 3].astype(np.float64), directions @ rotation


def box_depth(factor: float) -> Depth:
    def depth(pose, intrinsics, height, width, first):
        center, directions = rays(pose, intrinsics, height, width, first)
        with np.errstate(divide="ignore", invalid="ignore"):
            # NaN for rays along a wall: the published numbers are of maps with these holes.
            return ((np.sign(directions) * factor * BOX - center) / directions).min(-1)

    return depth


def sphere_depth(pose, intrinsics, height, width, first):
    center, directions = rays(pose, intrinsics, height, width, first)
    a, b = (directions**2).sum(-1), directions @ center
    discriminant = b**2 - a * (center @ center - SPHERE**2)
    return np.where(discriminant > 0, (-b - np.sqrt(discriminant.clip(0))) / a, AROUND)


def box_mesh(factor: float) -> Mesh:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * factor * BOX
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [[q[i] for i in corner] for q in quads for corner in ((0, 1, 2), (0, 2, 3))]
    return Mesh(corners, np.array(faces, np.int32))


def box_lattice(factor: float, step: float) -> np.ndarray:
    """Points on the six faces, edges included in all of their faces."""
    half = factor * BOX
    axes = [np.linspace(-h, h, round(2 * h / step) + 1) for h in half]
    points = []
    for axis in range(3):
        others = [i for i in range(3) if i != axis]
        for side in (-1, 1):
            grid = np.stack(np.meshgrid(*(axes[i] for i in others), indexing="ij"), -1).reshape(-1, 2)
            face = np.empty((len(grid), 3))
            face[:, others], face[:, axis] = grid, side * half[axis]
            points.append(face)
    return np.concatenate(points)


def pinhole(focal: float, cx: float, cy: float) -> np.ndarray:
    return np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1]], np.float64)


def picture(path: Path, height: int, width: int, seed: str) -> None:
    """Coarse noise, different in every picture."""
    draw = np.random.default_rng(list(seed.encode()))
    coarse = draw.integers(0, 255, (max(2, height // 8), max(2, width // 8), 3), np.uint8)
    save(path, cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST))


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if values.dtype == np.uint16:
        assert cv2.imwrite(str(path), values)
    else:
        Image.fromarray(values).save(path, format="PNG" if path.suffix == ".png" else "JPEG")


def steps(values: np.ndarray) -> np.ndarray:
    """Whole numbers of 16 bits, 0 where there is none."""
    return np.nan_to_num(np.round(values)).astype(np.uint16)


def array(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def matrix_lines(matrix: np.ndarray, digits: int = 17) -> list[str]:
    return [" ".join(f"{value:.{digits}g}" for value in row) for row in matrix]


def quaternion_wxyz(rotation: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(rotation).as_quat()[[3, 0, 1, 2]]


def colmap_image(number: int, pose: np.ndarray, camera: int, name: str) -> str:
    values = [*quaternion_wxyz(pose[:3, :3]), *pose[:3, 3]]
    return f"{number} " + " ".join(f"{value:.17g}" for value in values) + f" {camera} {name}"


FISHEYE = "0 THIN_PRISM_FISHEYE 144 96 120 120 72 48 0 0 0 0 0 0 0 0"
"""Written for depth of a pinhole camera: the published evaluator does not look at the model (Q27)."""


def write_eth3d(
    root: Path,
    scene: str = "courtyard",
    first: int = 286,
    count: int = 8,
    camera: str = FISHEYE,
    first_pixel: float = 0.0,
) -> None:
    height, width, folder, k = 96, 144, root / scene, pinhole(120, 72, 48)
    calibration = folder / "dslr_calibration_jpg"
    text(
        calibration / "cameras.txt",
        *("# Camera list", "# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]", "# Number of cameras: 1"),
        camera,
    )
    lines = ["# Image list", "# IMAGE_ID ...", "#   POINTS2D[]", f"# Number of images: {count}"]
    for index, pose in enumerate(ring(count, 1.0)):
        name = f"DSC_{first + index:04d}.JPG"
        picture(folder / "images" / "dslr_images" / name, height, width, f"{scene}{index}")
        depth = box_depth(1.0)(pose, k, height, width, first_pixel).astype("<f4")
        depth[:4] = np.inf
        raw = folder / "ground_truth_depth" / "dslr_images" / name
        raw.parent.mkdir(parents=True, exist_ok=True)
        raw.write_bytes(depth.tobytes())
        mask = np.zeros((height, width), np.uint8)
        mask[6:10], mask[-6:] = 2, 1
        save(folder / "masks_for_images" / "dslr_images" / name.replace(".JPG", ".png"), mask)
        lines += [colmap_image(index + 1, pose, 0, f"dslr_images/{name}"), "" if index % 2 else "1.5 2.5 -1"]
    text(calibration / "images.txt", *lines)
    write_mesh(folder / "combined_mesh.ply", box_mesh(1.0))


def write_eth3d_consistent(root: Path) -> None:
    """With a camera that is what COLMAP would call it."""
    write_eth3d(root, camera="0 PINHOLE 144 96 120 120 72 48", first_pixel=0.5)


def write_eth3d_relief(root: Path) -> None:
    write_eth3d(root, "relief", 420, 12)


def write_7scenes(root: Path, count: int = 8) -> None:
    height, width, k = 480, 640, pinhole(585, 320, 240)
    folder = root / "7Scenes" / "chess" / "seq-01"
    for index, pose in enumerate(ring(count, 0.25)):
        stem = f"frame-{index:06d}"
        picture(folder / f"{stem}.color.png", height, width, f"chess{index}")
        depth = steps(box_depth(0.25)(pose, k, height, width, 0) * 1000)
        depth[:5], depth[5:9] = 65535, 0
        save(folder / f"{stem}.depth.png", depth)
        text(folder / f"{stem}.pose.txt", *matrix_lines(np.linalg.inv(pose)))
    (root / "7Scenes" / "meshes").mkdir(parents=True)
    write_mesh(root / "7Scenes" / "meshes" / "chess.ply", box_mesh(0.25))


def write_scannetpp(root: Path, count: int = 8) -> None:
    height, width, k = 144, 192, pinhole(150, 96, 72)
    scene = root / "09c1414f1b"
    folder = scene / "merge_dslr_iphone"
    model = folder / "colmap" / "sparse_render_rgb"
    text(
        model / "cameras.txt",
        "1 PINHOLE 192 144 150 150 96.5 72.5",
        "2 OPENCV 192 144 150 150 96.5 72.5 -0.05 0.01 0 0",
    )
    text(model / "points3D.txt", "# none")
    poses, lines = ring(count, 0.5), []
    for index, pose in enumerate(poses):
        name = f"iphone/frame_{index:06d}.jpg"
        picture(folder / "images" / name, height, width, f"scannetpp{index}")
        depth = steps(box_depth(0.5)(pose, k, height, width, 0) * 1000)
        depth[:9] = 0
        save(folder / "render_depth" / f"frame_{index:06d}.png", depth)
        lines += [colmap_image(index + 1, pose, 1 if index < count - 1 else 2, name), ""]
    text(model / "images.txt", *lines, colmap_image(count + 1, poses[0], 1, "dslr/DSC00001.JPG"), "")
    (scene / "scans").mkdir()
    write_mesh(scene / "scans" / "mesh_aligned_0.05.ply", box_mesh(0.5))


def write_hiroom(root: Path, count: int = 8) -> None:
    height, width, k = 120, 160, pinhole(130, 80, 60)
    folder = root / "data" / "aa" / "bb" / "cc"
    text(root / "selected_scene_list_val.txt", "aa/bb/cc")
    array(folder / "cam_K.npy", k)
    for index, pose in enumerate(ring(count, 0.25)):
        name = f"{index:04d}"
        picture(folder / "image" / f"{name}.png", height, width, f"hiroom{index}")
        array(folder / "pose" / f"{name}.npy", pose)
        depth = steps(box_depth(0.25)(pose, k, height, width, 0) / 100 * 65535)
        save(folder / "depth" / f"{name}.png", depth)
        aliasing = np.zeros((height, width), np.uint8)
        aliasing[:, :3] = 255
        save(folder / "aliasing_mask" / f"{name}.png", aliasing)
    (root / "fused_pcd").mkdir()
    write_points(root / "fused_pcd" / "aa-bb-cc.ply", box_lattice(0.25, 0.005))


def write_camera(path: Path, pose: np.ndarray, intrinsics: np.ndarray) -> None:
    text(
        path,
        *("extrinsic", *matrix_lines(pose, 9), "", "intrinsic", *matrix_lines(intrinsics, 9), "", "425.0 2.5"),
    )


def write_dtu(root: Path, count: int = 36) -> None:
    from scipy.io import savemat

    height, width, k = 120, 160, pinhole(290, 80, 60)
    for index, pose in enumerate(around_sphere(count)):
        picture(root / "Rectified" / "scan1" / f"rect_{index + 1:03d}_3_r5000.png", height, width, f"dtu{index}")
        write_camera(root / "Cameras" / f"{index:08d}_cam.txt", pose, k)
        hit = (sphere_depth(pose, k, height, width, 0) < AROUND).astype(np.uint8) * 255
        save(root / "depth_raw" / "Depths" / "scan1" / f"depth_visual_{index:04d}.png", hit)
    numbers = np.arange(20_000)
    z, azimuth = 1 - 2 * (numbers + 0.5) / len(numbers), numbers * np.pi * (3 - np.sqrt(5))
    radius = np.sqrt(1 - z**2)
    points = SPHERE * np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth), z], -1)
    (root / "Points" / "stl").mkdir(parents=True)
    write_points(root / "Points" / "stl" / "stl001_total.ply", points)
    masks = root / "SampleSet" / "mvs_data" / "ObsMask"
    masks.mkdir(parents=True)
    observed = {"ObsMask": np.ones((130, 130, 130), np.uint8), "BB": np.array([[-65.0] * 3, [65.0] * 3]), "Res": 1.0}
    savemat(masks / "ObsMask1_10.mat", observed)
    savemat(masks / "Plane1.mat", {"P": np.array([[0.0], [0], [-1], [5]])})


def write_dtu64(root: Path, count: int = 35) -> None:
    for index, pose in enumerate(around_sphere(count)):
        picture(root / "scan105" / "image" / f"{index:08d}.png", 60, 80, f"dtu64{index}")
        write_camera(root / "Cameras" / f"{index:08d}_cam.txt", pose, pinhole(145, 40, 30))


@dataclass(frozen=True)
class Layout:
    """A published layout, its fake scene, and what its models would say."""

    write: Callable[[Path], None]
    depth: Depth
    network_size: tuple[int, int]
    """(height, width) of perfect results."""


LAYOUTS: Mapping[str, Layout] = {
    "eth3d": Layout(write_eth3d, box_depth(1.0), (84, 126)),
    "7scenes": Layout(write_7scenes, box_depth(0.25), (378, 504)),
    "scannetpp": Layout(write_scannetpp, box_depth(0.5), (126, 168)),
    "hiroom": Layout(write_hiroom, box_depth(0.25), (84, 112)),
    "dtu": Layout(write_dtu, sphere_depth, (84, 112)),
    "dtu64": Layout(write_dtu64, sphere_depth, (42, 56)),
}


def similarity() -> tuple[float, np.ndarray, np.ndarray]:
    """The frame that unposed perfect results are in: c' = 0.37 Q c + (1, -2, 0.5)."""
    from scipy.spatial.transform import Rotation

    return 0.37, Rotation.from_rotvec([0.2, 0.7, -0.3]).as_matrix(), np.array([1, -2, 0.5])


def moved(pose: np.ndarray, scale: float, rotation: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The pose of a camera after the world has been moved."""
    result = np.eye(4)
    result[:3, :3] = pose[:3, :3] @ rotation.T
    center = scale * rotation @ (-pose[:3, :3].T @ pose[:3, 3]) + shift
    result[:3, 3] = -result[:3, :3] @ center
    return result


@dataclass
class Oracle:
    """A model that knows the truth of the scenes that it is shown, told by their pictures."""

    scenes: Sequence[BenchScene]
    depth: Depth
    size: tuple[int, int] | None
    """Of its maps; None: that of the pictures."""
    compat: bool
    name: str = "oracle"
    identity: dict[str, str | int | float | bool] = field(default_factory=lambda: {"model": "oracle"})
    tasks: tuple[str, ...] = ("pose", "recon_unposed", "recon_posed", "depth")
    frame: tuple[float, np.ndarray, np.ndarray] = field(default_factory=similarity)
    asked: int = 0

    def answer(self, question: Question) -> Answer:
        self.asked += 1
        known = {frame.read_picture().tobytes(): (scene, frame) for scene in self.scenes for frame in scene.frames}
        maps, poses, matrices = [], [], []
        for shown in question.pictures:
            scene, frame = known[shown.pixels.tobytes()]
            matrix = self.intrinsics(scene, frame)
            maps.append(self.depth(frame.world_to_camera, matrix, *self.map_size(frame), 0 if self.compat else 0.5))
            poses.append(frame.world_to_camera.astype(np.float64))
            matrices.append(matrix)
        if question.cameras is None or question.raw_scale:
            poses = [moved(pose, *self.frame) for pose in poses]
            maps = [self.frame[0] * depth for depth in maps]
        return Answer(
            depth=tuple(depth.astype(np.float32) for depth in maps),
            world_to_camera=np.stack(poses).astype(np.float32),
            intrinsics=np.stack(matrices).astype(np.float32),
        )

    def map_size(self, frame: BenchFrame) -> tuple[int, int]:
        return self.size or frame.read_size()

    def intrinsics(self, scene: BenchScene, frame: BenchFrame) -> np.ndarray:
        """K of the map: as published and scaled in "compat"; of pixel centres at half-integers in "sane"."""
        matrix = frame.intrinsics.astype(np.float64)
        if not self.compat and scene.pixel_origin == "centre":
            matrix[:2, 2] += 0.5
        (height, width), (rows, columns) = frame.camera_size or frame.read_size(), self.map_size(frame)
        return np.diag([columns / width, rows / height, 1]) @ matrix


def write_scene_json(root: Path, count: int = 4, depth: bool = True) -> None:
    """A room of ours in the layout of the real sets, pixel centres at half-integers."""
    k, frames = pinhole(60, 32, 24), []
    for index, pose in enumerate(ring(count, 1.0, of=24)):
        picture(root / "room" / "images" / f"{index}.png", 48, 64, f"room{index}")
        frames.append({"file": f"images/{index}.png", "K": k.tolist(), "w2c": pose.tolist()})
        if depth:
            values = steps(box_depth(1.0)(pose, k, 48, 64, 0.5) * 5000)
            save(root / "room" / "depth" / f"{index}.png", values)
            frames[-1]["depth"] = f"depth/{index}.png"
    document = {"frames": frames, "depth_scale": 5000 if depth else None, "units": "metres"}
    (root / "room" / "scene.json").write_text(json.dumps(document))


def write_transforms(root: Path, scene: str = "0a1b", count: int = 20) -> None:
    """A project of nerfstudio: pictures with OpenGL's cameras."""
    frames, opengl = [], np.diag([1.0, -1, -1, 1])
    for index, pose in enumerate(ring(count, 1.0)):
        picture(root / scene / "images_4" / f"frame_{index:05d}.png", 54, 96, f"{scene}{index}")
        matrix = (np.linalg.inv(pose) @ opengl).tolist()
        frames.append({"file_path": f"images_4/frame_{index:05d}.png", "transform_matrix": matrix})
    document = {"fl_x": 80.0, "fl_y": 80.0, "cx": 48.0, "cy": 27.0, "w": 96, "h": 54, "frames": frames}
    text(root / scene / "transforms.json", json.dumps(document))


def write_views(root: Path, scene: str, sizes: Sequence[tuple[int, int]], folder: str = "sparse/0") -> None:
    """A COLMAP project: pictures of any (height, width) on a ring, each with a camera of its own."""
    model, lines, cameras = root / scene / folder, [], []
    for index, (pose, (height, width)) in enumerate(zip(ring(len(sizes), 1.0), sizes, strict=True)):
        name = f"{index:03d}.png"
        picture(root / scene / "images" / name, height, width, f"{scene}{index}")
        cameras.append(f"{index + 1} PINHOLE {width} {height} 80 80 {width / 2 + 3} {height / 2}")
        lines += [colmap_image(index + 1, pose, index + 1, name), ""]
    text(model / "cameras.txt", *cameras)
    text(model / "images.txt", *lines)
    text(model / "points3D.txt", "# none")
