"""`accumulate`: a batch in parts gives what the whole batch gives, and holds one part at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from restore_hub.batch import Batch
from restore_hub.contracts import Batches
from restore_hub.plan import Chain, Plan, build_chain
from restore_hub.plan.objectives import Objectives
from restore_hub.plugins import default_registry
from restore_hub.train.problems.chain import TrainableChain
from restore_hub.train.problems.chain_level import ChainLevel
from restore_hub.train.problems.chain_pair import ChainPair
from restore_hub.train.problems.trainable import variables_of
from restore_hub.train.setup import set_up
from restore_hub.train.stepper import Stepper
from support import LOWLIGHT, refused

MOVING = """
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from restore_hub import hookimpl
from restore_hub.contracts import Port

class Moving(nn.Module):
    inputs = {"image": Port(3)}
    outputs = {"image": Port(3)}
    size_multiple = 1

    def __init__(self):
        super().__init__()
        self.layer = LAYER
        self.head = nn.Conv2d(3, 3, 1)

    def forward(self, image):
        return self.head(self.layer(image))

@hookimpl
def register_networks(register):
    register("moving", "moving:Moving", summary="Changes its buffers")
"""
CASCADE = "blocks.enhance={network: retinex/cascade, width: 4, inputs: {image: rgb}, outputs: [enhanced, stages]}"


class Bright:
    """The mean error over the pixels that are bright: how many there are depends on the data."""

    def __call__(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        bright = (target > 0.7).to(prediction.dtype)
        return ((prediction - target) ** 2 * bright).sum(), bright.sum()


def parts_of(samples: int, count: int, seed: int = 0) -> Batch:
    """Return one batch in so many parts; its first samples are bright, its last ones nearly without bright pixels."""
    generator = torch.Generator().manual_seed(seed)
    raw = torch.rand(samples, 4, 8, 8, generator=generator, dtype=torch.float64)
    rgb = torch.rand(samples, 3, 16, 16, generator=generator, dtype=torch.float64)
    rgb *= torch.linspace(1.0, 0.72, samples, dtype=torch.float64).reshape(-1, 1, 1, 1)
    pairs = zip(raw.chunk(count), rgb.chunk(count), strict=True)
    return Batch(*({"raw": planes, "rgb": picture} for planes, picture in pairs))


def levels_of(plan: Plan, index: int) -> tuple[Chain, ChainLevel | ChainPair]:
    torch.manual_seed(3)
    chain = build_chain(plan).double()
    losses: dict[str, Callable[..., tuple[Tensor, Tensor | int]]] = {n: p.make() for n, p in plan.losses.items()}
    losses["fidelity"] = Bright()
    objectives = Objectives(losses, {name: part.inputs for name, part in plan.losses.items()})
    return chain, TrainableChain(plan, chain, objectives, {}, {}).of_stage(plan.spec.stages[index])


def after_two_steps(plan: Plan, solver: str, lower_steps: int, count: int) -> dict[str, Tensor]:
    chain, made = levels_of(plan, 0 if solver == "joint" else 1)
    stepper = default_registry().find("solver", solver).load()()
    rate = 0.01 if solver == "neumann" else 0.1  # which is the rate of its series, too
    state = stepper.init(made, [torch.optim.SGD(variables, lr=rate) for variables in variables_of(made)])
    upper = None if solver == "joint" else parts_of(4, count, 9)
    for step in range(2):
        lower = [parts_of(4, count, 10 * step + i) for i in range(lower_steps)]
        state, _ = stepper.step(made, state, Batches(upper, lower, lower_steps))
    return dict(chain.named_parameters())


@pytest.mark.parametrize(
    ("solver", "steps"),
    [
        ("joint", 1),
        ("alternating", 2),
        ("tbgl", 1),
        ("ibgl", 2),
        ("lwcl", 1),
        ("rhg", 2),
        ("truncated-rhg", 6),
        ("bda", 2),
        ("cg", 2),
        ("neumann", 2),
        ("f2sa", 2),
    ],
)
@pytest.mark.parametrize("count", [2, 4])
def test_a_batch_in_parts_steps_every_solver_as_the_whole_batch(
    make: Callable[..., Plan], solver: str, steps: int, count: int
) -> None:
    plan = make(CASCADE, "stages.1.lower.objective={fidelity: 1, retinex: 0.5}")
    whole, parts = (after_two_steps(plan, solver, steps, n) for n in (1, count))
    for name, tensor in whole.items():
        # tbgl divides the round-off of a finite difference by its radius.
        torch.testing.assert_close(parts[name], tensor, rtol=1e-7 if solver == "tbgl" else 1e-10, atol=1e-11)


def test_a_ratio_of_sums_is_no_mean_of_ratios(make: Callable[..., Plan]) -> None:
    _, made = levels_of(make(CASCADE, "stages.0.objective=fidelity"), 0)
    assert isinstance(made, ChainLevel)
    whole, parts = parts_of(4, 1), parts_of(4, 4)
    each = torch.stack([made.energy(part) for part in parts.parts])
    assert torch.allclose(made.energy(parts), made.energy(whole), rtol=1e-12)
    assert not torch.allclose(each.mean(), made.energy(whole), rtol=0.01)


def held(value: Callable[[], Tensor]) -> int:
    """Return the bytes that a graph keeps for its backward pass."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value()
    return sum(kept.values())


