"""A spec against what is registered: unknown components, options, ports, data tensors."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from restore_hub.errors import DataError, SpecError
from restore_hub.plan import Plan, build_chain, make_plan
from restore_hub.plan.dry_run import report
from restore_hub.plugins import default_registry, load_plugins, registry_of
from restore_hub.spec import read_spec
from support import LOWLIGHT


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("blocks.generate.network=raw/unett", r"blocks\.generate\.network: unknown network .*did you mean 'raw/unet'"),
        ("blocks.generate.wdith=4", r"has no option 'wdith' \(did you mean 'width'\?\)"),
        ("blocks.generate.width=wide", r"blocks\.generate\.width: option 'width' of raw/unet: .*got 'wide'"),
        ("stages.1.capp=0.5", r"has no option 'capp' \(did you mean 'cap'\?\); it takes cap, groups, damping$"),
        ("data.train.bach_size=2", r"'bach_size'.*did you mean 'batch_size'"),
        ("objectives.fidelity.inputs.predicton=rgb", r"has no input 'predicton' \(did you mean 'prediction'"),
        ("objectives.fidelity.inputs={target: data.rgb}", "needs the input 'prediction'"),
        ("objectives.fidelity.inputs.target=data.rbg", r"has no 'data\.rbg' \(did you mean 'data\.rgb'"),
        ("stages.1.solver=ibg", "unknown solver 'ibg'.*did you mean 'std/ibgl'"),
        ("stages.1.groups=sampl", r"groups: .*a valid integer or 'sample', got 'sampl'"),
        ("stages.1.cap=0.5", r"stages\.1\.cap: cap is a factor above 1"),
        ("metrics=[psrn]", "unknown metric 'psrn'.*did you mean"),
        ("export.chain=enhancd", "did you mean 'enhanced'"),
        ("export.blocks=[generat]", "did you mean 'generate'"),
        ("plugins=[nothing]", "plugin 'nothing' is not installed"),
        ("tracker={tracker: mlflow/trackin}", "did you mean 'mlflow/tracking'"),
    ],
)
def test_what_is_wrong_is_said_at_its_place(make: Callable[..., Plan], override: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        make(override)


def test_an_option_that_another_solver_had_can_be_left_out_as_the_error_says() -> None:
    def plan(*overrides: str) -> Plan:
        path = LOWLIGHT.with_name("hyper_cleaning.yaml")
        return make_plan(read_spec(path, ["stages.0.solver=rhg", *overrides]), default_registry())

    with pytest.raises(SpecError, match=r"std/rhg has no option 'groups'; it takes none; (.*)$") as caught:
        plan()
    hint = str(caught.value).rpartition("; ")[2]
    assert hint == "`--set stages.0.groups=` leaves it out"
    assert plan("stages.0.groups=").solvers[0].options == {}
    with pytest.raises(SpecError, match=r"it takes none$"):
        plan("stages.0.groups=3")  # who just wrote it knows


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("blocks.enhance.inputs={picture: rgb}", "has no input 'picture'; it has image"),
        ("blocks.enhance.inputs.image=data.raw", "'data.raw' does not fit: it has 4 channels, the port takes 3"),
        ("blocks.generate.inputs.raw=data.rgb", "it has 3 channels, the port takes 4"),
        ("blocks.generate.outputs=[rgb, more]", "has 1 outputs .rgb., 2 are named"),
    ],
)
def test_tensors_that_do_not_fit(make: Callable[..., Plan], override: str, said: str) -> None:
    only = "stages=[{solver: joint, steps: 1, blocks: [enhance], objective: fidelity, data: train}]"
    with pytest.raises(SpecError, match=said):
        build_chain(make(only, override), "meta")


def test_a_metric_list_needs_a_chain_and_a_holdout(make: Callable[..., Plan]) -> None:
    with pytest.raises(SpecError, match=r"metrics: .*`export\.chain`"):
        make("export={}")
    with pytest.raises(SpecError, match="a split called `holdout`"):
        make("data={train: {dataset: raw/pairs, root: x}, upper: {dataset: raw/pairs, root: y}}")
    long_form = "metrics={p: {metric: psnr, inputs: {prediction: rgb, target: data.rgb}}}"
    assert make("export={}", long_form).metrics["p"].inputs["prediction"] == "rgb"


def test_a_failed_plugin_fails_the_spec_that_needs_it_with_its_own_error(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise RuntimeError('the sensor is on fire')\n")
    registry = registry_of(load_plugins((broken,)))
    document = read_spec(LOWLIGHT, ["blocks.enhance.network=broken/net"])
    with pytest.raises(SpecError, match=r"blocks\.enhance\.network: .*RuntimeError: the sensor is on fire"):
        make_plan(document, registry)
    assert make_plan(read_spec(LOWLIGHT), registry).spec.name == "raw_lowlight", "and no other one"


def test_report_gives_shapes_parameters_and_cost(make: Callable[..., Plan]) -> None:
    plan = make()
    found = report(plan)
    assert found.shapes["data.raw"] == (2, 4, 8, 8)
    assert found.shapes["enhanced"] == (2, 3, 16, 16)
    assert found.makers["enhanced"] == "enhance"
    chain = build_chain(plan)
    assert found.parameters["generate"] == sum(p.numel() for p in chain.blocks["generate"].parameters())
    lower_steps = plan.spec.stages[1].levels[1].steps
    assert f"{lower_steps + 2} gradient evaluations a step" in found.costs[1]
    assert found.remarks == ()


def test_report_looks_at_the_data_that_is_there_and_says_what_is_not(make: Callable[..., Plan], tmp_path: Path) -> None:
    remarks = report(make(f"data.train.root={tmp_path / 'none'}")).remarks
    assert any("does not exist here" in remark for remark in remarks)
    (tmp_path / "short").mkdir()
    with pytest.raises(SpecError, match=r"data\.train: .*long: no such folder|data\.train: .*holds no file"):
        report(make(f"data.train.root={tmp_path}"))


def test_splits_that_share_a_file_are_refused(make: Callable[..., Plan], pairs: Path) -> None:
    with pytest.raises(DataError, match="the splits 'train' and 'upper' share 4 file"):
        report(make(f"data.upper.root={pairs / 'train'}"))


def test_links_to_one_file_are_the_same_file(make: Callable[..., Plan], pairs: Path, tmp_path: Path) -> None:
    for kind in ("short", "long"):
        (tmp_path / kind).mkdir()
        for file in (pairs / "upper" / kind).iterdir():
            os.link(file, tmp_path / kind / f"other-{file.name}")
    with pytest.raises(DataError, match="share 2 file"):
        report(make(f"data.train.root={tmp_path}"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("objectives.fidelity.inputs.target=data.raw", r"objectives\.fidelity: .*l1"),
        ("blocks.enhance.weights=nothing.pt", r"blocks\.enhance\.weights: .*no such file"),
        ("blocks.generate.depth=40", r"blocks\.generate.*: raw/unet cannot be made"),
        ("blocks.generate.width=0", r"--set blocks\.generate\.width: "),
        ("data.train.crop=63", r"--set data\.train\.crop: "),
    ],
)
def test_check_finds_what_would_fail_in_the_run(make: Callable[..., Plan], override: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        report(make(override))


FAULTY = """
import torch
from restore_hub import hookimpl
from restore_hub.contracts import Port

