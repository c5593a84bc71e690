"""A spec against what is registered: unknown components, options, ports, data tensors."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from restore_hub.errors import SpecError
from restore_hub.plan import Plan, build_chain, make_plan
from restore_hub.plan.dry_run import dry_run
from restore_hub.plan.resolved_spec import resolve
from restore_hub.plugins import default_registry, load_plugins, registry_of
from restore_hub.spec import read_spec
from support import LOWLIGHT, refused

Write = Callable[[str, str], Path]


@pytest.mark.parametrize(
    ("override", "code", "place"),
    [
        ("blocks.generate.network=raw/unett", "plugin.unknown-component", "blocks.generate.network"),
        ("stages.1.solver=ibg", "plugin.unknown-component", "stages.1.solver"),
        ("metrics=[psrn]", "plugin.unknown-component", "metrics.0.metric"),
        ("tracker={tracker: mlflow/trackin}", "plugin.unknown-component", "tracker.tracker"),
        ("blocks.generate.wdith=4", "spec.unknown-option-set", "blocks.generate.wdith"),
        ("stages.1.capp=0.5", "spec.unknown-option-set", "stages.1.capp"),
        ("data.train.bach_size=2", "spec.unknown-option-set", "data.train.bach_size"),
        ("blocks.generate.width=wide", "option.wrong-value", "blocks.generate.width"),
        ("stages.1.groups=sampl", "option.wrong-value", "stages.1.groups"),
        ("stages.1.cap=0.5", "bilevel.bad-cap", "stages.1.cap"),
        ("objectives.fidelity.inputs.predicton=rgb", "spec.no-input", "objectives.fidelity.inputs.predicton"),
        ("objectives.fidelity.inputs={target: data.rgb}", "spec.missing-input", "objectives.fidelity.inputs"),
        ("objectives.fidelity.inputs.target=data.rbg", "spec.no-data-tensor", "objectives.fidelity.inputs.target"),
        ("export.chain=enhancd", "spec.unknown-tensor", "export.chain"),
        ("export.blocks=[generat]", "spec.unknown-name", "export.blocks.0"),
        ("plugins=[nothing]", "spec.plugin-missing", "plugins.0"),
        ("export={}", "spec.metrics-need-chain", "metrics"),
        ("data.holdout=", "spec.metrics-need-holdout", "metrics"),
    ],
)
def test_what_is_wrong_is_named_at_its_place(make: Callable[..., Plan], override: str, code: str, place: str) -> None:
    with refused(code, kind=SpecError) as caught:
        make(override)
    assert caught.value.place.split()[-1] == place


def test_an_option_that_another_solver_had_can_be_left_out_as_the_error_says() -> None:
    def plan(*overrides: str) -> Plan:
        path = LOWLIGHT.with_name("hyper_cleaning.yaml")
        return make_plan(read_spec(path, ["stages.0.solver=rhg", *overrides]), default_registry())

    with refused("spec.unknown-option", "stages.0.groups", known="none") as caught:
        plan()
    assert "`--set stages.0.groups=`" in caught.value.mend
    assert plan("stages.0.groups=").solvers[0][0].options == {}
    with refused("spec.unknown-option-set", "stages.0.groups"):  # whoever just set it knows how to leave it out
        plan("stages.0.groups=3")


def test_metrics_that_name_their_tensors_need_no_chain(make: Callable[..., Plan]) -> None:
    metrics = "metrics={p: {metric: psnr, inputs: {prediction: rgb, target: data.rgb}}}"
    assert make("export={}", metrics).metrics["p"].inputs["prediction"] == "rgb"


def test_a_resolved_spec_names_metrics_as_it_reads_them(make: Callable[..., Plan], tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(json.dumps(resolve(make("metrics=[std/psnr, ssim]"))), encoding="utf-8")
    again = make_plan(read_spec(tmp_path / "spec.json"), default_registry())
    assert list(again.metrics) == ["std/psnr", "ssim"]


def test_a_failed_plugin_fails_the_spec_that_needs_it_with_its_own_error(write_plugin: Write) -> None:
    broken = write_plugin("broken", "raise RuntimeError('the sensor is on fire')\n")
    registry = registry_of(load_plugins((broken,)))
    document = read_spec(LOWLIGHT, ["blocks.enhance.network=broken/net"])
    with refused("plugin.fails", "blocks.enhance.network", cause="RuntimeError: the sensor is on fire"):
        make_plan(document, registry)
    with refused("plugin.fails", "plugins.0"):
        make_plan(read_spec(LOWLIGHT, ["plugins=[broken]"]), registry)
    assert make_plan(read_spec(LOWLIGHT), registry).spec.name == "raw_lowlight", "and no other one"


def test_a_dry_run_finds_shapes_parameters_and_cost(make: Callable[..., Plan]) -> None:
    plan = make()
    found = dry_run(plan)
    assert (found.shapes["data.raw"], found.shapes["enhanced"]) == ((2, 4, 8, 8), (2, 3, 16, 16))
    assert found.makers["enhanced"] == "enhance"
    chain = build_chain(plan)
    assert found.parameters["generate"] == sum(p.numel() for p in chain.blocks["generate"].parameters())
    lower_steps = plan.spec.stages[1].levels[1].steps
    assert f"{lower_steps + 2} gradient evaluations a step" in found.costs[1]
    assert found.remarks == ()


def test_a_dry_run_reads_the_data_that_is_there_and_notes_the_rest(make: Callable[..., Plan], tmp_path: Path) -> None:
    remarks = dry_run(make(f"data.train.root={tmp_path / 'none'}")).remarks
    assert any("does not exist here" in remark for remark in remarks)
    (tmp_path / "short").mkdir()
    with pytest.raises(SpecError) as caught:
        dry_run(make(f"data.train.root={tmp_path}"))
    assert " data.train" in caught.value.place


def test_splits_that_share_a_file_are_refused(make: Callable[..., Plan], pairs: Path, tmp_path: Path) -> None:
    with refused("data.splits-share-files", one="train", other="upper", count=4):
        dry_run(make(f"data.upper.root={pairs / 'train'}"))

    # Links to one file are the same file.
    for kind in ("short", "long"):
        (tmp_path / kind).mkdir()
        for file in (pairs / "upper" / kind).iterdir():
            os.link(file, tmp_path / kind / f"other-{file.name}")
    with refused("data.splits-share-files", count=2):
        dry_run(make(f"data.train.root={tmp_path}"))


@pytest.mark.parametrize(
    ("override", "code", "place"),
    [
        ("objectives.fidelity.inputs.target=data.raw", "std.shapes-differ", "objectives.fidelity"),
        ("blocks.enhance.weights=nothing.pt", "data.no-weights-file", "--set blocks.enhance.weights: nothing.pt"),
        ("blocks.generate.depth=40", "spec.cannot-make", "blocks.generate"),
        ("blocks.generate.width=0", "raw-network.below-one", "--set blocks.generate.width"),
        ("data.train.crop=63", "raw-data.bad-crop", "--set data.train.crop"),
        ("blocks.enhance.inputs={picture: rgb}", "spec.no-input", "blocks.enhance.inputs.picture"),
        ("blocks.generate.inputs.raw=data.rgb", "spec.port-misfit", "blocks.generate.inputs.raw"),
        ("blocks.generate.outputs=[rgb, more]", "spec.too-many-outputs", "blocks.generate.outputs"),
    ],
)
def test_check_finds_what_would_fail_in_the_run(
    make: Callable[..., Plan], override: str, code: str, place: str
) -> None:
    with refused(code, place, SpecError):
        dry_run(make(override))


ODD = """
import threading
import torch
from torch import nn
from restore_hub import hookimpl
from restore_hub.contracts import Port

