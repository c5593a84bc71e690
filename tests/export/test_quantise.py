"""`export --int8`: calibrated on one split, judged on another, published only when it keeps the budget."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from restore_hub import restore
from restore_hub.evaluate.file import mosaic_of
from restore_hub.evaluate.scores import Scores
from restore_hub.export import deployed_chain, export_onnx, runs
from restore_hub.export.gate import save
from restore_hub.export.int8_file import PSNR
from restore_hub.export.quantise import Judge, open_judge, quantise
from restore_hub.model.manifest import Speed
from restore_hub.model.model import Model
from restore_hub.model.sequence import load
from restore_hub.model.verify import verify
from restore_hub.photo.pictures import read_picture
from restore_hub.plan import build_chain, make_plan
from restore_hub.plan.resolved_spec import resolve
from restore_hub.plan.run_folder import plan_of_run
from restore_hub.plugins import default_registry
from restore_hub.spec import read_spec
from support import LOWLIGHT, check, refused
from support.commands import invoke, output
from support.raw_files import make_dng, make_noise

pytestmark = pytest.mark.xdist_group("quantise")  # one worker makes what they share


@pytest.fixture(scope="module")
def trained(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what `export` reads of a run folder whose U-Net is wide enough, and the chain with its first weights."""
    folder = tmp_path_factory.mktemp("int8")
    more = ["blocks.generate.width=16", "export={chain: enhanced}", "metrics=[psnr, ssim]"]
    plan = make_plan(read_spec(LOWLIGHT, [*small, *more]), default_registry())
    (folder / "spec.json").write_text(json.dumps(resolve(plan)))
    (folder / "export").mkdir()
    torch.manual_seed(1)
    module = deployed_chain(build_chain(plan).eval(), "enhanced")
    facts = {"licence": None, "metrics": {"psnr": 1.0}, "provenance": {"step": 7}}
    export_onnx(module, folder / "export" / "chain.onnx", name="t/chain", **facts)
    return folder


@pytest.fixture(scope="module")
def judge(trained: Path) -> Judge:
    return open_judge(trained, default_registry())


@pytest.fixture(scope="module")
def made(trained: Path, judge: Judge) -> Path:
    """Return the int8 file beside the chain of the run."""
    path, _ = quantise(trained / "export" / "chain.onnx", judge, 3.0)
    return path


def _psnr(file: Path, sample: dict[str, np.ndarray]) -> float:
    """Return the PSNR of the file's picture against the reference, both of 8 bits."""
    made = load(file)({"mosaic": mosaic_of(sample["raw"])})[0]
    made, wanted = (np.round(np.clip(picture, 0, 1) * 255) for picture in (made, sample["rgb"]))
    return 20 * np.log10(255) - 10 * np.log10(np.mean((made - wanted) ** 2, dtype=np.float64))


def test_the_manifest_says_what_was_measured(trained: Path, made: Path, judge: Judge) -> None:
    """Recomputed from the files alone."""
    sample = judge.holdout.read(0, None)
    files = (trained / "export" / "chain.onnx", made)
    before, after = (_psnr(file, sample) for file in files)
    given, manifest = (load(file).manifest for file in files)
    found = manifest.quantisation
    assert found.psnr_loss == pytest.approx(before - after, abs=1e-6)
    assert found.worst_loss == found.psnr_loss  # one picture
    assert (found.budget, found.calibration, found.measured, found.convolutions) == (3, 2, 1, (6, 11))
    assert found.speed[0].threads == 1
    assert manifest.metrics["psnr"] == pytest.approx(after, abs=1e-6) != given.metrics["psnr"]
    assert set(manifest.metrics) == {"psnr", "ssim"}
    assert given.parity < manifest.parity < 0.2
    assert (manifest.provenance, manifest.inputs) == (given.provenance, given.inputs)
    assert manifest.tiling.margin == given.tiling.margin > 0
    assert (given.version, given.quantisation, manifest.version) == (1, None, 2)


def test_convolutions_run_in_integers_of_seven_bits_and_preprocessing_is_untouched(trained: Path, made: Path) -> None:
    given, graph = (onnx.load(file).graph for file in (trained / "export" / "chain.onnx", made))
    makers = {output: node for node in graph.node for output in node.output}
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    inside = [n for n in graph.node if "Conv" in n.op_type and makers[n.input[0]].op_type == "DequantizeLinear"]
    assert len(inside) == 6
    for node in inside:
        values = weights[makers[node.input[1]].input[0]]
        assert values.dtype == np.int8
        assert 60 < np.abs(values.astype(int)).max() <= 64  # two products of 255 and 64 fit 16 bits
        assert makers[makers[node.input[0]].input[0]].op_type == "QuantizeLinear"
    first = next(index for index, node in enumerate(given.node) if node.op_type == "Conv")
    assert first > 20
    kept = [(n.op_type, list(n.input), list(n.output), list(map(str, n.attribute))) for n in given.node[: first + 1]]
    found = {n.name: (n.op_type, list(n.input), list(n.output), list(map(str, n.attribute))) for n in graph.node}
    assert [found[node.name] for node in given.node[: first + 1]] == kept
    assert [tensor.name for tensor in graph.input] == [tensor.name for tensor in given.input]


def test_the_file_is_sound_and_restores_a_photograph_of_odd_size(trained: Path, made: Path, tmp_path: Path) -> None:
    assert [check.result for check in verify(made)] == ["ok"] * 13
    make_dng(tmp_path / "p.dng", 600 + make_noise(27, 35, 600), phase=(1, 0), white=np.full(4, 16383.0))
    for name in ("chain.onnx", "chain.int8.onnx"):
        restore(trained / "export" / name, tmp_path / "p.dng", tmp_path / f"{name}.png")
    one, other = (read_picture(tmp_path / f"{name}.png").pixels for name in ("chain.onnx", "chain.int8.onnx"))
    assert one.shape == other.shape == (27, 35, 3)
    assert 0 < np.abs(one - other).max() < 0.1


