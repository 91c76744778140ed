"""A stream as a web page while it runs: cameras and points that grow, and move where a loop corrects them."""

import io
from contextlib import redirect_stdout
from typing import Any

import numpy as np
from jaxtyping import Float

from anyview.geometry.pose import quaternion_xyzw_from_matrix, rigid_inverse
from anyview.streaming.live_scene import LiveScene, ShownCamera
from anyview.streaming.stream import StreamWindow

FRUSTUM = 0.06
"""Length of a drawn camera, in parts of the first frame's median depth."""
POINT = 0.006
"""Side of a point, in the same parts."""
LINE = 1.5
"""Width of lines in pixels of the screen."""
ORANGE = (230, 120, 20)


class LiveViewer:
    """Serves the page: `show` each window as it comes. Needs the extra ``view``."""

    def __init__(self, port: int = 8080, *, host: str = "127.0.0.1", scene: LiveScene | None = None) -> None:
        """Start the server; where the port is taken, the next free one is.

        Raises:
            ImportError: viser is not installed.
        """
        check_viser()
        import viser

        self.scene = scene or LiveScene()
        with redirect_stdout(io.StringIO()):  # what it says belongs to nobody's results
            self._server = viser.ViserServer(host=host, port=port, label="anyview stream", verbose=False)
        self._state = self._server.gui.add_markdown("waiting for the first window")
        self._host = host
        self._drawn: dict[int, Any] = {}
        """Handles of the cameras, by frame."""

    @property
    def address(self) -> str:
        """Of the page."""
        return f"http://{self._host}:{self._server.get_port()}"

    def show(self, window: StreamWindow) -> None:
        """Draw what a window adds and what it moves."""
        is_first = not self.scene.cameras
        with self._server.atomic():
            for part in sorted(self.scene.add(window) & self.scene.points.keys()):
                self._draw_points(part)
            self._draw_cameras()
            report = window.report
            self._state.content = (
                f"{report.frames_kept} frames, {report.windows} windows, {report.frames_per_second:.2f} frames/s  \n"
                f"{report.loops_believed} loops, scale ±{report.scale_drift:.1%}, unit: {window.units}  \n"
                f"{self.scene.count_points()} points shown"
            )
        if is_first and self.scene.cameras:
            self._look_from_behind(next(iter(self.scene.cameras.values())))

    def close(self) -> None:
        """Stop the server."""
        with redirect_stdout(io.StringIO()):
            self._server.stop()

    def _draw_points(self, window: int) -> None:
        self._server.scene.add_point_cloud(
            f"/points/{window:06d}",
            self.scene.points[window].numpy(),
            self.scene.colors[window].numpy(),
            point_size=POINT * self.scene.typical_depth,
            precision="float32",
        )

    def _draw_cameras(self) -> None:
        for frame in self._drawn.keys() - self.scene.cameras.keys():
            self._drawn.pop(frame).remove()
        for frame, camera in self.scene.cameras.items():
            rotation, center = _rotation_and_center(camera)
            if frame not in self._drawn:
                self._drawn[frame] = self._server.scene.add_camera_frustum(
                    f"/cameras/{frame:08d}",
                    camera.vertical_view,
                    camera.aspect,
                    scale=FRUSTUM * (self.scene.typical_depth or 1.0),
                    thickness=LINE,
                    thickness_units="screen",
                    color=ORANGE,
                    image=camera.picture,
                )
            self._drawn[frame].wxyz, self._drawn[frame].position = rotation, center
        path = np.stack([_rotation_and_center(camera)[1] for camera in self.scene.cameras.values()])
        if len(path) > 1:
            segments = np.stack([path[:-1], path[1:]], 1)
            self._server.scene.add_line_segments("/path", segments, ORANGE, thickness=LINE, thickness_units="screen")

    def _look_from_behind(self, camera: ShownCamera) -> None:
        """Have pages open where the first camera is, some steps back; up is where it has it."""
        camera_to_world = rigid_inverse(camera.world_to_camera)
        center, ahead, down = camera_to_world[:3, 3], camera_to_world[:3, 2], camera_to_world[:3, 1]
        step = self.scene.typical_depth or 1.0
        view = self._server.initial_camera
        view.position = tuple((center - 1.2 * step * ahead - 0.5 * step * down).tolist())
        view.look_at = tuple((center + 0.7 * step * ahead).tolist())
        view.up = tuple((-down).tolist())
        self._server.scene.set_up_direction(-down.numpy())


def check_viser() -> None:
    """See that the viewer's package is there.

    Raises:
        ImportError: it is not.
    """
    from importlib.util import find_spec

    if find_spec("viser") is None:
        raise ImportError('the live viewer needs viser: pip install "anyview[view]"')


def _rotation_and_center(camera: ShownCamera) -> tuple[Float[np.ndarray, " 4"], Float[np.ndarray, " 3"]]:
    """Return what the page wants: camera to world, as a quaternion wxyz and a position."""
    camera_to_world = rigid_inverse(camera.world_to_camera)
    return quaternion_xyzw_from_matrix(camera_to_world[:3, :3]).roll(1, -1).numpy(), camera_to_world[:3, 3].numpy()
