"""`precision: bf16`: networks in bfloat16; weights, losses, coupling and finite differences in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from restore_hub import run
from restore_hub.batch import Batch
from restore_hub.bilevel import cosine, norm
from restore_hub.contracts import Batches
from restore_hub.plan import build_chain
from restore_hub.plan.objectives import Objectives
from restore_hub.plugins import default_registry
from restore_hub.train.problems.chain import TrainableChain
from restore_hub.train.problems.chain_pair import ChainPair
from restore_hub.train.problems.trainable import pairs_of
from restore_hub.train.setup import set_up
from restore_hub.train.stepper import Stepper
from support import LOWLIGHT
from support.chains import Make


def batch(seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    raw, rgb = torch.rand(2, 4, 16, 16, generator=generator), torch.rand(2, 3, 32, 32, generator=generator)
    return Batch({"raw": raw, "rgb": rgb})


def test_the_hypergradient_points_where_that_of_float32_points(make: Make, two_level_solver: tuple[str, int]) -> None:
    name, steps = two_level_solver
    plan = make(
        "blocks.generate.width=8",
        "blocks.enhance={network: retinex/cascade, width: 8, inputs: {image: rgb}, outputs: [enhanced, stages]}",
        "stages.1.lower.objective={fidelity: 1, retinex: 0.01}",
    )

    def hypergradient(enabled: bool) -> tuple[Tensor, ...]:
        torch.manual_seed(3)
        chain = build_chain(plan).to(memory_format=torch.channels_last)
        objectives = Objectives(
            {name: part.make() for name, part in plan.losses.items()},
            {name: part.inputs for name, part in plan.losses.items()},
        )
        made = pairs_of(TrainableChain(plan, chain, objectives, {}, {}), plan.spec.stages[1])[0]
        assert isinstance(made, ChainPair)
        made_solver = default_registry().find("solver", name).load()()
        state = made_solver.init(made, [torch.optim.SGD(v, lr=1e-3) for v in (made.theta, made.omega)])
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            made_solver.step(made, state, Batches(batch(0), [batch(1 + i) for i in range(steps)], steps))
        assert {t.dtype for t in (*made.theta, *made.omega)} == {torch.float32}
        return tuple(t.grad for t in made.theta if t.grad is not None)

    half, full = hypergradient(True), hypergradient(False)
    assert not all(torch.equal(a, b) for a, b in zip(half, full, strict=True)), "autocast did nothing"
    assert float(cosine(half, full)) > 0.995
    assert float(norm(half) / norm(full)) == pytest.approx(1, abs=0.05)


def test_networks_run_in_bfloat16_and_sums_in_float32(small: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, set[torch.dtype]] = {"block": set(), "loss": set(), "coupling": set()}

    def watch(precision: str) -> None:
        for kinds in seen.values():
            kinds.clear()
        setup = set_up(LOWLIGHT, [*small, f"precision={precision}"], (), "cpu")
        convolution = next(m for m in setup.blocks["enhance"].modules() if isinstance(m, torch.nn.Conv2d))
        convolution.register_forward_hook(lambda _module, _inputs, output: seen["block"].add(output.dtype))
        inner = setup.trainable.objectives._losses["fidelity"]

        def loss(**tensors: Tensor) -> Any:
            seen["loss"].update(t.dtype for t in tensors.values())
            return inner(**tensors)

        monkeypatch.setitem(setup.trainable.objectives._losses, "fidelity", loss)  # type: ignore[arg-type]
        made = Stepper(setup, 1)
        seen_by_solver: Any = made._seen
        pair = seen_by_solver[0]
        for name, couple in (("couple", pair.couple), ("couple_lower", pair.couple_lower)):

            def watched(given: Batch, couple: Any = couple) -> tuple[Tensor, ...]:
                x: tuple[Tensor, ...] = couple(given)
                seen["coupling"].update(t.dtype for t in x)
                return x

            monkeypatch.setattr(pair, name, watched)
        made.step(0, 0.0)

    watch("bf16")
    assert seen == {"block": {torch.bfloat16}, "loss": {torch.float32}, "coupling": {torch.float32}}
    watch("float32")
    assert seen == {"block": {torch.float32}, "loss": {torch.float32}, "coupling": {torch.float32}}


def test_a_solver_that_steps_in_between_sees_the_new_weights(small: list[str]) -> None:
    """As a plugin's may, which does not know that autocast keeps copies of weights."""
    energies: list[float] = []

    class Plain:
        def step(self, problem: Any, state: Any, batches: Batches) -> tuple[Any, dict[str, Tensor]]:
            optimizer = torch.optim.SGD(problem.variables, lr=0.5)
            for _ in range(3):
                optimizer.zero_grad()
                energy = problem.energy(batches.lower[0])
                energy.backward()
                optimizer.step()
                energies.append(float(energy.detach()))
            return state, {}

    made = Stepper(set_up(LOWLIGHT, [*small, "precision=bf16"], (), "cpu"), 0)
    made._rung._solver = Plain()  # type: ignore[assignment]
    made.step(0, 0.0)
    assert len(set(energies)) == 3


@pytest.mark.long
def test_a_whole_run_in_bf16_keeps_and_exports_float32(small: list[str], tmp_path: Path) -> None:
    result = run(LOWLIGHT, overrides=[*small, "precision=bf16", "export={chain: enhanced}"], out=tmp_path / "r")
    weights = torch.load(tmp_path / "r" / "checkpoints" / "last.pt")["blocks"]
    assert {t.dtype for block in weights.values() for t in block.values()} == {torch.float32}
    assert result.exported  # the parity of the exported files was checked in float32


def test_networks_train_channels_last(small: list[str]) -> None:
    chain = set_up(LOWLIGHT, small, (), "cpu").trainable.chain
    wide = [p for p in chain.parameters() if p.ndim == 4 and min(p.shape) > 1]
    assert wide
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in wide)
