"""One panel of curves as inline SVG, with the last values below; the page's script shows others on hover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from restore_hub.report.downsample import downsample
from restore_hub.report.html import Node, element, note
from restore_hub.report.scale import Scale, number, value_scale

Values = Mapping[int, float]  # step to value

WIDTH, HEIGHT = 480, 250
LEFT, RIGHT, TOP, BOTTOM = 62, 24, 10, 34
NAMES = 16  # room above the curves for the names of spans
MARKED = 40  # curves with at most so many points have them marked
COLOURS = 6
_LETTER = 8.0  # width of a letter, to see what fits


@dataclass(frozen=True, slots=True)
class Span:
    """Named steps, such as a stage: after `first`, up to `last`."""

    first: int
    last: int
    name: str


@dataclass(frozen=True, slots=True)
class _Curve:
    """A series ready to draw: finite values that its axis can show, downsampled."""

    name: str
    index: int
    steps: list[int]
    values: list[float]


def chart(title: str, about: str, series: Mapping[str, Values], spans: Sequence[Span] = ()) -> Node:
    """Return a figure of curves over steps.

    Args:
        title: heading.
        about: one line on what it shows.
        series: values by step, by name; values that aren't finite are counted, not drawn.
        spans: stages; lines separate them if there are several.
    """
    finite = {name: {s: v for s, v in values.items() if np.isfinite(v)} for name, values in series.items()}
    vertical = value_scale([v for values in finite.values() for v in values.values()])
    shown = {n: {s: v for s, v in values.items() if not vertical.log or v > 0} for n, values in finite.items()}
    curves = [_curve(name, index, values) for index, (name, values) in enumerate(shown.items()) if values]
    total = sum(map(len, series.values()))
    hidden = total - sum(map(len, shown.values()))
    reason = "zero, negative or not finite" if vertical.log else "not finite"
    foot = note(f"Not shown: {hidden} of {total} values, which are {reason}.") if hidden else None
    heading = element("h3", {}, title)
    if not curves:
        return element("figure", {"class": "chart"}, heading, note(about), foot)
    steps = [step for curve in curves for step in curve.steps]
    horizontal = Scale(min(steps), max(max(steps), min(steps) + 1))
    label = f"{title}: " + "; ".join(f"{c.name} from {number(c.values[0])} to {number(c.values[-1])}" for c in curves)
    inside = [span for span in spans if span.last > horizontal.low and span.first < horizontal.high]
    names = _spans(horizontal, inside) if len(inside) > 1 else []
    top = -NAMES if names else 0
    drawing = element(
        "svg",
        {"viewBox": f"0 {top} {WIDTH} {HEIGHT - top}", "role": "img", "tabindex": "0", "aria-label": label},
        *_axes(horizontal, vertical),
        *names,
        *(node for curve in curves for node in _draw(curve, horizontal, vertical)),
        element("line", {"class": "cursor", "y1": str(TOP), "y2": str(HEIGHT - BOTTOM), "visibility": "hidden"}),
    )
    axis = " Logarithmic axis." if vertical.log else ""
    return element(
        "figure",
        {"class": "chart"},
        heading,
        note(about + axis),
        drawing,
        _readout(curves, max(steps)),
        foot,
    )


def _curve(name: str, index: int, values: Values) -> _Curve:
    steps = sorted(values)
    kept = downsample(np.array([values[step] for step in steps]))
    return _Curve(name, index % COLOURS, [steps[i] for i in kept], [values[steps[i]] for i in kept])


def _x(scale: Scale, step: float) -> str:
    return f"{LEFT + scale.place(step) * (WIDTH - LEFT - RIGHT):.1f}"


def _y(scale: Scale, value: float) -> str:
    return f"{HEIGHT - BOTTOM - scale.place(value) * (HEIGHT - TOP - BOTTOM):.1f}"


def _axes(horizontal: Scale, vertical: Scale) -> list[Node]:
    nodes = []
    for tick in vertical.ticks():
        y = _y(vertical, tick)
        nodes.append(element("line", {"class": "grid", "x1": str(LEFT), "x2": str(WIDTH - RIGHT), "y1": y, "y2": y}))
        place = {"x": str(LEFT - 8), "y": y, "dy": ".35em", "text-anchor": "end"}
        nodes.append(element("text", place, number(tick)))
    for tick in horizontal.ticks():
        if tick == int(tick):
            place = {"x": _x(horizontal, tick), "y": str(HEIGHT - 12), "text-anchor": "middle"}
            nodes.append(element("text", place, f"{tick:.0f}"))
    return nodes


def _spans(horizontal: Scale, spans: Sequence[Span]) -> list[Node]:
    """Return a line between spans, and each one's name if it fits."""
    nodes = []
    for span in spans:
        first, last = max(span.first, horizontal.low), min(span.last, horizontal.high)
        x, width = _x(horizontal, first), (horizontal.place(last) - horizontal.place(first)) * (WIDTH - LEFT - RIGHT)
        if span.first > horizontal.low:
            line = {"class": "mark", "x1": x, "x2": x, "y1": str(TOP - 16), "y2": str(HEIGHT - BOTTOM)}
            nodes.append(element("line", line))
        name = next((n for n in (span.name, span.name.split()[0]) if len(n) * _LETTER < width - 6), None)
        if name:
            nodes.append(element("text", {"class": "name", "x": x, "dx": "5", "y": str(TOP - 8)}, name))
    return nodes


def _draw(curve: _Curve, horizontal: Scale, vertical: Scale) -> list[Node]:
    points = [(_x(horizontal, s), _y(vertical, v)) for s, v in zip(curve.steps, curve.values, strict=True)]
    line = {
        "class": f"curve c{curve.index}",
        "points": " ".join(f"{x},{y}" for x, y in points),
        "data-steps": " ".join(map(str, curve.steps)),
        "data-values": " ".join(number(v) for v in curve.values),
    }
    dots = points if len(points) <= MARKED else []
    return [
        element("polyline", line),
        *(element("circle", {"class": f"dot c{curve.index}", "cx": x, "cy": y, "r": "2.6"}) for x, y in dots),
    ]


def _readout(curves: Sequence[_Curve], step: int) -> Node:
    """Return the legend, which also shows the values at a step: the last one, until the script changes it."""
    keys = [
        element(
            "span",
            {"class": f"key c{curve.index}"},
            element(
                "svg",
                {"viewBox": "0 0 22 8", "aria-hidden": "true"},
                element("line", {"class": f"curve c{curve.index}", "x1": "0", "x2": "22", "y1": "4", "y2": "4"}),
            ),
            f" {curve.name} ",
            element("b", {}, number(curve.values[-1])),
        )
        for curve in curves
    ]
    return element("p", {"class": "readout"}, element("span", {}, "step ", element("b", {}, str(step))), *keys)
