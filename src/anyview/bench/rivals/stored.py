"""A model whose answers lie in the folder of a run already."""

from anyview.bench.options import TASKS, Task
from anyview.bench.rivals.rival import Answer, Question


class Stored:
    """Stands for whoever wrote the results that are there; it has no others."""

    tasks: tuple[Task, ...] = TASKS

    def __init__(self, name: str) -> None:
        self.name = name
        self.identity: dict[str, str | int | float | bool] = {"model": f"stored:{name}"}

    def answer(self, question: Question) -> Answer:
        """Refuse.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"there are no stored results of {self.name} for this scene of {len(question.pictures)} views")
