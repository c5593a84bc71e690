"""Numbers as inputs of networks: in the spec, in the data, or the port's default; in every kind of training."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from restore_hub.batch import Batch
from restore_hub.bilevel import evaluate, lower_rows
from restore_hub.plan import build_chain
from restore_hub.plan.dry_run import dry_run
from restore_hub.plan.resolved_spec import resolve
from restore_hub.plan.samples import Samples
from restore_hub.plan.splits import make_dataset
from restore_hub.port import Port
from restore_hub.train.batches import Stream
from restore_hub.train.problems.chain import make_chain
from restore_hub.trial.hypergradient_check import check_hypergradients
from support import refused
from support.chains import levels_of
from support.numbers import DENOISE, PLUGINS, MakeSpec, blocks_of

NET = "denoise: {network: ffdnet/net, inputs: {INPUTS}, outputs: [clean]}"
SCALED = "scale: {network: kinds/scaled, inputs: {INPUTS}, outputs: [scaled]}"
TWO_LEVELS = """
  - solver: ibgl
    steps: 2
    groups: sample
    upper: {blocks: [scale], objective: error, data: upper}
    lower: {blocks: [denoise], objective: error, data: train, steps: 2}
"""
BILEVEL = DENOISE.replace(DENOISE[DENOISE.index("  - {solver") : DENOISE.index("metrics")], TWO_LEVELS[1:])
# `scale` has a number of the spec and a default; `denoise` takes each sample's own.
CHAINED = (
    "blocks.scale={network: kinds/scaled, inputs: {image: data.noisy, factor: 1.5}, outputs: [scaled]}",
    "blocks.denoise.inputs={image: scaled, sigma: data.sigma}",
)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [("sigma: 0.2", 0.2), ("sigma: 0", 0.0), ("", 0.1), ("sigma: data.sigma", None)],
)
def test_a_number_is_the_spec_s_the_port_s_or_the_data_s(make_spec: MakeSpec, inputs: str, expected: float) -> None:
    chain = build_chain(make_spec(blocks_of(NET.replace("INPUTS", f"image: data.noisy, {inputs}"))))
    sigma, image = torch.tensor([0.05, 0.25]), torch.rand(2, 3, 8, 9)
    wires = chain({"data.noisy": image, "data.sigma": sigma})
    given = sigma if expected is None else torch.full((2,), expected)
    assert torch.equal(wires["clean"], chain.blocks["denoise"](image, given))
    assert not torch.equal(wires["clean"], chain.blocks["denoise"](image, given + 0.01))


def test_a_number_is_as_wide_as_the_tensors_beside_it(make_spec: MakeSpec) -> None:
    chain = build_chain(make_spec(blocks_of(SCALED.replace("INPUTS", "image: data.rgb, factor: 0.7")))).double()
    image = torch.rand(1, 3, 2, 2, dtype=torch.float64)
    seen = chain.blocks["scale"].mix.register_forward_pre_hook(lambda _, given: found.append(given[0]))
    found: list[torch.Tensor] = []
    chain({"data.rgb": image})
    seen.remove()
    assert torch.equal(found[0], image * 0.7 + 0.25), "0.7 is not rounded to float32"


@pytest.mark.parametrize(
    ("block", "code", "place"),
    [
        (NET.replace("INPUTS", "image: data.rgb, sigma: 0.31"), "spec.bad-number", "blocks.denoise.inputs.sigma"),
        (NET.replace("INPUTS", "image: data.rgb, sigma: -0.1"), "spec.bad-number", "blocks.denoise.inputs.sigma"),
        (NET.replace("INPUTS", "image: 0.5, sigma: data.sigma"), "spec.bad-number", "blocks.denoise.inputs.image"),
        (NET.replace("INPUTS", "image: data.rgb, sigma: .nan"), "spec.wrong-value", "blocks.denoise.inputs.sigma"),
        (NET.replace("INPUTS", "image: data.rgb, sigma: true"), "spec.wrong-value", "blocks.denoise.inputs.sigma"),
        (NET.replace("INPUTS", "image: data.rgb, sigma: sgima"), "spec.unknown-tensor", "blocks.denoise.inputs.sigma"),
        (NET.replace("INPUTS", "image: data.rgb, sgima: 0.1"), "spec.no-input", "blocks.denoise.inputs.sgima"),
        (NET.replace("INPUTS", "sigma: 0.1"), "spec.missing-input", "blocks.denoise.inputs"),
        (SCALED.replace("INPUTS", "image: data.rgb"), "spec.missing-input", "blocks.scale.inputs"),
        (SCALED.replace("INPUTS", "image: data.rgb, factor: data.rgb"), "spec.port-misfit", "blocks.scale.inputs"),
    ],
)
def test_a_wrong_number_is_refused_where_it_is_written(make_spec: MakeSpec, block: str, code: str, place: str) -> None:
    with refused(code, place):
        build_chain(make_spec(blocks_of(block)))


def test_a_block_of_numbers_alone_is_refused(make_spec: MakeSpec) -> None:
    text = blocks_of("ramp: {network: kinds/ramp, inputs: {slope: 0.5}, outputs: [out]}")
    with refused("spec.no-tensor-read", "blocks.ramp.inputs"):
        build_chain(make_spec(text))


def test_a_number_that_a_block_makes_goes_into_another(make_spec: MakeSpec) -> None:
    estimate = "estimate: {network: kinds/estimator, inputs: {image: data.noisy}, outputs: [sigma]}"
    chain = build_chain(make_spec(blocks_of(estimate, NET.replace("INPUTS", "image: data.noisy, sigma: sigma"))))
    wires = chain({"data.noisy": torch.rand(2, 3, 8, 8)})
    wires["clean"].sum().backward()
    assert wires["sigma"].shape == (2,)
    assert all(p.grad is not None for p in chain.blocks["estimate"].parameters())


TASK = "it: {task: kinds/scaling, inputs: {image: data.rgb, factor: FACTOR}, targets: {reference: data.rgb}}"


def test_a_task_s_network_takes_numbers_too(make_spec: MakeSpec) -> None:
    chain = build_chain(make_spec(blocks_of(TASK.replace("FACTOR", "1.5"))))
    image = torch.rand(2, 3, 4, 4)
    made = chain({"data.rgb": image})["it.image"]
    assert torch.equal(
        made, chain.blocks["it"](image=image, factor=torch.full((2,), 1.5), offset=torch.full((2,), 0.25))
    )
    with refused("spec.bad-number", "blocks.it.inputs.factor"):
        build_chain(make_spec(blocks_of(TASK.replace("FACTOR", "3"))))


def test_a_dry_run_knows_numbers_with_data_and_without(make_spec: MakeSpec) -> None:
    assert dry_run(make_spec()).shapes["data.sigma"] == (2,)
    found = dry_run(make_spec(blocks_of(NET.replace("INPUTS", "image: data.noisy, sigma: data.sigma"))))
    assert found.shapes["data.sigma"] == (1,)


def test_the_resolved_spec_has_the_number(make_spec: MakeSpec) -> None:
    plan = make_spec(DENOISE, "blocks.denoise.inputs.sigma=0.2")
    assert resolve(plan)["spec"]["blocks"]["denoise"]["inputs"] == {"image": "data.noisy", "sigma": 0.2}


def test_the_resolved_spec_keeps_a_default_that_changes_later(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = "blocks.denoise={network: kinds/scaled, inputs: {image: data.noisy, factor: 0.5}, outputs: [clean]}"
    before = torch.get_rng_state()
    resolved = resolve(make_spec(DENOISE, block))
    assert torch.equal(torch.get_rng_state(), before)
    written = json.loads(json.dumps(resolved))["spec"]
    assert written["blocks"]["denoise"]["inputs"] == {"image": "data.noisy", "factor": 0.5, "offset": 0.25}
    task = make_spec(blocks_of(TASK.replace("FACTOR", "1.5")))
    assert resolve(task)["spec"]["blocks"]["it"]["inputs"] == {"image": "data.rgb", "factor": 1.5, "offset": 0.25}
    again = make_spec(json.dumps(written))
    kind = again.networks["denoise"].target
    monkeypatch.setattr(kind, "inputs", {**kind.inputs, "offset": Port.number(-1, 1, default=0.75)})
    assert build_chain(again).numbers["blocks.denoise.inputs.offset"] == 0.25
    assert resolve(again)["spec"] == resolved["spec"]


def _two_levels(make_spec: MakeSpec) -> Any:
    return levels_of(make_spec(BILEVEL, *CHAINED), index=0)[1]


def _batch(seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    noisy, rgb = torch.rand(2, 2, 3, 8, 8, generator=generator, dtype=torch.float64)
    sigma = 0.3 * torch.rand(2, generator=generator, dtype=torch.float64)
    return Batch({"noisy": noisy, "sigma": sigma, "rgb": rgb})


def test_parts_and_groups_cut_numbers_with_their_samples(make_spec: MakeSpec) -> None:
    pair = _two_levels(make_spec)
    parts, whole = Batch.of_parts([_batch(1), _batch(2)]), Batch.cat([_batch(1), _batch(2)])
    found = []
    for batch in (whole, parts):
        x = tuple(t.detach() for t in pair.couple(batch))
        found.append(evaluate(pair, "lower", x, pair.omega, batch))
        rows = lower_rows(pair, x, pair.omega, batch, "sample")
        torch.testing.assert_close(rows.total().omega, found[-1].omega, rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(found[1].value, found[0].value, rtol=1e-12, atol=0)
    torch.testing.assert_close(found[1].omega, found[0].omega, rtol=1e-10, atol=1e-13)


def test_each_process_gets_the_numbers_of_its_samples(make_spec: MakeSpec) -> None:
    samples = Samples(make_dataset(make_spec(), "train"), "train")
    whole, *own = (Stream(samples, 2, 0, "k", *share).batch(0) for share in ((0, 1), (0, 2), (1, 2)))
    assert torch.equal(Batch.cat(own)["sigma"], whole["sigma"])
    assert len(set(whole["sigma"].tolist())) == 2


@pytest.mark.parametrize(
    ("sigma", "refused_"), [(0.3, False), (0.0, False), (0.31, True), (-0.01, True), (math.nan, True), (2.0, True)]
)
def test_a_number_of_the_data_stays_in_the_ranges_of_all_who_read_it(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch, sigma: float, refused_: bool
) -> None:
    """`sigma` is 0 to 1 for the data and 0 to 0.3 for the network."""
    plan = make_spec()
    kind = plan.datasets["train"].target
    monkeypatch.setattr(kind, "ports", {**kind.ports, "sigma": Port.number(0, 1)})
    made = kind.sample
    monkeypatch.setattr(kind, "sample", lambda *given: {**made(*given), "sigma": np.float32(sigma)})
    samples = make_chain(plan, torch.device("cpu")).data["train"]
    if not refused_:
        assert samples.read(1, None) is not None
        return
    with refused("data.number-outside", "data.train", sample=1, tensor="sigma"):
        samples.read(1, None)
    if not 0 <= sigma <= 1:
        with refused("data.number-outside", "data.train"):
            Samples(samples.dataset, "train").read(1, None)


def test_hypergradients_hold_with_numbers(make_spec: MakeSpec) -> None:
    text = BILEVEL.replace("ibgl", "rhg").replace("    groups: sample\n", "")
    path = make_spec(text, *CHAINED).document.path
    (found,) = check_hypergradients(path, overrides=CHAINED, plugins=PLUGINS)
    through = next(each for each in found.comparisons if each.reference == "steps")
    assert math.isclose(through.whole.cosine, 1, abs_tol=1e-6)
    assert math.isclose(through.whole.ratio, 1, abs_tol=1e-6)
