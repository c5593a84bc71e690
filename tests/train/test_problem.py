"""A spec's stage as a bilevel problem: energies, coupling, and gradients against plain autograd."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from restore_hub.bilevel import Rows, descend, evaluate, evaluate_both, lower_rows
from restore_hub.contracts import Batches
from restore_hub.errors import BilevelError
from restore_hub.plan import Chain, Plan, build_chain
from restore_hub.plan.objectives import Objectives
from restore_hub.train.problem import ChainProblem, problem_of


def _batch(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "raw": torch.rand(2, 4, 8, 8, generator=generator, dtype=torch.float64),
        "rgb": torch.rand(2, 3, 16, 16, generator=generator, dtype=torch.float64),
    }


def _problem(plan: Plan, index: int = 1) -> tuple[Chain, ChainProblem]:
    torch.manual_seed(3)
    chain = build_chain(plan).double()
    losses = {name: part.make() for name, part in plan.losses.items()}
    objectives = Objectives(losses, {name: part.inputs for name, part in plan.losses.items()})
    return chain, problem_of(chain, objectives, plan.spec.stages[index])


@pytest.fixture
def plan(make: Callable[..., Plan]) -> Plan:
    # No batch normalisation here: its running statistics would tell two evaluations apart.
    return make(
        "blocks.enhance={network: retinex/cascade, width: 4, inputs: {image: rgb}, outputs: [enhanced, stages]}",
        "stages.1.lower.objective={fidelity: 1, retinex: 0.5}",
    )


def test_energies_are_those_of_the_whole_chain(plan: Plan) -> None:
    chain, problem = _problem(plan)
    batch = _batch(0)
    x = problem.couple([batch])
    wires = chain({f"data.{name}": tensor for name, tensor in batch.items()})
    fidelity = (wires["enhanced"] - batch["rgb"]).abs().mean()
    assert torch.allclose(problem.upper(x, problem.omega, [batch]), fidelity)
    numerator, count = plan.losses["retinex"].make()(stages=wires["stages"])
    assert torch.allclose(problem.lower(x, problem.omega, [batch]), fidelity + 0.5 * numerator / count)
    assert [t.shape for t in x] == [(2, 3, 16, 16)]


@pytest.mark.parametrize("parts", [1, 2])
def test_both_energies_of_a_batch_share_one_pass_through_the_lower_blocks(plan: Plan, parts: int) -> None:
    chain, problem = _problem(plan)
    batch = [{key: tensor.chunk(parts)[i] for key, tensor in _batch(0).items()} for i in range(parts)]
    x = problem.couple(batch)
    apart = [evaluate(problem, level, x, problem.omega, batch) for level in ("lower", "upper")]
    runs: list[int] = []
    chain.blocks["enhance"].register_forward_hook(lambda *_: runs.append(1))
    together = evaluate_both(problem, x, problem.omega, batch)
    assert len(runs) == (1 if parts == 1 else 4 * parts)  # parts run anew for each gradient, and are not kept
    for found, expected in zip(together, apart, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)


def test_a_shared_batch_takes_ibgl_one_pass_less_and_the_same_step(plan: Plan) -> None:
    from restore_hub.bilevel.solvers import Ibgl

    stepped, runs = [], []
    for shared in (True, False):
        chain, problem = _problem(plan)
        passes: list[int] = []
        chain.blocks["enhance"].register_forward_hook(lambda *_, passes=passes: passes.append(1))
        solver = Ibgl()
        state = solver.init(problem, [torch.optim.SGD(v, lr=1e-2) for v in (problem.theta, problem.omega)])
        batch = [_batch(1)]
        solver.step(problem, state, Batches(batch if shared else [_batch(1)], [batch], 3))
        stepped.append(dict(chain.named_parameters()))
        runs.append(len(passes))
    assert runs == [4, 5]
    for name, tensor in stepped[0].items():
        torch.testing.assert_close(tensor, stepped[1][name], rtol=1e-11, atol=1e-14)


def test_two_batches_go_through_the_upper_block_at_once(plan: Plan) -> None:
    chain, problem = _problem(plan)
    runs: list[int] = []
    chain.blocks["generate"].register_forward_hook(lambda *_: runs.append(1))
    first, second = [_batch(0)], [{name: tensor[:1] for name, tensor in _batch(1).items()}]
    apart = problem.couple(first), problem.couple(second)
    runs.clear()
    together = problem.couple_both(first, second)
    assert len(runs) == 1
    torch.testing.assert_close(together, apart, rtol=1e-12, atol=1e-15)
    cotangents = [torch.cos(t.detach()) for x in apart for t in x]
    found, expected = (
        torch.autograd.grad([t for x in both for t in x], problem.theta, cotangents) for both in (together, apart)
    )
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


def test_two_batches_at_once_both_carry_the_parameters_of_late_upper_blocks(make: Callable[..., Plan]) -> None:
    chain, problem = _problem(
        make(
            "blocks.middle={network: retinex/cascade, width: 4, inputs: {image: rgb}, outputs: [clear, its_stages]}",
            "blocks.enhance={network: retinex/cascade, width: 4, inputs: {image: clear}, outputs: [enhanced, stages]}",
            "stages.1.upper.blocks=[generate, enhance]",
            "stages.1.lower={blocks: [middle], objective: fidelity, data: train}",
        )
    )
    late = [id(p) for p in chain.blocks["enhance"].parameters()]
    first, second = [_batch(0)], [_batch(1)]
    together = problem.couple_both(first, second)
    assert [[id(t) for t in x[1:]] for x in together] == [late, late]
    torch.testing.assert_close(together, (problem.couple(first), problem.couple(second)), rtol=1e-12, atol=1e-15)


def test_batches_that_no_pass_can_share_go_by_themselves(plan: Plan, make: Callable[..., Plan]) -> None:
    smaller = {"raw": _batch(1)["raw"][..., :4], "rgb": _batch(1)["rgb"][..., :8]}
    halves = [{name: tensor[i : i + 1] for name, tensor in _batch(1).items()} for i in range(2)]
    normalised = make(
        "blocks.generate={network: retinex/illumination, inputs: {image: data.rgb}, outputs: [rgb, stages_of_it]}"
    )
    for made, other in ((plan, [smaller]), (plan, halves), (normalised, [_batch(1)])):
        chain, problem = _problem(made)
        runs: list[int] = []
        chain.blocks["generate"].register_forward_hook(lambda *_, runs=runs: runs.append(1))
        apart = problem.couple([_batch(0)]), problem.couple(other)
        passes = len(runs)
        together = problem.couple_both([_batch(0)], other)
        assert len(runs) == 2 * passes
        torch.testing.assert_close(together, apart, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("tracked", [True, False])
def test_frozen_batch_normalisation_without_statistics_of_its_own_takes_those_of_the_batch(
    plan: Plan, tracked: bool
) -> None:
    torch.manual_seed(3)
    chain = build_chain(plan).double()
    layer = torch.nn.BatchNorm2d(3, track_running_stats=tracked).double().eval()
    chain.blocks["generate"].eval().add_module("frozen", layer)
    chain.blocks["generate"].register_forward_hook(lambda block, _, out: block.frozen(out))
    losses = {name: part.make() for name, part in plan.losses.items()}
    objectives = Objectives(losses, {name: part.inputs for name, part in plan.losses.items()})
    stage = plan.spec.stages[1]
    assert stage.upper is not None
    assert stage.lower is not None
    problem = ChainProblem(chain, objectives, stage.upper, stage.lower)
    first, second = [_batch(0)], [_batch(1)]
    runs: list[int] = []
    layer.register_forward_hook(lambda *_: runs.append(1))
    together = problem.couple_both(first, second)
    assert len(runs) == (1 if tracked else 2)
    torch.testing.assert_close(together, (problem.couple(first), problem.couple(second)), rtol=1e-12, atol=1e-15)


def test_levels_hold_the_parameters_of_their_blocks(plan: Plan) -> None:
    chain, problem = _problem(plan)
    assert all(name.startswith("generate.") for name in problem.theta_names)
    assert all(name.startswith("enhance.") for name in problem.omega_names)
    assert {id(t) for t in (*problem.theta, *problem.omega)} == {id(p) for p in chain.parameters()}


def test_gradients_through_the_coupling_equal_those_of_the_chain(plan: Plan) -> None:
    chain, problem = _problem(plan)
    batch = _batch(1)
    x = problem.couple([batch])
    detached = tuple(t.detach().requires_grad_() for t in x)
    cotangent = torch.autograd.grad(problem.upper(detached, problem.omega, [batch]), detached)
    through = torch.autograd.grad(x, problem.theta, cotangent)
    wires = chain({f"data.{name}": tensor for name, tensor in batch.items()})
    plain = torch.autograd.grad((wires["enhanced"] - batch["rgb"]).abs().mean(), problem.theta)
    for ours, theirs in zip(through, plain, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-14)


def test_an_upper_block_below_a_lower_one_is_coupled_through_its_parameters(make: Callable[..., Plan]) -> None:
    """Lower: generate. Upper: enhance, which comes after it. The coupling is then enhance's own parameters."""
    plan = make(
        "blocks.enhance={network: retinex/cascade, width: 4, inputs: {image: rgb}, outputs: [enhanced, stages]}",
        "stages.1.upper.blocks=[enhance]",
        "stages.1.lower={blocks: [generate], objective: fidelity, data: train, steps: 2}",
    )
    chain, problem = _problem(plan)
    batch = _batch(2)
    x = problem.couple([batch])
    assert {id(t) for t in x} == {id(p) for p in chain.blocks["enhance"].parameters()}
    other = tuple(1.5 * t.detach() for t in x)
    changed = problem.upper(other, problem.omega, [batch])
    with torch.no_grad():
        for parameter in chain.blocks["enhance"].parameters():
            parameter.mul_(1.5)
    assert torch.allclose(changed, problem.upper(problem.couple([batch]), problem.omega, [batch]))


