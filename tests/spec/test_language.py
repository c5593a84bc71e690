"""The spec language: what it refuses, with place and near miss; the graph; the rules of levels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from restore_hub.errors import SpecError
from restore_hub.plan import Plan
from restore_hub.spec import Stage, build_graph, parse, read_spec
from support import LOWLIGHT


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("stages.1.lower.stepz=3", r"stages\.1\.lower\.stepz: unknown key \(did you mean 'steps'"),
        ("nam=x", r"nam: unknown key \(did you mean 'name'"),
        ("zzz=x", r"zzz: unknown key; known keys: spec, name"),
        ("export.chian=x", "did you mean 'chain'"),
        ("stages.1.upper.lr=high", r"^--set stages\.1\.upper\.lr: should be a number, got 'high'$"),
        ("stages.1.upper.lr=-1", "greater than 0"),
        ("stages.1.lower.steps=0", "should be at least 1, got 0"),
        ("stages.1.lower.steps=2.5", r"should be a whole number, got 2\.5"),
        ("stages.1.lower.batches=some", "'fresh' or 'one'"),
        ("stages.1.minutes=1", "either `steps` or `minutes`"),
        ("stages.0.blocks=", "a stage of one level needs blocks"),
        ("stages.1.blocks=[enhance]", "belongs inside `upper` or `lower`"),
        ("stages.1.lower=", "both `upper` and `lower`"),
        ("data={}", r"needs the key `data` \(or `problem`"),
        ("objectives={}", r"needs the key `objectives` \(or `problem`"),
        ("name=two words", "letters, digits"),
        ("spec=2", "should be 1"),
        ("blocks.enhance.inputs=rgb", "inputs: should be a mapping, got 'rgb'"),
        ("data.train.batch_size=true", "should be a whole number, got true"),
        ("data.train=3", "data.train: should be a mapping, got 3"),
        ("stages.0.blocks=[]", "stages.0.blocks: should not be empty$"),
        ("stages.0.blocks=[enhance, enhance]", "'enhance' is named twice"),
        ("stages.1.upper.blocks=[generate, generate]", "'generate' is named twice"),
        ("export.blocks=[enhance, enhance]", "'enhance' is named twice"),
        ("export.weights=first", "should be 'last' or 'best', got 'first'"),
        ("metrics=[psnr, psnr]", "'psnr' is named twice"),
        ("stages.1.lr=1e-4", "stages.1: lr belongs inside `upper` or `lower`"),
        ("stages.1.optimizer=adam", "stages.1: optimizer belongs inside `upper` or `lower`"),
        ("stages.0.share_batch=true", "stages.0: `share_batch` needs `upper` and `lower`"),
        ("stages.0.share_batch=1", "should be true or false, got 1"),
        ("stages.0.lr=.inf", "finite number"),
        ("stages.1.lower.lr=.nan", "lr: should be "),
        ("stages.0={solver: joint, minutes: .inf}", r"minutes: should be a finite number"),
        ("stages.0.objective={fidelity: .nan}", r"objective\.fidelity: should be a finite number"),
        ("stages.0.objective={fidelity: -.inf}", r"objective\.fidelity: should be a finite number"),
        ("stages.0.objective={fidelity: x}", r"objective\.fidelity: should be a number, got 'x'"),
        ("stages.0.objective={}", r"stages\.0\.objective: should not be empty$"),
        ("stages.0.objective=3", r"stages\.0\.objective: should be text or a mapping, got 3"),
        ("blocks.chain={network: raw/unet, inputs: {raw: data.raw}, outputs: [x]}", "no block is called 'chain'"),
        ("blocks.enhance={netwrok: retinex/cascade, inputs: {}, outputs: [x]}", "netwrok: unknown key .*'network'"),
        ("metrics={psnr: {inputs: {}}}", r"metrics\.psnr: needs the key `metric`"),
        ("metrics=3", "metrics: should be a list or a mapping, got 3"),
    ],
)
def test_each_wrong_key_or_value_is_one_error_at_its_place(override: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        parse(read_spec(LOWLIGHT, [override]))


def test_a_misspelt_required_key_is_named_at_its_line(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(LOWLIGHT.read_text().replace("objectives:", "objectivs:"))
    with pytest.raises(SpecError, match=r"s\.yaml:13:1 objectivs: unknown key \(did you mean 'objectives'"):
        parse(read_spec(tmp_path / "s.yaml"))


def test_no_message_prints_a_long_value() -> None:
    with pytest.raises(SpecError) as caught:
        parse(read_spec(LOWLIGHT, [f"stages.0.steps={'long' * 100}"]))
    assert len(str(caught.value).partition("got ")[2]) == 60
    with pytest.raises(SpecError, match=r"got a mapping$"):
        parse(read_spec(LOWLIGHT, ["stages.0.steps={a: 1}"]))


def test_the_exported_weights_are_the_last_unless_asked() -> None:
    assert parse(read_spec(LOWLIGHT)).export.weights == "last"
    assert parse(read_spec(LOWLIGHT, ["export.weights=best"])).export.weights == "best"


def test_a_spec_written_out_is_read_again_as_the_same(tmp_path: Path) -> None:
    spec = parse(read_spec(LOWLIGHT))
    written = spec.model_dump(mode="json", exclude_none=True)
    assert "lr" not in written["stages"][1], "a flat key would be refused beside the levels"
    assert written["stages"][0]["optimizer"] == "adam", "defaults are written out"
    resolved = {"restore_hub": "1", "source": "s.yaml", "spec": written, "components": {}, "weights_sha256": {}}
    (tmp_path / "spec.json").write_text(json.dumps(resolved, indent=1))
    again = parse(read_spec(tmp_path / "spec.json", ["seed=3"]))
    assert again.model_dump(exclude={"seed"}) == spec.model_dump(exclude={"seed"})
    assert again.seed == 3


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("blocks.enhance.inputs.image=rgbb", r"^--set blocks\.enhance\.inputs\.image: .*did you mean 'rgb'"),
        ("blocks.enhance.outputs=[rgb, stages]", "already made by block 'generate'"),
        ("blocks.enhance.outputs=[data.raw]", "come from the dataset"),
        ("blocks.generate.inputs.raw=enhanced", "in a circle: "),
        ("objectives.fidelity.inputs.prediction=nothing", "nothing makes the tensor 'nothing'"),
    ],
)
def test_graph_errors(override: str, said: str) -> None:
    document = read_spec(LOWLIGHT, [override])
    with pytest.raises(SpecError, match=said):
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
    assert graph.upstream(["stages"]) == {"generate", "enhance"}
    assert graph.upstream(["rgb"]) == {"generate"}
    assert graph.upstream(["data.raw"]) == frozenset()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("stages.1.upper.blocks=[enhance]", "in both levels"),
        ("stages.1.upper.data=train", "both levels train on the split 'train'"),
        ("stages.1.upper.data=holdout", "the holdout split measures and never trains"),
        ("stages.0.data=trian", "unknown split 'trian' .*did you mean 'train'"),
        ("stages.0.objective={fidelity: 1, retinx: 1}", "unknown objective 'retinx'.*did you mean 'retinex'"),
        ("stages.0.blocks=[generate, enhence]", "unknown block 'enhence'.*did you mean 'enhance'"),
        ("stages.0.solver=ibgl", "takes `upper` and `lower`"),
        ("stages.1.solver=joint", "takes one level"),
        ("stages.1.solver=tbgl", r"stages\.1\.lower\.steps: tbgl differentiates exactly one lower step, got"),
        ("stages.1.share_batch=true", "`share_batch` needs the same split"),
        ("objectives.fidelity.inputs.prediction=rgb", "the upper objective depends on none of the lower blocks"),
    ],
)
def test_level_rules(make: Callable[..., Plan], override: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        make(override)


def test_a_block_that_its_objective_does_not_reach_would_not_train(make: Callable[..., Plan]) -> None:
    with pytest.raises(SpecError, match="does not depend on block 'enhance'"):
        make("objectives.fidelity.inputs.prediction=rgb", "stages.0.objective=fidelity")


def test_alternating_runs_without_a_response_and_says_so(make: Callable[..., Plan]) -> None:
    plan = make(
        "objectives.picture={loss: l1, inputs: {prediction: rgb, target: data.rgb}}",
        "stages.1.upper.objective=picture",
        "stages.1.solver=alternating",
    )
    assert any("no response term exists" in remark for remark in plan.remarks)


def test_one_batch_at_both_levels_is_an_opt_in(make: Callable[..., Plan]) -> None:
    plan = make("stages.1.upper.data=train", "stages.1.share_batch=true", "stages.1.lower.batches=one")
    assert plan.spec.stages[1].share_batch
    with pytest.raises(SpecError, match="batches: one"):
        make("stages.1.upper.data=train", "stages.1.share_batch=true")


def test_a_flat_stage_has_one_level_and_a_split_one_two(make: Callable[..., Plan]) -> None:
    stages: list[Stage] = make().spec.stages
    assert [len(stage.levels) for stage in stages] == [1, 2]
    assert stages[1].levels[0].blocks == ["generate"], "upper first"
