"""How a window is tied to the one before: what its predictor is told, and one set of views from both."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from anyview.geometry.alignment import Similarity
from anyview.streaming.frames import PosedViews, StreamFrame, WindowGeometry, join_views
from anyview.streaming.known import rig_scale
from anyview.streaming.scene_map import FrameRows, SceneMap, rows_from_arrays, rows_to_arrays
from anyview.streaming.seams import blend_views
from anyview.streaming.store import Arrays
from anyview.types import Cameras, Picture


@dataclass(frozen=True)
class Overlap:
    """The last frames of a window, which the next one sees too."""

    frames: list[StreamFrame]
    views: PosedViews
    """As the window predicted them, in its frame."""
    finished: PosedViews
    """As they are if nothing more comes, each in its owner's frame."""
    rows: FrameRows


def known_to_predictor(
    overlap: Overlap, scene: SceneMap, known: Sequence[Float[Tensor, "4 4"] | None]
) -> tuple[Cameras, tuple[int, ...]]:
    """Return what the predictor is told of a window's cameras: known poses and the overlap's, all in one frame."""
    if scene.anchors:
        world = overlap.views.moved(scene.nodes[-1]).cameras.world_to_camera.double()
        poses = dict(enumerate(world)) | {view: pose for view, pose in enumerate(known) if pose is not None}
    else:
        poses = dict(enumerate(overlap.views.cameras.world_to_camera.double()))
    views = sorted(poses)
    intrinsics = overlap.views.cameras.intrinsics
    chosen = torch.stack([intrinsics[min(view, len(intrinsics) - 1)] for view in views])
    return Cameras(torch.stack([poses[view] for view in views]).float(), chosen.float()), tuple(views)


def scaled_by_rig(geometry: WindowGeometry, frames: Sequence[StreamFrame], baseline: float) -> WindowGeometry:
    """Give the pairs of a stereo rig their distance.

    Raises:
        ValueError: the window holds no pair, or both cameras in one place.
    """
    indices = [frame.index for frame in frames]
    factor = rig_scale(geometry.views.cameras.world_to_camera, indices, baseline)
    if factor is None:
        raise ValueError(
            f"frames {indices[0]} to {indices[-1]} hold no pair of the rig (an even position and the next "
            "one), or its two cameras in one place"
        )
    grow = Similarity(torch.tensor(factor).double(), torch.eye(3).double(), torch.zeros(3).double())
    return replace(geometry, views=geometry.views.moved(grow))


def join_window(
    overlap: Overlap | None, views: PosedViews, similarity: Similarity | None, window: int, *, blend: bool
) -> tuple[PosedViews, Int[Tensor, " views"]]:
    """Put a window's views together from the overlap's two predictions and its own; say which window owns each.

    Args:
        overlap: Of the window before.
        views: As the window predicted them.
        similarity: Its seam, onto the window before.
        window: Its number.
        blend: Mix the two predictions; otherwise the earlier one counts.
    """
    owners = torch.full((len(views),), window)
    if overlap is None or similarity is None:
        return views, owners
    shared = len(overlap.frames)
    earlier = overlap.views
    mixed = blend_views(earlier, views[:shared].moved(similarity)) if blend else earlier
    # Half of the overlap moves with the window before, half with this one, if a loop corrects them.
    half = (shared + 1) // 2 if blend else shared
    owners[:half] = window - 1
    return join_views([mixed[:half], mixed[half:].moved(similarity.inverse()), views[shared:]]), owners


def make_rows(
    frames: Sequence[StreamFrame],
    views: PosedViews,
    owners: Int[Tensor, " views"],
    descriptors: Float[Tensor, "views channels"],
    known: Sequence[Float[Tensor, "4 4"] | None],
) -> FrameRows:
    """Make rows of a window's frames; ``known`` are their known poses."""
    unknown = torch.full((4, 4), torch.nan, dtype=torch.float64)
    return FrameRows(
        index=torch.tensor([frame.index for frame in frames]),
        time_s=torch.tensor([frame.time_s for frame in frames], dtype=torch.float64),
        names=tuple(frame.picture.name for frame in frames),
        owner=owners,
        world_to_camera=views.cameras.world_to_camera.double(),
        intrinsics=views.cameras.intrinsics.double(),
        descriptors=descriptors.float(),
        known=torch.stack([unknown if pose is None else pose for pose in known]),
    )


def overlap_to_arrays(overlap: Overlap) -> Arrays:
    """Flatten an overlap for its file."""
    arrays = {f"row_{name}": value for name, value in rows_to_arrays(overlap.rows).items()}
    for name, views in (("views", overlap.views), ("finished", overlap.finished)):
        arrays |= {
            f"{name}_images": views.images.numpy(),
            f"{name}_depth": views.depth.numpy(),
            f"{name}_confidence": views.confidence.numpy(),
            f"{name}_world_to_camera": views.cameras.world_to_camera.numpy(),
            f"{name}_intrinsics": views.cameras.intrinsics.numpy(),
        }
    arrays["pictures"] = np.stack([frame.picture.pixels for frame in overlap.frames])
    return arrays


def overlap_from_arrays(arrays: Arrays) -> Overlap:
    """Read back what `overlap_to_arrays` made; equal to the bit."""
    rows = rows_from_arrays({n.removeprefix("row_"): value for n, value in arrays.items() if n.startswith("row_")})

    def views(name: str) -> PosedViews:
        images, depth, confidence, poses, intrinsics = (
            torch.from_numpy(arrays[f"{name}_{part}"])
            for part in ("images", "depth", "confidence", "world_to_camera", "intrinsics")
        )
        return PosedViews(images, depth, confidence, Cameras(poses, intrinsics))

    frames = [
        StreamFrame(int(index), float(time_s), Picture(pixels, name))
        for index, time_s, pixels, name in zip(rows.index, rows.time_s, arrays["pictures"], rows.names, strict=True)
    ]
    return Overlap(frames, views("views"), views("finished"), rows)
