from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anyview.files import atomic_path
from anyview.options import ExportOptions
from anyview.render.pixels import NOTE
from anyview.render.scene import scene_gaussians
from anyview.types import Cameras, Gaussians, Prediction

_KINDS = {
    "char": "i1",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "float": "f4",
    "double": "f8",
}
NUMPY_TYPES = {name: f"<{code}" for kind, code in _KINDS.items() for name in (kind, str(np.dtype(code)))}
"""PLY's scalar types, under their old names and those with bits (float, float32)."""
CAMERA = "anyview_camera"
"""Comments that begin with this hold the width and height of a picture, K without its last row, and [R t]."""
MOST_CERTAIN = 1e-6
"""Opacities are kept this far from 0 and 1, where their logits are infinite."""


@dataclass(frozen=True)
class GaussianFile:
    """What a PLY file of Gaussians holds."""

    gaussians: Gaussians
    cameras: Cameras | None
    """Those of the prediction, if anyview wrote the file."""
    size: tuple[int, int] | None
    """Height and width of the pictures that the cameras belong to."""


def write(prediction: Prediction, folder: Path, options: ExportOptions) -> list[Path]:
    """Write ``gaussians.ply`` in the layout of 3D Gaussian splatting, harmonics included.

    Scales are logarithms and opacities logits there. Comments hold the unit, the model and the cameras, which
    `anyview render` takes its paths from; other programs pass over them.
    """
    path = folder / "gaussians.ply"
    gaussians = scene_gaussians(prediction, options)
    comments = [f"units {prediction.units}", f"model {prediction.model}"]
    if prediction.gaussians is None:
        comments.append(NOTE)
    if prediction.cameras is not None:
        comments += camera_comments(prediction.cameras, *prediction.depth.shape[1:])
    with atomic_path(path) as temporary:
        write_gaussians_ply(temporary, gaussians, comments)
    return [path]


def camera_comments(cameras: Cameras, height: int, width: int) -> list[str]:
    """Write cameras of pictures of one size as comments, which `read_gaussians_ply` reads back."""
    comments = []
    for pose, matrix in zip(cameras.world_to_camera, cameras.intrinsics, strict=True):
        numbers = [*matrix[:2].flatten().tolist(), *pose[:3].flatten().tolist()]
        comments.append(f"{CAMERA} {width} {height} {' '.join(f'{number:.9g}' for number in numbers)}")
    return comments


def write_gaussians_ply(path: Path, gaussians: Gaussians, comments: list[str]) -> None:
    """Write Gaussians of one scene as binary little-endian PLY."""
    columns = {
        **_numbered("", gaussians.means, ("x", "y", "z")),
        **_numbered("", torch.zeros_like(gaussians.means), ("nx", "ny", "nz")),
        **_numbered("f_dc_", gaussians.harmonics[..., 0]),
        **_numbered("f_rest_", gaussians.harmonics[..., 1:].flatten(1)),
        **_numbered("", gaussians.opacities.clamp(MOST_CERTAIN, 1 - MOST_CERTAIN).logit()[:, None], ("opacity",)),
        **_numbered("scale_", gaussians.scales.clamp(min=1e-30).log()),
        **_numbered("rot_", torch.nn.functional.normalize(gaussians.quaternions_wxyz, dim=-1)),
    }
    header = [
        "ply",
        "format binary_little_endian 1.0",
        *(f"comment {comment}" for comment in comments),
        f"element vertex {len(gaussians.means)}",
        *(f"property float {name}" for name in columns),
        "end_header",
    ]
    rows = torch.stack(list(columns.values()), -1).float().numpy().astype("<f4")
    path.write_bytes("".join(line + "\n" for line in header).encode() + rows.tobytes())


def read_gaussians_ply(path: str | Path) -> GaussianFile:
    """Read Gaussians from a PLY file of the splatting layout, ours or another program's.

    Raises:
        ValueError: it is no binary little-endian PLY, its Gaussians lack properties, or it ends too early.
    """
    header, end, body = Path(path).read_bytes().partition(b"end_header\n")
    lines = header.decode("utf-8", "replace").splitlines()
    if not end or lines[:1] != ["ply"] or not any(line.startswith("format binary_little_endian") for line in lines):
        raise ValueError(f"{path} is not a binary little-endian PLY file")
    words = [line.split() for line in lines]
    elements = [line for line in words if line[:1] == ["element"]]
    if len(elements) != 1 or elements[0][1] != "vertex":
        raise ValueError(
            f"{path}: expected one element, vertex; got {', '.join(line[1] for line in elements) or 'none'}"
        )
    properties = [line for line in words if line[:1] == ["property"]]
    odd = [" ".join(line) for line in properties if len(line) != 3 or line[1] not in NUMPY_TYPES]
    if odd:
        raise ValueError(f"{path}: expected properties of one number each, got {odd[0]!r}")
    layout = np.dtype([(name, NUMPY_TYPES[kind]) for _, kind, name in properties])
    count = int(elements[0][2])
    if len(body) < count * layout.itemsize:
        raise ValueError(f"{path} ends too early: {len(body)} bytes for {count} Gaussians of {layout.itemsize} each")
    rows = np.frombuffer(body, layout, count)
    cameras, size = _read_cameras([line[2:] for line in words if line[:2] == ["comment", CAMERA]])
    return GaussianFile(_gaussians(rows, path), cameras, size)


def _numbered(
    prefix: str, values: Float[Tensor, "gaussians columns"], names: tuple[str, ...] | None = None
) -> dict[str, Tensor]:
    columns = values.unbind(-1)
    return dict(zip(names or [f"{prefix}{index}" for index in range(len(columns))], columns, strict=True))


def _gaussians(rows: np.ndarray, path: str | Path) -> Gaussians:
    names = rows.dtype.names or ()
    rest = [name for name in names if name.startswith("f_rest_")]
    if len(rest) not in (0, 9, 24, 45):
        raise ValueError(f"{path}: expected 0, 9, 24 or 45 properties f_rest_, got {len(rest)}")

    def columns(*wanted: str) -> Tensor:
        missing = [name for name in wanted if name not in names]
        if missing:
            raise ValueError(f"{path} holds no Gaussians: it has no property {', '.join(missing)}")
        return torch.from_numpy(np.stack([rows[name].astype(np.float32) for name in wanted], -1))

    constant = columns(*(f"f_dc_{channel}" for channel in range(3)))[..., None]
    higher = [columns(*(f"f_rest_{index}" for index in range(len(rest)))).unflatten(1, (3, -1))] if rest else []
    return Gaussians(
        means=columns("x", "y", "z"),
        scales=columns(*(f"scale_{axis}" for axis in range(3))).exp(),
        quaternions_wxyz=columns(*(f"rot_{index}" for index in range(4))),
        harmonics=torch.cat([constant, *higher], -1),
        opacities=columns("opacity")[:, 0].sigmoid(),
    )


def _read_cameras(comments: list[list[str]]) -> tuple[Cameras | None, tuple[int, int] | None]:
    if not comments or any(len(words) != 20 for words in comments):
        return None, None
    numbers = np.array([words[2:] for words in comments], dtype=np.float64)
    last_row = np.tile([0.0, 0, 1], (len(numbers), 1, 1))
    intrinsics = np.concatenate([numbers[:, :6].reshape(-1, 2, 3), last_row], 1)
    width, height = int(comments[0][0]), int(comments[0][1])
    return Cameras.from_arrays(numbers[:, 6:].reshape(-1, 3, 4), intrinsics), (height, width)
