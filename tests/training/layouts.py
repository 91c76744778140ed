"""Writers of the room in every layout that training reads; each returns what `open_dataset` takes."""

import json
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from rooms import room_cameras

from anyview.geometry.camera import unproject
from anyview.geometry.pose import quaternion_xyzw_from_matrix, rigid_inverse
from anyview.types import Cameras
from box_room import render_room

FRAMES, HEIGHT, WIDTH = 4, 48, 64


def shots(intrinsics: np.ndarray | None = None, height: int = HEIGHT, width: int = WIDTH):
    """Cameras, pictures and depth of the room."""
    cameras = room_cameras(0, FRAMES, height, width, 0.0)
    if intrinsics is not None:
        cameras = Cameras(cameras.world_to_camera, torch.tensor(intrinsics).float().expand(FRAMES, 3, 3))
    pictures, depth = render_room(cameras, height, width)
    return cameras, pictures.numpy(), depth.numpy()


def save_picture(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **({"quality": 100, "subsampling": 0} if path.suffix == ".jpg" else {}))


def save_png16(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), values.round().astype(np.uint16))


def save_array(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)


def write_folder(path: Path, name: str = "room", depth: str = ".npy") -> str:
    cameras, pictures, depths = shots()
    frames = []
    for number in range(FRAMES):
        save_picture(path / name / "images" / f"{number}.png", pictures[number])
        if depth == ".npy":
            save_array(path / name / "depth" / f"{number}.npy", depths[number])
        else:
            save_png16(path / name / "depth" / f"{number}.png", depths[number] * 5000)
        pose, intrinsics = cameras.world_to_camera[number].tolist(), cameras.intrinsics[number].tolist()
        frames.append({"name": f"{number}.png", "world_to_camera": pose, "intrinsics": intrinsics})
    (path / name / "cameras.json").write_text(json.dumps({"depth_unit": 1 / 5000, "frames": frames}))
    return str(path)


def write_folder_of_pngs(path: Path) -> str:
    return "folder:" + write_folder(path, depth=".png")


def write_tartanair(path: Path) -> str:
    cameras, pictures, depths = shots(np.array([[320.0, 0, 320], [0, 320, 240], [0, 0, 1]]), 480, 640)
    folder = path / "hospital" / "Easy" / "P001"
    rows = []
    for number in range(FRAMES):
        save_picture(folder / "image_left" / f"{number:06d}_left.png", pictures[number])
        save_array(folder / "depth_left" / f"{number:06d}_left_depth.npy", depths[number])
        pose = rigid_inverse(cameras.world_to_camera[number])
        # Columns: where its x (forward), y (right) and z (down) point.
        axes = torch.stack([pose[:3, 2], pose[:3, 0], pose[:3, 1]], dim=1)
        rows.append([*pose[:3, 3].tolist(), *quaternion_xyzw_from_matrix(axes).tolist()])
    np.savetxt(folder / "pose_left.txt", rows)
    (path / "amusement" / "Easy" / "P000").mkdir(parents=True)
    (path / "amusement" / "Easy" / "P000" / "pose_left.txt").write_text("dropped\n")
    return f"tartanair:{path}"


def write_scannetpp(path: Path) -> str:
    cameras, pictures, depths = shots()
    folder, document = path / "data" / "09c1414f1b" / "iphone", {}
    for number in range(FRAMES):
        name = f"frame_{10 * number:06d}"
        save_picture(folder / "rgb" / f"{name}.jpg", pictures[number])
        save_png16(folder / "depth" / f"{name}.png", depths[number] * 1000)
        pose = rigid_inverse(cameras.world_to_camera[number].double())
        document[name] = {"aligned_poses": pose.tolist(), "intrinsic": cameras.intrinsics[number].tolist()}
    (folder / "pose_intrinsic_imu.json").write_text(json.dumps(document))
    return f"scannetpp:{path}"


