"""Large sets as WebDataset shards: tar files whose samples are scenes, read front to back.

A sample holds ``cameras.json`` (world_to_camera and intrinsics of every frame) and, for frame 12, ``0012.jpg`` or
``0012.png`` and ``0012.npy`` (depth). Beside the shards, ``shards.json`` says how many frames each scene has, so that
a scene's number is enough to find it.
"""

import functools
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from anyview.files import atomic_path
from anyview.images.decode import decode_bytes
from anyview.recordings.scene import Frame, RealScene, SparseDepth, check_depth, check_poses
from anyview.types import Cameras

INDEX = "shards.json"


class ShardLibrary:
    """The scenes of a folder of shards; the shards used last stay in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        index = path / INDEX
        try:
            document = json.loads(index.read_text(encoding="utf-8"))
            self.shards = [(str(shard["file"]), [int(count) for count in shard["frames"]]) for shard in document]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{index} is not a readable index of shards: {error!r}") from error
        if not self.shards:
            raise ValueError(f"{index} is not a readable index of shards: it names none")
        self.frames = tuple(count for _, counts in self.shards for count in counts)
        self.places = tuple(
            (shard, place) for shard, (_, counts) in enumerate(self.shards) for place in range(len(counts))
        )
        starts = np.cumsum([0, *(len(counts) for _, counts in self.shards)]).tolist()
        self.blocks = tuple(range(start, end) for start, end in pairwise(starts))
        self._samples = functools.lru_cache(maxsize=2)(self._read_shard)

    def scene(self, number: int) -> RealScene:
        """Return a scene.

        Raises:
            ValueError: its shard is missing, broken, or not as the index says.
        """
        shard, place = self.places[number]
        file = self.path / self.shards[shard][0]
        sample = self._samples(shard)[place]
        return _scene(file, sample)

    def _read_shard(self, shard: int) -> list[dict[str, Any]]:
        name, counts = self.shards[shard]
        samples = read_samples(self.path / name)
        if len(samples) != len(counts):
            raise ValueError(f"{self.path / name} holds {len(samples)} scenes, and {INDEX} says {len(counts)}")
        return samples


def read_samples(path: Path) -> list[dict[str, Any]]:
    """Read all samples of a shard, undecoded. Needs webdataset (extra ``train``).

    Raises:
        ValueError: the file is missing or broken.
    """
    webdataset = _webdataset()
    if not path.is_file():
        raise ValueError(f"no such shard: {path}")
    try:
        with path.open("rb") as stream:
            files = webdataset.tariterators.tar_file_expander([{"url": str(path), "stream": stream}])
            return list(webdataset.tariterators.group_by_keys(files))
    except (OSError, ValueError, EOFError, tarfile.TarError) as error:
        raise ValueError(f"{path} is not a readable shard ({error})") from error


def write_shards(scenes: Sequence[RealScene], folder: Path, scenes_per_shard: int = 8) -> Path:
    """Write scenes as shards, with their index. Needs webdataset (extra ``train``).

    Raises:
        ValueError: a scene has sparse depth, or a file of it is missing or broken.
    """
    webdataset = _webdataset()
    index = []
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        for start in range(0, len(scenes), scenes_per_shard):
            part = scenes[start : start + scenes_per_shard]
            name = f"{start // scenes_per_shard:06d}.tar"
            with webdataset.TarWriter(str(temporary / name)) as writer:
                for number, scene in enumerate(part, start):
                    writer.write({"__key__": f"{number:08d}", **_sample(scene)})
            index.append({"file": name, "frames": [len(scene) for scene in part]})
        (temporary / INDEX).write_text(json.dumps(index) + "\n")
    return folder


def _sample(scene: RealScene) -> dict[str, bytes]:
    from PIL import Image

    sample, intrinsics = {}, []
    for number in range(len(scene)):
        frame = scene.read(number)
        if isinstance(frame.depth, SparseDepth):
            raise ValueError(f"{scene.name} has depth at single points; shards hold maps")
        picture, depth = io.BytesIO(), io.BytesIO()
        Image.fromarray(frame.pixels).save(picture, "PNG")
        np.save(depth, frame.depth)
        sample[f"{number:04d}.png"], sample[f"{number:04d}.npy"] = picture.getvalue(), depth.getvalue()
        intrinsics.append(frame.intrinsics.tolist())
    cameras = {"world_to_camera": scene.world_to_camera.tolist(), "intrinsics": intrinsics}
    sample["cameras.json"] = json.dumps({"name": scene.name, **cameras}).encode()
    return sample


def _scene(file: Path, sample: Mapping[str, Any]) -> RealScene:
    key = sample["__key__"]
    try:
        document = json.loads(sample["cameras.json"])
        cameras = Cameras.from_arrays(document["world_to_camera"], document["intrinsics"])
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{file}: the cameras of scene {key} are missing or misshapen ({error!r})") from error
    check_poses(file, cameras)
    intrinsics = cameras.intrinsics.double().numpy()

    def read(number: int) -> Frame:
        stem = f"{number:04d}"
        suffix = next((suffix for suffix in ("jpg", "png") if f"{stem}.{suffix}" in sample), None)
        if suffix is None or f"{stem}.npy" not in sample:
            raise ValueError(f"{file}: scene {key} lacks the picture or the depth of frame {stem}")
        picture = decode_bytes(sample[f"{stem}.{suffix}"], stem, label=f"{file}: {key}.{stem}.{suffix}")
        try:
            depth = np.load(io.BytesIO(sample[f"{stem}.npy"]), allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{file}: {key}.{stem}.npy is not readable ({error})") from error
        return Frame(picture.pixels, intrinsics[number], check_depth(file / f"{key}.{stem}.npy", depth))

    return RealScene(str(document.get("name", key)), cameras.world_to_camera, read)


def _webdataset() -> Any:
    try:
        import webdataset
    except ImportError as error:
        raise ImportError('WebDataset shards need `pip install "anyview[train]"`') from error
    return webdataset
