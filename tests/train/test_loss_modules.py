"""Losses that are PyTorch modules with weights of their own, as one that compares features of a network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from restore_hub import run
from restore_hub.train.problems.trainable import pairs_of
from restore_hub.train.setup import Setup, set_up
from restore_hub.trial.hypergradient_check import check_hypergradients
from support import LOWLIGHT, refused
from support.plugin_files import WritePlugin
from support.runs import stop_after

PLUGIN = """
from pathlib import Path
import torch
from torch import nn
from restore_hub import hookimpl

class Features(nn.Module):
    def __init__(self, channels: int = 4, weights: Path | None = None) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, channels, 3), nn.BatchNorm2d(channels), nn.Dropout(0.5), nn.ReLU())
        if weights is not None:
            self.net.load_state_dict(torch.load(weights))

    def forward(self, prediction, target):
        gap = (self.net(prediction) - self.net(target)).square()
        return gap.sum(), gap.numel()

@hookimpl
def register_losses(register):
    register("l2", "features:Features", summary="Distance of features")
"""


@pytest.fixture
def plugin(write_plugin: WritePlugin) -> Path:
    return write_plugin("features", PLUGIN)


@pytest.fixture
def spec(small: list[str]) -> list[str]:
    return [*small, "objectives.fidelity.loss=features/l2"]


def _module(setup: Setup) -> torch.nn.Module:
    loss = setup.trainable.objectives._losses["fidelity"]
    assert isinstance(loss, torch.nn.Module)
    return loss


def test_its_weights_belong_to_no_level(spec: list[str], plugin: Path) -> None:
    setup = set_up(LOWLIGHT, spec, [plugin], "cpu")
    loss, stage = _module(setup), setup.plan.spec.stages[1]
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    pair = pairs_of(setup.trainable, stage)[0]
    batch = setup.stream(stage.levels[0].data, "here").batch(0)
    values = [pair.upper(pair.couple(batch), pair.omega, batch) for _ in range(2)]
    assert torch.equal(*values), "its dropout is off"
    torch.autograd.backward(values[0])
    assert all(t.grad is not None and t.grad.any() for t in pair.theta[-1:])
    assert all(p.grad is None for p in loss.parameters())
    assert all(torch.equal(value, before[name]) for name, value in loss.state_dict().items()), "its statistics stay"


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_run_trains_through_it(spec: list[str], plugin: Path, tmp_path: Path, precision: str) -> None:
    result = run(LOWLIGHT, overrides=[*spec, f"precision={precision}"], plugins=[plugin], out=tmp_path / "r")
    assert result.metrics["psnr"] > 0


def test_its_hypergradient_is_compared_in_float64(spec: list[str], plugin: Path) -> None:
    found = check_hypergradients(LOWLIGHT, overrides=[*spec, "stages.1.solver=rhg"], plugins=[plugin])
    assert [agreement.dtype for agreement in found] == ["float64"]
    assert any(c.reference == "steps" and abs(c.whole.cosine - 1) < 1e-9 for c in found[0].comparisons), found


def test_a_run_does_not_go_on_with_other_weights_of_a_loss(spec: list[str], plugin: Path, tmp_path: Path) -> None:
    weights = tmp_path / "features.pt"
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    overrides = [*spec, f"objectives.fidelity.weights={weights}", "checkpoint_seconds=0"]
    torch.save(net.state_dict(), weights)
    stop_after(2, overrides=overrides, plugins=[plugin], out=tmp_path / "r")
    first = net[0].weight.data[0, 0, 0, 0].clone()
    net[0].weight.data[0, 0, 0, 0] += 1e-3
    torch.save(net.state_dict(), weights)
    with refused("train.fixed-weights-differ", "state.pt"):
        run(LOWLIGHT, overrides=overrides, plugins=[plugin], out=tmp_path / "r", resume=True)
    net[0].weight.data[0, 0, 0, 0] = first
    torch.save(net.state_dict(), weights)
    run(LOWLIGHT, overrides=overrides, plugins=[plugin], out=tmp_path / "r", resume=True)


def test_inputs_that_its_forward_does_not_take_are_an_error_with_a_hint(spec: list[str], plugin: Path) -> None:
    inputs = "objectives.fidelity.inputs={predicton: enhanced, target: data.rgb}"
    with refused("spec.no-input", "objectives.fidelity.inputs.predicton") as caught:
        set_up(LOWLIGHT, [*spec, inputs], [plugin], "cpu")
    assert "'prediction'" in caught.value.mend