class Bare:
    inputs = outputs = {{"image": Port(3)}}
    size_multiple = 1

class Liar(torch.nn.Module):
    inputs, outputs, size_multiple = {{"image": Port(3)}}, {{"image": Port(5)}}, 1
    def forward(self, image):
        return image

@hookimpl
def register_networks(register):
    register("bare", "{name}:Bare", summary="no module")
    register("liar", "{name}:Liar", summary="declares 5 channels and returns 3")
"""


@pytest.mark.parametrize(
    ("network", "said"),
    [("bare", "is no torch.nn.Module"), ("liar", "declares 5 channels for 'enhanced' and returns 3")],
)
def test_networks_that_break_their_contract_are_named(
    overrides: list[str], tmp_path: Path, network: str, said: str
) -> None:
    name = f"faulty_{network}"
    (tmp_path / f"{name}.py").write_text(FAULTY.format(name=name))
    namespace = name.replace("_", "-")
    spec = [
        *overrides,
        f"blocks.enhance={{network: {namespace}/{network}, inputs: {{image: rgb}}, outputs: [enhanced]}}",
        "objectives={fidelity: {loss: l1, inputs: {prediction: rgb, target: data.rgb}}}",
        "stages=[{solver: joint, steps: 1, blocks: [generate], objective: fidelity, data: train}]",
        "metrics=[]",
    ]
    plan = make_plan(read_spec(LOWLIGHT, spec), registry_of(load_plugins((tmp_path / f"{name}.py",))))
    with pytest.raises(SpecError, match=said):
        report(plan)


def test_qualified_and_bare_names_are_the_same(make: Callable[..., Plan]) -> None:
    assert make("objectives.fidelity.loss=std/l1").losses["fidelity"].component.name == "std/l1"
    assert make().losses["fidelity"].component.name == "std/l1"
    assert "std/l1" in default_registry().names("loss")


ODD = """
import torch
from torch import nn
from restore_hub import hookimpl

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