class Bare:
    inputs = outputs = {"image": Port(3)}
    size_multiple = 1

class Liar(nn.Module):
    inputs, outputs, size_multiple = {"image": Port(3)}, {"image": Port(5)}, 1
    def forward(self, image):
        return image

class Scaled:
    def __call__(self, prediction, target):
        gap = (prediction - target).abs()
        return (gap.sum() if gap.max() > 1 else gap.sum() * (1 + gap.mean().item())), gap.numel()

class Lazy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.LazyConv2d(4, 3)
    def forward(self, prediction, target):
        return self.net(prediction - target).abs().sum(), 1

class Constant:
    mean = torch.full((1, 3, 1, 1), 0.4)
    def __call__(self, prediction, target):
        gap = (prediction - self.mean) / 0.2 - (target - self.mean) / 0.2
        return gap.abs().sum(), gap.numel()

class Helped:
    def forward(self, gap):
        return gap.abs().sum(), gap.numel()
    def __call__(self, prediction, target):
        return self.forward(prediction - target)

class Called(nn.Module):
    def __call__(self, prediction, target):
        return (prediction - target).abs().sum(), prediction.numel()

class Number:
    def __call__(self, prediction, target):
        return 1.0, 1

def function(prediction, target):
    return (prediction - target).abs().sum(), prediction.numel()

