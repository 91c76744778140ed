"""From pictures to a `Prediction`."""

from anyview.predictor.facade import Abilities as Abilities
from anyview.predictor.facade import DepthAnything3 as DepthAnything3
from anyview.predictor.facade import Progress as Progress
