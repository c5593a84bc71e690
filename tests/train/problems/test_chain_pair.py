"""A spec's stage as a bilevel problem: energies, levels, coupling, and gradients against plain autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from restore_hub.batch import Batch
from restore_hub.contracts import Batches
from restore_hub.plan import Plan
from support.chains import Make, drawn, levels_of, step_once


def test_energies_are_those_of_the_whole_chain(plain_plan: Plan) -> None:
    chain, pair = levels_of(plain_plan)
    batch = drawn(0)
    x = pair.couple(batch)
    wires = chain({f"data.{name}": tensor for name, tensor in batch.tensors.items()})
    fidelity = (wires["enhanced"] - batch["rgb"]).abs().mean()
    assert torch.allclose(pair.upper(x, pair.omega, batch), fidelity)
    numerator, count = plain_plan.losses["retinex"].make()(stages=wires["stages"])
    assert torch.allclose(pair.lower(x, pair.omega, batch), fidelity + 0.5 * numerator / count)
    assert [t.shape for t in x] == [(2, 3, 16, 16)]


def test_levels_hold_the_parameters_of_their_blocks(plain_plan: Plan) -> None:
    chain, pair = levels_of(plain_plan)
    assert all(name.startswith("generate.") for name in pair.theta_names)
    assert all(name.startswith("enhance.") for name in pair.omega_names)
    assert {id(t) for t in (*pair.theta, *pair.omega)} == {id(p) for p in chain.parameters()}


def test_gradients_through_the_coupling_equal_those_of_the_chain(plain_plan: Plan) -> None:
    chain, pair = levels_of(plain_plan)
    batch = drawn(1)
    x = pair.couple(batch)
    detached = tuple(t.detach().requires_grad_() for t in x)
    cotangent = torch.autograd.grad(pair.upper(detached, pair.omega, batch), detached)
    through = torch.autograd.grad(x, pair.theta, cotangent)
    wires = chain({f"data.{name}": tensor for name, tensor in batch.tensors.items()})
    plain = torch.autograd.grad((wires["enhanced"] - batch["rgb"]).abs().mean(), pair.theta)
    for ours, theirs in zip(through, plain, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-14)


def test_an_upper_block_below_a_lower_one_is_coupled_through_its_parameters(make: Make) -> None:
    """Lower: generate. Upper: enhance, which comes after it. The coupling is then enhance's own parameters."""
    plan = make(
        "blocks.enhance={network: retinex/cascade, width: 4, inputs: {image: rgb}, outputs: [enhanced, stages]}",
        "stages.1.upper.blocks=[enhance]",
        "stages.1.lower={blocks: [generate], objective: fidelity, data: train, steps: 2}",
    )
    chain, pair = levels_of(plan)
    batch = drawn(2)
    x = pair.couple(batch)
    assert {id(t) for t in x} == {id(p) for p in chain.blocks["enhance"].parameters()}
    other = tuple(1.5 * t.detach() for t in x)
    changed = pair.upper(other, pair.omega, batch)
    with torch.no_grad():
        for parameter in chain.blocks["enhance"].parameters():
            parameter.mul_(1.5)
    assert torch.allclose(changed, pair.upper(pair.couple(batch), pair.omega, batch))


def test_every_solver_advances_both_levels_of_a_real_chain(plain_plan: Plan, two_level_solver: tuple[str, int]) -> None:
    which, steps = two_level_solver
    chain, pair = levels_of(plain_plan)
    before = {name: p.detach().clone() for name, p in chain.named_parameters()}
    logs = step_once(pair, which, steps)
    moved = {name.split(".")[1] for name, p in chain.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"generate", "enhance"}
    assert torch.isfinite(logs["loss/upper"])


