"""How well a stream has found the path that its predictor knows."""

import torch

from anyview.geometry.alignment import umeyama
from anyview.geometry.pose import camera_centers
from anyview.streaming import Stream
from anyview.streaming.injected import InjectedPredictor, path_length


def relative_error(run: Stream, truth: InjectedPredictor) -> float:
    """Root mean square error of the camera centres after the best similarity, in parts of the path's length."""
    rows = run.all_frames()
    found = camera_centers(run.scene.world_cameras(rows).world_to_camera)
    true = camera_centers(truth.cameras.world_to_camera)[rows.index]
    similarity, _ = umeyama(found, true)
    error = (similarity.apply(found) - true).square().sum(-1).mean().sqrt()
    return float(error) / path_length(truth.cameras)


def centers(run: Stream) -> torch.Tensor:
    """Camera centres in the world of the stream."""
    return camera_centers(run.scene.world_cameras(run.all_frames()).world_to_camera)
