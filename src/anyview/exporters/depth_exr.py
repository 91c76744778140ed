import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from anyview.exporters.names import file_stems
from anyview.files import atomic_path
from anyview.options import ExportOptions
from anyview.types import Prediction

ROWS_PER_CHUNK = 16  # what ZIP compression stands for in OpenEXR


def write(prediction: Prediction, folder: Path, options: ExportOptions) -> list[Path]:
    """Write depth as float32 OpenEXR files of the one channel ``Y``; 0 where there is none.

    ``Y`` (luminance) and not ``Z``, since that is what OpenCV and most picture viewers open.
    """
    depth = torch.where(prediction.valid(), prediction.depth, 0).numpy()
    attributes = {"depthUnit": prediction.units, "model": prediction.model}
    paths = [folder / "depth_exr" / f"{stem}.exr" for stem in file_stems(prediction.names)]
    with atomic_path(folder / "depth_exr") as temporary:
        temporary.mkdir()
        for path, values in zip(paths, depth, strict=True):
            (temporary / path.name).write_bytes(encode_exr(values, "Y", attributes))
    return paths


def encode_exr(values: Float32[np.ndarray, "height width"], channel: str, attributes: dict[str, str]) -> bytes:
    """Encode one float32 channel as a single-part OpenEXR file of ZIP-compressed scanlines (openexr.com)."""
    height, width = values.shape
    box = struct.pack("<4i", 0, 0, width - 1, height - 1)
    pixel_type_float, sampling = 2, 1
    channels = _text(channel) + struct.pack("<iB3xii", pixel_type_float, 0, sampling, sampling) + b"\0"
    header = struct.pack("<ii", 20000630, 2) + b"".join(
        [
            _attribute("channels", "chlist", channels),
            _attribute("compression", "compression", b"\3"),
            _attribute("dataWindow", "box2i", box),
            _attribute("displayWindow", "box2i", box),
            _attribute("lineOrder", "lineOrder", b"\0"),
            _attribute("pixelAspectRatio", "float", struct.pack("<f", 1)),
            _attribute("screenWindowCenter", "v2f", struct.pack("<2f", 0, 0)),
            _attribute("screenWindowWidth", "float", struct.pack("<f", 1)),
            *(_attribute(name, "string", value.encode()) for name, value in attributes.items()),
            b"\0",
        ]
    )
    chunks = []
    for row in range(0, height, ROWS_PER_CHUNK):
        data = _compress(values[row : row + ROWS_PER_CHUNK].astype("<f4").tobytes())
        chunks.append(struct.pack("<ii", row, len(data)) + data)
    lengths = [len(chunk) for chunk in chunks]
    offsets = len(header) + 8 * len(chunks) + np.cumsum([0, *lengths[:-1]])
    return header + offsets.astype("<u8").tobytes() + b"".join(chunks)


def _compress(raw: bytes) -> bytes:
    values = np.frombuffer(raw, np.uint8)
    halves = np.concatenate([values[0::2], values[1::2]])
    differences = np.diff(halves, prepend=halves[:1] * 0) + np.uint8(128)
    differences[0] = halves[0]
    packed = zlib.compress(differences.tobytes())
    return packed if len(packed) < len(raw) else raw


def _attribute(name: str, kind: str, value: bytes) -> bytes:
    return _text(name) + _text(kind) + struct.pack("<i", len(value)) + value


def _text(text: str) -> bytes:
    return text.encode() + b"\0"