def test_every_solver_advances_both_levels_of_a_real_chain(plan: Plan, two_level_solver: tuple[str, int]) -> None:
    from restore_hub.plugins import default_registry

    which, steps = two_level_solver
    chain, problem = _problem(plan)
    made = default_registry().find("solver", which).load()()
    optimizers = [torch.optim.SGD(problem.theta, lr=1e-2), torch.optim.SGD(problem.omega, lr=1e-2)]
    state = made.init(problem, optimizers)
    before = {name: p.detach().clone() for name, p in chain.named_parameters()}
    state, logs = made.step(problem, state, Batches([_batch(3)], [[_batch(4 + i)] for i in range(steps)], steps))
    moved = {name.split(".")[1] for name, p in chain.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"generate", "enhance"}
    assert torch.isfinite(logs["loss/upper"])


@pytest.mark.parametrize("solver", ["rhg", "cg"])
def test_several_lower_blocks_answer_as_the_whole_chain_does(make: Callable[..., Plan], solver: str) -> None:
    """Two lower blocks, two fresh batches: the hypergradient is that of plain autograd with theta in every graph."""
    from restore_hub.bilevel.solvers import Cg, Rhg

    network = "network: retinex/cascade, width: 4, inputs: {image: %s}, outputs: [%s]"
    plan = make(
        f"blocks.enhance={{{network % ('rgb', 'bright, stages')}}}",
        f"blocks.polish={{{network % ('bright', 'enhanced, more')}}}",
        "stages.0.blocks=[generate, enhance, polish]",
        "stages.1.lower={blocks: [enhance, polish], objective: {fidelity: 1}, data: train, steps: 2}",
    )
    chain, problem = _problem(plan)
    upper, lower = _batch(0), [_batch(1), _batch(2)]

    def fidelity(batch: dict[str, Tensor], omega: tuple[Tensor, ...]) -> Tensor:
        replaced: dict[str, dict[str, Tensor]] = {}
        for name, value in zip(problem.omega_names, omega, strict=True):
            replaced.setdefault(name.partition(".")[0], {})[name.partition(".")[2]] = value
        wires = {f"data.{name}": tensor for name, tensor in batch.items()}
        return (chain.run(chain.graph.order, wires, replaced)["enhanced"] - batch["rgb"]).abs().mean()

    omega = tuple(w.detach().clone().requires_grad_() for w in problem.omega)
    for batch in lower:
        g = torch.autograd.grad(fidelity(batch, omega), omega, create_graph=True)
        omega = tuple(w - 0.05 * h for w, h in zip(omega, g, strict=True))
    if solver == "rhg":
        exact = torch.autograd.grad(fidelity(upper, omega), problem.theta)
    else:  # z solves (H + damping I) z = g_u: its own residual is tested elsewhere, here z is one iteration's
        omega = tuple(w.detach().requires_grad_() for w in omega)
        direct = torch.autograd.grad(fidelity(upper, omega), (*problem.theta, *omega))
        direct, g_u = direct[: len(problem.theta)], direct[len(problem.theta) :]
        g = torch.autograd.grad(fidelity(lower[-1], omega), omega, create_graph=True)
        Ag = torch.autograd.grad(g, omega, g_u, retain_graph=True)
        scale = sum((u * u).sum() for u in g_u) / sum((u * (a + 50 * u)).sum() for u, a in zip(g_u, Ag, strict=True))
        mixed = torch.autograd.grad(g, problem.theta, [scale * u for u in g_u])
        exact = tuple(d - m for d, m in zip(direct, mixed, strict=True))
    made = Rhg() if solver == "rhg" else Cg(iterations=1, damping=50.0)
    state = made.init(problem, [torch.optim.SGD(v, lr=0.05) for v in (problem.theta, problem.omega)])
    made.step(problem, state, Batches([upper], [[batch] for batch in lower], 2))
    for theta, g in zip(problem.theta, exact, strict=True):
        torch.testing.assert_close(theta.grad, g, rtol=1e-9, atol=1e-12)


