"""What is shared: one pass through the lower blocks for both energies, one through the upper ones for both batches."""

from __future__ import annotations

import pytest
import torch

from restore_hub.batch import Batch
from restore_hub.bilevel import evaluate, evaluate_both
from restore_hub.contracts import Batches
from restore_hub.plan import Plan, build_chain
from restore_hub.plan.objectives import Objectives
from restore_hub.train.problems.chain_pair import ChainPair
from support.chains import Make, drawn, levels_of, passes_of


@pytest.mark.parametrize("parts", [1, 2])
def test_both_energies_of_a_batch_share_one_pass_through_the_lower_blocks(plain_plan: Plan, parts: int) -> None:
    chain, pair = levels_of(plain_plan)
    batch = Batch.of_parts(drawn(0).split([2 // parts] * parts))
    x = pair.couple(batch)
    apart = [evaluate(pair, level, x, pair.omega, batch) for level in ("lower", "upper")]
    runs = passes_of(chain.blocks["enhance"])
    together = evaluate_both(pair, x, pair.omega, batch)
    assert len(runs) == (1 if parts == 1 else 4 * parts)  # parts run anew for each gradient, and are not kept
    for found, expected in zip(together, apart, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)


def test_a_shared_batch_takes_ibgl_one_pass_less_and_the_same_step(plain_plan: Plan) -> None:
    from restore_hub.bilevel.solvers import Ibgl

    stepped, runs = [], []
    for shared in (True, False):
        chain, pair = levels_of(plain_plan)
        passes = passes_of(chain.blocks["enhance"])
        solver = Ibgl()
        state = solver.init(pair, [torch.optim.SGD(v, lr=1e-2) for v in (pair.theta, pair.omega)])
        batch = drawn(1)
        solver.step(pair, state, Batches(batch if shared else drawn(1), [batch], 3))
        stepped.append(dict(chain.named_parameters()))
        runs.append(len(passes))
    assert runs == [4, 5]
    for name, tensor in stepped[0].items():
        torch.testing.assert_close(tensor, stepped[1][name], rtol=1e-11, atol=1e-14)


def test_two_batches_go_through_the_upper_block_at_once(plain_plan: Plan) -> None:
    chain, pair = levels_of(plain_plan)
    runs = passes_of(chain.blocks["generate"])
    first, second = drawn(0), drawn(1).split([1, 1])[0]
    apart = pair.couple(first), pair.couple(second)
    runs.clear()
    together = pair.couple_both(first, second)
    assert len(runs) == 1
    torch.testing.assert_close(together, apart, rtol=1e-12, atol=1e-15)
    cotangents = [torch.cos(t.detach()) for x in apart for t in x]
    found, expected = (
        torch.autograd.grad([t for x in both for t in x], pair.theta, cotangents) for both in (together, apart)
    )
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


def test_two_batches_at_once_both_carry_the_parameters_of_late_upper_blocks(make: Make) -> None:
    chain, pair = levels_of(
        make(
            "blocks.middle={network: retinex/cascade, width: 4, inputs: {image: rgb}, outputs: [clear, its_stages]}",
            "blocks.enhance={network: retinex/cascade, width: 4, inputs: {image: clear}, outputs: [enhanced, stages]}",
            "stages.1.upper.blocks=[generate, enhance]",
            "stages.1.lower={blocks: [middle], objective: fidelity, data: train}",
        )
    )
    late = [id(p) for p in chain.blocks["enhance"].parameters()]
    first, second = drawn(0), drawn(1)
    together = pair.couple_both(first, second)
    assert [[id(t) for t in x[1:]] for x in together] == [late, late]
    torch.testing.assert_close(together, (pair.couple(first), pair.couple(second)), rtol=1e-12, atol=1e-15)


def test_batches_that_no_pass_can_share_go_by_themselves(plain_plan: Plan, make: Make) -> None:
    smaller = Batch({"raw": drawn(1)["raw"][..., :4], "rgb": drawn(1)["rgb"][..., :8]})
    halves = Batch.of_parts(drawn(1).split([1, 1]))
    normalised = make(
        "blocks.generate={network: retinex/illumination, inputs: {image: data.rgb}, outputs: [rgb, stages_of_it]}"
    )
    for made, other in ((plain_plan, smaller), (plain_plan, halves), (normalised, drawn(1))):
        chain, pair = levels_of(made)
        runs = passes_of(chain.blocks["generate"])
        apart = pair.couple(drawn(0)), pair.couple(other)
        passes = len(runs)
        together = pair.couple_both(drawn(0), other)
        assert len(runs) == 2 * passes
        torch.testing.assert_close(together, apart, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("tracked", [True, False])
def test_frozen_batch_normalisation_with_and_without_own_statistics(plain_plan: Plan, tracked: bool) -> None:
    torch.manual_seed(3)
    chain = build_chain(plain_plan).double()
    layer = torch.nn.BatchNorm2d(3, track_running_stats=tracked).double().eval()
    chain.blocks["generate"].eval().add_module("frozen", layer)
    chain.blocks["generate"].register_forward_hook(lambda block, _, out: block.frozen(out))
    losses = {name: part.make() for name, part in plain_plan.losses.items()}
    objectives = Objectives(losses, {name: part.inputs for name, part in plain_plan.losses.items()})
    stage = plain_plan.spec.stages[1]
    pair = ChainPair(chain, objectives, *stage.levels)
    first, second = drawn(0), drawn(1)
    runs = passes_of(layer)
    together = pair.couple_both(first, second)
    assert len(runs) == (1 if tracked else 2)
    torch.testing.assert_close(together, (pair.couple(first), pair.couple(second)), rtol=1e-12, atol=1e-15)
