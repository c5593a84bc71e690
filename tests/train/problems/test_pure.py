"""Blocks and problems whose gradients would be wrong in silence are refused; what is left is right."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from restore_hub import run
from restore_hub.batch import Batch
from restore_hub.contracts import Batches
from restore_hub.errors import BilevelError, TrainingError
from restore_hub.plan import Chain, Plan
from restore_hub.plan.objectives import Objectives
from restore_hub.plugins import default_registry
from restore_hub.train.problems.chain import TrainableChain
from restore_hub.train.problems.pure import check_hooks, check_pure
from restore_hub.train.problems.trainable import pairs_of
from support import LOWLIGHT, refused
from support.chains import Make, drawn, levels_of
from support.plugin_files import WritePlugin, network_plugin, through

ILLUMINATION = "blocks.enhance={network: retinex/illumination, inputs: {image: rgb}, outputs: [enhanced, stages]}"


def _check(plan: Plan, chain: Chain, pair: Any) -> None:
    check_pure(_trainable(plan, chain), plan.spec.stages[1].levels, 0, pair, Batches(drawn(0), [drawn(1)], 1))


def _trainable(plan: Plan, chain: Chain) -> TrainableChain:
    losses = {name: part.make() for name, part in plan.losses.items()}
    objectives = Objectives(losses, {name: part.inputs for name, part in plan.losses.items()})
    return TrainableChain(plan, chain, objectives, {}, {})


class Holder:
    """An object of a class of its own, which no copy looks into."""

    def __init__(self, held: Any) -> None:
        self.held = held


def _add(block: nn.Module, read: Callable[[], Tensor]) -> None:
    """Let a block read something else as it runs."""
    holder = Holder(read)

    def added(_module: nn.Module, _inputs: object, made: Any) -> Any:
        more = holder.held()
        return (made[0] + more, *made[1:]) if isinstance(made, tuple) else made + more

    block.register_forward_hook(added)


def _first(block: nn.Module) -> Tensor:
    return next(block.parameters())


SECOND = {
    "its own parameter": lambda chain: (chain.blocks["enhance"], lambda: _first(chain.blocks["enhance"]).sum()),
    "its values": lambda chain: (chain.blocks["enhance"], partial(Tensor.sum, _first(chain.blocks["enhance"]).data)),
    "a view": lambda chain: (chain.blocks["enhance"], partial(Tensor.sum, _first(chain.blocks["enhance"])[:1])),
    "the upper level's": lambda chain: (chain.blocks["enhance"], lambda: _first(chain.blocks["generate"]).sum()),
    "the lower level's above": lambda chain: (chain.blocks["generate"], lambda: _first(chain.blocks["enhance"]).sum()),
}


@pytest.mark.parametrize("how", SECOND)
def test_a_parameter_reached_another_way_is_refused_by_name(plain_plan: Plan, how: str) -> None:
    chain, pair = levels_of(plain_plan)
    _add(*SECOND[how](chain))
    name = "generate" if how == "the upper level's" else "enhance"
    first = f"{name}.{next(key for key, _ in chain.blocks[name].named_parameters())}"
    before = [p.detach().clone() for p in chain.parameters()]
    with refused("train.second-reference", first, BilevelError):
        _check(plain_plan, chain, pair)
    assert all(torch.equal(p, value) for p, value in zip(chain.parameters(), before, strict=True))


def test_the_check_leaves_weights_buffers_and_random_numbers_as_they_were(make: Make) -> None:
    plan = make(ILLUMINATION)
    chain, pair = levels_of(plan)
    before = {name: tensor.clone() for name, tensor in chain.state_dict().items()}
    random = torch.get_rng_state()
    chain.blocks["enhance"].register_forward_hook(lambda _m, _x, y: (nn.functional.dropout(y[0], 0.2), *y[1:]))
    _check(plan, chain, pair)
    assert len([name for name in before if "running" in name]) > 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in chain.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(tensor.grad is None for tensor in chain.parameters())


def test_energies_that_are_not_finite_are_left_to_the_first_step(plain_plan: Plan) -> None:
    chain, pair = levels_of(plain_plan)
    chain.blocks["generate"].register_forward_hook(lambda _m, _x, y: y / 0.0 - y / 0.0)
    _check(plain_plan, chain, pair)


CASCADE = "network: retinex/cascade, width: 4, inputs: {image: %s}, outputs: [%s]"
POLISH = f"blocks.polish={{{CASCADE % ('bright', 'enhanced, more')}}}"
BRIGHT = f"blocks.enhance={{{CASCADE % ('rgb', 'bright, stages')}}}"


def _sharing(make: Make, lower: str) -> tuple[Plan, Chain, Any]:
    """Return a chain whose blocks `enhance` and `polish` hold the same parameters, and its two levels."""
    plan = make(
        BRIGHT,
        POLISH,
        "stages.0.blocks=[generate, enhance, polish]",
        f"stages.1.lower={{blocks: [{lower}], objective: {{fidelity: 1}}, data: train, steps: 2}}",
    )
    chain, _ = levels_of(plan)
    for mine, other in zip(chain.blocks["polish"].modules(), chain.blocks["enhance"].modules(), strict=True):
        mine._parameters.update(other._parameters)
    return plan, chain, _levels_of(plan, chain)


def _levels_of(plan: Plan, chain: Chain) -> Any:
    """Return the levels of a chain that a test has changed."""
    return pairs_of(_trainable(plan, chain), plan.spec.stages[1])[0]


def test_a_parameter_of_two_levels_is_refused(make: Make) -> None:
    plan, chain, pair = _sharing(make, "polish")  # `enhance` is in no level
    key = next(name for name, _ in chain.blocks["polish"].named_parameters())
    with refused("train.parameter-in-two-levels", f"polish.{key}", BilevelError) as caught:
        _check(plan, chain, pair)
    assert caught.value.facts == {"other": f"enhance.{key}"}


def test_blocks_of_one_level_may_share_parameters(make: Make) -> None:
    """The gradient at other tensors than the live ones is that of both blocks with these in place."""
    plan, chain, pair = _sharing(make, "enhance, polish")
    assert len(set(pair.omega)) == len(pair.omega) == len(list(chain.blocks["enhance"].parameters()))
    _check(plan, chain, pair)
    batch, other = drawn(1), tuple((1.2 * w.detach()).requires_grad_() for w in pair.omega)
    x = tuple(t.detach() for t in pair.couple(batch))
    found = torch.autograd.grad(pair.lower(x, other, batch), other)
    with torch.no_grad():
        for w, value in zip(pair.omega, other, strict=True):
            w.copy_(value)
    wires = chain({f"data.{name}": tensor for name, tensor in batch.tensors.items()})
    exact = torch.autograd.grad((wires["enhanced"] - batch["rgb"]).abs().mean(), pair.omega)
    torch.testing.assert_close(found, exact, rtol=1e-11, atol=1e-14)


class _Inside(torch.autograd.Function):
    """A block as reversible networks run it: its backward pass computes it again and calls `backward`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: nn.Module) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(x)
        return layer(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            torch.autograd.backward(ctx.layer(x), g)
        return x.grad, None


def test_a_gradient_lost_in_a_backward_of_its_own_is_refused(plain_plan: Plan) -> None:
    chain, pair = levels_of(plain_plan)
    extra = nn.Conv2d(3, 3, 1).double()
    chain.blocks["enhance"].extra = extra
    chain.blocks["enhance"].register_forward_hook(lambda m, _x, y: (_Inside.apply(y[0], m.extra), *y[1:]))
    with refused("train.backward-inside", "enhance.extra.weight", BilevelError):
        _check(plain_plan, chain, _levels_of(plain_plan, chain))
    assert extra.weight.grad is None
    _check(plain_plan, chain, pair)  # whose omega is without the layer


def _sum(module: nn.Module) -> Tensor:
    return sum((p.sum() for p in module.parameters()), torch.zeros(()))


def _in_attribute(module: Any) -> Tensor:
    if not hasattr(module, "kept"):  # a copy has forgotten it after the call, the block itself keeps it
        module.kept = _sum(module).detach()
    return module.kept


KEEPING = {
    "a dictionary": lambda module: module.cache.setdefault("sum", _sum(module).detach()),
    "a dictionary, with its graph": lambda module: module.cache.setdefault("sum", _sum(module)),
    "a list": lambda module: (module.seen.append(_sum(module).detach()), module.seen[0])[1],
    "an attribute": _in_attribute,
}
HARMLESS = {
    "by shape": lambda module: module.cache.setdefault("grid", torch.ones(())),
    "renewed in each call": lambda module: (module.seen.clear(), module.seen.append(_sum(module)), module.seen[0])[2],
    "never read": lambda module: (module.seen.append(_sum(module).item()), torch.zeros(()))[1],
}


def _let(chain: Chain, block: str, keep: Callable[[nn.Module], Tensor]) -> Any:
    module: Any = chain.blocks[block]
    module.cache, module.seen = {}, []

    def added(module: nn.Module, _inputs: object, made: Any) -> Any:
        more = 1e-3 * keep(module)
        return (made[0] + more, *made[1:]) if isinstance(made, tuple) else made + more

    module.register_forward_hook(added)
    return module


@pytest.mark.parametrize("block", ["generate", "enhance"])
@pytest.mark.parametrize("how", KEEPING)
def test_a_block_that_keeps_what_it_computed_from_its_weights_is_refused(
    plain_plan: Plan, how: str, block: str
) -> None:
    chain, pair = levels_of(plain_plan)
    module = _let(chain, block, KEEPING[how])
    first = next(name for name, _ in module.named_parameters())
    with refused("train.kept-of-weights", f"{block}.{first}", BilevelError):
        _check(plain_plan, chain, pair)
    assert (module.cache, module.seen, hasattr(module, "kept")) == ({}, [], False)


@pytest.mark.parametrize("how", HARMLESS)
def test_a_block_may_keep_what_does_not_depend_on_weights(plain_plan: Plan, how: str) -> None:
    chain, pair = levels_of(plain_plan)
    module = _let(chain, "enhance", HARMLESS[how])
    _check(plain_plan, chain, pair)
    assert (module.cache, module.seen) == ({}, [])


@pytest.mark.parametrize("hook", ["register_hook", "register_post_accumulate_grad_hook"])
@pytest.mark.parametrize("block", ["generate", "enhance"])
def test_hooks_that_nothing_would_call_are_refused(plain_plan: Plan, hook: str, block: str) -> None:
    chain, pair = levels_of(plain_plan)
    name, parameter = next(chain.blocks[block].named_parameters())
    getattr(parameter, hook)(lambda _: None)
    with refused("train.parameter-hook", f"{block}.{name}", BilevelError):
        _check(plain_plan, chain, pair)


def test_the_only_level_calls_hooks_on_gradients(plain_plan: Plan) -> None:
    level = levels_of(plain_plan, 0)[1]
    parameter, calls = level.variables[0], list[int]()
    parameter.register_hook(lambda _: calls.append(1))
    check_hooks(level.names, level.variables, alone=True)
    solver = default_registry().find("solver", "joint").load()()
    solver.step(level, solver.init(level, [torch.optim.SGD(level.variables)]), Batches(None, [drawn(0)], 1))
    assert calls == [1]
    parameter.register_post_accumulate_grad_hook(lambda _: None)
    with refused("train.parameter-hook", level.names[0], BilevelError):
        check_hooks(level.names, level.variables, alone=True)


@pytest.mark.parametrize("parts", [1, 2])
def test_recomputation_gives_the_same_step_under_every_solver(
    plain_plan: Plan, two_level_solver: tuple[str, int], parts: int
) -> None:
    """The lower block is computed again in its backward pass, with a finite difference, a copy or steps in a graph."""
    which, steps = two_level_solver
    stepped = []
    for again in (False, True):
        chain, pair = levels_of(plain_plan)
        block = chain.blocks["enhance"]
        if again:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        batches = [drawn(3 + i) for i in range(steps + 1)]
        cut = batches if parts == 1 else [Batch.of_parts(batch.split([1, 1])) for batch in batches]
        solver = default_registry().find("solver", which).load()()
        state = solver.init(pair, [torch.optim.SGD(variables, lr=0.1) for variables in (pair.theta, pair.omega)])
        solver.step(pair, state, Batches(cut[0], cut[1:], steps))
        stepped.append({name: (p.detach().clone(), p.grad) for name, p in chain.named_parameters()})
    for name, (value, gradient) in stepped[0].items():
        torch.testing.assert_close(stepped[1][name][0], value, rtol=1e-11, atol=1e-14)
        if name.startswith("blocks.generate"):
            torch.testing.assert_close(stepped[1][name][1], gradient, rtol=1e-9, atol=1e-13)


def test_a_run_refuses_before_its_first_stage_trains(
    small: list[str], tmp_path: Path, write_plugin: WritePlugin
) -> None:
    source = network_plugin("self.view = self.head.weight[:, :, 0, 0]", "image = image + self.view.sum()")
    plugin = write_plugin("viewing", source)
    with refused("train.second-reference", "stage 2/2 ibgl: enhance.head.weight", TrainingError):
        run(LOWLIGHT, overrides=[*small, *through("viewing/net")], plugins=[plugin], out=tmp_path / "r")


def test_reentrant_checkpoints_are_one_clear_error(small: list[str], tmp_path: Path, write_plugin: WritePlugin) -> None:
    body = "image = torch.utils.checkpoint.checkpoint(self.head, image, use_reentrant=True)"
    plugin = write_plugin("reentrant", "import torch.utils.checkpoint\n" + network_plugin("pass", body))
    for stages in ([], [f"stages=[{ONE}]"]):
        with refused("train.reentrant-checkpoint", "stage ", TrainingError):
            overrides = [*small, *through("reentrant/net"), *stages]
            run(LOWLIGHT, overrides=overrides, plugins=[plugin], out=tmp_path / f"r{len(stages)}")


ONE = "{solver: joint, steps: 1, blocks: [generate, enhance], objective: fidelity, data: train}"
PROBLEM = """
import torch
from torch import nn
from restore_hub import hookimpl

class Reading:
    metrics, splits = {}, {"all": 1}

    def __init__(self) -> None:
        self.blocks = nn.ModuleDict({name: nn.Linear(1, 1, bias=False) for name in ("theta", "omega")})
        self.energies = {"upper": self.upper, "lower": self.lower}

    def batch(self, split, seed, index):
        return {"one": torch.ones(1)}

    def measure(self):
        return {}

    def upper(self, v, batch):
        return (v["omega"]["weight"] - 1).square().sum() * batch["one"].sum(), 1

    def lower(self, v, batch):
        gap = v["omega"]["weight"] - v["theta"]["weight"]
        return (gap.square().sum() + self.blocks["omega"].weight.square().sum()) * batch["one"].sum(), 1

@hookimpl
def register_problems(register):
    register("one", "reading:Reading", summary="It reads its live variables")
"""
SPEC = """
name: reading
problem: {problem: reading/one}
stages:
  - solver: ibgl
    steps: 1
    share_batch: true
    upper: {blocks: [theta], objective: upper, data: all}
    lower: {blocks: [omega], objective: lower, data: all, steps: 1, batches: one}
"""


def test_a_problem_that_reads_its_live_variables_is_refused(tmp_path: Path, write_plugin: WritePlugin) -> None:
    plugin, spec = write_plugin("reading", PROBLEM), tmp_path / "spec.yaml"
    spec.write_text(SPEC)
    with refused("train.second-reference", "stage 1/1 ibgl: omega.weight", TrainingError):
        run(spec, plugins=[plugin], out=tmp_path / "r")
