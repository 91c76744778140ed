"""The reference toolkit's Python interface on top of ours: change the import, keep the script and its numbers.

``from depth_anything_3.api import DepthAnything3`` becomes ``from anyview.compat import DepthAnything3``. What
differs is what the reference gets wrong: files are complete when `inference` returns, features are in input order, one
or two known poses work, and options that mean nothing are refused instead of ignored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anyview.exporters import export
from anyview.options import ExportOptions, PredictOptions, nearest_names
from anyview.predictor import DepthAnything3 as Predictor
from anyview.types import Cameras, Gaussians
from anyview.types import Prediction as OurPrediction

_FORMATS = {
    "mini_npz": ("npz",),
    "npz": ("npz",),
    "glb": ("glb", "depth_vis"),
    "depth_vis": ("depth_vis",),
    "feat_vis": ("features",),
    "colmap": ("colmap",),
    "gs_ply": ("gaussians_ply",),
    "gs_video": ("gaussians_video",),
}
"""The reference's format -> ours."""


@dataclass(frozen=True)
class Prediction:
    """The reference's result: NumPy arrays under its names, at the network's resolution."""

    depth: np.ndarray
    """[views, height, width], float32."""
    is_metric: int
    conf: np.ndarray | None = None
    extrinsics: np.ndarray | None = None
    """World to camera, [views, 3, 4]; [views, 4, 4] for known poses in the predicted frame."""
    intrinsics: np.ndarray | None = None
    sky: np.ndarray | None = None
    scale_factor: float | None = None
    processed_images: np.ndarray | None = None
    """uint8 [views, height, width, 3]."""
    gaussians: Gaussians | None = None
    aux: Mapping[str, np.ndarray] = field(default_factory=dict)
    """``feat_layer_i`` -> [views, rows, columns, channels]."""


class DepthAnything3:
    """The reference's class of this name, without what made it an ``nn.Module``."""

    def __init__(self, model: Predictor) -> None:
        self.model = model

    @classmethod
    def from_pretrained(cls, name_or_path: str, **options: Any) -> "DepthAnything3":
        """Load a model; see `anyview.DepthAnything3.from_pretrained`."""
        return cls(Predictor.from_pretrained(name_or_path, **options))

    def to(self, device: str | torch.device) -> "DepthAnything3":
        """Move the network to a device."""
        self.model.network.to(device)
        return self

    def eval(self) -> "DepthAnything3":
        """Do nothing: networks are in evaluation mode already."""
        return self

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.model.device

    def inference(
        self,
        image: str | Sequence[Any],
        extrinsics: np.ndarray | None = None,
        intrinsics: np.ndarray | None = None,
        align_to_input_ext_scale: bool = True,
        infer_gs: bool = False,
        use_ray_pose: bool = False,
        ref_view_strategy: str = "saddle_balanced",
        process_res: int = 504,
        process_res_method: str = "upper_bound_resize",
        export_dir: str | None = None,
        export_format: str = "mini_npz",
        export_feat_layers: Sequence[int] | None = None,
        conf_thresh_percentile: float = 40.0,
        num_max_points: int = 1_000_000,
        show_cameras: bool = True,
        feat_vis_fps: int = 15,
    ) -> Prediction:
        """Predict a scene and, with ``export_dir``, write files in formats joined by ``-``.

        Raises:
            ValueError: As `anyview.DepthAnything3.predict` and `anyview.export` do, or a format is not offered here.
        """
        formats = _formats(export_format) if export_dir is not None else []
        cameras = None
        if extrinsics is not None:
            if intrinsics is None:
                raise ValueError("extrinsics need intrinsics")
            cameras, intrinsics = Cameras.from_arrays(extrinsics, intrinsics), None
        options = PredictOptions(
            resolution=process_res,
            # Whatever strings callers have; `predict` refuses unknown ones.
            resize=process_res_method,  # type: ignore[arg-type]
            reference_view=ref_view_strategy,  # type: ignore[arg-type]
            camera_source="rays" if use_ray_pose else "head",
            pose_frame="input" if align_to_input_ext_scale else "predicted",
            gaussians=infer_gs,
            features=tuple(export_feat_layers or ()),
        )
        images = [image] if isinstance(image, str) else list(image)
        prediction = self.model.predict(images, cameras, intrinsics=intrinsics, options=options)
        if export_dir is not None:
            export_options = ExportOptions(
                confidence_percentile=float(conf_thresh_percentile),
                max_points=num_max_points,
                show_cameras=show_cameras,
                fps=float(feat_vis_fps),
            )
            export(prediction, Path(export_dir), formats, export_options)
        return _as_reference(prediction, in_predicted_frame=cameras is not None and not align_to_input_ext_scale)


def _formats(export_format: str) -> list[str]:
    names = export_format.split("-")
    for name in names:
        if name not in _FORMATS:
            raise ValueError(f"unknown export format {name!r}; {nearest_names(name, _FORMATS)}")
    return list(dict.fromkeys(ours for name in names for ours in _FORMATS[name]))


def _as_reference(prediction: OurPrediction, *, in_predicted_frame: bool) -> Prediction:
    def array(value: torch.Tensor | None) -> np.ndarray | None:
        return None if value is None else value.numpy()

    cameras = prediction.cameras if prediction.confidence is not None else None
    # The reference leaves a metric model's depth canonical, for the caller to multiply.
    depth = prediction.depth if prediction.canonical_depth is None else prediction.canonical_depth
    return Prediction(
        depth=depth.numpy(),
        is_metric=int(prediction.metric_scale is not None),
        conf=array(prediction.confidence),
        extrinsics=None if cameras is None else cameras.world_to_camera[:, : 4 if in_predicted_frame else 3].numpy(),
        intrinsics=None if cameras is None else cameras.intrinsics.numpy(),
        sky=array(prediction.sky),
        scale_factor=prediction.metric_scale,
        processed_images=prediction.images.numpy(),
        gaussians=prediction.gaussians,
        aux={f"feat_layer_{block}": tokens.numpy() for block, tokens in prediction.features.items()},
    )
