"""The processes of one run under `torchrun`: what they sum, what they agree on, and how they end together."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from restore_hub.bilevel import ALONE, Reduction
from restore_hub.errors import LostRankError, TrainingError
from restore_hub.train.stopping import StopRequest

T = TypeVar("T")
LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # set by torchrun
STEP = timedelta(minutes=10)  # a process that is silent for this long in a step is lost
EVALUATION = timedelta(hours=4)  # the longest that the others wait while the first one evaluates and exports


class Ranks:
    """A run of one process, with nothing to agree on.

    Attributes:
        rank, size: number of this process, and how many there are.
        reduction: how the processes add up energies and gradients.
    """

    rank, size = 0, 1
    reduction: Reduction = ALONE

    @property
    def first(self) -> bool:
        """Whether this process evaluates, writes and prints."""
        return self.rank == 0

    def agree(self, stop: bool, due: bool) -> tuple[bool, bool]:
        """Return whether any process was asked to stop, and whether a checkpoint is due for the first one."""
        return stop, due

    def of_first(self, value: T) -> T:
        """Return the first process's value, as soon as it is there; values of others are dropped."""
        return value

    def gathered(self, value: T) -> list[T]:
        """Return the values of all processes by rank; empty on all but the first."""
        return [value]

    def check_same(self, tensors: Mapping[str, Tensor]) -> None:
        """Raise TrainingError, naming the tensor, unless all processes hold the same bits."""


class TorchRanks(Ranks):
    """One of several processes, joined by torch.distributed.

    Raises:
        LostRankError: from every method, if another process has ended or is silent.
    """

    def __init__(self, backend: str) -> None:
        from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # absent from builds without it
        from torch.distributed.rendezvous import rendezvous

        with _talking():
            store, self.rank, self.size = next(rendezvous("env://"))
            # torchrun's store outlives its processes, which must not find what those before a restart left there.
            self._store: Any = PrefixStore(f"restore_hub {_restarts()}", store)
            dist.init_process_group(backend, store=self._store, rank=self.rank, world_size=self.size, timeout=STEP)
            self._control: Any = dist.new_group(backend="gloo", timeout=EVALUATION)
        self.reduction = Reduction(self.rank, self.size, self._add)
        self._backend = backend

    def _add(self, flat: Tensor) -> Tensor:
        with _talking():
            dist.all_reduce(flat)
        return flat

    def agree(self, stop: bool, due: bool) -> tuple[bool, bool]:
        """Return whether any process was asked to stop, and whether a checkpoint is due for the first one."""
        votes = torch.tensor([float(stop), float(due and self.first)])
        with _talking():
            dist.all_reduce(votes, group=self._control)
        return bool(votes[0]), bool(votes[1])

    def of_first(self, value: T) -> T:
        """Return the first process's value, as soon as it is there; values of others are dropped."""
        box = [value]
        with _talking():
            dist.broadcast_object_list(box, src=0, group=self._control)
        return box[0]

    def gathered(self, value: T) -> list[T]:
        """Return the values of all processes by rank; empty on all but the first."""
        values: list[Any] = [None] * self.size if self.first else []
        with _talking():
            dist.gather_object(value, values if self.first else None, dst=0, group=self._control)
        return values

    def check_same(self, tensors: Mapping[str, Tensor]) -> None:
        """Raise TrainingError, naming the tensor, unless all processes hold the same bits."""
        sums = [t.detach().contiguous().reshape(-1).view(torch.uint8).sum(dtype=torch.int64) for t in tensors.values()]
        table = torch.zeros(self.size, len(sums), dtype=torch.int64)
        table[self.rank] = torch.stack(sums).cpu()
        with _talking():
            dist.all_reduce(table, group=self._control)
        for name, column in zip(tensors, table.T, strict=True):
            if not bool((column == column[0]).all()):
                raise TrainingError("train.processes-differ", name, processes=self.size)

    def claim(self) -> bool:
        """Return whether this process is the first to report how the run ended."""
        try:
            return int(self._store.add("told", 1)) == 1
        except RuntimeError:  # the store went with the process that held it
            return True

    def leave(self, *, lost: bool) -> None:
        """Disconnect; after a loss, nccl would wait for the processes that are gone."""
        with contextlib.suppress(RuntimeError):
            if not lost:
                dist.barrier(group=self._control)  # nobody leaves while another still listens
            if not lost or self._backend == "gloo":
                dist.destroy_process_group()
        self._control = self._store = None  # its threads end before the interpreter does


@contextlib.contextmanager
def joined(device: str) -> Iterator[tuple[Ranks, str, StopRequest]]:
    """Join the processes that `torchrun` started for a run; yield them, this one's device, and its stop request.

    `torchrun` passes its signals on to each process, and sends one to those that are left after a loss. All processes
    therefore handle signals from the beginning, and the loop stops at a step that they agree on.

    However the run ends, one process reports it: the first with an error of its own. The others exit with status 2 and
    print nothing.

    Raises:
        LostRankError: another process ended silently, for example because it was killed.
        SystemExit: another process reports why the run ended.
    """
    if not launched():
        yield Ranks(), device, StopRequest()
        return
    with StopRequest(launched=True) as stop:
        ranks, lost = TorchRanks("nccl" if device.startswith("cuda") else "gloo"), True
        try:
            yield ranks, own_device(device), stop
            lost = False
        except KeyboardInterrupt as error:  # all were asked to stop, and the first one reports it
            if not ranks.first:
                raise SystemExit(2) from error
            ranks.claim()
            raise
        except BaseException as error:
            if not ranks.claim():
                raise SystemExit(2) from error
            raise
        finally:
            ranks.leave(lost=lost)


def launched() -> bool:
    """Whether `torchrun` started this process along with others."""
    return all(name in os.environ for name in LAUNCHED) and int(os.environ["WORLD_SIZE"]) > 1


def is_first() -> bool:
    """Whether this process is the one that prints: the only one, or the first that `torchrun` started."""
    return not launched() or os.environ["RANK"] == "0"


def restarted() -> bool:
    """Whether `torchrun --max-restarts` restarted this process after one of the run was lost."""
    return _restarts() > 0


def _restarts() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def own_device(device: str) -> str:
    """Return the device of this process: each has a GPU of its own."""
    if not device.startswith("cuda"):
        return device
    if device != "cuda":
        raise TrainingError("train.one-device", f"device {device!r}")
    own = f"cuda:{os.environ['LOCAL_RANK']}"
    with contextlib.suppress(RuntimeError, AssertionError):  # a missing device is reported when it is first used
        torch.cuda.set_device(own)
    return own


@contextlib.contextmanager
def _talking() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # such as torch.distributed's own
        cause = re.sub(r"^\[\S+:\d+\] ", "", " ".join(str(error).split()))  # without the line of their source
        raise LostRankError("train.process-lost", cause=cause.split(". ")[0]) from error
