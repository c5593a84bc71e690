"""What ports say about tensors: shapes, windows, and what doesn't fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from restore_hub.port import VOLUME, Port
from support import refused

EXTENT = {"z": 6, "y": 8, "x": 10}
PORTS = {
    "picture": (Port(3), (3, 8, 10)),
    "packed": (Port(4, "raw", scale=0.5), (4, 4, 5)),
    "volume": (Port(2, "map", axes=VOLUME), (2, 6, 8, 10)),
    "half volume": (Port(1, "map", scale=0.5, axes=VOLUME), (1, 3, 4, 5)),
    "classes": (Port.classes(4), (8, 10)),
    "boxes": (Port.several("box", coordinate=4), (3, 4)),
    "number": (Port.number(), ()),
}


@pytest.mark.parametrize("name", PORTS)
def test_an_example_has_the_shape_the_type_and_the_range(name: str) -> None:
    port, shape = PORTS[name]
    sample = np.asarray(port.example(EXTENT, np.random.default_rng(0)))
    assert sample.shape == port.shape(EXTENT) == shape
    assert sample.dtype == port.dtype
    assert port.low <= sample.min()
    assert sample.max() <= port.high
    assert port.wrong(sample.shape, str(sample.dtype)) is None
    assert port.extent(shape) == {axis: EXTENT[axis] for axis in port.spatial}


@pytest.mark.parametrize("name", PORTS)
def test_a_window_cuts_samples_and_batches_along_space_alone(name: str) -> None:
    port, _ = PORTS[name]
    sample = torch.from_numpy(np.asarray(port.example(EXTENT, np.random.default_rng(0))))
    window = {"z": slice(0, 4), "y": slice(2, 6), "x": slice(4, 10)}
    cut = port.crop(sample, window)
    small = {"z": 4, "y": 4, "x": 6}
    assert tuple(cut.shape) == (port.shape(small) if port.spatial else tuple(sample.shape))
    assert torch.equal(port.crop(torch.stack([sample, sample]), window)[1], cut)


def test_only_pictures_are_pictures() -> None:
    seen = {name for name, (port, _) in PORTS.items() if port.is_picture}
    assert seen == {"picture", "packed"}
    assert Port(1, "linear").is_picture
    assert not Port(3, "map").is_picture


def test_what_a_file_can_hold_has_a_shape_that_follows_from_the_picture() -> None:
    assert {name for name, (port, _) in PORTS.items() if port.fixed} == set(PORTS) - {"boxes"}
    assert not Port(None, "map").fixed


@pytest.mark.parametrize(
    ("made", "wanted", "misfit"),
    [
        (Port(3), Port(1), ("3 channels", "1")),
        (Port(1), Port(3), ("1 channel", "3")),
        (Port(3), Port(None), None),
        (Port(3), Port(3, "linear"), ("the space srgb", "linear")),
        (Port(3), Port(3, "map"), None),
        (Port(3), Port(3, scale=0.5), ("1 of the picture's size", "0.5")),
        (Port(3), Port(3, axes=VOLUME), ("(channel, y, x)", "(channel, z, y, x)")),
        (Port(3), Port.number(), ("(channel, y, x)", "a number")),
        (Port.classes(3), Port(None, "map", axes=("y", "x")), ("int64", "float32")),
        (Port.classes(3), Port.classes(9), None),
        (Port.several("box", coordinate=4), Port.several("box", coordinate=5), ("4 along coordinate", "5")),
        (
            Port.several("box", coordinate=4),
            Port(None, "map", axes=("box", "coordinate"), sizes={"box": 9, "coordinate": 4}),
            ("(box, coordinate) of any length", "(box, coordinate)"),
        ),
    ],
)
def test_tensors_that_do_not_fit(made: Port, wanted: Port, misfit: tuple[str, str] | None) -> None:
    assert made.misfit(wanted) == misfit


@pytest.mark.parametrize(
    ("port", "text"),
    [
        (Port(3), "3 channels, srgb, 0 to 1"),
        (Port(4, "raw", scale=0.5), "4 channels, raw, 0 to 1, 0.5 of the picture's size"),
        (Port(1), "1 channel, srgb, 0 to 1"),
        (Port(1, "map", axes=VOLUME), "(1 channel, z, y, x), 0 to 1"),
        (Port.classes(21), "(y, x), int64, 0 to 20"),
        (Port.several("box", coordinate=4), "(box, 4) of any length, 0 to 1"),
        (Port(2, "map", -8, 8, axes=VOLUME), "(2 channels, z, y, x), -8 to 8"),
        (Port.number(0, 0.3, default=0.1), "a number, 0 to 0.3, 0.1 by default"),
    ],
)
def test_a_port_in_words(port: Port, text: str) -> None:
    assert port.describe() == text


@pytest.mark.parametrize(
    "attributes",
    [
        {"space": "sRGB"},
        {"dtype": "uint8"},
        {"low": 2.0},
        {"scale": 0.0},
        {"channels": 0},
        {"default": 0.5},
        {"default": 5.0, "axes": ()},
    ],
    ids=str,
)
def test_a_port_that_makes_no_sense_is_refused(attributes: dict[str, object]) -> None:
    with refused("plugin.bad-port", "Port"):
        Port(**attributes)  # type: ignore[arg-type]
    with refused("plugin.bad-port"):
        Port.classes(0)
