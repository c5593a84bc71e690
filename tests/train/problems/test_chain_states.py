"""Running statistics and dropout of a chain's lower blocks under every solver."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from restore_hub.bilevel import descend
from restore_hub.contracts import Batches
from restore_hub.plan import Chain, Plan
from support.chains import Make, drawn, levels_of, step_once

NORMALISED = "blocks.enhance={network: retinex/illumination, inputs: {image: rgb}, outputs: [enhanced, stages]}"


def test_running_statistics_follow_the_lower_steps_alone(make: Make) -> None:
    """Batch normalisation: F_upper, and F_lower at an omega that is not the live one, leave the buffers alone."""
    chain, pair = levels_of(make(NORMALISED))
    buffers = {name: b.clone() for name, b in chain.named_buffers()}

    def changed() -> bool:
        return any(not torch.equal(b, buffers[name]) for name, b in chain.named_buffers())

    batch = drawn(5)
    x = pair.couple(batch)
    value = pair.upper(x, pair.omega, batch)
    copy = tuple(w.detach().clone() for w in pair.omega)
    pair.lower(x, copy, batch)
    pair.both(x, copy, batch)
    assert not changed()
    assert torch.equal(pair.upper(x, pair.omega, batch), value), "the same arguments give the same value"
    before = {name: t.clone() for name, t in chain.state_dict().items()}
    pair.lower(x, pair.omega, batch)
    assert changed()
    after = {name: b.clone() for name, b in chain.named_buffers()}
    chain.load_state_dict(before)
    pair.both(x, pair.omega, batch)
    assert all(torch.equal(b, after[name]) for name, b in chain.named_buffers()), "both move them as F_lower does"


PASSES = {"alternating": 3, "tbgl": 1, "ibgl": 4, "lwcl": 2, "rhg": 3, "truncated-rhg": 7, "bda": 3}
PASSES |= {"cg": 4, "neumann": 4, "f2sa": 4}


@pytest.mark.parametrize(("solver", "passes"), PASSES.items())
def test_running_statistics_move_under_every_solver(make: Make, solver: str, passes: int) -> None:
    """Once a lower step, and once for the response after the last of them; never for F_upper."""
    chain, pair = levels_of(make(NORMALISED))
    step_once(pair, solver, {"tbgl": 1, "lwcl": 1, "truncated-rhg": 7}.get(solver, 3), lr=1e-4)
    norms = [m for m in chain.blocks["enhance"].modules() if isinstance(m, torch.nn.BatchNorm2d)]
    once = chain.blocks["enhance"]  # its own passes: a network may use one norm several times
    calls = [int(norm.num_batches_tracked) for norm in norms]
    with torch.no_grad():
        before = [int(norm.num_batches_tracked) for norm in norms]
        once(torch.rand(1, 3, 16, 16, dtype=torch.float64))
    each = [int(norm.num_batches_tracked) - count for norm, count in zip(norms, before, strict=True)]
    assert calls == [passes * count for count in each]
    assert min(calls) > 0
    assert all(bool((norm.running_var != 1).all()) for norm in norms)


RUNS = {"alternating": 4, "ibgl": 5, "rhg": 4, "truncated-rhg": 4, "bda": 7, "cg": 5, "neumann": 5, "f2sa": 12}


@pytest.mark.parametrize(("solver", "runs"), RUNS.items())
def test_dropout_is_drawn_once_for_each_pass_and_kept_on_the_way_back(plain_plan: Plan, solver: str, runs: int) -> None:
    """Three lower steps: reverse mode and products with second derivatives see the very mask of the pass."""
    chain, pair = levels_of(plain_plan)
    masks: list[Tensor] = []

    def drop(_module: torch.nn.Module, _inputs: object, made: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        masks.append(torch.nn.functional.dropout(torch.ones_like(made[0]), 0.5))
        return (made[0] * masks[-1], *made[1:])

    chain.blocks["enhance"].register_forward_hook(drop)
    options = {
        "cg": {"iterations": 150, "damping": 40.0},
        "neumann": {"rate": 0.02, "damping": 40.0, "iterations": 150},
    }
    logs = step_once(pair, solver, 3, lr=1e-3, **options.get(solver, {}))
    assert len(masks) == runs
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(masks, 2))
    if "residual" in logs:
        assert logs["residual"] <= 1e-5, "of one linear system, whose mask does not change from product to product"


@pytest.mark.parametrize("solver", ["rhg", "truncated-rhg", "alternating"])
def test_running_statistics_are_those_of_the_weights_that_stepped(make: Make, solver: str) -> None:
    """Unrolled steps, whose weights are not those of the block, leave the statistics that steps in place leave."""
    found = []
    for through_solver in (True, False):
        chain, pair = levels_of(make(NORMALISED))
        if through_solver:
            step_once(pair, solver, 3)
        else:
            batches = Batches(None, [drawn(4 + i) for i in range(3)], 3)
            descend(pair, torch.optim.SGD(pair.omega, lr=1e-2), batches, graph=False)
        found.append(dict(chain.blocks["enhance"].named_buffers()))
    for name, buffer in found[0].items():
        torch.testing.assert_close(buffer, found[1][name])


def _levels(make: Make, upper: str, lower: str) -> tuple[Chain, Any]:
    """Return `generate`, then `enhance` and `polish`, which both normalise, and a pair of two of these blocks."""
    objective = "objective: {fidelity: 1}, data:"
    plan = make(
        NORMALISED,
        "blocks.polish={network: retinex/illumination, inputs: {image: enhanced}, outputs: [polished, more]}",
        "objectives.fidelity={loss: l1, inputs: {prediction: polished, target: data.rgb}}",
        "stages.0.blocks=[generate, enhance, polish]",
        f"stages.1.upper={{blocks: [{upper}], {objective} upper}}",
        f"stages.1.lower={{blocks: [{lower}], {objective} train, steps: 3}}",
    )
    chain, pair = levels_of(plan)
    chain.blocks.train()  # as in a stage of three levels, where the third block is in the other one
    return chain, pair


def _moved(chain: Chain, run: Callable[[], object]) -> set[str]:
    """Return the blocks whose buffers change."""
    before = {name: buffer.clone() for name, buffer in chain.blocks.named_buffers()}
    run()
    after = dict(chain.blocks.named_buffers())
    return {name.partition(".")[0] for name, buffer in before.items() if not torch.equal(after[name], buffer)}


def test_buffers_follow_the_batches_of_their_own_level(make: Make) -> None:
    chain, pair = _levels(make, "enhance", "polish")
    batch = drawn(5)
    x = pair.couple(batch)
    assert _moved(chain, lambda: pair.couple(batch)) == {"enhance"}
    assert _moved(chain, lambda: pair.couple_lower(batch)) == set()
    assert _moved(chain, lambda: pair.lower(x, pair.omega, batch)) == {"polish"}
    assert _moved(chain, lambda: pair.upper(x, pair.omega, batch)) == set()
    chain, pair = _levels(make, "polish", "enhance")  # the upper block comes after the lower one
    x = pair.couple(batch)
    assert _moved(chain, lambda: pair.couple(batch)) == set()
    assert _moved(chain, lambda: pair.lower(x, pair.omega, batch)) == {"enhance"}
    assert _moved(chain, lambda: pair.upper(x, pair.omega, batch)) == {"polish"}


def test_buffers_of_a_third_level_stay(make: Make) -> None:
    chain, pair = _levels(make, "generate", "enhance")
    batch = drawn(5)
    x = pair.couple(batch)
    pair.set_others({f"polish.{name}": p.detach() for name, p in chain.blocks["polish"].named_parameters()})
    assert _moved(chain, lambda: pair.lower(x, pair.omega, batch)) == {"enhance"}
    assert _moved(chain, lambda: pair.upper(x, pair.omega, batch)) == set()


@pytest.mark.parametrize("solver", ["alternating", "ibgl", "rhg"])
def test_solvers_couple_lower_batches_as_such(make: Make, solver: str) -> None:
    """With weights at rest, three lower steps and an upper one leave what the upper batch alone leaves."""
    found = []
    for whole in (True, False):
        chain, pair = _levels(make, "enhance", "polish")
        if whole:
            step_once(pair, solver, 3, lr=0.0)
        else:
            pair.couple(drawn(3))  # the upper batch of `step_once`
        found.append(dict(chain.blocks["enhance"].named_buffers()))
    assert found[0]
    for name, buffer in found[0].items():
        torch.testing.assert_close(buffer, found[1][name])
