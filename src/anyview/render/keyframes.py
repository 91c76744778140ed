"""Keyframes of a camera path, written by a user."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anyview.geometry.pose import check_cameras
from anyview.options import nearest_names
from anyview.render.paths import look_at
from anyview.types import Cameras

_FIELDS = ("world_to_camera", "position", "look_at", "up", "field_of_view")


def read_keyframes(path: str | Path, like: Cameras, height: int, width: int) -> Cameras:
    """Read the cameras of a JSON file: a list of keyframes, or an object with such a list as ``keyframes``.

    A keyframe is an object with ``world_to_camera`` (3×4 or 4×4, OpenCV's axes), or with ``position`` and ``look_at``
    (x, y, z in the world) and perhaps ``up``; and perhaps with ``field_of_view``, horizontal, in degrees. What is left
    out is taken from the first camera of ``like``, which is in pixels of a picture of this ``height`` and ``width``.

    Raises:
        ValueError: in one line, which keyframe holds what is wrong: no JSON, an unknown field, a NaN.
    """
    path = Path(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{path} does not exist") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    listed = document.get("keyframes") if isinstance(document, dict) else document
    if not isinstance(listed, list) or not listed:
        raise ValueError(f"{path}: expected a list of at least one keyframe, or an object with one as 'keyframes'")
    poses, lenses = zip(
        *(_keyframe(f"{path}: keyframe {number}", entry, like, height, width) for number, entry in enumerate(listed)),
        strict=True,
    )
    return Cameras(torch.stack(poses), torch.stack(lenses))


def _keyframe(where: str, entry: Any, like: Cameras, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: expected an object, got {entry!r}")
    for name in entry:
        if name not in _FIELDS:
            raise ValueError(f"{where}: unknown field {name!r}; {nearest_names(name, _FIELDS)}")
    if "world_to_camera" in entry:
        rows = _numbers(where, entry, "world_to_camera", ((3, 4), (4, 4)))
        pose = torch.cat([rows[:3], rows.new_tensor([[0, 0, 0, 1]])]) if len(rows) == 3 else rows
    elif "position" in entry and "look_at" in entry:
        up = _numbers(where, entry, "up", ((3,),)) if "up" in entry else -like.world_to_camera[0, 1, :3].double()
        position, target = (_numbers(where, entry, name, ((3,),)) for name in ("position", "look_at"))
        try:
            pose = look_at(position, target, up)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    else:
        raise ValueError(
            f"{where}: expected world_to_camera, or position and look_at; got {', '.join(entry) or 'none'}"
        )
    intrinsics = like.intrinsics[0].clone()
    if "field_of_view" in entry:
        degrees = float(_numbers(where, entry, "field_of_view", ((),)))
        if not 0 < degrees < 180:
            raise ValueError(f"{where}: expected a field_of_view between 0 and 180 degrees, got {degrees:g}")
        focal = width / 2 / math.tan(math.radians(degrees) / 2)
        intrinsics = intrinsics.new_tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    try:
        check_cameras(Cameras(pose[None].float(), intrinsics[None].float()))
    except ValueError as error:
        raise ValueError(f"{where}: {str(error).removeprefix('camera of view 0: ')}") from error
    return pose.to(like.world_to_camera), intrinsics


def _numbers(where: str, entry: dict[str, Any], name: str, shapes: tuple[tuple[int, ...], ...]) -> torch.Tensor:
    wanted = " or ".join("×".join(map(str, shape)) or "one" for shape in shapes)
    try:
        values = np.array(entry[name], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: expected {wanted} numbers as {name}, got {entry[name]!r}") from error
    if values.shape not in shapes:
        raise ValueError(f"{where}: expected {wanted} numbers as {name}, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{where}: {name} holds NaN or infinite values")
    return torch.from_numpy(values)