def test_running_statistics_follow_the_lower_steps_alone(make: Callable[..., Plan]) -> None:
    """Batch normalisation: F_upper, and F_lower at an omega that is not the live one, leave the buffers alone."""
    network = "{network: retinex/illumination, inputs: {image: rgb}, outputs: [enhanced, stages]}"
    chain, problem = _problem(make(f"blocks.enhance={network}"))
    buffers = {name: b.clone() for name, b in chain.named_buffers()}

    def changed() -> bool:
        return any(not torch.equal(b, buffers[name]) for name, b in chain.named_buffers())

    batch = _batch(5)
    x = problem.couple([batch])
    value = problem.upper(x, problem.omega, [batch])
    copy = tuple(w.detach().clone() for w in problem.omega)
    problem.lower(x, copy, [batch])
    problem.both(x, copy, [batch])
    assert not changed()
    assert torch.equal(problem.upper(x, problem.omega, [batch]), value), "the same arguments give the same value"
    before = {name: t.clone() for name, t in chain.state_dict().items()}
    problem.lower(x, problem.omega, [batch])
    assert changed()
    after = {name: b.clone() for name, b in chain.named_buffers()}
    chain.load_state_dict(before)
    problem.both(x, problem.omega, [batch])
    assert all(torch.equal(b, after[name]) for name, b in chain.named_buffers()), "both move them as F_lower does"


