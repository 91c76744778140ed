"""Progress of a forward pass, told by the network's own parts as they finish."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

from anyview.model.network import NestedNetwork, Network


@contextmanager
def watch(network: Network | NestedNetwork, frames: int, tell: Callable[[int, int], None] | None) -> Iterator[None]:
    """Call ``tell`` with what is done and what there is to do, in per cent, while ``network`` runs on ``frames`` views.

    The blocks of a backbone count as much as one another; all the chunks of its dense head as much as half of them.
    """
    if tell is None:
        yield
        return
    shares: dict[nn.Module, float] = {}
    total = 0.0
    for part in network.modules():
        if isinstance(part, Network):
            blocks, chunks = list(part.backbone.blocks), -(-frames // part.frames_at_once)
            shares |= dict.fromkeys(blocks, 1.0)
            shares[part.head.pyramid] = 0.5 * len(blocks) / chunks
            total += 1.5 * len(blocks)
    done = 0.0

    def finished(part: nn.Module, _inputs: object, _output: object) -> None:
        nonlocal done
        done += shares[part]
        tell(int(100 * done / total), 100)

    handles = [part.register_forward_hook(finished) for part in shares]
    tell(0, 100)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    tell(100, 100)
