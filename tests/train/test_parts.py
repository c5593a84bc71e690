"""`accumulate`: a batch in parts gives what the whole batch gives, and holds one part at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from restore_hub.contracts import Batches
from restore_hub.plan import Plan, build_chain
from restore_hub.plan.objectives import Objectives
from restore_hub.plugins import default_registry
from restore_hub.train.problems.chain_level import ChainLevel
from restore_hub.train.problems.chain_pair import ChainPair
from restore_hub.train.problems.trainable import by_level
from restore_hub.train.setup import set_up
from restore_hub.train.stepper import Stepper
from support import LOWLIGHT, refused
from support.chains import CASCADE, TWO_LEVELS, Bright, Make, levels_of, parts_of
from support.plugin_files import WritePlugin, network_plugin, through


def after_two_steps(plan: Plan, solver: str, lower_steps: int, count: int) -> dict[str, Tensor]:
    chain, made = levels_of(plan, 0 if solver == "joint" else 1, fidelity=Bright())
    stepper = default_registry().find("solver", solver).load()()
    rate = 0.01 if solver == "neumann" else 0.1  # which is the rate of its series, too
    seen = made if solver == "joint" else [made]
    state = stepper.init(made, [torch.optim.SGD(variables, lr=rate) for variables in by_level(seen)])
    upper = None if solver == "joint" else parts_of(4, count, 9)
    for step in range(2):
        lower = [parts_of(4, count, 10 * step + i) for i in range(lower_steps)]
        state, _ = stepper.step(made, state, Batches(upper, lower, lower_steps))
    return dict(chain.named_parameters())


@pytest.mark.parametrize(("solver", "steps"), [("joint", 1), *TWO_LEVELS.items()])
@pytest.mark.parametrize("count", [2, 4])
def test_a_batch_in_parts_steps_as_the_whole_batch(make: Make, solver: str, steps: int, count: int) -> None:
    plan = make(CASCADE, "stages.1.lower.objective={fidelity: 1, retinex: 0.5}")
    whole, parts = (after_two_steps(plan, solver, steps, n) for n in (1, count))
    for name, tensor in whole.items():
        # tbgl divides the round-off of a finite difference by its radius.
        torch.testing.assert_close(parts[name], tensor, rtol=1e-7 if solver == "tbgl" else 1e-10, atol=1e-11)


def test_a_ratio_of_sums_is_no_mean_of_ratios(make: Make) -> None:
    _, made = levels_of(make(CASCADE, "stages.0.objective=fidelity"), 0, fidelity=Bright())
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


def test_no_part_is_kept_while_others_run(make: Make) -> None:
    _, made = levels_of(make(CASCADE), 1, fidelity=Bright())
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


def test_dropout_of_a_part_is_the_same_when_it_is_computed_again(make: Make) -> None:
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


def test_batch_normalisation_is_refused_with_its_place(make: Make) -> None:
    network = "blocks.enhance={network: retinex/illumination, inputs: {image: rgb}, outputs: [enhanced, stages]}"
    with refused("spec.batch-norm-in-parts", "stages.1.upper.accumulate", block="enhance"):
        build_chain(make(network, "stages.1.upper.accumulate=2"))
    build_chain(make(network, "stages.0.blocks=[generate]", "stages.0.objective=fidelity", "stages.0.accumulate=2"))


def _stage(blocks: str) -> str:
    return f"stages=[{{solver: joint, steps: 2, blocks: [{blocks}], objective: fidelity, data: train}}]"


@pytest.mark.parametrize(
    "layer", ["nn.InstanceNorm2d(3, track_running_stats=True)", "spectral_norm(nn.Conv2d(3, 3, 1))"]
)
def test_blocks_that_change_as_they_run(small: list[str], write_plugin: WritePlugin, layer: str) -> None:
    plugin = write_plugin("moving", network_plugin(f"self.layer = {layer}", "image = self.layer(image)"))
    overrides = [*small, *through("moving/net"), _stage("generate, enhance")]
    Stepper(set_up(LOWLIGHT, overrides, [plugin], "cpu"), 0).step(0, 0.0)
    in_parts = Stepper(set_up(LOWLIGHT, [*overrides, "stages.0.accumulate=2"], [plugin], "cpu"), 0)
    with refused("train.buffer-changes", "enhance.layer."):
        in_parts.step(0, 0.0)


def test_a_frozen_block_with_statistics_of_the_batch(small: list[str], write_plugin: WritePlugin) -> None:
    layer = "self.layer = nn.BatchNorm2d(3, track_running_stats=False)"
    plugin = write_plugin("stateless", network_plugin(layer, "image = self.layer(image)"))
    overrides = [*small, *through("stateless/net"), _stage("generate"), "stages.0.accumulate=2"]
    with refused("spec.batch-norm-in-parts", "stages.0.accumulate", block="enhance"):
        set_up(LOWLIGHT, overrides, [plugin], "cpu")


def test_a_shared_batch_has_one_number_of_parts(make: Make) -> None:
    shared = ("stages.1.upper.data=train", "stages.1.share_batch=true", "stages.1.lower.batches=one")
    with refused("spec.share-accumulate", "stages.1.share_batch", upper=2, lower=1):
        make(*shared, "stages.1.upper.accumulate=2")
    make(*shared, "stages.1.upper.accumulate=2", "stages.1.lower.accumulate=2")
