"""Axes, downsampling and panels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from restore_hub.report.chart import Span, chart
from restore_hub.report.downsample import downsample
from restore_hub.report.scale import Scale, number, value_scale


def test_downsampling_keeps_spikes_and_ends() -> None:
    values = np.random.default_rng(0).normal(size=100_003)
    values[54_321], values[54_322], values[77_000] = 50, -40, 30
    kept = downsample(values)
    assert len(kept) <= 800
    assert np.all(np.diff(kept) > 0)
    assert {0, 54_321, 54_322, 77_000, 100_002} <= set(kept)
    assert np.array_equal(downsample(values[:800]), np.arange(800)), "what is short enough stays whole"


@pytest.mark.parametrize(
    ("scale", "ticks"),
    [
        (Scale(0.0, 1.0), [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (Scale(-2.3, 3.6), [-2, -1, 0, 1, 2, 3]),
        (Scale(17.0001, 17.0008), [17.0001, 17.0002, 17.0003, 17.0004, 17.0005, 17.0006, 17.0007, 17.0008]),
        (Scale(0.0007, 3.0, log=True), [1e-3, 1e-2, 1e-1, 1]),
        (Scale(0.09, 4.0, log=True), [0.1, 0.2, 0.5, 1, 2]),
        (Scale(1e-20, 1.0, log=True), [1e-18, 1e-15, 1e-12, 1e-9, 1e-6, 1e-3, 1]),
    ],
)
def test_ticks_are_round_and_inside(scale: Scale, ticks: list[float]) -> None:
    assert scale.ticks() == pytest.approx(ticks, rel=1e-9)


def test_axes_are_logarithmic_if_values_span_decades() -> None:
    assert value_scale([1e-5, 1.0, 0.0]).log, "zeros are left out"
    assert not value_scale([0.1, 1.0]).log
    assert not value_scale([-1.0, 1e-5, 1.0]).log
    assert Scale(1e-4, 1.0, log=True).place(1e-2) == pytest.approx(0.5)
    flat = value_scale([3.0, 3.0])
    assert flat.low < 3.0 < flat.high


def test_numbers_are_short() -> None:
    texts = {0: "0", 20.2531: "20.25", -0.5: "−0.5", 1e-5: "10⁻⁵", 2.5e-7: "2.5·10⁻⁷", math.inf: "∞", 12345: "12345"}
    assert {value: number(value) for value in texts} == texts


def test_a_panel_separates_stages_and_counts_what_it_cannot_draw() -> None:
    values = {step: 10.0 ** -(step % 5) for step in range(1, 101)}
    values[7], values[8] = math.nan, 0.0
    panel = chart("norm", "What it is.", {"norm": values}, [Span(0, 60, "1 joint"), Span(60, 100, "2 ibgl")])
    (line,) = panel.iter("polyline")
    assert len(line.attrib["points"].split()) == len(line.attrib["data-values"].split()) == 98
    text = "".join(panel.itertext())
    assert "Logarithmic axis" in text
    assert "2 of 100 values, which are zero, negative or not finite" in text
    (mark,) = [node for node in panel.iter("line") if node.get("class") == "mark"]
    steps = [float(x) for x in line.attrib["data-steps"].split()]
    xs = [float(point.split(",")[0]) for point in line.attrib["points"].split()]
    assert float(mark.attrib["x1"]) == pytest.approx(xs[steps.index(60)], abs=0.1)
    assert {"1 joint", "2 ibgl"} <= {node.text for node in panel.iter("text")}


def test_a_panel_without_finite_values_says_so() -> None:
    panel = chart("loss", "Stage 1.", {"loss": {1: math.nan}})
    assert not list(panel.iter("svg"))
    assert "1 of 1 values, which are not finite" in "".join(panel.itertext())
