"""One picture of a prediction: its inputs, depth, cameras and points, beside the truth where there is one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from anyview.exporters.colors import index_color, spectral
from anyview.exporters.depth_vis import NO_DEPTH, DepthRange, depth_range
from anyview.exporters.points import select_pixels
from anyview.files import atomic_path
from anyview.geometry.alignment import fit_scale_l1, umeyama
from anyview.geometry.camera import project, unproject_to_world
from anyview.geometry.pose import camera_centers, rigid_inverse, rigid_transform
from anyview.options import ExportOptions
from anyview.types import Cameras, Prediction, TrueViews

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

Place = Callable[[Float[Tensor, "points 3"]], Float[np.ndarray, "points 2"]]
"""From the world onto the page."""

PANEL = 420
GAP = 10
TEXT = 17
MOST_VIEWS = 6
"""Columns of pictures; of more views, some spread over all are shown."""
FEWEST_COLUMNS = 4
"""Pictures of fewer views do not grow wider than a fourth of the page."""
ASIDE = 35.0
"""Degrees that the second look at the points is turned about the scene."""
BACKGROUND = (250, 250, 250)


@dataclass(frozen=True)
class Cloud:
    """Coloured points and the cameras that saw them, in one frame."""

    points: Float[Tensor, "points 3"]
    colors: UInt8[Tensor, "points 3"]
    cameras: Cameras


def write_report(
    prediction: Prediction, truth: TrueViews | None, scores: Mapping[str, str], path: Path, options: ExportOptions
) -> Path:
    """Draw a report as a PNG.

    Args:
        prediction: With cameras, maps at the resolution of the truth if there is one.
        truth: Of the same views; its frame and unit become those of the drawing.
        scores: Lines of text, a number by its name.
        path: Where to write.
        options: Which points are worth showing.
    """
    guess, real = clouds(prediction, truth, options)
    points = _points(guess, real)
    numbers = "     ".join(f"{name} {value}" for name, value in scores.items())
    title = f"{len(prediction)} view{'s' if len(prediction) > 1 else ''}, {prediction.model}     {numbers}"
    sheet = _stacked([_caption(title, points.shape[1]), _pictures(prediction, truth, points.shape[1]), points])
    framed = np.pad(sheet, ((GAP, GAP), (GAP, GAP), (0, 0)), constant_values=BACKGROUND[0])
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(framed).save(temporary)
    return path


def clouds(prediction: Prediction, truth: TrueViews | None, options: ExportOptions) -> tuple[Cloud, Cloud | None]:
    """Lift the predicted and the true pixels; with a truth, the prediction is moved onto it by its own points."""
    assert prediction.cameras is not None
    chosen = select_pixels(prediction, options)
    points = unproject_to_world(prediction.depth, prediction.cameras)
    if truth is None:
        return Cloud(points[chosen], prediction.images[chosen], prediction.cameras), None
    known = truth.depth > 0
    exact = unproject_to_world(truth.depth, truth.cameras)
    # Far points would decide alone; each counts by how near it is.
    similarity, _ = umeyama(points[known].double(), exact[known].double(), 1 / truth.depth[known].double().square())
    moved = similarity.apply(points[chosen & known].double()).float()
    poses = similarity.apply_to_poses(prediction.cameras.world_to_camera.double()).float()
    guess = Cloud(moved, prediction.images[chosen & known], Cameras(poses, prediction.cameras.intrinsics))
    return guess, Cloud(exact[chosen & known], truth.images[chosen & known], truth.cameras)


def _pictures(
    prediction: Prediction, truth: TrueViews | None, total_width: int
) -> UInt8[np.ndarray, "height total_width 3"]:
    """One column for each view: picture, depth, and true depth in the same colours."""
    from PIL import Image

    count = len(prediction)
    shown = np.unique(np.linspace(0, count - 1, min(count, MOST_VIEWS)).round().astype(int))
    depth, valid = prediction.depth, prediction.valid()
    rows = [("pictures", prediction.images.numpy())]
    if truth is not None:
        known = truth.depth > 0
        both = known & valid
        exact = truth.depth[both].double()
        depth = depth * fit_scale_l1(depth[both].double(), exact, 1 / exact).float()
        colors = depth_range(truth.depth.numpy(), known.numpy())
        rows.append(("depth", _colored(depth, valid & known, colors)))
        rows.append(("true depth", _colored(truth.depth, known, colors)))
    else:
        rows.append(("depth", _colored(depth, valid, depth_range(depth.numpy(), valid.numpy()))))
    height, width = prediction.images.shape[1:3]
    tile_width = (total_width + GAP) // max(len(shown), FEWEST_COLUMNS) - GAP
    tile = (tile_width, max(1, round(tile_width * height / width)))
    strips = []
    for name, pictures in rows:
        tiles = [np.asarray(Image.fromarray(pictures[view]).resize(tile, Image.Resampling.BILINEAR)) for view in shown]
        if name == "pictures":
            tiles = [
                _bordered(picture, index_color(int(view), count)) for view, picture in zip(shown, tiles, strict=True)
            ]
        strips += [_caption(name, 200), _beside(tiles)]
    return _stacked(strips)


def _points(guess: Cloud, real: Cloud | None) -> UInt8[np.ndarray, "height width 3"]:
    """The cameras from above, and the points as the first camera sees them and from aside."""
    reference = real or guess
    columns = [("cameras from above", _from_above(guess, real))]
    for name, degrees in (("points, first camera", 0.0), (f"points, {ASIDE:.0f}° aside", ASIDE)):
        pose = look_from_aside(reference, degrees)
        panels = [draw_points(guess, pose)] if real is None else [draw_points(guess, pose), draw_points(real, pose)]
        columns.append((name, _stacked(panels)))
    if real is not None:
        columns[1:] = [(f"{name}: predicted above, true below", panel) for name, panel in columns[1:]]
    return _beside([_stacked([_caption(name, panel.shape[1]), panel]) for name, panel in columns])


def look_from_aside(cloud: Cloud, degrees: float) -> Float[Tensor, "4 4"]:
    """Turn the first camera about the vertical axis through the middle of the points; return world to camera."""
    pose = cloud.cameras.world_to_camera[0].double()
    seen = cloud.points.double() @ pose[:3, :3].mT + pose[:3, 3]
    middle = seen.median(0).values if len(seen) else torch.tensor([0.0, 0, 1], dtype=torch.float64)
    angle = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    c, s, one, zero = angle.cos(), angle.sin(), torch.ones_like(angle), torch.zeros_like(angle)
    turn = torch.stack([c, zero, -s, zero, one, zero, s, zero, c]).view(3, 3)
    # About a point: move it to the origin, turn, move back, and step back a little to see more.
    back = torch.tensor([0, 0, 0.35 * middle[2]], dtype=torch.float64)
    about = rigid_transform(turn, middle - turn @ middle + back)
    return (about @ pose).float()


def draw_points(cloud: Cloud, world_to_camera: Float[Tensor, "4 4"]) -> UInt8[np.ndarray, "side side 3"]:
    """Draw points as squares, far ones first, and the cameras' outlines, through a lens of 60 degrees."""
    canvas = np.full((PANEL, PANEL, 3), BACKGROUND, np.uint8)
    lens = torch.tensor([[0.866 * PANEL, 0, PANEL / 2], [0, 0.866 * PANEL, PANEL / 2], [0, 0, 1.0]])
    pixels, distance = project(cloud.points, Cameras(world_to_camera, lens))
    order = torch.argsort(distance, descending=True, stable=True)
    place = pixels[order].floor().long()
    visible = (distance[order] > 1e-3) & (place >= 0).all(-1) & (place < PANEL - 1).all(-1)
    column, row = place[visible].T.numpy()
    color = cloud.colors[order][visible].numpy()
    size = 2 if len(cloud.points) > 20_000 else 3
    for down in range(size):
        for right in range(size):
            canvas[np.minimum(row + down, PANEL - 1), np.minimum(column + right, PANEL - 1)] = color
    return canvas


