"""Plug-and-play restoration as docs/how-to/solve-for-pictures.md has it: pictures, metrics, an ONNX file, mistakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import restore_hub
from restore_hub import run
from restore_hub.plan import make_plan
from restore_hub.plan.dry_run import dry_run
from restore_hub.plugins import default_registry
from restore_hub.report.run_facts import read_run
from restore_hub.spec import read_spec
from support import refused
from support.pages import blocks_of
from support.plugin_files import WritePlugin

PLUGIN, SPEC = (block.text for block in blocks_of("docs/how-to/solve-for-pictures.md") if block.file)


@pytest.fixture
def files(write_plugin: WritePlugin, tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "pnp.yaml").write_text(SPEC)
    return tmp_path / "pnp.yaml", write_plugin("playing", PLUGIN)


def test_a_run_measures_shows_and_exports(files: tuple[Path, Path], tmp_path: Path) -> None:
    spec, plugin = files
    first = run(spec, plugins=[plugin], overrides=["stages.0.steps=1"], out=tmp_path / "one", quiet=True)
    result = run(spec, plugins=[plugin], out=tmp_path / "r", quiet=True)
    assert result.metrics["psnr"] > first.metrics["psnr"] + 1
    shown = {path.stem.rsplit("-", 1)[1] for path in (tmp_path / "r" / "pictures").rglob("*.png")}
    assert {"input", "output", "reference"} <= {name.split("_")[0] for name in shown}
    assert np.asarray(Image.open(next((tmp_path / "r" / "pictures").rglob("*output*.png")))).shape == (16, 20, 3)
    (file,) = result.exported
    weights = torch.load(tmp_path / "r" / "checkpoints" / "last.pt")["blocks"]["denoise"]
    image = np.random.default_rng(0).random((1, 1, 17, 13)).astype(np.float32)
    w1, b1, w2, b2 = (weights[f"body.{key}"] for key in ("0.weight", "0.bias", "2.weight", "2.bias"))
    x = torch.from_numpy(image)
    hidden = torch.nn.functional.softplus(torch.conv2d(x, w1, b1, padding=1))
    expected = x + torch.conv2d(hidden, w2, b2, padding=1)
    np.testing.assert_allclose(restore_hub.load(file)({"image": image}), expected.numpy(), atol=1e-5)
    assert read_run(tmp_path / "r").metrics["psnr"]


def test_check_needs_no_data_and_names_what_is_wrong(files: tuple[Path, Path]) -> None:
    spec, plugin = files
    registry = default_registry([plugin])
    found = dry_run(make_plan(read_spec(spec), registry))
    assert found.parameters == {"denoise": 3 * 9 + 3 + 3 * 9 + 1}
    assert found.samples == {"train": 2, "holdout": 1}
    for override, code, place in (
        ("metrics.psnr.inputs.prediction=restord", "spec.problem-output", "metrics.psnr.inputs.prediction"),
        ("metrics.psnr.inputs.target=data.claen", "spec.no-data-tensor", "metrics.psnr.inputs.target"),
        ("metrics=[psnr]", "spec.problem-metric-list", "metrics"),
        ("export.blocks=[picture]", "spec.problem-block", "export.blocks.0"),
        ("export.chain=restored", "spec.problem-exports", "export.chain"),
        ("stages.0.upper.data=tarin", "spec.unknown-name", "stages.0.upper.data"),
        ("problem.denoiser.widht=3", "spec.unknown-option-set", "problem.denoiser.widht"),
        ("problem={problem: numerical/sine}", "spec.problem-has-data", "data"),
    ):
        with refused(code, place):
            dry_run(make_plan(read_spec(spec, [override]), registry))
    with refused("spec.problem-needs-data", "problem"):
        dry_run(make_plan(read_spec(spec, ["data=", "metrics=", "export="]), registry))


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ('lambda batch: {"u": batch["noisy"]}', "lambda batch: 1 / 0", "spec.initial-fails"),
        ('lambda batch: {"u": batch["noisy"]}', 'lambda batch: batch["noisy"]', "spec.initial-result"),
        ('lambda batch: {"u": batch["noisy"]}', 'lambda batch: {"u": batch["noisy"].long()}', "spec.initial-result"),
        ('return {"restored": u}', "return u", "train.not-restored"),
        ('return {"restored": u}', 'return {"restored": u.numpy()}', "train.not-restored"),
        ('return {"restored": u}', 'return {"restored": u[:, 0]}', "train.not-restored"),
    ],
)
def test_what_a_problem_returns_is_compared_with_what_it_promises(
    files: tuple[Path, Path], write_plugin: WritePlugin, tmp_path: Path, old: str, new: str, code: str
) -> None:
    assert old in PLUGIN
    plugin = write_plugin("playing", PLUGIN.replace(old, new))
    with refused(code, "problem"):
        run(files[0], plugins=[plugin], overrides=["stages.0.steps=1"], out=tmp_path / "r", quiet=True)


def test_the_kit_checks_a_problem_on_examples_of_its_data(write_plugin: WritePlugin) -> None:
    from restore_hub.contracts import Port
    from restore_hub.testing import check_problem

    registry = default_registry([write_plugin("playing", PLUGIN)])
    problem, smooth = (
        registry.find(kind, f"playing/{name}").load() for kind, name in (("problem", "pnp"), ("network", "smooth"))
    )
    data = {"noisy": Port(1), "clean": Port(1)}
    check_problem(problem, data=data, denoiser=smooth())
    with pytest.raises(AssertionError, match="pass the ports of its data sets"):
        check_problem(problem, denoiser=smooth())
    made = problem(smooth())
    made.restore = lambda batch: {"restored": batch["noisy"][:, 0]}
    with pytest.raises(AssertionError, match="'restored' is of shape"):
        check_problem(made, data=data)
    made.energies = {
        "live": lambda _, batch: (made.blocks["denoise"](batch["noisy"]).square().sum(), len(batch["noisy"]))
    }
    with pytest.raises(AssertionError, match="reads the problem's own variables"):
        check_problem(made, data=data)
