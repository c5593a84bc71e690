"""The processes of one run under `torchrun`: what they sum, agree on, and how they end together."""

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
LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # what torchrun tells its processes
STEP = timedelta(minutes=10)  # a process that is not heard of for so long in a step is lost
MEASURING = timedelta(hours=4)  # what the others wait for the first one at most, while it measures and exports

LOST = (
    "a process of the run was lost: it ended, or was not heard of any more; what was saved before is whole, go on with "
    "--resume"
)


class Ranks:
    """A run of one process: there is nothing to agree on.

    Attributes:
        rank, size: number of this process, and how many there are.
        reduction: for the problems that they train.
    """

    rank, size = 0, 1
    reduction: Reduction = ALONE

    @property
    def first(self) -> bool:
        """Whether this process measures, writes and speaks."""
        return self.rank == 0

    def agree(self, stop: bool, due: bool) -> tuple[bool, bool]:
        """Return whether any process was asked to stop, and whether a checkpoint is due for the first one."""
        return stop, due

    def of_first(self, value: T) -> T:
        """Return the first process's value, once it is there; values of others are dropped."""
        return value

    def gathered(self, value: T) -> list[T]:
        """Return the values of all processes by rank; empty on all but the first."""
        return [value]

    def check_same(self, tensors: Mapping[str, Tensor]) -> None:
        """Raise TrainingError, naming the tensor, unless all processes hold the same bits."""


class TorchRanks(Ranks):
    """A process of several, joined by torch.distributed.

    Raises:
        LostRankError: from every method, where another process has ended or is not heard of.
    """

    def __init__(self, backend: str) -> None:
        from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # not there where torch is built without
        from torch.distributed.rendezvous import rendezvous

        with _talking("the processes could not find each other"):
            store, self.rank, self.size = next(rendezvous("env://"))
            # torchrun's store outlives its processes: what those before a restart left there must not be found again.
            self._store: Any = PrefixStore(f"restore_hub {_restarts()}", store)
            dist.init_process_group(backend, store=self._store, rank=self.rank, world_size=self.size, timeout=STEP)
            self._control: Any = dist.new_group(backend="gloo", timeout=MEASURING)
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
        """Return the first process's value, once it is there; values of others are dropped."""
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
                raise TrainingError(
                    f"{name} differs among the {self.size} processes, as statistics that a block takes from its own "
                    "part of a batch do, or weights that are not drawn from torch's generator; train on one process, "
                    "or with a network or loss that has neither"
                )

    def claim(self) -> bool:
        """Return whether this process is the first to tell how the run ended."""
        try:
            return int(self._store.add("told", 1)) == 1
        except RuntimeError:  # the store went with the process that held it
            return True

    def leave(self, *, lost: bool) -> None:
        """Close what joins the processes; after a loss nccl would wait for those that are gone."""
        with contextlib.suppress(RuntimeError):
            if not lost:
                dist.barrier(group=self._control)  # nobody closes while another still listens
            if not lost or self._backend == "gloo":
                dist.destroy_process_group()
        self._control = self._store = None  # its threads end before the interpreter does


@contextlib.contextmanager
def joined(device: str) -> Iterator[tuple[Ranks, str, StopRequest]]:
    """Join the processes that `torchrun` started for a run; yield them, this one's device, and what hears signals.

    `torchrun` passes its signals on to each process, and sends one to those that are left after a loss; so they are
    heard from the beginning, and the loop stops where all agree.

    However it ends, one process tells: the first that has an error of its own. The others end with status 2, without
    a word.

    Raises:
        LostRankError: another process ended without a word, as one that was killed.
        SystemExit: another process tells why the run ended.
    """
    if not launched():
        yield Ranks(), device, StopRequest()
        return
    with StopRequest(quiet=True) as stop:
        ranks, lost = TorchRanks("nccl" if device.startswith("cuda") else "gloo"), True
        try:
            yield ranks, own_device(device), stop
            lost = False
        except KeyboardInterrupt as error:  # all were asked to stop, and the first one says so
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
    """Whether `torchrun` started this process, and others beside it."""
    return all(name in os.environ for name in LAUNCHED) and int(os.environ["WORLD_SIZE"]) > 1


def is_first() -> bool:
    """Whether this process is the one that speaks: the only one, or the first that `torchrun` started."""
    return not launched() or os.environ["RANK"] == "0"


def restarted() -> bool:
    """Whether `torchrun --max-restarts` started this process again, after one of the run was lost."""
    return _restarts() > 0


def _restarts() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def own_device(device: str) -> str:
    """Return the device of this process: each has a GPU of its own."""
    if not device.startswith("cuda"):
        return device
    if device != "cuda":
        raise TrainingError(f"{device!r} is one device for several processes; give --device cuda, which is one each")
    own = f"cuda:{os.environ['LOCAL_RANK']}"
    with contextlib.suppress(RuntimeError, AssertionError):  # that there is none is said when it is first used
        torch.cuda.set_device(own)
    return own


@contextlib.contextmanager
def _talking(what: str = LOST) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # torch.distributed's own are such
        reason = re.sub(r"^\[\S+:\d+\] ", "", " ".join(str(error).split()))  # without its line in their source
        raise LostRankError(f"{what} ({reason.split('. ')[0]})") from error