@pytest.mark.parametrize(
    ("solver", "steps", "passes"),
    [
        ("alternating", 3, 3),
        ("tbgl", 1, 1),
        ("ibgl", 3, 4),
        ("lwcl", 1, 2),
        ("rhg", 3, 3),
        ("truncated-rhg", 7, 7),
        ("bda", 3, 3),
        ("cg", 3, 4),
        ("neumann", 3, 4),
        ("f2sa", 3, 4),
    ],
)
def test_running_statistics_of_the_lower_blocks_move_under_every_solver(
    make: Callable[..., Plan], solver: str, steps: int, passes: int
) -> None:
    """Once a lower step, and once for the response after the last of them; never for F_upper."""
    from restore_hub.plugins import default_registry

    network = "{network: retinex/illumination, inputs: {image: rgb}, outputs: [enhanced, stages]}"
    chain, problem = _problem(make(f"blocks.enhance={network}"))
    made = default_registry().find("solver", solver).load()()
    state = made.init(problem, [torch.optim.SGD(v, lr=1e-4) for v in (problem.theta, problem.omega)])
    made.step(problem, state, Batches([_batch(3)], [[_batch(4 + i)] for i in range(steps)], steps))
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


@pytest.mark.parametrize(
    ("solver", "runs"),
    [
        ("alternating", 4),
        ("ibgl", 5),
        ("rhg", 4),
        ("truncated-rhg", 4),
        ("bda", 7),
        ("cg", 5),
        ("neumann", 5),
        ("f2sa", 12),
    ],
)
def test_dropout_is_drawn_once_for_each_pass_and_kept_on_the_way_back(plan: Plan, solver: str, runs: int) -> None:
    """Three lower steps: reverse mode and products with second derivatives see the very mask of the pass."""
    from restore_hub.plugins import default_registry

    chain, problem = _problem(plan)
    drawn: list[Tensor] = []

    def drop(_module: torch.nn.Module, _inputs: object, made: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        drawn.append(torch.nn.functional.dropout(torch.ones_like(made[0]), 0.5))
        return (made[0] * drawn[-1], *made[1:])

    chain.blocks["enhance"].register_forward_hook(drop)
    options = {
        "cg": {"iterations": 150, "damping": 40.0},
        "neumann": {"rate": 0.02, "damping": 40.0, "iterations": 150},
    }
    made = default_registry().find("solver", solver).load()(**options.get(solver, {}))
    state = made.init(problem, [torch.optim.SGD(v, lr=1e-3) for v in (problem.theta, problem.omega)])
    _, logs = made.step(problem, state, Batches([_batch(3)], [[_batch(4 + i)] for i in range(3)], 3))
    assert len(drawn) == runs
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(drawn, 2))
    if "residual" in logs:
        assert logs["residual"] <= 1e-5, "of one linear system, whose mask does not change from product to product"


