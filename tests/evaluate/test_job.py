"""Runs that aren't one chain of pictures, other sizes and numbers: how candidates, data and metrics come together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from restore_hub import run
from restore_hub.evaluate.job import Evaluation, prepare
from restore_hub.evaluate.results import names_of
from restore_hub.photo.picture_writer import write_picture
from restore_hub.plugins import default_registry
from support import refused
from support.numbers import DENOISE, PLUGINS, Denoised
from support.plugin_files import WritePlugin


def _evaluate(*what: object, plugins: list[Path] | None = None, **given: Any) -> Evaluation:
    return prepare(list(map(str, what)), default_registry(plugins or []), **given).run()


def test_a_run_is_measured_by_the_metrics_of_its_task(segmenter: tuple[Path, list[Path]], tmp_path: Path) -> None:
    spec, plugins = segmenter
    overrides = ["stages.0.steps=3", "metrics={miou: {metric: segment.miou}}"]
    result = run(spec, overrides=overrides, plugins=plugins, out=tmp_path / "r", quiet=True)
    found = _evaluate(result.folder, plugins=plugins)
    assert found.scores[str(result.folder)].means == pytest.approx(dict(result.metrics))
    assert found.candidates == [str(result.folder)], "nothing unrestored compares with classes"
    assert [name for name, _ in found.samples.values()] == ["8", "9"]
    with refused("evaluate.no-tensor", result.folder, metric="psnr", tensor="prediction"):
        _evaluate(result.folder, plugins=plugins, data="upper", metrics="psnr")
    shown = "{psnr: {metric: psnr, inputs: {prediction: rgb, target: data.rgb}}}"
    upper = _evaluate(result.folder, plugins=plugins, data="upper", metrics=shown)
    assert len(upper.samples) == 3
    assert upper.scores[str(result.folder)].means["psnr"] > 0


PROBLEM = """
import numpy as np
import torch
from torch import nn
from restore_hub import hookimpl
from restore_hub.contracts import Port

class Noisy:
    ports = {"noisy": Port(1), "clean": Port(1)}

    def __len__(self):
        return 3

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def files(self, index):
        return ()

    def sample(self, index, rng):
        clean = np.random.default_rng((self.seed, index)).random((1, 8, 9), np.float32)
        return {"clean": clean, "noisy": clean / 2}

class Gain:
    outputs = {"restored": Port(1)}

    def __init__(self) -> None:
        self.blocks = nn.ModuleDict({"gain": nn.Conv2d(1, 1, 1, bias=False)})
        self.energies = {"error": self.error}

    def error(self, v, batch):
        return (v["gain"]["weight"] * batch["noisy"] - batch["clean"]).square().sum(), batch["clean"].numel()

    def restore(self, batch):
        return {"restored": self.blocks["gain"](batch["noisy"])}

@hookimpl
def register_datasets(register):
    register("noisy", "{stem}:Noisy", summary="Dark noise")

@hookimpl
def register_problems(register):
    register("gain", "{stem}:Gain", summary="One factor")
"""
PROBLEM_SPEC = """
name: gain
problem: {problem: gains/gain}
data:
  train: {dataset: gains/noisy, batch_size: 2}
  holdout: {dataset: gains/noisy, seed: 1}
stages:
  - {solver: joint, steps: 4, blocks: [gain], objective: error, data: train, lr: 0.1}
