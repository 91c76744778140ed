"""What view synthesis must beat first: the picture of the nearest camera."""

import torch

from anyview.bench.baselines import nearest_views
from anyview.bench.options import Task
from anyview.bench.rivals.rival import Answer, Question


class NearestView:
    """Answers with a copy of the shown picture whose camera is nearest."""

    name = "nearest-view"
    tasks: tuple[Task, ...] = ("view_syn",)

    def __init__(self) -> None:
        self.identity: dict[str, str | int | float | bool] = {"model": "nearest-view"}

    def answer(self, question: Question) -> Answer:
        """Copy pictures."""
        assert question.cameras is not None
        assert question.targets is not None
        images = torch.stack([torch.tensor(picture.pixels) for picture in question.pictures])
        return Answer(rendered=nearest_views(images, question.cameras, question.targets).numpy())
