"""`check` gives each metric an example of what it's wired to."""

from __future__ import annotations

from pathlib import Path

import pytest

from restore_hub.errors import SpecError
from support import check
from support.commands import invoke
from support.numbers import DENOISE, PLUGINS
from support.plugin_files import WritePlugin

METRICS = """
import numpy as np
from restore_hub import hookimpl

class Ordered:
    higher_is_better = True
    def __call__(self, boxes):
        if (boxes[:, :2] > boxes[:, 2:]).any():
            raise ValueError("a box ends before it begins")
        return float(len(boxes))

class Upside:
    higher_is_better = True
    def __call__(self, picture):
        return float(picture.mean((0, 1)) @ np.ones(3))

class Vector:
    higher_is_better = True
    def __call__(self, picture):
        return picture.mean((0, 1))

class Many:
    higher_is_better = True
    def __init__(self) -> None:
        self.seen = 0
    def update(self, picture):
        self.seen += 1
    def compute(self):
        return 1.0 / (self.seen // 3)

@hookimpl
def register_metrics(register):
    register("ordered", "measures:Ordered", summary="Takes boxes whose corners have an order")
    register("upside", "measures:Upside", summary="Takes pictures of three channels")
    register("vector", "measures:Vector", summary="Returns no number")
    register("many", "measures:Many", summary="Needs three samples")
"""
SPEC = DENOISE.replace("metrics: [psnr]", "metrics: {m: {METRIC}}").replace(
    "objectives:",
    """\
  find: {network: kinds/detector, inputs: {image: clean}, outputs: [found, boxes]}
  classify: {network: kinds/segmenter, inputs: {image: clean}, outputs: [classes, scores]}
  open: {network: kinds/halves, inputs: {image: clean}, outputs: [whole, half, open]}
objectives:""",
)


@pytest.fixture
def checked(tmp_path: Path, write_plugin: WritePlugin):  # type: ignore[no-untyped-def]
    """Return a function that runs `check` on a spec with a metric, and returns the error or `None`."""
    plugins = [*PLUGINS, write_plugin("measures", METRICS)]

    def run(metric: str) -> BaseException | None:
        path = tmp_path / "spec.yaml"
        path.write_text(SPEC.replace("METRIC", metric))
        done = invoke("check", path, *(part for plugin in plugins for part in ("--plugin", plugin)))
        assert done.exit_code == (1 if done.exception else 0), done.output
        return done.exception

    return run


@pytest.mark.parametrize(
    ("metric", "code"),
    [
        ("metric: psnr, inputs: {prediction: boxes, target: boxes}", "std.not-a-picture"),
        ("metric: psnr, inputs: {prediction: classes, target: data.rgb}", "std.shapes-differ"),
        ("metric: psnr, inputs: {prediction: scores, target: data.rgb}", "std.shapes-differ"),
        ("metric: psnr, inputs: {prediction: half, target: data.rgb}", "std.shapes-differ"),
        ("metric: psnr, inputs: {prediction: open, target: data.rgb}", "std.shapes-differ"),
        ("metric: measures/upside, inputs: {picture: scores}", "spec.metric-fails"),
        ("metric: measures/vector, inputs: {picture: clean}", "spec.metric-fails"),
        ("metric: measures/ordered, inputs: {boxes: data.sigma}", "spec.metric-fails"),
    ],
)
def test_a_metric_that_cannot_take_its_tensors_is_refused(checked, metric: str, code: str) -> None:  # type: ignore[no-untyped-def]
    error = checked(metric)
    check(error, code, "metrics.m")
    assert isinstance(error, SpecError)


@pytest.mark.parametrize(
    "metric",
    [
        "metric: ssim, inputs: {prediction: clean, target: data.rgb}",
        "metric: measures/upside, inputs: {picture: clean}",
        "metric: measures/ordered, inputs: {boxes: boxes}",
        "metric: measures/many, inputs: {picture: open}",
    ],
)
def test_one_that_needs_other_values_or_more_samples_passes(checked, metric: str) -> None:  # type: ignore[no-untyped-def]
    assert checked(metric) is None
