"""The spec language: what it refuses, at which place; the graph; the rules of levels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from restore_hub.plan import Plan
from restore_hub.spec import Stage, build_graph, parse, read_spec
from support import LOWLIGHT, refused


@pytest.mark.parametrize(
    ("override", "code", "place"),
    [
        ("zzz=x", "spec.unknown-key", "zzz"),
        ("stages.1.levels=[]", "spec.keys-beside-list", "stages.1.upper"),
        ("stages.1.upper.lr=-1", "spec.wrong-value", "stages.1.upper.lr"),
        ("stages.1.lower.lr=.nan", "spec.wrong-value", "stages.1.lower.lr"),
        ("stages.1.lower.steps=0", "spec.wrong-value", "stages.1.lower.steps"),
        ("stages.1.upper=3", "spec.wrong-value", "stages.1.upper"),
        ("stages.1.upper.steps=3", "spec.lower-level-only", "stages.1.upper.steps"),
        ("stages.1.upper.data=", "spec.missing-key", "stages.1.upper"),
        ("stages.1.minutes=1", "spec.stage-length", "stages.1"),
        ("stages.0.blocks=", "spec.missing-key", "stages.0"),
        ("stages.1.blocks=[enhance]", "spec.flat-keys-beside-levels", "stages.1.blocks"),
        ("stages.1.lr=1e-4", "spec.flat-keys-beside-levels", "stages.1.lr"),
        ("stages.1.lower=", "spec.one-of-two-levels", "stages.1"),
        ("data={}", "spec.missing-section", ""),
        ("objectives={}", "spec.missing-section", ""),
        ("problem={problem: numerical/sine}", "spec.problem-section", "blocks"),
        ("name=two words", "spec.bad-name", "name"),
        ("stages.0.blocks=[]", "spec.empty", "stages.0.blocks"),
        ("stages.0.objective={}", "spec.empty", "stages.0.objective"),
        ("stages.0.blocks=[enhance, enhance]", "spec.named-twice", "stages.0.blocks.1"),
        ("stages.1.upper.blocks=[generate, generate]", "spec.named-twice", "stages.1.upper.blocks.1"),
        ("export.blocks=[enhance, enhance]", "spec.named-twice", "export.blocks.1"),
        ("metrics=[psnr, psnr]", "spec.named-twice", "metrics.1"),
        ("stages.0.share_batch=true", "spec.share-two-levels", "stages.0.share_batch"),
        ("stages.0.lr=.inf", "spec.wrong-value", "stages.0.lr"),
        ("stages.0.objective={fidelity: -.inf}", "spec.wrong-value", "stages.0.objective.fidelity"),
        ("blocks.chain={network: raw/unet, inputs: {}, outputs: [x]}", "spec.reserved-block", "blocks.chain"),
        ("metrics={psnr: {inputs: {}}}", "spec.missing-key", "metrics.psnr"),
        ("stages.0.patience=3", "spec.unmeasured-patience", "stages.0.patience"),
    ],
)
def test_each_wrong_key_or_value_is_one_error_at_its_place(override: str, code: str, place: str) -> None:
    with refused(code) as caught:
        parse(read_spec(LOWLIGHT, [override]))
    assert caught.value.place.endswith(f" {place}" if place else ".yaml:1:1"), caught.value.place


@pytest.mark.parametrize(
    ("override", "expected", "got"),
    [
        ("stages.1.upper.lr=high", "a number", "'high'"),
        ("stages.1.lower.steps=2.5", "a whole number", "2.5"),
        ("stages.1.lower.batches=some", "'fresh' or 'one'", "'some'"),
        ("spec=2", "1", "2"),
        ("blocks.enhance.inputs=rgb", "a mapping", "'rgb'"),
        ("data.train.batch_size=true", "a whole number", "true"),
        ("data.train=3", "a mapping", "3"),
        ("export.weights=first", "'last' or 'best'", "'first'"),
        ("stages.0.share_batch=1", "true or false", "1"),
        ("stages.0={solver: joint, minutes: .inf}", "a finite number", "inf"),
        ("stages.0.objective={fidelity: .nan}", "a finite number", "nan"),
        ("stages.0.objective={fidelity: x}", "a number", "'x'"),
        ("stages.0.objective=3", "text or a mapping", "3"),
        ("stages.0.steps={a: 1}", "a whole number", "a mapping"),
        ("metrics=3", "a list or a mapping", "3"),
    ],
)
def test_a_wrong_value_is_shown_beside_what_was_expected(override: str, expected: str, got: str) -> None:
    with refused("spec.wrong-value", f"--set {override.partition('=')[0]}", expected=expected, got=got):
        parse(read_spec(LOWLIGHT, [override]))


@pytest.mark.parametrize(
    ("override", "place", "near"),
    [
        ("stages.1.lower.stepz=3", "stages.1.lower.stepz", "steps"),
        ("stages.1.upper.blokcs=[generate]", "stages.1.upper.blokcs", "blocks"),
        ("nam=x", "nam", "name"),
        ("export.chian=x", "export.chian", "chain"),
        ("blocks.enhance={netwrok: x, inputs: {}, outputs: [x]}", "blocks.enhance.netwrok", "network"),
        ("stages.0={solver: joint, steps: 1, blokcs: [x], objective: x, data: x}", "stages.0.blokcs", "blocks"),
    ],
)
def test_a_misspelt_key_is_named_with_the_right_one(override: str, place: str, near: str) -> None:
    with refused("spec.unknown-key", place) as caught:
        parse(read_spec(LOWLIGHT, [override]))
    assert caught.value.mend == f"did you mean {near!r}?"


def test_a_misspelt_required_key_is_named_at_its_line_and_a_long_value_is_cut(tmp_path: Path) -> None:
    with refused("spec.wrong-value") as caught:
        parse(read_spec(LOWLIGHT, [f"stages.0.steps={'long' * 100}"]))
    assert len(caught.value.facts["got"]) == 60
    (tmp_path / "s.yaml").write_text(LOWLIGHT.read_text().replace("objectives:", "objectivs:"))
    with refused("spec.unknown-key", "s.yaml:13:1 objectivs"):
        parse(read_spec(tmp_path / "s.yaml"))


def test_a_spec_written_out_is_read_again_as_the_same(tmp_path: Path) -> None:
    spec = parse(read_spec(LOWLIGHT))
    assert spec.export.weights == "last"
    written = spec.model_dump(mode="json", exclude_none=True)
    assert "lr" not in written["stages"][1], "a flat key would be refused beside the levels"
    assert written["stages"][0]["optimizer"] == "adam", "defaults are written out"
    resolved = {"restore_hub": "1", "source": "s.yaml", "spec": written, "components": {}, "weights_sha256": {}}
    (tmp_path / "spec.json").write_text(json.dumps(resolved, indent=1))
    again = parse(read_spec(tmp_path / "spec.json", ["seed=3", "export.weights=best"]))
    assert (again.seed, again.export.weights) == (3, "best")
    export = again.export.model_copy(update={"weights": "last"})
    assert again.model_copy(update={"seed": spec.seed, "export": export}) == spec


@pytest.mark.parametrize(
    ("override", "code", "place"),
    [
        ("blocks.enhance.inputs.image=rgbb", "spec.unknown-tensor", "--set blocks.enhance.inputs.image"),
        ("blocks.enhance.outputs=[rgb, stages]", "spec.tensor-made-twice", "blocks.enhance.outputs.0"),
        ("blocks.enhance.outputs=[data.raw]", "spec.reserved-tensor", "blocks.enhance.outputs.0"),
        ("blocks.generate.inputs.raw=enhanced", "spec.circle", "blocks"),
        ("objectives.fidelity.inputs.prediction=nothing", "spec.unknown-tensor", "fidelity.inputs.prediction"),
    ],
)
def test_graph_errors(override: str, code: str, place: str) -> None:
    document = read_spec(LOWLIGHT, [override])
    with refused(code, place):
        build_graph(document, parse(document))


def test_the_order_comes_from_the_wiring_not_from_the_file(tmp_path: Path) -> None:
    lines = LOWLIGHT.read_text().splitlines()
    i, j = (
        next(n for n, line in enumerate(lines) if line.startswith(f"  {name}:")) for name in ("generate", "enhance")
    )
    lines[i], lines[j] = lines[j], lines[i]
    (tmp_path / "turned.yaml").write_text("\n".join(lines))
    document = read_spec(tmp_path / "turned.yaml")
    graph = build_graph(document, parse(document))
    assert graph.order == ("generate", "enhance")
    upstream = [graph.upstream([name]) for name in ("stages", "rgb", "data.raw")]
    assert upstream == [{"generate", "enhance"}, {"generate"}, set()]


@pytest.mark.parametrize(
    ("override", "code", "place"),
    [
        ("stages.1.upper.blocks=[enhance]", "spec.block-in-two-levels", "stages.1"),
        ("stages.1.upper.data=train", "spec.levels-share-data", "stages.1.upper.data"),
        ("stages.1.upper.data=holdout", "spec.holdout-trains", "stages.1.upper.data"),
        ("stages.0.data=trian", "spec.unknown-name", "stages.0.data"),
        ("stages.0.objective={fidelity: 1, retinx: 1}", "spec.unknown-name", "stages.0.objective.retinx"),
        ("stages.0.blocks=[generate, enhence]", "spec.unknown-name", "stages.0.blocks.1"),
        ("stages.0.solver=ibgl", "spec.solver-levels", "stages.0.solver"),
        ("stages.1.solver=joint", "spec.solver-levels", "stages.1.solver"),
        ("stages.1.solver=tbgl", "bilevel.one-lower-step", "stages.1.lower.steps"),
        ("stages.1.share_batch=true", "spec.share-splits", "stages.1.share_batch"),
        ("objectives.fidelity.inputs.prediction=rgb", "spec.dead-response", "stages.1.upper.objective"),
    ],
)
def test_level_rules(make: Callable[..., Plan], override: str, code: str, place: str) -> None:
    with refused(code, place):
        make(override)


def test_blocks_that_nothing_trains_are_refused_and_an_upper_level_without_response_noted(
    make: Callable[..., Plan],
) -> None:
    with refused("spec.idle-block", "stages.0.blocks", block="enhance"):
        make("objectives.fidelity.inputs.prediction=rgb", "stages.0.objective=fidelity")
    plan = make(
        "objectives.picture={loss: l1, inputs: {prediction: rgb, target: data.rgb}}",
        "stages.1.upper.objective=picture",
        "stages.1.solver=alternating",
    )
    assert any("no response term" in remark for remark in plan.remarks)


def test_one_batch_at_both_levels_is_an_opt_in(make: Callable[..., Plan]) -> None:
    plan = make("stages.1.upper.data=train", "stages.1.share_batch=true", "stages.1.lower.batches=one")
    assert plan.spec.stages[1].share_batch
    with refused("spec.share-fresh", "stages.1.lower"):
        make("stages.1.upper.data=train", "stages.1.share_batch=true")


def test_a_flat_stage_has_one_level_and_a_split_one_two(make: Callable[..., Plan]) -> None:
    stages: list[Stage] = make().spec.stages
    assert [len(stage.levels) for stage in stages] == [1, 2]
    assert stages[1].levels[0].blocks == ["generate"], "upper first"
