"""A small chain as the pair that a solver sees, batches for it, and the solvers of two levels."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from restore_hub.batch import Batch
from restore_hub.plan import Chain, Plan, build_chain
from restore_hub.plan.objectives import Objectives
from restore_hub.train.problems.chain import TrainableChain
from restore_hub.train.problems.chain_pair import ChainPair

TWO_LEVELS = {
    "alternating": 2,
    "tbgl": 1,
    "ibgl": 2,
    "lwcl": 1,
    "rhg": 2,
    "truncated-rhg": 6,
    "bda": 2,
    "cg": 2,
    "neumann": 2,
    "f2sa": 2,
}


@pytest.fixture(params=TWO_LEVELS.items(), ids=lambda item: f"{item[0]}-{item[1]}")
def two_level_solver(request: pytest.FixtureRequest) -> tuple[str, int]:
    """Return each solver of two levels, and how many lower steps a step of it takes."""
    found: tuple[str, int] = request.param
    return found


@pytest.fixture
def plain_plan(make: Callable[..., Plan]) -> Plan:
    """Return the small pipeline without batch normalisation, whose running statistics tell two evaluations apart."""
    return make(
        "blocks.enhance={network: retinex/cascade, width: 4, inputs: {image: rgb}, outputs: [enhanced, stages]}",
        "stages.1.lower.objective={fidelity: 1, retinex: 0.5}",
    )


@pytest.fixture
def drawn() -> Callable[[int], Batch]:
    """Return a function that draws a batch of two samples, in float64."""

    def draw(seed: int) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        raw = torch.rand(2, 4, 8, 8, generator=generator, dtype=torch.float64)
        rgb = torch.rand(2, 3, 16, 16, generator=generator, dtype=torch.float64)
        return Batch({"raw": raw, "rgb": rgb})

    return draw


@pytest.fixture
def built() -> Callable[..., tuple[Chain, ChainPair]]:
    """Return a function that makes a plan's chain, in float64, and the problem of one of its stages."""

    def build(plan: Plan, index: int = 1) -> tuple[Chain, ChainPair]:
        torch.manual_seed(3)
        chain = build_chain(plan).double()
        losses = {name: part.make() for name, part in plan.losses.items()}
        objectives = Objectives(losses, {name: part.inputs for name, part in plan.losses.items()})
        return chain, TrainableChain(plan, chain, objectives, {}, {}).of_stage(plan.spec.stages[index])

    return build
