"""Whose job comes next: tokens take turns, and each token's jobs keep their order."""

from collections import defaultdict, deque
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

Item = TypeVar("Item", bound=Hashable)


def fair_order(waiting: Sequence[tuple[Item, str]], last_turns: Mapping[str, int]) -> list[Item]:
    """Order waiting jobs so that their owners take turns.

    Args:
        waiting: Jobs with their owners, oldest first.
        last_turns: When an owner's turn was last, as a number that grows; who is not in there had none and comes first.

    Returns:
        The jobs. The owner whose last turn is longest ago is next, of several the one with the oldest job.
    """
    jobs: dict[str, deque[Item]] = defaultdict(deque)
    for item, owner in waiting:
        jobs[owner].append(item)
    arrival = {owner: position for position, owner in enumerate(jobs)}
    rounds = deque(sorted(jobs, key=lambda owner: (last_turns.get(owner, -1), arrival[owner])))
    order = []
    while rounds:
        owner = rounds.popleft()
        order.append(jobs[owner].popleft())
        if jobs[owner]:
            rounds.append(owner)
    return order