@pytest.mark.parametrize("solver", ["rhg", "cg"])
def test_several_lower_blocks_answer_as_the_whole_chain_does(make: Make, solver: str) -> None:
    """Two lower blocks, two fresh batches: the hypergradient is that of plain autograd with theta in every graph."""
    from restore_hub.bilevel.solvers import Cg, Rhg

    network = "network: retinex/cascade, width: 4, inputs: {image: %s}, outputs: [%s]"
    plan = make(
        f"blocks.enhance={{{network % ('rgb', 'bright, stages')}}}",
        f"blocks.polish={{{network % ('bright', 'enhanced, more')}}}",
        "stages.0.blocks=[generate, enhance, polish]",
        "stages.1.lower={blocks: [enhance, polish], objective: {fidelity: 1}, data: train, steps: 2}",
    )
    chain, pair = levels_of(plan)
    upper, lower = drawn(0), [drawn(1), drawn(2)]

    def fidelity(batch: Batch, omega: tuple[Tensor, ...]) -> Tensor:
        replaced = dict(zip(pair.omega, omega, strict=True))
        wires = {f"data.{name}": tensor for name, tensor in batch.tensors.items()}
        return (chain.run(chain.graph.order, wires, replaced)["enhanced"] - batch["rgb"]).abs().mean()

    omega = tuple(w.detach().clone().requires_grad_() for w in pair.omega)
    for batch in lower:
        g = torch.autograd.grad(fidelity(batch, omega), omega, create_graph=True)
        omega = tuple(w - 0.05 * h for w, h in zip(omega, g, strict=True))
    if solver == "rhg":
        exact = torch.autograd.grad(fidelity(upper, omega), pair.theta)
    else:  # z solves (H + damping I) z = g_u: its own residual is tested elsewhere, here z is one iteration's
        omega = tuple(w.detach().requires_grad_() for w in omega)
        direct = torch.autograd.grad(fidelity(upper, omega), (*pair.theta, *omega))
        direct, g_u = direct[: len(pair.theta)], direct[len(pair.theta) :]
        g = torch.autograd.grad(fidelity(lower[-1], omega), omega, create_graph=True)
        Ag = torch.autograd.grad(g, omega, g_u, retain_graph=True)
        scale = sum((u * u).sum() for u in g_u) / sum((u * (a + 50 * u)).sum() for u, a in zip(g_u, Ag, strict=True))
        mixed = torch.autograd.grad(g, pair.theta, [scale * u for u in g_u])
        exact = tuple(d - m for d, m in zip(direct, mixed, strict=True))
    made = Rhg() if solver == "rhg" else Cg(iterations=1, damping=50.0)
    state = made.init(pair, [torch.optim.SGD(v, lr=0.05) for v in (pair.theta, pair.omega)])
    made.step(pair, state, Batches(upper, lower, 2))
    for theta, g in zip(pair.theta, exact, strict=True):
        torch.testing.assert_close(theta.grad, g, rtol=1e-9, atol=1e-12)


def test_blocks_of_no_level_stay_as_they_are_and_in_evaluation_mode(make: Make) -> None:
    plan = make("stages.0.blocks=[generate]", "stages.0.objective=fidelity")
    chain, pair = levels_of(plan, 0)
    assert chain.blocks["generate"].training
    assert not chain.blocks["enhance"].training
    assert all(name.startswith("generate.") for name in pair.names)


def test_a_frozen_block_may_feed_both_levels(make: Make) -> None:
    """It runs above the coupling, and again below it for the lower block that reads it directly."""
    block = "{network: retinex/cascade, width: 4, inputs: {image: %s}, outputs: [%s]}"
    plan = make(
        f"blocks.enhance={block % ('rgb', 'enhanced')}",
        f"blocks.last={block % ('enhanced', 'end')}",
        f"blocks.side={block % ('rgb', 'other')}",
        "objectives={match: {loss: l1, inputs: {prediction: end, target: other}}}",
        "stages=[{solver: ibgl, steps: 1, upper: {blocks: [enhance], objective: match, data: upper}, "
        "lower: {blocks: [last, side], objective: match, data: train}}]",
    )
    chain, pair = levels_of(plan, 0)
    batch = drawn(1)
    x = pair.couple(batch)
    assert len(x) == 1
    wires = chain({f"data.{name}": tensor for name, tensor in batch.tensors.items()})
    expected = (wires["end"] - wires["other"]).abs().mean()
    assert pair.lower(x, pair.omega, batch).item() == pytest.approx(expected.item(), rel=1e-12)
    found = torch.autograd.grad(pair.lower(x, pair.omega, batch), pair.theta)
    for ours, plain in zip(found, torch.autograd.grad(expected, pair.theta), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-13)