def _from_above(guess: Cloud, real: Cloud | None) -> UInt8[np.ndarray, "height width 3"]:
    """A map: points in grey, true cameras as outlines, predicted ones filled, each view in its colour."""
    from PIL import Image, ImageDraw

    reference = real or guess
    frame = reference.cameras.world_to_camera[0]
    height = PANEL if real is None else 2 * PANEL + GAP

    def on_plane(points: Float[Tensor, "points 3"]) -> Float[np.ndarray, "points 2"]:
        seen = points @ frame[:3, :3].mT + frame[:3, 3]
        return np.stack([seen[:, 0].numpy(), -seen[:, 2].numpy()], -1)  # the first camera looks up the page

    places = on_plane(reference.points)
    centers = on_plane(camera_centers(reference.cameras.world_to_camera))
    low, high = np.percentile(places, [3, 97], axis=0) if len(places) else (centers.min(0), centers.max(0))
    low, high = np.minimum(low, centers.min(0)), np.maximum(high, centers.max(0))
    zoom = 0.86 * min(PANEL / max(high[0] - low[0], 1e-6), height / max(high[1] - low[1], 1e-6))
    middle = (low + high) / 2

    def on_page(points: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, "points 2"]:
        return (points - middle) * zoom + (PANEL / 2, height / 2)

    canvas = np.full((height, PANEL, 3), BACKGROUND, np.uint8)
    pixels = np.floor(on_page(places)).astype(int)
    inside = ((pixels >= 0) & (pixels < (PANEL, height))).all(1)
    canvas[pixels[inside, 1], pixels[inside, 0]] = (205, 205, 205)
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)

    def place_on_page(points: Float[Tensor, "points 3"]) -> Float[np.ndarray, "points 2"]:
        return on_page(on_plane(points))

    size = float(PANEL / 14 / zoom)
    _draw_cameras(draw, guess.cameras, place_on_page, size, filled=True)
    if real is not None:
        _draw_cameras(draw, real.cameras, place_on_page, size, filled=False)
        draw.text((8, height - TEXT - 8), "filled: predicted, outlined: true", (60, 60, 60), _font())
    return np.asarray(picture)


