"""A browser, what it sees, and a result whose geometry is true."""

import io
import os
import re
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
import torch
from PIL import Image

from anyview.exporters import export
from anyview.fusion.mesh import Mesh, write_mesh
from anyview.geometry.camera import unproject_to_world
from anyview.options import ExportOptions
from anyview.serve.folders import Folders, list_files
from anyview.serve.jobs import JobStore
from anyview.serve.view import write_view
from anyview.synth.dataset import scene_at
from anyview.synth.options import SynthOptions
from anyview.types import Placement, Prediction

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SWITCHES = ["--no-sandbox", "--disable-dev-shm-usage"]
PICTURES = os.environ.get("ANYVIEW_SCREENSHOTS")
"""Folder that pictures for the docs go to."""
WITHOUT_BROWSER = CHROMIUM is None and "CI" not in os.environ
"""Whether tests that need a browser are skipped; where CI is set, they fail."""
PATIENCE_S = 180.0
"""For machines that do much else at the same time: a browser without a GPU is slow enough."""
VIEWPORT = {"width": 1280, "height": 860} if PICTURES else {"width": 960, "height": 640}
_SMALL_ROOM = SynthOptions(
    kinds=("room",), rigs=("orbit",), views=4, height=84, width=112, least_overlap=0.5, augment=False
)
TRUE_ROOM = replace(_SMALL_ROOM, height=224, width=280) if PICTURES else _SMALL_ROOM

EXPORT = ExportOptions(pixel_gaussians=True, confidence_percentile=0.0)


def true_prediction(options: SynthOptions) -> Prediction:
    """A synthetic room with its true depth and cameras, in metres, surer where it is near."""
    scene = scene_at(options, "test", 2)
    placements = (Placement(options.height, options.width),) * options.views
    return Prediction(
        images=scene.images,
        depth=scene.depth,
        units="metres",
        model="truth",
        names=tuple(f"room_{view}.png" for view in range(options.views)),
        placements=placements,
        confidence=1 + 9 * torch.exp(-scene.depth),
        cameras=scene.cameras,
    )


def store_result(folder: Path, prediction: Prediction) -> str:
    """Put a finished job into the data folder of a server that does not run yet; return its id."""
    folders = Folders(folder)
    folders.make()
    store = JobStore(folders.database)
    job = store.add("local", prediction.model, "{}")
    store.take(0.0)
    result = folders.result(job.id)
    result.mkdir(parents=True)
    export(prediction, result, ["glb", "ply", "splat"], EXPORT)
    write_mesh(result / "mesh.ply", first_surface(prediction), [])
    write_view(prediction, result, EXPORT, most_points=400_000, mesh="mesh.ply")
    store.finish(job.id, "done", keep_s=1e6, views=len(prediction), files=list(list_files(result)))
    store.close()
    return job.id


def first_surface(prediction: Prediction) -> Mesh:
    """The first view's pixels, joined to triangles with their neighbours."""
    height, width = prediction.depth.shape[1:]
    pixels = np.arange(height * width).reshape(height, width)
    a, b, c, d = (part.ravel() for part in (pixels[:-1, :-1], pixels[:-1, 1:], pixels[1:, 1:], pixels[1:, :-1]))
    return Mesh(
        vertices=unproject_to_world(prediction.depth[0], prediction.cameras[0]).reshape(-1, 3).double().numpy(),
        faces=np.concatenate([np.stack([a, d, b], -1), np.stack([b, d, c], -1)]).astype(np.int32),
        colors=prediction.images[0].reshape(-1, 3).numpy(),
    )


def write_pictures(prediction: Prediction, folder: Path) -> list[Path]:
    """Write a prediction's pictures."""
    paths = [folder / name for name in prediction.names]
    for path, picture in zip(paths, prediction.images, strict=True):
        Image.fromarray(picture.numpy()).save(path)
    return paths


def far_pixels(prediction: Prediction, view: int) -> tuple[tuple[int, int], tuple[int, int], float]:
    """Two pixels (x, y) on smooth surfaces, as far apart in space as any of a coarse grid; and their distance."""
    depth = prediction.depth[view]
    points = unproject_to_world(depth, prediction.cameras[view])
    height, width = depth.shape
    smooth = []
    for y in range(6, height - 6, 4):
        for x in range(6, width - 6, 4):
            around = depth[y - 3 : y + 4, x - 3 : x + 4]
            if around.min() > 0 and around.max() / around.min() < 1.05:
                smooth.append((x, y))
    places = torch.stack([points[y, x] for x, y in smooth])
    distances = torch.cdist(places, places)
    first, second = divmod(int(distances.argmax()), len(smooth))
    return smooth[first], smooth[second], float(distances.max())