def test_no_part_is_kept_while_others_run(make: Callable[..., Plan]) -> None:
    _, made = levels_of(make(CASCADE), 1)
    assert isinstance(made, ChainPair)
    one, whole, parts = parts_of(2, 1), parts_of(8, 1), parts_of(8, 4)
    graph = [held(lambda batch=batch: made.couple(batch)[0].sum()) for batch in (one, whole, parts)]
    assert graph[1] > 2 * graph[0]
    assert graph[2] < 0.1 * graph[0]
    x = [tuple(t.detach().requires_grad_() for t in made.couple(batch)) for batch in (whole, parts)]
    energy = [held(lambda i=i, b=b: made.lower(x[i], made.omega, b)) for i, b in enumerate((whole, parts))]
    assert energy[1] < 0.1 * energy[0]


class Dropping(torch.nn.Module):
    """A block with dropout, in place of `enhance`."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (torch.nn.Conv2d(3, 3, 3, padding=1) for _ in range(2))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return self.second(torch.nn.functional.dropout(self.first(image), 0.5, self.training)), image


def test_dropout_of_a_part_is_the_same_when_it_is_computed_again(make: Callable[..., Plan]) -> None:
    plan = make(CASCADE, "stages.0.objective=fidelity")
    torch.manual_seed(3)
    chain = build_chain(plan).double()
    contract = chain.network("enhance")
    dropping = Dropping().double()
    dropping.inputs, dropping.outputs, dropping.size_multiple = contract.inputs, contract.outputs, 1  # type: ignore[assignment]
    chain.blocks["enhance"] = dropping
    objectives = Objectives({"fidelity": Bright()}, {"fidelity": plan.losses["fidelity"].inputs})
    made = ChainLevel(chain, objectives, plan.spec.stages[0].levels[0])
    parts = parts_of(4, 2)

    def gradients(energy: Callable[[], Tensor]) -> tuple[Tensor, ...]:
        torch.manual_seed(5)
        return torch.autograd.grad(energy(), made.variables, allow_unused=True)

    def plain() -> Tensor:
        def sums(part: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
            return Bright()(chain({f"data.{k}": v for k, v in part.items()})["enhanced"], part["rgb"])

        numerators, counts = zip(*(sums(part.tensors) for part in parts.parts), strict=True)
        return sum(numerators[1:], numerators[0]) / sum(counts[1:], counts[0])

    for ours, theirs in zip(gradients(lambda: made.energy(parts)), gradients(plain), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-14)


def test_batch_normalisation_is_refused_with_its_place(make: Callable[..., Plan]) -> None:
    network = "blocks.enhance={network: retinex/illumination, inputs: {image: rgb}, outputs: [enhanced, stages]}"
    with refused("spec.batch-norm-in-parts", "stages.1.upper.accumulate", block="enhance"):
        build_chain(make(network, "stages.1.upper.accumulate=2"))
    build_chain(make(network, "stages.0.blocks=[generate]", "stages.0.objective=fidelity", "stages.0.accumulate=2"))


@pytest.mark.parametrize(
    ("name", "layer"),
    [("normed", "nn.InstanceNorm2d(3, track_running_stats=True)"), ("bound", "spectral_norm(nn.Conv2d(3, 3, 1))")],
)
def test_blocks_that_change_as_they_run_are_refused(small: list[str], tmp_path: Path, name: str, layer: str) -> None:
    plugin = tmp_path / f"{name}.py"
    plugin.write_text(MOVING.replace("LAYER", layer).replace("moving:", f"{name}:"))
    overrides = [
        *small,
        f"blocks.enhance={{network: {name}/moving, inputs: {{image: rgb}}, outputs: [enhanced]}}",
        "objectives={fidelity: {loss: l1, inputs: {prediction: enhanced, target: data.rgb}}}",
        "stages=[{solver: joint, steps: 2, blocks: [generate, enhance], objective: fidelity, data: train}]",
    ]
    Stepper(set_up(LOWLIGHT, overrides, [plugin], "cpu"), 0).step(0, 0.0)
    in_parts = Stepper(set_up(LOWLIGHT, [*overrides, "stages.0.accumulate=2"], [plugin], "cpu"), 0)
    with refused("train.buffer-changes", "enhance.layer."):
        in_parts.step(0, 0.0)


def test_a_frozen_block_that_takes_the_statistics_of_the_batch_is_refused(small: list[str], tmp_path: Path) -> None:
    plugin = tmp_path / "stateless.py"
    layer = "nn.BatchNorm2d(3, track_running_stats=False)"
    plugin.write_text(MOVING.replace("LAYER", layer).replace("moving:", "stateless:"))
    overrides = [
        *small,
        "blocks.enhance={network: stateless/moving, inputs: {image: rgb}, outputs: [enhanced]}",
        "objectives={fidelity: {loss: l1, inputs: {prediction: enhanced, target: data.rgb}}}",
        "stages=[{solver: joint, steps: 2, blocks: [generate], objective: fidelity, data: train, accumulate: 2}]",
    ]
    with refused("spec.batch-norm-in-parts", "stages.0.accumulate", block="enhance"):
        set_up(LOWLIGHT, overrides, [plugin], "cpu")


def test_a_shared_batch_has_one_number_of_parts(make: Callable[..., Plan]) -> None:
    shared = ("stages.1.upper.data=train", "stages.1.share_batch=true", "stages.1.lower.batches=one")
    with refused("spec.share-accumulate", "stages.1.share_batch", upper=2, lower=1):
        make(*shared, "stages.1.upper.accumulate=2")
    make(*shared, "stages.1.upper.accumulate=2", "stages.1.lower.accumulate=2")