def _draw_cameras(draw: "ImageDraw", cameras: Cameras, place: Place, size: float, *, filled: bool) -> None:
    to_world = rigid_inverse(cameras.world_to_camera)
    for view in range(len(cameras)):
        half = size / 2
        corners = torch.tensor([[0.0, 0, 0], [-half, 0, size], [half, 0, size]])
        triangle = [tuple(corner) for corner in place(corners @ to_world[view, :3, :3].mT + to_world[view, :3, 3])]
        color = index_color(view, len(cameras))
        draw.polygon(triangle, fill=color if filled else None, outline=(90, 90, 90) if filled else color, width=2)


def _colored(
    depth: Float[Tensor, "views height width"], valid: Bool[Tensor, "views height width"], shown: DepthRange
) -> UInt8[np.ndarray, "views height width 3"]:
    good = valid.numpy()
    colors = spectral(shown.place(np.where(good, depth.numpy(), np.float32(shown.far))))
    colors[~good] = NO_DEPTH
    return colors


def _caption(text: str, width: int) -> UInt8[np.ndarray, "height width 3"]:
    from PIL import Image, ImageDraw

    width = max(width, round(_font().getlength(text)) + GAP)
    picture = Image.new("RGB", (width, TEXT + GAP), BACKGROUND)
    ImageDraw.Draw(picture).text((0, GAP // 2), text, (30, 30, 30), _font())
    return np.asarray(picture)


def _font() -> "FreeTypeFont | ImageFont":
    from PIL import ImageFont

    return ImageFont.load_default(TEXT - 3)


def _bordered(picture: UInt8[np.ndarray, "height width 3"], color: tuple[int, int, int]) -> np.ndarray:
    framed = picture.copy()
    framed[:4], framed[-4:], framed[:, :4], framed[:, -4:] = color, color, color, color
    return framed


def _beside(panels: Sequence[UInt8[np.ndarray, "height _ 3"]]) -> UInt8[np.ndarray, "height width 3"]:
    gap = np.full((len(panels[0]), GAP, 3), BACKGROUND, np.uint8)
    return np.concatenate([part for panel in panels for part in (panel, gap)][:-1], axis=1)


def _stacked(panels: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> UInt8[np.ndarray, "height width 3"]:
    width = max(panel.shape[1] for panel in panels)
    gap = np.full((GAP, width, 3), BACKGROUND, np.uint8)
    return np.concatenate([part for panel in panels for part in (_widened(panel, width), gap)][:-1])


def _widened(panel: UInt8[np.ndarray, "height _ 3"], width: int) -> UInt8[np.ndarray, "height {width} 3"]:
    rest = np.full((len(panel), width - panel.shape[1], 3), BACKGROUND, np.uint8)
    return np.concatenate([panel, rest], axis=1)