metrics: {psnr: {metric: psnr, inputs: {prediction: restored, target: data.clean}}}
"""


def test_a_problem_on_data_sets_is_measured(write_plugin: WritePlugin, tmp_path: Path) -> None:
    plugins = [write_plugin("gains", PROBLEM)]
    (tmp_path / "gain.yaml").write_text(PROBLEM_SPEC)
    result = run(tmp_path / "gain.yaml", plugins=plugins, out=tmp_path / "r", quiet=True)
    found = _evaluate(result.folder, plugins=plugins)
    assert found.scores[str(result.folder)].means == pytest.approx(dict(result.metrics))


def test_a_problem_with_its_own_data_is_refused(tmp_path: Path) -> None:
    overrides = ["stages.0.steps=2", "tracker=", "problem.n=4"]
    result = run("numerical", overrides=overrides, out=tmp_path / "r", quiet=True)
    with refused("evaluate.own-data", result.folder):
        _evaluate(result.folder)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Any]:
    """Return folders with two noisy pictures and the clean ones, as arguments."""
    rng = np.random.default_rng(0)
    for index in range(2):
        clean = np.kron(rng.uniform(0.2, 0.8, (3, 4, 3)), np.ones((6, 6, 1)))
        for name, picture in {"noisy": clean + 0.1 * rng.standard_normal(clean.shape), "clean": clean}.items():
            (tmp_path / name).mkdir(exist_ok=True)
            write_picture(tmp_path / name / f"{index}.png", picture)
    return {"data": str(tmp_path / "noisy"), "reference": tmp_path / "clean", "metrics": "psnr"}


def test_numbers_reach_files_and_runs(denoised: Denoised, folders: dict[str, Any]) -> None:
    """A file has a default; a run whose data hold a number for each sample needs it where they hold none."""
    file, folder = denoised.file, denoised.file.parent.parent
    low, high = (_evaluate(file, **folders, numbers={"sigma": sigma}) for sigma in (0.01, 0.3))
    default = _evaluate(file, **folders).scores[str(file)]
    assert low.scores[str(file)].means != high.scores[str(file)].means
    assert default.means == _evaluate(file, **folders, numbers={"sigma": 0.1}).scores[str(file)].means
    both = _evaluate(file, folder, plugins=PLUGINS, **folders, numbers={"sigma": 0.3}).scores
    assert both[str(folder)].means == pytest.approx(both[str(file)].means, rel=1e-4)
    assert both[str(file)].means == high.scores[str(file)].means
    with refused("evaluate.bad-number", file, name="sigma", high=0.3):
        _evaluate(file, **folders, numbers={"sigma": 25})
    with refused("evaluate.no-number", "--input sgima", known="sigma"):
        _evaluate(file, **folders, numbers={"sgima": 0.1})
    with refused("evaluate.not-a-number", "--input image"):
        _evaluate(file, **folders, numbers={"image": 0.1})
    with refused("evaluate.no-input", folder, tensor="sigma"):
        _evaluate(folder, plugins=PLUGINS, **folders)


def test_a_number_replaces_those_of_a_split(denoised: Denoised) -> None:
    assert "data.sigma" in DENOISE
    folder = denoised.file.parent.parent
    own, low = (_evaluate(folder, plugins=PLUGINS, numbers=numbers) for numbers in (None, {"sigma": 0.01}))
    assert list(own.scores) == ["unrestored", str(folder)]
    assert own.scores["unrestored"] == low.scores["unrestored"]
    assert own.scores[str(folder)].means != low.scores[str(folder)].means


def test_pictures_of_twice_the_size(write_model: Callable[..., Path], folders: dict[str, Any], tmp_path: Path) -> None:
    """Results are compared; the smaller data themselves aren't."""
    for index in range(2):
        write_picture(tmp_path / "clean" / f"{index}.png", np.full((36, 48, 3), 0.5))
        (tmp_path / "twice").mkdir(exist_ok=True)
        write_picture(tmp_path / "twice" / f"{index}.png", np.full((36, 48, 3), 0.6))
    found = _evaluate(tmp_path / "twice", **folders)
    assert found.candidates == list(found.scores) == [str(tmp_path / "twice")]
    same = write_model(tmp_path / "same.onnx", factor=1)
    with refused("std.shapes-differ", "sample 0-0"):
        _evaluate(same, **folders)


def test_a_metric_without_reference_needs_none(
    write_plugin: WritePlugin, write_model: Callable[..., Path], folders: dict[str, Any], tmp_path: Path
) -> None:
    plugin = write_plugin(
        "plain",
        """
from restore_hub import hookimpl

class Mean:
    higher_is_better = True

    def __init__(self, times: float = 1.0) -> None:
        self.times = times

    def __call__(self, prediction):
        return self.times * prediction.mean()

@hookimpl
def register_metrics(register):
    register("mean", "{stem}:Mean", summary="Mean")
""",
    )
    half = str(write_model(tmp_path / "half.onnx", factor=0.5))
    metrics = "{mean: {metric: plain/mean, times: 10}}"
    found = _evaluate(half, data=folders["data"], metrics=metrics, plugins=[plugin])
    assert found.target == ""
    assert found.scores[half].means["mean"] == pytest.approx(found.scores["unrestored"].means["mean"] / 2, abs=0.05)


def test_a_mosaic_is_compared_with_a_mosaic(denoiser: Path, tmp_path: Path) -> None:
    """`data.raw` goes in, the other tensor of its kind is the reference, and the input has its size."""
    for index in range(2):
        (tmp_path / "photos").mkdir(exist_ok=True)
        write_picture(tmp_path / "photos" / f"{index}.png", np.random.default_rng(index).random((40, 40, 3)))
    data = f"{{dataset: raw/photos, root: {tmp_path / 'photos'}, crop: 32}}"
    found = _evaluate(denoiser, data=data, metrics="psnr")
    assert found.target == "data.clean"
    assert list(found.scores) == ["unrestored", str(denoiser)]


def test_names_tell_samples_apart() -> None:
    class Files:
        def __init__(self, *files: list[str]) -> None:
            self._files = files

        def __len__(self) -> int:
            return len(self._files)

        def files(self, index: int) -> list[Path]:
            return [Path(file) for file in self._files[index]]

    def names(*files: list[str]) -> list[str]:
        return names_of(Files(*files))  # type: ignore[arg-type]

    assert names(["in/a.png", "out/a.png"], ["in/b.png", "out/b.png"]) == ["a", "b"]
    assert names(["in/x/a.png"], ["in/y/a.png"]) == ["x/a", "y/a"]
    assert names(["in/a.png"], ["in/a.dng"]) == ["0-a", "1-a"]
    assert names([], []) == ["0", "1"]
