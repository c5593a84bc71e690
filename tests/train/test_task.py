"""A toy segmenter as a task of a spec: trained as the lower and as the upper level, measured, exported, repeated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
import torch

from restore_hub import run
from restore_hub.plan import build_chain, make_plan
from restore_hub.plugins import default_registry
from restore_hub.report.run_facts import read_run
from restore_hub.report.scores import recipes
from restore_hub.spec import read_spec
from restore_hub.trial.hypergradient_check import check_hypergradients
from support.commands import output

Files = tuple[Path, list[Path]]
SWAPPED = (
    "stages.0.upper.blocks=[segment]",
    "stages.0.lower.blocks=[enhance]",
    "stages.0.lower.objective={segment.loss: 1, fidelity: 10}",
    "objectives={fidelity: {loss: l2, inputs: {prediction: rgb, target: data.rgb}}}",
)
EXPORT = "export={blocks: [segment], chain: segment.logits}"


def test_it_learns_as_the_lower_level(segmenter: Files, tmp_path: Path) -> None:
    path, plugins = segmenter
    few = run(path, overrides=["stages.0.steps=1"], plugins=plugins, out=tmp_path / "few")
    result = run(path, plugins=plugins, out=tmp_path / "run")
    assert few.metrics["segment.miou"] < 0.5
    assert result.metrics["segment.miou"] > 0.95


def test_its_upper_gradient_has_a_response(segmenter: Files) -> None:
    path, plugins = segmenter
    (found,) = check_hypergradients(path, overrides=["stages.0.solver=rhg"], plugins=plugins)
    assert any(c.reference == "steps" and abs(c.whole.cosine - 1) < 1e-9 for c in found.comparisons), found


def test_it_learns_as_the_upper_level(segmenter: Files, tmp_path: Path) -> None:
    path, plugins = segmenter
    result = run(path, overrides=SWAPPED, plugins=plugins, out=tmp_path / "run")
    assert result.metrics["segment.miou"] > 0.9


def test_its_network_is_what_is_exported(segmenter: Files, tmp_path: Path) -> None:
    path, plugins = segmenter
    run(path, overrides=["stages.0.steps=2", EXPORT], plugins=plugins, out=tmp_path / "run")
    plan = make_plan(read_spec(tmp_path / "run" / "spec.json"), default_registry(plugins))
    chain = build_chain(plan).eval()
    weights = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)["blocks"]
    assert set(weights) >= {"enhance", "segment"}
    chain.blocks["segment"].load_state_dict(weights["segment"])
    session = onnxruntime.InferenceSession(tmp_path / "run" / "export" / "segment.onnx")
    picture = torch.rand(1, 3, 12, 20)
    (logits,) = session.run(None, {session.get_inputs()[0].name: picture.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), chain.blocks["segment"](picture), atol=1e-4, rtol=1e-4)


def test_a_rerun_of_the_resolved_spec_is_the_same(segmenter: Files, tmp_path: Path) -> None:
    path, plugins = segmenter
    first = run(path, overrides=["stages.0.steps=3"], plugins=plugins, out=tmp_path / "run")
    resolved = json.loads((tmp_path / "run" / "spec.json").read_text())
    assert resolved["spec"]["blocks"]["segment"]["task"] == "seg/segment"
    assert resolved["spec"]["metrics"]["segment.miou"]["metric"] == "segment.miou"
    assert "segment.loss" not in resolved["spec"]["objectives"]
    assert resolved["components"]["task seg/segment"]["owner"].endswith("seg.py")
    again = run(tmp_path / "run" / "spec.json", plugins=plugins, out=tmp_path / "again")
    assert first.metrics == again.metrics
    assert json.loads((tmp_path / "again" / "spec.json").read_text())["spec"] == resolved["spec"]


def test_it_starts_from_weights(segmenter: Files, tmp_path: Path) -> None:
    path, plugins = segmenter
    first = run(path, overrides=["stages.0.steps=20"], plugins=plugins, out=tmp_path / "first")
    last = tmp_path / "first" / "checkpoints" / "last.pt"
    still = ["stages.0.steps=1", "stages.0.lower.lr=1e-9", "stages.0.upper.lr=1e-9"]
    weights = [f"blocks.{block}.weights={last}" for block in ("enhance", "segment")]
    begun = run(path, overrides=[*still, *weights], plugins=plugins, out=tmp_path / "begun")
    assert begun.metrics["segment.miou"] == pytest.approx(first.metrics["segment.miou"], abs=1e-6)


def test_the_page_says_how_its_metric_is_computed(
    segmenter: Files, install: Callable[..., None], tmp_path: Path
) -> None:
    path, _ = segmenter
    install(std="restore_hub_std", seg="seg", field="field")
    run(path, overrides=["stages.0.steps=1"], out=tmp_path / "run")
    (recipe,) = recipes(read_run(tmp_path / "run")).values()
    assert recipe == "Mean intersection over union. (segment.miou; found = segment.found and classes = data.classes)"


def test_people_see_what_it_brings(segmenter: Files) -> None:
    path, plugins = segmenter
    files = [part for file in plugins for part in ("--plugin", file)]
    shown = output("show", "seg/segment", *files)
    for line in ("width: int = 8", "logits: 3 channels", "classes: (y, x), int64", "losses: loss", "metrics: miou"):
        assert line in shown
    assert "seg/segment" in output("list", "tasks", *files)
    checked = output("check", path, *files)
    assert "segment.logits" in checked
    assert "[enhance] on upper over [segment] on train" in checked
