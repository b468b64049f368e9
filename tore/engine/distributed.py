"""One process or many: who this process is, which device it has, and sums over all of them.

Works under `torchrun`, under `python -m torch.distributed.launch` (which also passes `--local_rank`), and under
plain `python` as one process. CPU processes talk through gloo, CUDA processes through nccl.
"""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tore.device import resolve_device

TIMEOUT = timedelta(minutes=30)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Processes:
    """This process among `size`; every method is a plain no-op when there is only one."""

    rank: int = 0
    local_rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def _reduced(self, tensor: Tensor, operation: dist.ReduceOp.RedOpType) -> Tensor:
        if self.size == 1:
            return tensor
        out = tensor.detach().to(self.device, copy=True)
        dist.all_reduce(out, op=operation)
        return out.to(tensor.device)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, on every process."""
        return self._reduced(tensor, dist.ReduceOp.SUM)

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over all processes, on every process."""
        return self.sum(tensor) / self.size

    def maximum(self, tensor: Tensor) -> Tensor:
        """The largest over all processes, on every process."""
        return self._reduced(tensor, dist.ReduceOp.MAX)

    def gather(self, value: Any) -> list[Any]:
        """The `value` of every process in the order of their ranks, on every process."""
        if self.size == 1:
            return [value]
        out: list[Any] = [None] * self.size
        dist.all_gather_object(out, value)
        return out

    def barrier(self) -> None:
        """Waits until every process is here."""
        if self.size > 1:
            dist.barrier()

    def share_buffers(self, model: nn.Module) -> None:
        """Gives every process the main one's buffers (batch norm's running statistics)."""
        if self.size > 1:
            saved = model.state_dict()
            for name, buffer in model.named_buffers():
                if name in saved:
                    dist.broadcast(buffer, src=0)

    def close(self) -> None:
        """Leaves the process group."""
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()


def choose_device(name: str, local_rank: int) -> torch.device:
    """The device called `name`; "cuda" and "auto" mean this process's own GPU, "cuda" the CPU where there is none.

    Raises ValueError for a device that this machine does not have.
    """
    if name == "cuda" and not torch.cuda.is_available():
        name = "cpu"
    device = resolve_device(name)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", local_rank % torch.cuda.device_count())
    return device


def buffer_sharing_option() -> str:
    """The name of DistributedDataParallel's option that broadcasts buffers before every step; torch renamed it."""
    known = inspect.signature(DistributedDataParallel.__init__).parameters
    return "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"


def start_processes(device: str = "auto", local_rank: int | None = None) -> Processes:
    """Joins the process group that the launcher's environment describes, or stays alone without one.

    `local_rank` is what the old launcher passes; the environment's LOCAL_RANK goes first.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    local = int(os.environ.get("LOCAL_RANK", local_rank or 0))
    chosen = choose_device(device, local)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if size > 1:
        # The elastic launcher keeps one store over restarts: each life needs keys of its own, or it meets dead peers.
        life = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = dist.PrefixStore(f"life_{life}", next(dist.rendezvous("env://"))[0])
        backend = "nccl" if chosen.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    return Processes(rank, local, size, chosen)