def hypersim_files(path: Path, lens_turn: np.ndarray | None = None) -> str:
    """Write Hypersim's layout; ``lens_turn`` turns the image plane and the lens table says so."""
    import h5py

    tangent = np.tan(np.pi / 6)
    focal = WIDTH / 2 / tangent
    cameras, pictures, depths = shots(np.array([[focal, 0, WIDTH / 2], [0, focal, HEIGHT / 2], [0, 0, 1]]))
    scene, unit = path / "ai_001_001", 0.0254
    detail = scene / "_detail" / "cam_00"
    detail.mkdir(parents=True)
    (scene / "_detail" / "metadata_scene.csv").write_text(
        f"parameter_name,parameter_value\nmeters_per_asset_unit,{unit}\n"
    )
    poses = rigid_inverse(cameras.world_to_camera.double()).numpy()
    # Columns: where its x (right), y (up) and z (backward) point.
    axes = np.stack([poses[:, :3, 0], -poses[:, :3, 1], -poses[:, :3, 2]], axis=2)
    turn = np.eye(3) if lens_turn is None else lens_turn
    numbers = np.arange(FRAMES) * 3

    def save(file: Path, values: np.ndarray) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(file, "w") as store:
            store["dataset"] = values

    save(detail / "camera_keyframe_positions.hdf5", poses[:, :3, 3] / unit)
    save(detail / "camera_keyframe_orientations.hdf5", axes @ turn.T)
    save(detail / "camera_keyframe_frame_indices.hdf5", numbers)
    distance = unproject(torch.from_numpy(depths), cameras.intrinsics).norm(dim=-1).numpy()
    for picture, far, number in zip(pictures, distance, numbers, strict=True):
        name = f"frame.{number:04d}"
        save_picture(scene / "images" / "scene_cam_00_final_preview" / f"{name}.tonemap.jpg", picture)
        save(scene / "images" / "scene_cam_00_geometry_hdf5" / f"{name}.depth_meters.hdf5", far.astype(np.float16))
    if lens_turn is not None:
        lens = turn @ np.diag([tangent, tangent * HEIGHT / WIDTH, -1.0])
        names = [f"M_cam_from_uv_{row}{column}" for row in range(3) for column in range(3)]
        values = ["ai_001_001", *map(str, lens.flatten())]
        (path / "metadata_camera_parameters.csv").write_text(
            ",".join(["scene_name", *names]) + "\n" + ",".join(values) + "\n"
        )
    return f"hypersim:{path}"


def write_hypersim(path: Path) -> str:
    return hypersim_files(path)


def write_hypersim_with_tilted_lens(path: Path) -> str:
    tilt, shift = np.radians(7), np.radians(-4)
    around_x = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    around_y = np.array([[np.cos(shift), 0, np.sin(shift)], [0, 1, 0], [-np.sin(shift), 0, np.cos(shift)]])
    return hypersim_files(path, around_x @ around_y)


def write_colmap_model(folder: Path, images: Path, suffix: str, points_per_frame: int = 0) -> None:
    import pycolmap

    cameras, pictures, depths = shots()
    (matrix,) = cameras.intrinsics[:1].double().numpy()
    model = pycolmap.Reconstruction()
    lens = [matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]]
    model.add_camera_with_trivial_rig(
        pycolmap.Camera(model="PINHOLE", width=WIDTH, height=HEIGHT, params=lens, camera_id=1)
    )
    for number in range(FRAMES):
        name = f"{number}{suffix}"
        save_picture(images / name, pictures[number])
        image = pycolmap.Image(name=name, camera_id=1, image_id=number + 1)
        pose = cameras.world_to_camera[number, :3].double().numpy()
        generator = np.random.default_rng(number)
        x = generator.integers(0, WIDTH, points_per_frame)
        y = generator.integers(0, HEIGHT, points_per_frame)
        centers = np.stack([x, y], axis=1) + 0.5
        image.points2D = pycolmap.Point2DList([pycolmap.Point2D(center) for center in centers])
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(pose))
        seen = np.insert(centers, 2, 1, axis=1) @ np.linalg.inv(matrix).T * depths[number][y, x, None]
        for index, point in enumerate((seen - pose[:, 3]) @ pose[:, :3]):
            track = pycolmap.Track()
            track.add_element(number + 1, index)
            identifier = model.add_point3D(point, track, np.zeros(3, np.uint8))
            model.points3D[identifier].error = 0.5
    folder.mkdir(parents=True)
    model.write_binary(folder)


def write_colmap(path: Path) -> str:
    write_colmap_model(path / "sparse" / "0", path / "images", ".png")
    _, _, depths = shots()
    for number, depth in enumerate(depths):
        file = path / "stereo" / "depth_maps" / f"{number}.png.geometric.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(f"{WIDTH}&{HEIGHT}&1&".encode() + depth.astype("<f4").tobytes())
    return f"colmap:{path}"


def write_dl3dv(path: Path, points_per_frame: int = 400) -> str:
    scene = path / "1K" / "0a1b7c20"
    write_colmap_model(scene / "colmap" / "sparse" / "0", scene / "images_4", ".png", points_per_frame)
    return f"dl3dv:{path}"


def write_shards(path: Path) -> str:
    from anyview.recordings.folder import read_folders
    from anyview.recordings.shards import write_shards

    for name in ("a", "b", "c"):
        write_folder(path / "scenes", name)
    write_shards(read_folders(path / "scenes").scenes, path / "shards", scenes_per_shard=2)
    return f"shards:{path / 'shards'}"
