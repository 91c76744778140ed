"""Bringing a prediction into the frame and unit of the truth before it is scored (benchmark 1.6)."""

from jaxtyping import Float
from torch import Tensor

from anyview.geometry.alignment import TrajectoryAlignment, align_trajectories, umeyama_ransac
from anyview.geometry.pose import camera_centers
from anyview.options import Protocol


def align_to_truth(
    predicted: Float[Tensor, "views 4 4"], truth: Float[Tensor, "views 4 4"], protocol: Protocol = "sane"
) -> TrajectoryAlignment:
    """Find the similarity that brings predicted cameras (world to camera) onto the true ones, with RANSAC.

    The aligned cameras are ``similarity.apply_to_poses(predicted)``, and predicted depth is to be multiplied with
    ``similarity.scale``. In "sane" inliers are judged by their own partners (quirk 15), and where the centres do not
    determine a rotation, for want of views or because they lie on a line (quirks 6 and 14), the cameras' orientations
    do.

    Raises:
        ValueError: in "compat" there are fewer than three views, or their centres determine no rotation.
    """
    if protocol == "sane":
        return align_trajectories(predicted, truth, ransac_from=3, threshold="matched")
    source, target = camera_centers(predicted), camera_centers(truth)
    similarity, determined = umeyama_ransac(source, target, absolute_rank=True)
    if not determined:
        raise ValueError(f"the {len(truth)} camera centres lie on a line, which determines no rotation")
    return TrajectoryAlignment(similarity, "ransac", scale_known=True)
