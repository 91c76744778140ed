"""Several processes at one run, started by torchrun: who is who, wrapping the network, whole and split tensors."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from anyview.devices import resolve_device
from anyview.training.config import Sharding
from anyview.training.gaussian_head import GaussianReader
from anyview.training.step import Reader


@dataclass(frozen=True)
class Team:
    """The processes that train together, as one of them sees it."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process."""
        if self.size == 1:
            return flag
        raised = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return bool(raised.item())

    def sum(self, values: Tensor) -> Tensor:
        """Add up the values of all processes."""
        if self.size == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total

    def wait(self) -> None:
        """Let no process go on before all are here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def join_team(device: str | torch.device = "auto") -> Iterator[Team]:
    """Join the processes that torchrun started, or work alone; the same command does for both."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team(0, 1, resolve_device(device))
        return
    here = resolve_device(device)
    if here.type == "cuda":
        here = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(here)
    dist.init_process_group("nccl" if here.type == "cuda" else "gloo")
    try:
        yield Team(dist.get_rank(), size, here)
    finally:
        dist.destroy_process_group()


def distribute(
    reader: Reader | GaussianReader, team: Team, sharding: Sharding, *, leaves_out: bool = False
) -> nn.Module:
    """Let a network's processes share its gradients, and, if it is sharded, its weights.

    ``leaves_out``: some steps do without some parameters, as is told apart at a small cost (not where it is sharded).
    """
    if team.size == 1:
        return reader
    if sharding == "ddp":
        return DistributedDataParallel(reader, find_unused_parameters=leaves_out)
    for block in reader.network.backbone.blocks:
        fully_shard(block)
    # By default the outermost module waits for its backward pass to let go of whole weights; evaluation has none.
    fully_shard(reader, reshard_after_forward=True)
    return reader


def whole(tensor: Tensor) -> Tensor:
    """Gather a tensor of which every process may hold a part, on the CPU; all processes must call it."""
    return replicated(tensor).detach().cpu().contiguous()


def replicated(tensor: Tensor) -> Tensor:
    """Gather a tensor of which every process may hold a part, where it is; all processes must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def split_like(full: Tensor, pattern: Tensor) -> Tensor:
    """Keep of a whole tensor the part that this process holds of ``pattern``, on its device."""
    full = full.to(pattern.device, pattern.dtype)
    if isinstance(pattern, DTensor):
        return distribute_tensor(full, pattern.device_mesh, pattern.placements)
    return full
