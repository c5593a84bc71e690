"""Components as options of others: found, checked, made, written into the resolved spec and its schema."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from torch import nn

from restore_hub import run
from restore_hub.files import file_hash
from restore_hub.plan import Plan, build_chain, make_plan
from restore_hub.plan.dry_run import dry_run
from restore_hub.plan.problems import make_problem
from restore_hub.plan.resolved_spec import resolve
from restore_hub.plan.schema import spec_schema
from restore_hub.plugins import default_registry
from restore_hub.spec import read_spec
from restore_hub.train.setup import set_up
from support import LOWLIGHT, refused
from support.commands import output
from support.plugin_files import WritePlugin
from support.runs import stop_after

PLUGIN = """
from pathlib import Path
import torch
from torch import nn
from restore_hub import hookimpl
from restore_hub.contracts import Loss, Network, Port

class Repeat(nn.Module):
    inputs, outputs, size_multiple = {"image": Port(3)}, {"image": Port(3)}, 1
    def __init__(self, denoiser: Network, times: int = 2, last: Network | None = None) -> None:
        super().__init__()
        self.denoiser, self.times, self.last = denoiser, times, last
    def forward(self, image):
        for _ in range(self.times):
            image = self.denoiser(image)
        return image if self.last is None else self.last(image)

class Conv(nn.Module):
    inputs, outputs, size_multiple = {"image": Port(3)}, {"image": Port(3)}, 1
    def __init__(self, kernel: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, kernel, padding=kernel // 2)
    def forward(self, image):
        return self.conv(image)

class Copies(Repeat):
    def __init__(self, denoiser: Network) -> None:
        import copy
        super().__init__(nn.Sequential(*(copy.deepcopy(denoiser) for _ in range(2))))

class Hides(Conv):
    def __init__(self, denoiser: Network) -> None:
        super().__init__()
        self.hidden = [denoiser]

class Formless(nn.Module):
    pass

class Features(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
    def forward(self, prediction, target):
        gap = (self.network(prediction) - self.network(target)).square()
        return gap.sum(), gap.numel()

class Loaded(nn.Module):
    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.register_buffer("factor", torch.load(weights)["conv.bias"])
    def forward(self, prediction, target):
        return (self.factor[0] * (prediction - target).square()).sum(), prediction.numel()

class Mean(nn.Module):
    def __init__(self, losses: list[Loss], scale: dict[str, Loss] = {}) -> None:
        super().__init__()
        self.losses = nn.ModuleList(x for x in losses if isinstance(x, nn.Module))
        self.others = [x for x in losses if not isinstance(x, nn.Module)]
    def forward(self, prediction, target):
        pairs = [loss(prediction=prediction, target=target) for loss in (*self.losses, *self.others)]
        return sum(total / count for total, count in pairs) / len(pairs), 1

class Plain:
    def __init__(self, losses: list[Loss]) -> None:
        self.losses = losses
    def __call__(self, prediction, target):
        return self.losses[0](prediction, target)

class Push:
    metrics = {"size": False}
    def __init__(self, network: Network) -> None:
        self.blocks = nn.ModuleDict({"net": network})
        self.energies, self.splits = {"gap": self.gap}, {"train": 4}
    def batch(self, split, seed, index):
        return {"x": torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(index))}
    def measure(self):
        return {"size": float(sum(p.detach().square().sum() for p in self.blocks.parameters()))}
    def gap(self, v, batch):
        out = torch.func.functional_call(self.blocks["net"], dict(v["net"]), (batch["x"],))
        return out.square().sum(), len(batch["x"])

class Matched(Push):
    def __init__(self, network: Network, losses: list[Loss]) -> None:
        super().__init__(network)
        self.losses = losses
    def gap(self, v, batch):
        out = torch.func.functional_call(self.blocks["net"], dict(v["net"]), (batch["x"],))
        return self.losses[0](prediction=out, target=batch["x"])

@hookimpl
def register_networks(register):
    for name in ("Repeat", "Conv", "Copies", "Hides", "Formless"):
        register(name.lower(), f"{__name__}:{name}", summary=name)

@hookimpl
def register_losses(register):
    for name in ("Features", "Loaded", "Mean", "Plain"):
        register(name.lower(), f"{__name__}:{name}", summary=name)

@hookimpl
def register_problems(register):
    register("push", f"{__name__}:Push", summary="Push")
    register("matched", f"{__name__}:Matched", summary="Matched")
"""
ENHANCE = (
    "blocks.enhance={network: nest/repeat, denoiser: {network: nest/conv, kernel: 3}, inputs: {image: rgb}, "
    "outputs: [enhanced]}"
)
FIDELITY = "objectives={fidelity: {loss: l1, inputs: {prediction: enhanced, target: data.rgb}}}"
LEVELS = ("stages.0.objective=fidelity", "stages.1.lower.objective=fidelity")
LOSS = (
    "objectives.fidelity.loss=nest/mean",
    "objectives.fidelity.losses=[l1, {loss: nest/features, network: {network: nest/conv, kernel: 3}}, {loss: ssim}]",
)
PROBLEM = """
name: push
problem: {problem: nest/push, network: {network: nest/repeat, denoiser: nest/conv, times: 1}}
stages:
  - {solver: joint, steps: 2, blocks: [net], objective: gap, data: train}
metrics: [size]
"""
Nest = Callable[..., Plan]


@pytest.fixture
def plugin(write_plugin: WritePlugin) -> Path:
    return write_plugin("nest", PLUGIN)


@pytest.fixture
def given(overrides: list[str]) -> list[str]:
    """Return the small pipeline's overrides, with a network in a network."""
    return [*(o for o in overrides if "enhance" not in o), ENHANCE, FIDELITY, *LEVELS]


@pytest.fixture
def nest(given: list[str], plugin: Path) -> Nest:
    return lambda *more: make_plan(read_spec(LOWLIGHT, [*given, *more]), default_registry([plugin]))


def test_a_network_takes_a_network_at_any_depth(nest: Nest) -> None:
    inner = "{network: nest/repeat, times: 1, denoiser: nest/conv}"
    plan = nest(f"blocks.enhance.last={inner}", "blocks.enhance.denoiser.kernel=5")
    block: Any = build_chain(plan).blocks["enhance"]
    assert block.denoiser.conv.kernel_size == (5, 5)
    assert block.last.denoiser.conv.kernel_size == (1, 1)
    count = 2 * 3 + 9 * 25 + 9
    assert dry_run(plan).parameters["enhance"] == count, "on the meta device, too"
    assert all(p.is_meta for p in build_chain(plan, "meta").parameters())


def test_a_loss_takes_losses_whose_weights_are_frozen(given: list[str], plugin: Path) -> None:
    setup = set_up(LOWLIGHT, [*given, *LOSS], [plugin], "cpu")
    loss = setup.trainable.objectives._losses["fidelity"]
    weights = list(loss.parameters())
    assert [tuple(w.shape) for w in weights] == [(3, 3, 3, 3), (3,)]
    assert not any(w.requires_grad for w in weights)
    assert not loss.losses[0].network.training
    x, y = torch.rand(2, 2, 3, 16, 16)
    parts = [part(prediction=x, target=y) for part in (*loss.losses, *loss.others)]
    torch.testing.assert_close(loss(x, y)[0], sum(total / count for total, count in parts) / 3)


def test_a_nested_network_starts_from_a_file(nest: Nest, tmp_path: Path) -> None:
    """From a state dict, or from a run's checkpoint of one block, whatever that is called."""
    state = {"conv.weight": torch.rand(3, 3, 3, 3), "conv.bias": torch.rand(3)}
    for content in (state, {"blocks": {"any": state}}):
        torch.save(content, tmp_path / "w.pt")
        plan = nest(f"blocks.enhance.denoiser.weights={tmp_path / 'w.pt'}")
        block: Any = build_chain(plan).blocks["enhance"]
        assert torch.equal(block.denoiser.conv.weight, state["conv.weight"])
        dry_run(plan)  # on the meta device
        found = resolve(plan)
        assert found["spec"]["blocks"]["enhance"]["denoiser"]["weights"] == str(tmp_path / "w.pt")
        assert found["weights_sha256"]["blocks.enhance.denoiser"] == file_hash(tmp_path / "w.pt")
    for content, code in (
        ({"blocks": {"a": state, "b": state}}, "data.weights-of-others"),
        ({}, "data.weights-misfit"),
    ):
        torch.save(content, tmp_path / "w.pt")
        with refused(code, "blocks.enhance.denoiser.weights"):
            dry_run(plan)
    (tmp_path / "w.pt").unlink()
    with refused("data.no-weights-file", "blocks.enhance.denoiser.weights"):
        dry_run(plan)


@pytest.mark.parametrize(
    ("loss", "code", "place"),
    [
        ("{loss: nest/loaded, weights: %s}", "train.fixed-weights-differ", "state.pt"),
        ("{loss: nest/features, network: {network: nest/conv, weights: %s}}", "train.other-spec", ""),
    ],
)
def test_a_run_does_not_go_on_with_other_weights_of_a_problems_loss(
    plugin: Path, tmp_path: Path, loss: str, code: str, place: str
) -> None:
    spec, weights = tmp_path / "push.yaml", tmp_path / "w.pt"
    spec.write_text(PROBLEM)
    changed = ["problem.problem=nest/matched", f"problem.losses=[{loss % weights}]", "checkpoint_seconds=0"]
    given: Any = {"spec": spec, "overrides": changed, "plugins": [plugin], "out": tmp_path / "r", "quiet": True}

    def save(value: float) -> None:
        torch.save({"conv.weight": torch.full((3, 3, 1, 1), value), "conv.bias": torch.full((3,), value)}, weights)

    save(1.0)
    stop_after(1, **given)
    save(2.0)
    with refused(code, place):
        run(**given, resume=True)
    save(1.0)
    run(**given, resume=True)


def test_a_problem_takes_a_network(plugin: Path, tmp_path: Path) -> None:
    (tmp_path / "push.yaml").write_text(PROBLEM)
    plan = make_plan(read_spec(tmp_path / "push.yaml"), default_registry([plugin]))
    net: Any = make_problem(plan).blocks["net"]
    assert (net.times, net.denoiser.conv.kernel_size) == (1, (1, 1))
    first = run(tmp_path / "push.yaml", plugins=[plugin], out=tmp_path / "run").metrics["size"]
    again = run(tmp_path / "run" / "spec.json", plugins=[plugin], out=tmp_path / "again").metrics["size"]
    assert first == again
    with refused("option.wrong-value", "problem.network.denoiser.kernel"):
        document = read_spec(tmp_path / "run" / "spec.json", ["problem.network.denoiser.kernel=x"])
        make_plan(document, default_registry([plugin]))


def test_a_run_trains_and_exports_through_them(given: list[str], plugin: Path, tmp_path: Path) -> None:
    few = ["stages.0.steps=1", "stages.1.steps=1"]
    result = run(LOWLIGHT, overrides=[*given, *LOSS, *few], plugins=[plugin], out=tmp_path / "run")
    assert result.metrics["psnr"] > 0
    assert (tmp_path / "run" / "export" / "enhance.onnx").exists()


def test_the_resolved_spec_holds_them_in_full(nest: Nest) -> None:
    found = resolve(nest(*LOSS))
    assert found["spec"]["blocks"]["enhance"]["denoiser"] == {"network": "nest/conv", "kernel": 3}
    assert found["spec"]["blocks"]["enhance"]["times"] == 2
    first, second, third = found["spec"]["objectives"]["fidelity"]["losses"]
    assert first == {"loss": "std/l1"}
    assert second == {"loss": "nest/features", "network": {"network": "nest/conv", "kernel": 3}}
    assert third["loss"] == "std/ssim"
    assert {"network nest/conv", "loss nest/features", "loss std/ssim"} <= found["components"].keys()


@pytest.mark.parametrize(
    ("override", "code", "place"),
    [
        ("blocks.enhance.denoiser.network=nest/conw", "plugin.unknown-component", "blocks.enhance.denoiser.network"),
        ("blocks.enhance.denoiser=l1", "plugin.other-kind", "blocks.enhance.denoiser.network"),
        ("blocks.enhance.denoiser.kernle=3", "spec.unknown-option-set", "blocks.enhance.denoiser.kernle"),
        ("blocks.enhance.denoiser.kernel=wide", "option.wrong-value", "blocks.enhance.denoiser.kernel"),
        ("blocks.enhance.denoiser={loss: l1}", "option.wrong-value", "blocks.enhance.denoiser"),
        ("blocks.enhance.denoiser=8", "option.wrong-value", "blocks.enhance.denoiser"),
        ("blocks.enhance.denoiser=null", "option.wrong-value", "blocks.enhance.denoiser"),
        ("blocks.enhance.denoiser=", "option.missing", "blocks.enhance.denoiser"),
        ("blocks.enhance.denoiser=nest/repeat", "option.missing", "blocks.enhance.denoiser.denoiser"),
        ("blocks.enhance.denoiser.kernel=-3", "spec.cannot-make", "blocks.enhance.denoiser"),
        ("blocks.enhance.denoiser=nest/formless", "spec.promise-missing", "blocks.enhance.denoiser.network"),
        ("blocks.enhance.network=nest/hides", "spec.hidden-module", "blocks.enhance.denoiser.network"),
    ],
)
def test_what_is_wrong_is_named_at_its_place(nest: Nest, override: str, code: str, place: str) -> None:
    with refused(code) as caught:
        build_chain(nest(override))
    assert caught.value.place.split()[-1] == place


@pytest.mark.parametrize(
    ("losses", "code", "place"),
    [
        ("l1", "option.wrong-value", "losses"),
        ("[l1, 3]", "option.wrong-value", "losses.1"),
        ("[l1, {loss: ssim, windo: 3}]", "spec.unknown-option", "losses.1.windo"),
        ("[l1, {loss: lx}]", "plugin.unknown-component", "losses.1.loss"),
    ],
)
def test_so_it_is_inside_a_list(nest: Nest, losses: str, code: str, place: str) -> None:
    with refused(code) as caught:
        nest("objectives.fidelity.loss=nest/mean", f"objectives.fidelity.losses={losses}")
    assert caught.value.place.split()[-1] == f"objectives.fidelity.{place}"


def test_the_error_points_at_the_line(plugin: Path, tmp_path: Path) -> None:
    (tmp_path / "push.yaml").write_text(PROBLEM.replace("times: 1", "times: one"))
    with refused("option.wrong-value", "push.yaml:3:84 problem.network.times"):
        make_plan(read_spec(tmp_path / "push.yaml"), default_registry([plugin]))


def test_a_plain_loss_refuses_weights_that_nothing_would_freeze(nest: Nest) -> None:
    loss = "objectives.fidelity.loss=nest/plain"
    assert dry_run(nest(loss, "objectives.fidelity.losses=[l1]")).shapes
    with refused("spec.hidden-module", "objectives.fidelity.losses.0.loss", inner="nest/features"):
        dry_run(nest(loss, "objectives.fidelity.losses=[{loss: nest/features, network: nest/conv}]"))


def test_a_network_may_keep_copies_of_what_it_is_given(nest: Nest) -> None:
    plan = nest("blocks.enhance.network=nest/copies")
    block = build_chain(plan).blocks["enhance"]
    assert sum(isinstance(module, nn.Conv2d) for module in block.modules()) == 2
    assert {part.component.name for part in plan.networks["enhance"].parts()} == {"nest/copies", "nest/conv"}


@pytest.mark.parametrize("override", ["kernle=3", "network=nest/nothing", "kernel=wide"])
def test_the_schema_knows_them(given: list[str], plugin: Path, override: str) -> None:
    schema = spec_schema(default_registry([plugin]))
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    good = [*given, *LOSS, "blocks.enhance.last=nest/conv"]
    assert list(check.iter_errors(read_spec(LOWLIGHT, good).data)) == []
    assert list(check.iter_errors(read_spec(LOWLIGHT, [*good, f"blocks.enhance.denoiser.{override}"]).data))


def test_show_names_the_kind(plugin: Path) -> None:
    shown = output("show", "nest/repeat", "--plugin", plugin)
    assert "denoiser: network (required)" in shown
    assert "last: network | None = None" in shown
    assert "losses: list[loss] (required)" in output("show", "nest/mean", "--plugin", plugin)
