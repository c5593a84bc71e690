"""The spec language: what it refuses, with place and near miss; the graph; the rules of levels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from restore_hub.errors import SpecError
from restore_hub.plan import Plan
from restore_hub.spec import Stage, build_graph, parse, read_spec

PIPELINE = Path(__file__).resolve().parents[2] / "pipelines" / "raw_lowlight.yaml"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("stages.1.lower.stepz=3", r"stages\.1\.lower\.stepz: unknown key \(did you mean 'steps'"),
        ("nam=x", r"nam: unknown key \(did you mean 'name'"),
        ("zzz=x", r"zzz: unknown key; known keys: spec, name"),
        ("export.chian=x", "did you mean 'chain'"),
        ("stages.1.upper.lr=high", r"\d+:\d+ stages\.1\.upper\.lr: value should be a valid number, got 'high'"),
        ("stages.1.upper.lr=-1", "greater than 0"),
        ("stages.1.lower.steps=0", "greater than or equal to 1"),
        ("stages.1.lower.steps=2.5", "valid integer"),
        ("stages.1.lower.batches=some", "'fresh' or 'one'"),
        ("stages.1.minutes=1", "either `steps` or `minutes`"),
        ("stages.0.blocks=", "a stage of one level needs blocks"),
        ("stages.1.blocks=[enhance]", "belongs inside `upper` or `lower`"),
        ("stages.1.lower=", "both `upper` and `lower`"),
        ("stages=[]", "at least 1 item"),
        ("name=two words", "letters, digits"),
        ("spec=2", "should be 1"),
        ("blocks.enhance.inputs=rgb", "valid dict"),
        ("data.train.batch_size=true", "valid integer"),
    ],
)
def test_each_wrong_key_or_value_is_one_error_at_its_place(override: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        parse(read_spec(PIPELINE, [override]))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("blocks.enhance.inputs.image=rgbb", r"12:\d+ blocks\.enhance\.inputs\.image: .*did you mean 'rgb'"),
        ("blocks.enhance.outputs=[rgb, stages]", "already made by block 'generate'"),
        ("blocks.enhance.outputs=[data.raw]", "come from the dataset"),
        ("blocks.generate.inputs.raw=enhanced", "in a circle: "),
        ("objectives.fidelity.inputs.prediction=nothing", "nothing makes the tensor 'nothing'"),
    ],
)
def test_graph_errors(override: str, said: str) -> None:
    document = read_spec(PIPELINE, [override])
    with pytest.raises(SpecError, match=said):
        build_graph(document, parse(document))


def test_the_order_comes_from_the_wiring_not_from_the_file(tmp_path: Path) -> None:
    lines = PIPELINE.read_text().splitlines()
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
