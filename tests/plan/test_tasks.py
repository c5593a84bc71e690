"""Tasks of a spec: what they expand into, which metrics are measured, and what is refused where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
import torch
from torch import nn

from restore_hub.plan import Plan, build_chain, make_plan
from restore_hub.plan.dry_run import dry_run
from restore_hub.plan.metrics import make_metrics
from restore_hub.plan.objectives import Objectives
from restore_hub.plan.resolved_spec import resolve
from restore_hub.plan.schema import spec_schema
from restore_hub.plugins import default_registry
from restore_hub.ragged import Ragged
from restore_hub.spec import read_spec
from support import refused
from support.plugin_files import WritePlugin

Files = tuple[Path, list[Path]]
Make = Callable[..., Plan]
DETECTOR = """
import torch
from torch import nn
from restore_hub import hookimpl
from restore_hub.contracts import Network, Port
from restore_hub.errors import DataError
from restore_hub.ragged import Ragged

class Head(nn.Module):
    inputs, size_multiple = {"image": Port(3)}, 1
    outputs = {"heat": Port(1, "map"), "size": Port(2, "map", 0, 64)}
    def __init__(self, body):
        super().__init__()
        self.body, self.head = body, nn.Conv2d(3, 3, 1)
    def forward(self, image):
        made = self.head(self.body(image))
        return made[:, :1], made[:, 1:]

