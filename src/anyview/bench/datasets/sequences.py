"""Long sequences with a true trajectory: TUM RGB-D, KITTI odometry, and folders with a ``scene.json``."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from anyview.geometry.pose import homogeneous
from anyview.images.read import missing_path, natural_key
from anyview.streaming.known import KnownPoses
from anyview.streaming.trajectory import read_kitti, read_known_poses

LAYOUTS = (
    "a TUM sequence (rgb/TIME.png, groundtruth.txt), a KITTI sequence (sequences/NAME/image_2 or image_0, "
    "poses/NAME.txt), images/ with a scene.json that has w2c, or a folder of these"
)
KITTI_PICTURES = ("image_2", "image_3", "image_0", "image_1")
"""Left and right camera in colour, then in grey."""


@dataclass(frozen=True)
class PosedSequence:
    """Pictures in order, and their true poses."""

    name: str
    pictures: Path
    """Folder; file names are times where the layout has it so."""
    truth: KnownPoses


def find_sequences(path: str | Path) -> list[PosedSequence]:
    """Read the sequence that a folder is, or those that it holds.

    Raises:
        ValueError: there is none, or its poses are missing or broken.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        raise ValueError(missing_path(path))
    found = read_sequence(path)
    if found is not None:
        return [found]
    holder = path / "sequences" if (path / "sequences").is_dir() else path
    folders = sorted((folder for folder in holder.iterdir() if folder.is_dir()), key=lambda one: natural_key(str(one)))
    each = [read_sequence(folder) for folder in folders if not _lacks_truth(folder)]
    sequences = [one for one in each if one is not None]
    if not sequences:
        raise ValueError(f"{path} holds no sequence; expected {LAYOUTS}")
    return sequences


def read_sequence(path: Path) -> PosedSequence | None:
    """Read the sequence that a folder is; None where it is none.

    Raises:
        ValueError: its poses are missing or broken.
    """
    kitti = _kitti_pictures(path)
    if (path / "rgb").is_dir():
        return PosedSequence(path.name, path / "rgb", read_known_poses(path / "groundtruth.txt"))
    if kitti is not None:
        poses = _kitti_poses(path)
        if not poses.is_file():
            raise ValueError(f"{path} has no true poses: {missing_path(poses)}")
        return PosedSequence(path.name, kitti, KnownPoses(by_index=dict(enumerate(read_kitti(poses)))))
    if (path / "scene.json").is_file() and (path / "images").is_dir():
        return PosedSequence(path.name, path / "images", _scene_json_poses(path / "scene.json"))
    return None


def _lacks_truth(path: Path) -> bool:
    """Whether it is one of KITTI's sequences whose poses are not published: among others it is passed over."""
    return _kitti_pictures(path) is not None and not _kitti_poses(path).is_file()


def _kitti_pictures(path: Path) -> Path | None:
    return next((path / name for name in KITTI_PICTURES if (path / name).is_dir()), None)


def _kitti_poses(path: Path) -> Path:
    return path.absolute().parents[1] / "poses" / f"{path.name}.txt"


def _scene_json_poses(path: Path) -> KnownPoses:
    try:
        frames = json.loads(path.read_text(encoding="utf-8"))["frames"]
        by_name = {
            Path(frame["file"]).name: homogeneous(torch.tensor(frame["w2c"], dtype=torch.float64)[:3])
            for frame in frames
            if frame.get("w2c") is not None
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is broken: expected frames with file and w2c ({error})") from error
    if not by_name:
        raise ValueError(f"{path} has no true poses: no frame has w2c")
    return KnownPoses(by_name=by_name)
