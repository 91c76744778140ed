"""What Gaussians must beat: colours, moved to where a model's depth puts them."""

from anyview.bench.baselines import warp_by_depth
from anyview.bench.options import Task
from anyview.bench.rivals.ours import Ours
from anyview.bench.rivals.rival import Answer, Question


class Warped:
    """Moves the colours of the shown pictures to where a model's depth puts them."""

    tasks: tuple[Task, ...] = ("view_syn",)

    def __init__(self, model: Ours) -> None:
        """Take the model whose depth is used.

        Raises:
            ValueError: it sees single pictures only.
        """
        if "view_syn" not in model.tasks:
            raise ValueError(f"{model.name} sees single pictures only; warp needs depth that views share")
        self._model = model
        self.name = f"{model.name}, warped"
        self.identity = {**model.identity, "model": f"warp:{model.identity['model']}"}

    def answer(self, question: Question) -> Answer:
        """Warp pictures."""
        prediction = self._model.see(question)
        assert prediction.cameras is not None
        assert question.targets is not None
        seen = warp_by_depth(
            prediction.images, prediction.depth, prediction.cameras, question.targets, prediction.valid()
        )
        return Answer(rendered=seen.numpy())
