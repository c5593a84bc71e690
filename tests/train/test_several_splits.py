"""A stage of one level reads several splits: each loss is the mean over the parts of a batch that have its data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from restore_hub import run
from restore_hub.plan import make_plan
from restore_hub.plugins import default_registry
from restore_hub.spec import read_spec
from restore_hub.train.setup import set_up
from restore_hub.train.stepper import Stepper
from support import LOWLIGHT, refused
from support.runs import journal

Change = Callable[..., list[str]]


@pytest.fixture
def change(small: list[str]) -> Change:
    """Return the overrides of a joint stage on photographs with references and without, and others."""
    root = next(value for value in small if value.startswith("data.train.root=")).partition("=")[2]
    kept = [value for value in small if not value.startswith(("data.train.", "stages"))]
    dark = f"data.train={{dataset: raw/folder, root: {root}/short, crop: 16, batch_size: 3}}"

    def overrides(data: str = "[upper, train]", objective: str = "{fidelity: 1, retinex: 0.5}") -> list[str]:
        stage = f"{{solver: joint, steps: 2, blocks: [generate, enhance], objective: {objective}, data: {data}}}"
        return [*kept, dark, f"stages=[{stage}]"]

    return overrides


def test_a_loss_is_the_mean_over_the_parts_that_have_its_data(change: Change) -> None:
    setup = set_up(LOWLIGHT, change(), [], "cpu")
    stepper = Stepper(setup, 0)
    (batch,) = stepper._feed.batches(0).lower
    paired, dark = batch.parts
    assert (set(paired.tensors), set(dark.tensors)) == ({"raw", "rgb"}, {"raw"})
    chain, objectives = setup.trainable.chain, setup.trainable.objectives  # type: ignore[attr-defined]
    wires = [chain({f"data.{name}": value for name, value in part.tensors.items()}) for part in batch.parts]
    fidelity = objectives.value({"fidelity": 1.0}, wires[0])
    sums = [objectives.sums(["retinex"], each)["retinex"] for each in wires]
    expected = fidelity + 0.5 * (sums[0][0] + sums[1][0]) / (sums[0][1] + sums[1][1])
    level = stepper._seen
    assert level.energy(batch).item() == pytest.approx(expected.item(), rel=1e-6)
    found = torch.autograd.grad(level.energy(batch), level.variables)
    wanted = torch.autograd.grad(expected, level.variables)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_run_on_several_splits(change: Change, tmp_path: Path) -> None:
    run(LOWLIGHT, overrides=change(), out=tmp_path / "r", quiet=True)
    assert [value["loss"] > 0 for value in journal(tmp_path / "r") if "loss" in value] == [True, True]


def test_an_objective_and_a_split_each_need_the_other(change: Change) -> None:
    def plan(*arguments: str) -> None:
        make_plan(read_spec(LOWLIGHT, change(*arguments)), default_registry())

    plan("[train, upper]")
    with refused("spec.no-data-tensor", "objectives.fidelity.inputs.target", split="train", tensor="data.rgb"):
        plan("[train]")
    with refused("spec.no-data-tensor", "objectives.fidelity.inputs.target", split="train", tensor="data.rgb"):
        plan("[upper, train]", "fidelity")
    with refused("spec.empty", "data"):
        plan("[]")
    with refused("spec.holdout-trains", "data"):
        plan("[upper, holdout]")
    with refused("spec.unknown-name", "data", name="other"):
        plan("[upper, other]")


def test_levels_take_one_split_each(small: list[str]) -> None:
    with refused("spec.several-splits", "data"):
        make_plan(read_spec(LOWLIGHT, [*small, "stages.1.lower.data=[train]"]), default_registry())