@dataclass
class Visit:
    """A page that is looked at; what went wrong on it is written down."""

    page: "Page"
    address: str
    faults: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda line: self.faults.append(line.text) if line.type == "error" else None)
        self.page.on("request", lambda request: self.requests.append(request.url))

    def open(self, place: str = "") -> None:
        """Go to a place of the page."""
        self.page.goto(f"{self.address}/{place}")

    def open_result(self, job: str) -> None:
        """Go to a result and wait until its space is drawn."""
        self.open(f"#/jobs/{job}")
        self.page.locator("#strip button").first.wait_for()
        self.page.wait_for_load_state("networkidle")

    def hold(self, address: str | re.Pattern[str]) -> "list[Route]":
        """Let requests to an address wait; they are in the list from when they are made."""
        held: list[Route] = []

        def keep(route: "Route") -> None:
            held.append(route)

        self.page.route(address, keep)
        return held

    def settle(self) -> None:
        """Wait until what was asked for has come and is drawn."""
        self.page.wait_for_function("() => !document.querySelector('canvas[aria-busy=true]')")
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def see(self, selector: str = "#stage-canvas") -> np.ndarray:
        """Pixels [height, width, 3] of a part of the page, as they are shown."""
        self.settle()
        picture = Image.open(io.BytesIO(self.page.locator(selector).screenshot()))
        return np.asarray(picture.convert("RGB")).astype(np.int64)

    @property
    def background(self) -> list[int]:
        """Red, green and blue of the 3D view where nothing is."""
        color = self.page.evaluate("getComputedStyle(document.getElementById('stage-canvas')).backgroundColor")
        return [int(value) for value in re.findall(r"\d+", color)]

    def shown(self, picture: np.ndarray) -> float:
        """Share of a picture of the 3D view that is not background."""
        return float(changed(picture, np.broadcast_to(self.background, picture.shape)).mean())

    def place(self, selector: str, pixel: tuple[int, int], shape: tuple[int, int]) -> tuple[float, float]:
        """Where on the screen the pixel (x, y) lies of a picture [height, width] that just fits into an element."""
        self.page.locator(selector).scroll_into_view_if_needed()
        box = self.page.locator(selector).bounding_box()
        assert box
        scale = min(box["height"] / shape[0], box["width"] / shape[1])
        x = box["x"] + box["width"] / 2 + (pixel[0] + 0.5 - shape[1] / 2) * scale
        y = box["y"] + box["height"] / 2 + (pixel[1] + 0.5 - shape[0] / 2) * scale
        return x, y

    def text(self, selector: str) -> str:
        """Text of an element."""
        return self.page.locator(selector).inner_text()

    def keep(self, name: str) -> None:
        """Keep a picture of the page for the docs, where they are wanted."""
        if PICTURES:
            self.settle()
            self.page.screenshot(path=Path(PICTURES) / f"page_{name}.jpg", type="jpeg", quality=80, scale="css")

    @property
    def foreign(self) -> list[str]:
        """Addresses on other servers that were asked for."""
        own = urlsplit(self.address).netloc
        return [url for url in self.requests if urlsplit(url).scheme != "blob" and urlsplit(url).netloc != own]


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Where two pictures differ clearly."""
    return np.abs(before - after).max(-1) > 24


def metres(text: str) -> float:
    """The length that a text ends with."""
    value, unit = text.split()[-2:]
    return float(value) * {"m": 1.0, "cm": 0.01}[unit]


def difference(seen: np.ndarray, picture: np.ndarray, coarse: int = 1) -> float:
    """Mean difference between a picture and what is seen where it fits into the view, 0 to 255.

    Both are averaged over squares of ``coarse`` pixels before.
    """
    top, left, height, width = fitted(seen.shape, picture.shape)
    shown = Image.fromarray(seen[top : top + height, left : left + width].astype(np.uint8))
    pair = [np.asarray(image.reduce(coarse)) for image in (shown, Image.fromarray(picture).resize((width, height)))]
    return float(np.abs(np.subtract(*pair, dtype=np.int64)).mean())


def fitted(outer: tuple[int, ...], inner: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Top, left, height and width of an inner picture that keeps its shape and just fits into the outer one."""
    scale = min(outer[0] / inner[0], outer[1] / inner[1])
    height, width = round(inner[0] * scale), round(inner[1] * scale)
    return (outer[0] - height) // 2, (outer[1] - width) // 2, height, width