class Anything(Nowhere):
    def __call__(self, **pictures):
        return 0.0

@hookimpl
def register_losses(register):
    register("scaled", "odd_parts:Scaled", summary="looks at values")
    for name in ("Lazy", "Constant", "Helped", "Called", "Number", "function"):
        register(name.lower(), f"odd_parts:{name}", summary=name)

@hookimpl
def register_metrics(register):
    for name in ("Nowhere", "Broken", "ByPosition", "Anything"):
        register(name.lower(), f"odd_parts:{name}", summary=name)
"""


@pytest.fixture
def odd(overrides: list[str], tmp_path: Path) -> Iterator[Callable[[str], Plan]]:
    """Return a function that plans the small pipeline with one more override and a plugin of odd parts."""
    (tmp_path / "odd_parts.py").write_text(ODD)

    def plan(override: str) -> Plan:
        registry = registry_of(load_plugins((tmp_path / "odd_parts.py",)))
        return make_plan(read_spec(LOWLIGHT, [*overrides, override]), registry)

    yield plan
    sys.modules.pop("odd_parts", None)


@pytest.mark.parametrize("loss", ["scaled", "constant", "helped", "called"])
def test_odd_losses_that_a_run_can_use_pass(odd: Callable[[str], Plan], loss: str) -> None:
    """Some look at values or hold tensors where there are none; two have a `forward` that is not what is called."""
    assert report(odd(f"objectives.fidelity.loss=odd-parts/{loss}")).shapes


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("objectives.fidelity.loss=odd-parts/lazy", r"objectives\.fidelity: .*its net\.weight has no size yet"),
        ("objectives.fidelity.loss=odd-parts/number", r"objectives\.fidelity: .*it returned \(float, int\)"),
        ("objectives.fidelity.loss=odd-parts/function", r"fidelity\.loss: odd-parts/function of .* is no class"),
        ("metrics=[psnr, odd-parts/nowhere]", r"metrics\.1: odd-parts/nowhere of .* must say `higher_is_better`"),
        ("metrics=[odd-parts/broken]", r"metrics\.0: odd-parts/broken cannot be made: ValueError: no table"),
        ("metrics={m: {metric: odd-parts/broken}}", r"metrics\.m: odd-parts/broken cannot be made"),
        ("metrics=[odd-parts/byposition]", "has no input 'prediction'; it takes none by name"),
        ("metrics=[odd-parts/anything]", "has no input 'prediction'; it takes none by name"),
    ],
)
def test_losses_and_metrics_that_would_fail_in_the_run_are_named(
    odd: Callable[[str], Plan], override: str, said: str
) -> None:
    with pytest.raises(SpecError, match=said):
        report(odd(override))
