"""Warm and cold restarts of the lower level in a stage, and solvers that are stopped and go on."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch

from restore_hub.train.setup import Setup, set_up
from restore_hub.train.stepper import Stepper
from support import LOWLIGHT

LEVELS = (
    "upper: {blocks: [generate], objective: fidelity, data: upper, schedule: linear}, "
    "lower: {blocks: [enhance], objective: fidelity, data: train, lr: 1e-2, warmup: 3, steps: 2, restart: %s}"
)
SOLVERS = ["alternating", "rhg", "truncated-rhg", "bda", "cg", "neumann, rate: 0.01", "f2sa"]


def stage(small: list[str], solver: str, restart: str) -> tuple[Setup, list[str]]:
    overrides = [*small, f"stages.1={{solver: {solver}, steps: 4, {LEVELS % restart}}}"]
    return set_up(LOWLIGHT, overrides, (), "cpu"), overrides


def weights(setup: Setup) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in setup.blocks.state_dict().items()}


@pytest.mark.parametrize("restart", ["warm", "cold"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_stage_that_was_stopped_goes_on_to_the_same_bits(small: list[str], solver: str, restart: str) -> None:
    """A cold restart goes back to the beginning of the stage, not to where it went on; f2sa keeps a second copy."""
    setup, overrides = stage(small, solver, restart)
    stepper, file = Stepper(setup, 1), io.BytesIO()
    for step in range(4):
        if step == 2:
            torch.save((stepper.state_dict(), weights(setup), torch.get_rng_state()), file)
        logs = stepper.step(step, step / 4)
    again = set_up(LOWLIGHT, overrides, (), "cpu")
    file.seek(0)
    carried, blocks, random = torch.load(file, weights_only=True)
    again.blocks.load_state_dict(blocks)
    resumed = Stepper(again, 1, carried)
    torch.set_rng_state(random)
    for step in (2, 3):
        logs_again = resumed.step(step, step / 4)
    assert logs_again == logs
    for name, tensor in weights(setup).items():
        assert torch.equal(tensor, again.blocks.state_dict()[name]), name


def test_cold_lower_steps_begin_where_the_stage_began(small: list[str]) -> None:
    """With an upper level at rest and the same batches each cold step ends where the first did; a warm one moves on."""
    ends: dict[str, list[Any]] = {}
    for restart in ("cold", "warm"):
        setup, _ = stage(small, "alternating", restart)
        stepper = Stepper(setup, 1)
        ends[restart] = []
        for _ in range(2):
            stepper.step(0, 1.0)  # done: the upper learning rate has fallen to zero
            ends[restart].append({n: t for n, t in weights(setup).items() if n.startswith("enhance") and t.ndim})
    first, second = ends["cold"]
    learned = [name for name, tensor in first.items() if "running" not in name]
    assert all(torch.equal(first[name], second[name]) for name in learned)
    assert any(not torch.equal(ends["warm"][0][name], ends["warm"][1][name]) for name in learned)
