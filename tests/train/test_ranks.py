"""Two processes that share each batch train what one process trains on the whole of it."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from restore_hub.batch import Batch
from restore_hub.bilevel import Reduction
from restore_hub.bilevel.solvers import Joint
from restore_hub.train.batches import Stream
from restore_hub.train.problems.groups import sizes_of
from restore_hub.train.problems.plugin import ProblemStream
from restore_hub.train.ranks import Ranks, own_device
from restore_hub.train.setup import set_up
from restore_hub.train.stepper import Stepper
from support import LOWLIGHT, refused
from support.chains import TWO_LEVELS

pytestmark = pytest.mark.xdist_group("ranks")  # one worker makes what they share
SOLVERS = {"joint": 1, **TWO_LEVELS}  # with their lower steps
GROUPS = ("sample", "2")
CASES = [f"{solver} {kind}" for solver in SOLVERS for kind in ("chain", "problem")]
CASES += [f"{solver} {kind}" for solver in ("tbgl", "ibgl", "cg", "f2sa", "rhg") for kind in ("late", "parts")]
CASES += [f"ibgl {kind} {groups}" for kind in ("chain", "late", "problem") for groups in GROUPS] + ["ibgl parts 4"]

# One process of `size`: each solver takes some steps on its part of the batches, and all it ends with is saved.
WORKER = r'''
import os, sys
os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1",
                  MASTER_PORT=str(port))
import torch
torch.set_num_threads(1)
torch.set_flush_denormal(True)
from restore_hub.batch import Batch
from restore_hub.bilevel import ALONE, norm_cap
from restore_hub.contracts import Batches
from restore_hub.plan import make_plan
from restore_hub.plugins import default_registry
from restore_hub.spec import Level, read_spec
from restore_hub.train.problems.plugin_pair import ProblemLevel, ProblemPair
from restore_hub.train.problems.trainable import by_level
from restore_hub.train.ranks import joined
from support.chains import CASCADE, Bright, levels_of, parts_of

LATE = ["stages.1.upper={blocks: [enhance], objective: fidelity, data: upper}",
        "stages.1.lower={blocks: [generate], objective: fidelity, data: train}"]
registry = default_registry()

def chain_problem(index, kind, reduction):
    more = LATE if kind == "late" else ["stages.1.lower.objective={fidelity: 1, retinex: 0.5}"]
    plan = make_plan(read_spec(pipeline, [*overrides, CASCADE, *more]), registry)
    return levels_of(plan, index, reduction, fidelity=Bright())

class Numbers:
    """Groups of variables on samples: y ~ fit scaled by theta, of a count that the data decide."""

    def __init__(self):
        g = torch.Generator().manual_seed(5)
        def module(*shape):
            made = torch.nn.Module()
            value = torch.randn(*shape, generator=g, dtype=torch.float64)
            made.register_parameter("value", torch.nn.Parameter(value))
            return made
        self.blocks = torch.nn.ModuleDict({"scale": module(3), "fit": module(3)})
        self.energies = {"error": self.error, "weighted": self.weighted}

    def error(self, variables, batch):
        there = (batch["y"] > 0).double()
        fit, scale = variables["fit"]["value"], variables["scale"]["value"]
        off = (torch.tanh(batch["z"] @ fit) - batch["y"]) ** 2 + 0.1 * scale.square().sum()
        return (off * there).sum(), there.sum()

    def weighted(self, variables, batch):
        fit, scale = variables["fit"]["value"], variables["scale"]["value"]
        own = torch.sigmoid(batch["z"] @ scale) * (batch["z"] @ fit - batch["y"]) ** 2
        return own.sum() + len(own) * 0.05 * fit.square().sum(), len(own)

def numbers(seed, reduction):
    g = torch.Generator().manual_seed(seed)
    z, y = torch.randn(6, 3, generator=g, dtype=torch.float64), torch.randn(6, generator=g, dtype=torch.float64)
    own = slice(6 * reduction.rank // reduction.size, 6 * (reduction.rank + 1) // reduction.size)
    return Batch({"z": z[own], "y": y[own]})

def trained(case, reduction):
    name, kind, *groups = case.split()
    options = {"cap": 1.01} if name in ("ibgl", "lwcl") else {}
    options |= {"groups": "sample" if groups == ["sample"] else int(groups[0])} if groups else {}
    solver = registry.find("solver", name).load()(**options)
    if kind == "problem":
        parts = Numbers()
        upper = Level(blocks=["scale"], objective="error", data="high")
        lower = Level(blocks=["fit"], objective="weighted", data="low")
        both = Level(blocks=["scale", "fit"], objective="weighted", data="low")
        made = ProblemLevel(parts, both, reduction) if name == "joint" else ProblemPair(parts, upper, lower, reduction)
        blocks, batch = parts.blocks, lambda seed: numbers(seed, reduction)
    else:
        chain, made = chain_problem(0 if name == "joint" else 1, kind, reduction)
        own = slice(4 * reduction.rank // reduction.size, 4 * (reduction.rank + 1) // reduction.size)
        blocks, batch = chain.blocks, lambda seed: parts_of(4, 2 if kind == "parts" else 1, seed, own)
    rate = 0.01 if name == "neumann" else 0.05
    seen = made if name == "joint" else [made]
    state = solver.init(made, [torch.optim.SGD(variables, lr=rate) for variables in by_level(seen)])
    if options and kind == "chain":
        state.history = norm_cap.new_history([1e-3] * norm_cap.WINDOW)  # so small that the cap is met
    logs = []
    for step in range(12 if kind == "problem" else 2):
        lower = [batch(100 * step + i) for i in range(steps[name])]
        upper = None if name == "joint" else batch(100 * step + 99)
        state, said = solver.step(made, state, Batches(upper, lower, steps[name]))
        logs.append({key: float(value) for key, value in said.items()})
    return {key: tensor.clone() for key, tensor in blocks.state_dict().items()}, logs

def work(reduction):
    torch.save({case: trained(case, reduction) for case in cases}, saved)

if size == 1:
    work(ALONE)
else:
    with joined("cpu") as (ranks, _, _):
        work(ranks.reduction)
'''


@pytest.fixture(scope="module")
def trained(processes: Any, small: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return what one process ends with, then what each of two does."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for size, rank in ((1, 0), (2, 0), (2, 1)):
        given = {
            "size": size,
            "rank": rank,
            "port": port,
            "cases": CASES,
            "steps": SOLVERS,
            "pipeline": LOWLIGHT,
            "overrides": small,
            "saved": str(folder / f"{size}-{rank}.pt"),
        }
        started.append(processes.Process(target=exec, args=(WORKER, given), daemon=True))
        started[-1].start()
    for process in started:
        process.join()
        assert process.exitcode == 0
    return [torch.load(folder / f"{name}.pt") for name in ("1-0", "2-0", "2-1")]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_what_one_does(trained: list[dict[str, Any]], case: str) -> None:
    (whole, said), (first, told), (second, told_too) = (each[case] for each in trained)
    # tbgl divides the round-off of a finite difference by its radius.
    loose = 1e-7 if case.startswith("tbgl") else 1e-10
    for name, tensor in whole.items():
        torch.testing.assert_close(first[name], tensor, rtol=loose, atol=1e-10)
        assert torch.equal(first[name], second[name]), "to the bit, or they would drift apart"
    assert told == told_too
    for ours, theirs in zip(told, said, strict=True):
        assert ours == pytest.approx(theirs, rel=max(loose, 1e-8), abs=1e-9)


def test_the_cap_was_met(trained: list[dict[str, Any]]) -> None:
    """Else equal responses under a cap would say nothing of its norms."""
    for case in ("ibgl chain", "ibgl problem", "ibgl chain sample", "lwcl chain"):
        assert all(any(step["capped"] for step in each[case][1]) for each in trained)


class Two(Ranks):
    """The first of two processes, alone."""

    size = 2
    reduction = Reduction(size=2)


@pytest.mark.parametrize(
    ("index", "overrides", "code", "place"),
    [
        (1, ["stages.1.solver=bda"], "train.solver-not-parallel", "stages.1.solver"),
        (0, ["data.train.batch_size=1"], "train.batch-below-processes", "data.train.batch_size"),
        (
            0,
            ["blocks.enhance={network: retinex/illumination, inputs: {image: rgb}, outputs: [enhanced, stages]}"],
            "train.processes-batch-norm",
            "block 'enhance'",
        ),
    ],
)
def test_refused_on_two_processes(small: list[str], index: int, overrides: list[str], code: str, place: str) -> None:
    setup = set_up(LOWLIGHT, [*small, *overrides], (), "cpu")
    Stepper(setup, index)  # one process can
    setup.ranks = Two()
    with refused(code, place):
        Stepper(setup, index)


def test_a_solver_of_a_plugin_is_refused_unless_it_says_that_it_can(small: list[str]) -> None:
    setup = set_up(LOWLIGHT, small, (), "cpu")
    setup.ranks = Two()

    class Silent(Joint):
        parallel = False

    setup.plan.solvers[0] = [replace(setup.plan.solvers[0][0], target=Silent)]  # type: ignore[index]
    with refused("train.solver-not-parallel", "stages.0.solver"):
        Stepper(setup, 0)


def test_groups_that_do_not_divide_are_refused() -> None:
    batch = Batch({"z": torch.zeros(6, 1)})
    assert sizes_of(batch, 4, ranks=2) == [[3, 3]]
    assert sizes_of(batch, "sample", ranks=2) == [[1] * 6]
    for groups in (1, 3, 8):
        with refused("train.groups-uneven-processes", groups=groups, processes=2):
            sizes_of(batch, groups, ranks=2)


@pytest.mark.parametrize("size", [4, 5])
def test_the_parts_of_a_batch_are_the_batch(small: list[str], size: int) -> None:
    """Each process reads its own samples, cropped and flipped as one process does it."""
    samples = set_up(LOWLIGHT, small, (), "cpu").trainable.data["train"]
    whole = Stream(samples, size, 7, "key").batch(3)
    parts = [Stream(samples, size, 7, "key", rank, 2).batch(3) for rank in range(2)]
    for name, tensor in whole.tensors.items():
        assert torch.equal(Batch.cat(parts)[name], tensor)


def test_the_parts_of_a_batch_of_a_problem_are_the_batch() -> None:
    class Counting:
        def batch(self, split: str, seed: int, index: int) -> dict[str, Tensor]:
            return {"number": torch.arange(5) + index}

    streams = [ProblemStream(Counting(), "s", 0, "key", rank, 2) for rank in range(2)]  # type: ignore[arg-type]
    assert [stream.batch(10)["number"].tolist() for stream in streams] == [[10, 11], [12, 13, 14]]
    with refused("train.batch-below-processes", "split 's'", samples=5, processes=6):
        ProblemStream(Counting(), "s", 0, "key", 0, 6).batch(0)  # type: ignore[arg-type]


def test_a_device_is_one_for_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert [own_device(name) for name in ("cpu", "cuda")] == ["cpu", "cuda:1"]
    with refused("train.one-device", "device 'cuda:0'"):
        own_device("cuda:0")
