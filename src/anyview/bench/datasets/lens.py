"""Pictures and maps of distorted cameras, as the pinhole camera of the same focal lengths would see them."""

from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped, UInt8


class Lens:
    """One of COLMAP's camera models. Needs the extra ``colmap``, except for pinhole cameras."""

    def __init__(self, model: str, width: int, height: int, parameters: tuple[float, ...]) -> None:
        """Take the parameters in COLMAP's order.

        Raises:
            ValueError: there is no such model, or it has another number of parameters.
        """
        self.width, self.height = width, height
        one_focal = model.startswith(("SIMPLE_", "RADIAL"))
        if len(parameters) < (3 if one_focal else 4):
            raise ValueError(f"camera model {model} with {len(parameters)} parameters")
        fx, fy, cx, cy = (parameters[0], *parameters[:3]) if one_focal else parameters[:4]
        self.intrinsics: Float[np.ndarray, "3 3"] = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64)
        """Pixels; the first pixel's centre is (0.5, 0.5)."""
        self.distortion = parameters[3 if one_focal else 4 :]
        self._model, self._parameters = model, parameters

    @property
    def is_pinhole(self) -> bool:
        """Whether nothing has to be straightened."""
        return not any(self.distortion) and "FISHEYE" not in self._model.replace("THIN_PRISM_FISHEYE", "FISHEYE")

    @cached_property
    def _source(self) -> Float[np.ndarray, "height width 2"]:
        """Where each pixel of the pinhole picture lies in the distorted one."""
        camera = self._camera()
        x, y = np.meshgrid(np.arange(self.width) + 0.5, np.arange(self.height) + 0.5)
        fx, fy, cx, cy = self.intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]]
        rays = np.stack([(x - cx) / fx, (y - cy) / fy, np.ones_like(x)], -1).reshape(-1, 3)
        return camera.img_from_cam(rays).reshape(self.height, self.width, 2).astype(np.float32)

    def _camera(self) -> Any:
        try:
            import pycolmap
        except ImportError as error:
            raise ImportError('straightening distorted pictures needs `pip install "anyview[colmap]"`') from error
        try:
            return pycolmap.Camera(
                model=self._model, width=self.width, height=self.height, params=list(self._parameters)
            )
        except (ValueError, RuntimeError, KeyError) as error:
            raise ValueError(f"camera model {self._model} with {len(self._parameters)} parameters: {error}") from error

    def straighten(self, pixels: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
        """Resample a picture, linearly; black where it does not reach."""
        import cv2

        source = self._source - np.float32(0.5)
        return cv2.remap(pixels, source[..., 0], source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)

    def straighten_nearest(self, values: Shaped[np.ndarray, "height width"]) -> Shaped[np.ndarray, "height width"]:
        """Resample a map, nearest pixel; 0 where it does not reach."""
        finite = np.isfinite(self._source).all(-1)
        x, y = np.floor(np.where(finite[..., None], self._source, -1)).astype(int).transpose(2, 0, 1)
        inside = (x >= 0) & (x < self.width) & (y >= 0) & (y < self.height)
        return np.where(inside, values[y.clip(0, self.height - 1), x.clip(0, self.width - 1)], values.dtype.type(0))
