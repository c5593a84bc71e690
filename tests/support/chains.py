"""A small chain as the pair that a solver sees, batches for it, and the solvers of two levels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from restore_hub.batch import Batch
from restore_hub.bilevel import ALONE, Reduction
from restore_hub.contracts import Batches
from restore_hub.plan import Chain, Plan, build_chain
from restore_hub.plan.objectives import Objectives
from restore_hub.plugins import default_registry
from restore_hub.train.problems.chain import TrainableChain
from restore_hub.train.problems.trainable import of_stage

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
CASCADE = "blocks.enhance={network: retinex/cascade, width: 4, inputs: {image: rgb}, outputs: [enhanced, stages]}"
Make = Callable[..., Plan]


class Bright:
    """The mean error over the pixels that are bright: how many there are depends on the data."""

    def __call__(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        bright = (target > 0.7).to(prediction.dtype)
        return ((prediction - target) ** 2 * bright).sum(), bright.sum()


def parts_of(samples: int, count: int, seed: int = 0, own: slice = slice(None)) -> Batch:
    """Return one batch in so many parts; its first samples are bright, its last ones nearly without bright pixels.

    Args:
        own: the samples of one process.
    """
    generator = torch.Generator().manual_seed(seed)
    raw = torch.rand(samples, 4, 8, 8, generator=generator, dtype=torch.float64)
    rgb = torch.rand(samples, 3, 16, 16, generator=generator, dtype=torch.float64)
    rgb *= torch.linspace(1.0, 0.72, samples, dtype=torch.float64).reshape(-1, 1, 1, 1)
    pairs = zip(raw[own].chunk(count), rgb[own].chunk(count), strict=True)
    return Batch(*({"raw": planes, "rgb": picture} for planes, picture in pairs))


def levels_of(plan: Plan, index: int = 1, reduction: Reduction = ALONE, **losses: Any) -> tuple[Chain, Any]:
    """Return a plan's chain, in float64, and the problem of one of its stages; some losses may be others."""
    torch.manual_seed(3)
    chain = build_chain(plan).double()
    made = {name: losses.get(name) or part.make() for name, part in plan.losses.items()}
    objectives = Objectives(made, {name: part.inputs for name, part in plan.losses.items()})
    trainable = TrainableChain(plan, chain, objectives, {}, {})
    seen = of_stage(trainable, plan.spec.stages[index], reduction)
    return chain, seen[0] if isinstance(seen, list) else seen


@pytest.fixture(params=TWO_LEVELS.items(), ids=lambda item: f"{item[0]}-{item[1]}")
def two_level_solver(request: pytest.FixtureRequest) -> tuple[str, int]:
    """Return each solver of two levels, and how many lower steps a step of it takes."""
    found: tuple[str, int] = request.param
    return found


@pytest.fixture
def plain_plan(make: Make) -> Plan:
    """Return the small pipeline without batch normalisation, whose running statistics tell two evaluations apart."""
    return make(CASCADE, "stages.1.lower.objective={fidelity: 1, retinex: 0.5}")


def drawn(seed: int) -> Batch:
    """Return a batch of two samples, in float64."""
    generator = torch.Generator().manual_seed(seed)
    raw = torch.rand(2, 4, 8, 8, generator=generator, dtype=torch.float64)
    return Batch({"raw": raw, "rgb": torch.rand(2, 3, 16, 16, generator=generator, dtype=torch.float64)})


def step_once(pair: Any, solver: str, lower_steps: int, lr: float = 1e-2, **options: Any) -> dict[str, Any]:
    """Take one outer step by SGD on fresh batches; return what the solver logs."""
    made = default_registry().find("solver", solver).load()(**options)
    state = made.init(pair, [torch.optim.SGD(variables, lr=lr) for variables in (pair.theta, pair.omega)])
    _, logs = made.step(pair, state, Batches(drawn(3), [drawn(4 + i) for i in range(lower_steps)], lower_steps))
    found: dict[str, Any] = logs
    return found


def passes_of(block: torch.nn.Module) -> list[int]:
    """Return a list that gets one entry for each forward pass of a block."""
    passes: list[int] = []
    block.register_forward_hook(lambda *_: passes.append(1))
    return passes
