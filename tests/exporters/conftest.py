import dataclasses

import pytest
import torch
from room_scene import room_prediction

from anyview.types import Gaussians, Prediction


@pytest.fixture(scope="session")
def room() -> Prediction:
    """Exact depth and cameras of five views, with what any-view models predict beside them."""
    return room_prediction()


@pytest.fixture(scope="session")
def full_room(room: Prediction) -> Prediction:
    """The room with every field of a prediction filled."""
    generator = torch.Generator().manual_seed(5)
    views, height, width = room.depth.shape

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    mask = torch.ones(views, height, width, dtype=torch.bool)
    mask[:, :, :14] = False  # one patch of features and a part of the next
    return dataclasses.replace(
        room,
        mask=mask,
        sky=random(views, height, width) < 0.1,
        rays=random(views, 8, 12, 6),
        ray_confidence=1 + random(views, 8, 12),
        gaussians=Gaussians(random(27, 3), random(27, 3), random(27, 4), random(27, 3, 9), random(27)),
        features={3: random(views, 6, 8, 20), 11: random(views, 6, 8, 20)},
        canonical_depth=random(views, height, width),
        metric_scale=1.25,
        lacks={"tracks": "no model predicts them"},
        notes=("A first remark.", "A second, with ümlaut."),
    )