class Heat(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
    def forward(self, heat, image, boxes=None, unknown=0.0):
        return (self.scale * heat).square().sum() + image.sum() * 0, len(heat)

class Size:
    def __call__(self, size, boxes):
        return (size.mean() * boxes.values).sum(), len(boxes)

class Count:
    higher_is_better = False
    def __call__(self, found, boxes):
        return float(abs(len(found) - len(boxes)))

class Detect:
    targets = {"boxes": Port.several("box", coordinate=4)}
    predictions = {"found": Port.several("box", coordinate=4)}
    def __init__(self, body: Network) -> None:
        self.body, self.losses = body, {"heat": Heat(), "size": Size()}
        self.metrics = {"count": Count(), "again": Count()}
        CHANGE
    def network(self):
        return Head(self.body)
    def decode(self, heat, size):
        return {"found": Ragged.of([s.flatten(1).T[h.flatten() > 0.5].repeat(1, 2) for h, s in zip(heat, size)])}

class Points:
    ports = {"rgb": Port(3), "boxes": Port.several("box", coordinate=4)}
    def __init__(self) -> None: ...
    def __len__(self): return 2
    def files(self, index): return []

@hookimpl
def register_tasks(register):
    register("detect", "find:Detect", summary="Boxes")

@hookimpl
def register_datasets(register):
    register("points", "find:Points", summary="Boxes")
"""
BODY = """
from torch import nn
from restore_hub import hookimpl
from restore_hub.contracts import Port

class Conv(nn.Sequential):
    inputs, outputs, size_multiple = {"image": Port(3)}, {"image": Port(3)}, 1
    def __init__(self, width: int = 8) -> None:
        super().__init__(nn.Conv2d(3, width, 1), nn.Conv2d(width, 3, 1))

@hookimpl
def register_networks(register):
    register("conv", "body:Conv", summary="Two convolutions")
"""
SPEC = """
name: find
data:
  train: {dataset: find/points}
  holdout: {dataset: find/points}
blocks:
  detect:
    task: find/detect
    body: {network: body/conv, width: 2}
    inputs: {image: data.rgb}
    targets: {boxes: data.boxes}
stages:
  - {solver: joint, steps: 1, blocks: [detect], objective: {detect.heat: 1, detect.size: 2}, data: train}
"""


@pytest.fixture
def make(segmenter: Files) -> Make:
    path, plugins = segmenter
    return lambda *overrides: make_plan(read_spec(path, overrides), default_registry(plugins))


def test_it_becomes_blocks_objectives_and_metrics(make: Make) -> None:
    plan = make()
    assert list(plan.spec.blocks) == ["enhance", "segment", "segment:decode"]
    assert plan.spec.blocks["segment"].outputs == ["segment.logits"]
    assert plan.spec.objectives["segment.loss"].inputs == {"logits": "segment.logits", "classes": "data.classes"}
    assert plan.metrics["segment.miou"].inputs == {"found": "segment.found", "classes": "data.classes"}
    assert plan.graph.needs(["segment.logits"]).blocks == ("enhance", "segment"), "training doesn't decode"
    found = dry_run(plan)
    assert found.shapes["segment.found"] == (2, 128, 128)
    assert found.parameters["segment:decode"] == 0
    assert plan.written.blocks.keys() == {"enhance", "segment"}


def test_its_network_is_made_anew_with_its_options(make: Make) -> None:
    plan = make("blocks.segment.width=5")
    one, other = (build_chain(plan).blocks["segment"] for _ in range(2))
    assert sum(p.numel() for p in one.parameters()) == 5 * 27 + 5 + 3 * 5 + 3
    assert one is not other
    assert not torch.equal(one.body[0].weight, other.body[0].weight)


def test_making_a_plan_leaves_the_random_state_as_it_was(make: Make) -> None:
    before = torch.get_rng_state()
    make()
    assert torch.equal(torch.get_rng_state(), before)


def test_its_outputs_may_have_other_names(make: Make) -> None:
    plan = make("blocks.segment.outputs=[scores]")
    assert plan.spec.objectives["segment.loss"].inputs["logits"] == "scores"
    assert plan.spec.blocks["segment:decode"].inputs == {"logits": "scores"}


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        ([], ["segment.miou"]),
        (["metrics=[]"], []),
        (["metrics=[segment.miou]"], ["segment.miou"]),
        (["metrics=[psnr, segment.miou]", "export={chain: rgb}"], ["psnr", "segment.miou"]),
        (["metrics={p: {metric: psnr, inputs: {prediction: rgb, target: data.rgb}}}"], ["p"]),
        (["metrics={quality: {metric: segment.miou}}"], ["quality"]),
        (["data.holdout="], []),
    ],
)
def test_metrics_are_those_that_the_spec_names_or_else_the_tasks(
    make: Make, overrides: list[str], names: list[str]
) -> None:
    plan = make(*overrides)
    assert list(plan.metrics) == names == list(make_metrics(plan))


def test_a_metric_of_a_task_may_read_another_tensor(make: Make) -> None:
    plan = make("metrics={same: {metric: segment.miou, inputs: {found: data.classes}}}")
    assert plan.metrics["same"].inputs == {"found": "data.classes", "classes": "data.classes"}


@pytest.mark.parametrize(
    ("override", "code", "place"),
    [
        ("blocks.segment.task=seg/segmen", "plugin.unknown-component", "blocks.segment.task"),
        ("blocks.segment.task=std/l1", "plugin.other-kind", "blocks.segment.task"),
        ("blocks.segment.widht=3", "spec.unknown-option-set", "blocks.segment.widht"),
        ("blocks.segment.width=wide", "option.wrong-value", "blocks.segment.width"),
        ("blocks.segment.width=-1", "spec.cannot-make", "blocks.segment"),
        ("blocks.segment.targets={clases: data.classes}", "spec.no-target", "blocks.segment.targets.clases"),
        ("blocks.segment.targets={}", "spec.missing-target", "blocks.segment.targets"),
        ("blocks.segment.targets=", "spec.missing-target", "blocks.segment.targets"),
        ("blocks.segment.targets.classes=data.clases", "spec.no-data-tensor", "blocks.segment.targets.classes"),
        ("blocks.segment.targets.classes=boxes", "spec.unknown-tensor", "blocks.segment.targets.classes"),
        ("blocks.segment.targets.classes=data.rgb", "spec.port-misfit", "blocks.segment.targets.classes"),
        ("blocks.segment.targets.classes=rgb", "spec.port-misfit", "blocks.segment.targets.classes"),
        ("blocks.segment.targets.classes=segment.found", "spec.own-target", "blocks.segment.targets.classes"),
        ("blocks.segment.targets.classes=segment.logits", "spec.own-target", "blocks.segment.targets.classes"),
        ("blocks.segment.inputs.image=rgbb", "spec.unknown-tensor", "blocks.segment.inputs.image"),
        ("blocks.segment.inputs.picture=rgb", "spec.no-input", "blocks.segment.inputs.picture"),
        ("blocks.segment.inputs=", "spec.missing-key", "blocks.segment"),
        ("blocks.segment.outputs=[a, b]", "spec.too-many-outputs", "blocks.segment.outputs"),
        ("blocks.enhance.outputs=[segment.found]", "spec.tensor-made-twice", "blocks.segment.outputs.0"),
        ("blocks.segment.outputs=[rgb]", "spec.tensor-made-twice", "blocks.segment.outputs.0"),
        ("stages.0.lower.objective=segment.nothing", "spec.unknown-name", "stages.0.lower.objective"),
        ("stages.0.lower.blocks=[segmen]", "spec.unknown-name", "stages.0.lower.blocks.0"),
        ("metrics=[segment.iou]", "spec.unknown-name", "metrics.0"),
        ("metrics={m: {metric: segment.miou, eps: 1}}", "spec.unknown-option", "metrics.m.eps"),
        ("metrics={m: {metric: segment.miou, inputs: {fond: rgb}}}", "spec.no-input", "metrics.m.inputs.fond"),
        ("blocks.segment={task: seg/segment, network: field/brighten, inputs: {image: rgb}}", "spec.unknown-option",
         "blocks.segment.network"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_at_its_place(make: Make, override: str, code: str, place: str) -> None:
    with refused(code) as caught:
        dry_run(make(override))
    assert caught.value.place.split()[-1] == place


def test_patience_needs_a_task_with_metrics(make: Make) -> None:
    assert make("stages.0.patience=2", "validate_every=1").metrics
    with refused("spec.unmeasured-patience"):
        make("stages.0.patience=2", "validate_every=1", "data.holdout=")


def test_the_schema_knows_tasks(segmenter: Files) -> None:
    path, plugins = segmenter
    check = jsonschema.Draft202012Validator(spec_schema(default_registry(plugins)))
    assert list(check.iter_errors(read_spec(path).data)) == []
    for wrong in ("blocks.segment.widht=3", "blocks.segment.task=seg/none", "blocks.segment.targets=3"):
        assert list(check.iter_errors(read_spec(path, [wrong]).data)), wrong


@pytest.fixture
def detector(write_plugin: WritePlugin, tmp_path: Path) -> Callable[..., Plan]:
    """Return a function that plans a detector of boxes, with a statement in its constructor."""

    def plan(change: str = "pass", *overrides: str) -> Plan:
        plugins = [write_plugin("find", DETECTOR.replace("CHANGE", change)), write_plugin("body", BODY)]
        (tmp_path / "find.yaml").write_text(SPEC)
        return make_plan(read_spec(tmp_path / "find.yaml", overrides), default_registry(plugins))

    return plan


def test_targets_and_predictions_may_be_ragged(detector: Callable[..., Plan]) -> None:
    plan = detector()
    assert dry_run(plan).shapes["detect.found"] == (1, "any", 4)
    chain = build_chain(plan)
    made = chain.run(
        ["detect:decode"], {"detect.heat": torch.eye(4)[None, None], "detect.size": torch.ones(1, 2, 4, 4)}
    )
    found = made["detect.found"]
    assert isinstance(found, Ragged)
    assert found.lengths == (4,)
    assert list(plan.metrics) == ["detect.count", "detect.again"]


def test_losses_get_what_their_parameters_are_named_after(detector: Callable[..., Plan]) -> None:
    plan = detector()
    heat, size = plan.losses["detect.heat"], plan.losses["detect.size"]
    assert heat.inputs == {"heat": "detect.heat", "image": "data.rgb", "boxes": "data.boxes"}
    assert size.inputs == {"size": "detect.size", "boxes": "data.boxes"}
    loss = Objectives({"heat": (made := heat.make())}, {"heat": heat.inputs})
    assert isinstance(made, nn.Module)
    assert not any(p.requires_grad for p in made.parameters()), "its weights are frozen"
    assert set(loss.state_dict()) == {"objectives.heat.scale"}


def test_a_task_takes_a_network(detector: Callable[..., Plan]) -> None:
    plan = detector("pass", "blocks.detect.body.width=3")
    block = build_chain(plan).blocks["detect"]
    assert any(m.out_channels == 3 for m in block.body.modules() if isinstance(m, nn.Conv2d))
    spec = resolve(plan)
    assert spec["spec"]["blocks"]["detect"]["body"]["network"] == "body/conv"
    assert {"task find/detect", "network body/conv"} <= spec["components"].keys()
    with refused("spec.unknown-option-set", "blocks.detect.body.wdith"):
        detector("pass", "blocks.detect.body.wdith=3")


@pytest.mark.parametrize(
    ("change", "code", "facts"),
    [
        ("self.losses['other'] = lambda heet: None", "spec.task-input", {"piece": "detect.other", "port": "heet"}),
        ("self.losses['other'] = lambda **wires: None", "spec.task-no-input", {"piece": "detect.other"}),
        ("self.targets = {'heat': Port(1)}", "spec.no-target", {}),
        ("self.targets = {'boxes': Port.several('box', coordinate=5)}", "spec.port-misfit", {}),
        ("self.predictions = {'size': Port(1)}", "spec.task-names-clash", {"name": "size"}),
        ("self.predictions = {'boxes': Port(1)}", "spec.task-names-clash", {"name": "boxes"}),
        ("self.decode = lambda hot: {}", "spec.task-input", {"piece": "detect:decode"}),
        ("del self.losses", "spec.promise-missing", {"attribute": "losses", "contract": "Task"}),
        ("self.network = lambda: 3", "spec.not-a-module", {}),
        ("self.network = lambda: nn.Conv2d(3, 3, 1)", "spec.promise-missing", {"attribute": "inputs"}),
        ("self.network = lambda: 1 / 0", "spec.cannot-make", {"cause": "ZeroDivisionError: division by zero"}),
    ],
)
def test_a_task_that_breaks_its_contract_is_named(
    detector: Callable[..., Plan], change: str, code: str, facts: dict[str, str]
) -> None:
    with refused(code, "blocks.detect", **facts):
        build_chain(detector(change))


@pytest.mark.parametrize(
    ("decode", "code", "facts"),
    [
        ("{'boxes': heat}", "spec.task-decode", {"got": "boxes", "wanted": "found"}),
        ("{'found': heat}", "spec.task-prediction", {"prediction": "found", "got": "Tensor"}),
        ("{'found': heat[7]}", "spec.task-decode-fails", {}),
        ("Ragged.of(1)", "spec.task-decode-fails", {}),
        ("(_ for _ in ()).throw(DataError('mine.odd', 'heat', what='odd'))", "mine.odd", {}),
    ],
)
def test_a_decode_that_fails_is_named_with_its_task(
    detector: Callable[..., Plan], decode: str, code: str, facts: dict[str, str]
) -> None:
    chain = build_chain(detector(f"self.decode = lambda heat: {decode}"))
    with refused(code, "find.yaml:7:3 blocks.detect", **facts):
        chain.run(["detect:decode"], {"detect.heat": torch.zeros(1, 1, 2, 2)})