@pytest.mark.parametrize("solver", ["rhg", "truncated-rhg", "alternating"])
def test_running_statistics_are_those_of_the_weights_that_stepped(make: Callable[..., Plan], solver: str) -> None:
    """Unrolled steps, whose weights are not those of the block, leave the statistics that steps in place leave."""
    from restore_hub.plugins import default_registry

    network = "{network: retinex/illumination, inputs: {image: rgb}, outputs: [enhanced, stages]}"
    batches, found = Batches([_batch(3)], [[_batch(4 + i)] for i in range(3)], 3), []
    for through_solver in (True, False):
        chain, problem = _problem(make(f"blocks.enhance={network}"))
        optimizers = [torch.optim.SGD(v, lr=1e-2) for v in (problem.theta, problem.omega)]
        if through_solver:
            made = default_registry().find("solver", solver).load()()
            made.step(problem, made.init(problem, optimizers), batches)
        else:
            descend(problem, optimizers[1], batches, graph=False)
        found.append(dict(chain.blocks["enhance"].named_buffers()))
    for name, buffer in found[0].items():
        torch.testing.assert_close(buffer, found[1][name])


def test_blocks_of_no_level_stay_as_they_are_and_in_evaluation_mode(make: Callable[..., Plan]) -> None:
    plan = make("stages.0.blocks=[generate]", "stages.0.objective=fidelity")
    chain, problem = _problem(plan, 0)
    assert chain.blocks["generate"].training
    assert not chain.blocks["enhance"].training
    assert all(name.startswith("generate.") for name in problem.names)


def _grouped(problem: ChainProblem, batch: list[dict[str, Tensor]], groups: int | str) -> Rows:
    x = tuple(t.detach() for t in problem.couple(batch))
    return lower_rows(problem, x, problem.omega, batch, groups)