class Nowhere:
    def __call__(self, prediction, target):
        return 0.0

class Broken(Nowhere):
    def __init__(self) -> None:
        raise ValueError("no table")

class ByPosition(Nowhere):
    def __call__(self, prediction, target, /):
        return 0.0

class Endless(Nowhere):  # it never says what it found
    higher_is_better = True
    def update(self, prediction, target):
        pass

class Fixed(Nowhere):  # it holds what can't be copied
    higher_is_better = True
    def __init__(self):
        self.lock = threading.Lock()

class Anything(Nowhere):
    def __call__(self, **pictures):
        return 0.0

@hookimpl
def register_networks(register):
    register("bare", "odd_parts:Bare", summary="no module")
    register("liar", "odd_parts:Liar", summary="declares 5 channels and returns 3")

@hookimpl
def register_losses(register):
    for name in ("Scaled", "Lazy", "Constant", "Helped", "Called", "Number", "function"):
        register(name.lower(), f"odd_parts:{name}", summary=name)

@hookimpl
def register_metrics(register):
    for name in ("Nowhere", "Broken", "ByPosition", "Anything", "Endless", "Fixed"):
        register(name.lower(), f"odd_parts:{name}", summary=name)
"""


@pytest.fixture
def odd(overrides: list[str], write_plugin: Write) -> Callable[..., Plan]:
    """Return a function that plans the small pipeline with further overrides and a plugin of odd parts."""
    registry = registry_of(load_plugins((write_plugin("odd_parts", ODD),)))
    return lambda *more: make_plan(read_spec(LOWLIGHT, [*overrides, *more]), registry)


@pytest.mark.parametrize(
    ("network", "code", "facts"),
    [
        ("bare", "spec.not-a-module", {}),
        ("liar", "spec.wrong-output", {"declared": "5", "made": "3 along channel", "tensor": "enhanced"}),
    ],
)
def test_networks_that_break_their_contract_are_named(
    odd: Callable[..., Plan], network: str, code: str, facts: dict[str, object]
) -> None:
    plan = odd(
        f"blocks.enhance={{network: odd-parts/{network}, inputs: {{image: rgb}}, outputs: [enhanced]}}",
        "objectives={fidelity: {loss: l1, inputs: {prediction: rgb, target: data.rgb}}}",
        "stages=[{solver: joint, steps: 1, blocks: [generate], objective: fidelity, data: train}]",
        "metrics=[]",
    )
    with refused(code, "blocks.enhance", **facts):
        dry_run(plan)


@pytest.mark.parametrize("loss", ["scaled", "constant", "helped", "called"])
def test_odd_losses_that_a_run_can_use_pass(odd: Callable[..., Plan], loss: str) -> None:
    """Some look at values or hold tensors where there are none; two have a `forward` that is not what is called."""
    assert dry_run(odd(f"objectives.fidelity.loss=odd-parts/{loss}")).shapes


@pytest.mark.parametrize(
    ("override", "code", "place"),
    [
        ("objectives.fidelity.loss=odd-parts/lazy", "spec.lazy-layer", "objectives.fidelity"),
        ("objectives.fidelity.loss=odd-parts/number", "spec.loss-result", "objectives.fidelity"),
        ("objectives.fidelity.loss=odd-parts/function", "spec.not-a-class", "objectives.fidelity.loss"),
        ("metrics=[psnr, odd-parts/nowhere]", "spec.metric-direction", "metrics.1"),
        ("metrics=[odd-parts/broken]", "spec.cannot-make", "metrics.0"),
        ("metrics={m: {metric: odd-parts/broken}}", "spec.cannot-make", "metrics.m"),
        ("metrics=[odd-parts/byposition]", "spec.no-named-inputs", "metrics.0.inputs.prediction"),
        ("metrics=[psnr, odd-parts/endless]", "spec.promise-missing", "metrics.1.metric"),
        ("metrics=[odd-parts/fixed]", "spec.metric-not-copied", "metrics.0"),
        ("metrics=[odd-parts/anything]", "spec.no-named-inputs", "metrics.0.inputs.prediction"),
    ],
)
def test_losses_and_metrics_that_would_fail_in_the_run_are_named(
    odd: Callable[..., Plan], override: str, code: str, place: str
) -> None:
    with refused(code) as caught:
        dry_run(odd(override))
    assert caught.value.place.endswith(f" {place}")