def test_an_export_of_other_weights_leaves_no_int8_file_of_these(
    trained: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, small = load(made).manifest, tmp_path / "chain.int8.onnx"
    save(onnx.load(made), manifest.model_copy(update={"provenance": {"weights_sha256": "these"}}), small)
    monkeypatch.setattr(runs, "export_onnx", lambda *_, **__: None)
    _, plan = plan_of_run(trained, default_registry())
    for weights, stays in (("these", True), ("others", False), ("others", False)):
        runs._export(plan, runs.modules_of(plan, build_chain(plan)), tmp_path, {"weights_sha256": weights}, {})
        assert small.exists() == stays


def test_inspect_shows_it(trained: Path, made: Path) -> None:
    shown = output("inspect", made)
    assert "int8: 6 of 11 convolutions; loses " in shown
    assert "time over float32's at 512 x 512: " in shown
    assert "int8" not in output("inspect", trained / "export" / "chain.onnx")


@pytest.fixture
def alone(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the chain in a folder of its own, whose sibling `temporary` has all temporary files."""
    for name in ("files", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return shutil.copy(trained / "export" / "chain.onnx", tmp_path / "files" / "chain.onnx")


def _left(alone: Path) -> list[str]:
    return [path.name for path in sorted(alone.parent.parent.rglob("*")) if path.is_file()]


class Pictures:
    """A split of one sample whose reference is what a file gives; without a file, reading it is interrupted."""

    def __init__(self, judge: Judge, answers: Model | None = None) -> None:
        self.dataset, self.left_out = judge.holdout.dataset, {}
        self._sample, self._answers = judge.holdout.read(0, None), answers

    def __len__(self) -> int:
        return 1

    def read(self, index: int, rng: None) -> dict[str, np.ndarray]:
        if self._answers is None:
            raise KeyboardInterrupt
        return {**self._sample, "rgb": self._answers({"mosaic": mosaic_of(self._sample["raw"])})[0]}


def test_what_loses_more_than_the_budget_is_refused(alone: Path, judge: Judge, capfd: pytest.CaptureFixture) -> None:
    """The reference is the float32 file's own output, so that every difference is a loss."""
    exacting = replace(judge, holdout=Pictures(judge, load(alone)))
    with refused("export.int8-loses-too-much", "chain.int8.onnx", before=100.0, budget=0.2):
        quantise(alone, exacting, 0.2)
    assert _left(alone) == ["chain.onnx"]
    assert not any((alone.parent.parent / "temporary").iterdir())
    assert capfd.readouterr() == ("", "")


def test_the_budget_bounds_the_mean_loss(trained: Path, alone: Path, monkeypatch) -> None:
    """Losses of 1 and 0 dB have a mean of 0.5 dB: a budget of 0.5 allows it, and one of 0.49 doesn't."""
    scores = {
        name: Scores({PSNR: (first + 20.0) / 2}, {"0-a": {PSNR: first}, "1-b": {PSNR: 20.0}})
        for name, first in (("chain.onnx", 30.0), ("chain.int8.onnx.part", 29.0))
    }
    monkeypatch.setattr(Judge, "score", lambda _, model: scores[model.path.name])
    monkeypatch.setattr("restore_hub.export.runs.export_run", lambda *_: (alone,))
    speed = [Speed(ratio=0.5, threads=1, height=8, width=9)]
    monkeypatch.setattr("restore_hub.export.int8_file.compare_run_times", lambda *_: speed)
    command = ["export", trained, "--int8", "--budget"]
    facts = {"loss": 0.5, "before": 25.0, "after": 24.5, "worst": 1.0, "pictures": 2, "budget": 0.49}
    check(invoke(*command, "0.49").exception, "export.int8-loses-too-much", **facts)
    assert _left(alone) == ["chain.onnx"]
    said = "2 pictures (the worst 1.00; allowed 0.5); time over float32's at 9 x 8: 0.50 on 1 thread\n"
    assert output(*command, "0.5").endswith(said)
    found = load(alone.with_name("chain.int8.onnx")).manifest.quantisation
    assert (found.psnr_loss, found.worst_loss, found.speed[0].ratio) == (0.5, 1.0, 0.5)
    assert _left(alone) == ["chain.int8.onnx", "chain.onnx"]


@pytest.mark.parametrize("split", ["calibration", "holdout"])
def test_ctrl_c_leaves_nothing(alone: Path, judge: Judge, split: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        quantise(alone, replace(judge, **{split: Pictures(judge)}), 3.0)
    assert _left(alone) == ["chain.onnx"]
    assert not any((alone.parent.parent / "temporary").iterdir())


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("export.int8-needs-chain", {"export": {"blocks": ["generate"]}, "metrics": {}}),
        ("export.int8-needs-metric", {"metrics": {}}),
        ("export.int8-needs-splits", {"metrics": {}, "data": {}}),
    ],
)
def test_a_spec_that_cannot_be_judged_is_refused_before_anything_is_written(
    trained: Path, tmp_path: Path, change: dict[str, object], code: str
) -> None:
    resolved = json.loads((trained / "spec.json").read_text())
    splits = dict(resolved["spec"]["data"])
    if "data" in change:
        del splits["holdout"]
        change = {**change, "data": splits}
    (tmp_path / "spec.json").write_text(json.dumps({**resolved, "spec": {**resolved["spec"], **change}}))
    check(invoke("export", tmp_path, "--int8").exception, code, tmp_path)
    assert not (tmp_path / "export").exists()