@pytest.mark.parametrize("groups", [1, 2, 4, "sample"])
@pytest.mark.parametrize("parts", [1, 2])
def test_groups_of_a_batch_add_up_to_the_lower_gradients(
    make: Callable[..., Plan], groups: int | str, parts: int
) -> None:
    _, problem = _problem(make())
    merged = {name: torch.cat([_batch(seed)[name] for seed in (1, 2)]) for name in ("raw", "rgb")}
    batch = [merged] if parts == 1 else [_batch(1), _batch(2)]
    if parts == 2 and groups == 1:
        with pytest.raises(BilevelError, match="groups: 1 do not divide evenly among the 2 parts"):
            _grouped(problem, batch, groups)
        return
    x = tuple(t.detach() for t in problem.couple(batch))
    whole = evaluate(problem, "lower", x, problem.omega, batch)
    rows = _grouped(problem, batch, groups)
    assert len(rows.omega[0]) == (4 if groups == "sample" else groups)
    for ours, plain in zip(
        (rows.total().value, *rows.total().x, *rows.total().omega), (whole.value, *whole.x, *whole.omega), strict=True
    ):
        torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-13)
    owner = rows.x[0].owner
    assert owner is not None
    assert owner.tolist() == [[0] * 4, [0, 0, 1, 1], [0, 1, 2, 3]][len(rows.omega[0]) // 2][: 4 // parts]
    if parts == 2:  # groups are counted on through the parts of the batch
        later = rows.x[len(rows.x) // 2].owner
        assert later is not None
        assert later.tolist() == ([1, 1] if len(rows.omega[0]) == 2 else [2, 3])
    first = {name: tensor[: 4 // len(rows.omega[0])] for name, tensor in merged.items()}
    slices = tuple(t.detach() for t in problem.couple([first]))
    alone = evaluate(problem, "lower", slices, problem.omega, [first])
    for ours, plain in zip(rows.omega, alone.omega, strict=True):  # equal counts: F_1 is its own mean over m
        torch.testing.assert_close(len(ours) * ours[0], plain, rtol=1e-9, atol=1e-12)


def test_groups_share_the_parameters_of_late_upper_blocks(make: Callable[..., Plan]) -> None:
    late = [
        "stages.1.upper={blocks: [enhance], objective: fidelity, data: upper}",
        "stages.1.lower={blocks: [generate], objective: fidelity, data: train}",
    ]
    _, problem = _problem(make(*late))
    batch = [_batch(1)]
    x = problem.couple(batch)
    assert [id(t) for t in x] == [id(t) for t in problem.theta]
    rows = _grouped(problem, batch, "sample")
    whole = evaluate(problem, "lower", x, problem.omega, batch)
    assert all(share.owner is None and len(share.value) == 2 for share in rows.x)
    torch.testing.assert_close(rows.total().x, whole.x, rtol=1e-9, atol=1e-12)


def test_more_groups_than_samples_and_batch_statistics_are_refused(make: Callable[..., Plan]) -> None:
    chain, problem = _problem(make())
    with pytest.raises(BilevelError, match="groups: 3 of a lower batch of 2 samples"):
        _grouped(problem, [_batch(1)], 3)
    chain.blocks["enhance"].add_module("statistics", torch.nn.BatchNorm2d(3))
    with pytest.raises(BilevelError, match=r"'enhance' normalises by the statistics of the batch .BatchNorm2d."):
        _grouped(problem, [_batch(1)], 2)


def test_a_frozen_block_may_feed_both_levels(make: Callable[..., Plan]) -> None:
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
    chain, problem = _problem(plan, 0)
    batch = [_batch(1)]
    x = problem.couple(batch)
    assert len(x) == 1
    wires = chain({f"data.{name}": tensor for name, tensor in batch[0].items()})
    expected = (wires["end"] - wires["other"]).abs().mean()
    assert problem.lower(x, problem.omega, batch).item() == pytest.approx(expected.item(), rel=1e-12)
    found = torch.autograd.grad(problem.lower(x, problem.omega, batch), problem.theta)
    for ours, plain in zip(found, torch.autograd.grad(expected, problem.theta), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-13)
