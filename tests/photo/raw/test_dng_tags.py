"""Black levels as a DNG's tags have them, and damaged tags that disturb nobody."""

from __future__ import annotations

import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from restore_hub.photo.raw.reader import read_raw, render_raw
from support.raw_files import RGGB, make_bare_dng

BLACK_REPEAT, BLACK_LEVEL, DELTA_H, DELTA_V, WHITE_LEVEL = 50713, 50714, 50715, 50716, 50717
SHORT, LONG, RATIONAL, SRATIONAL = 3, 4, 5, 10


def bare(path: Path, *tags: tuple[Any, ...]) -> Path:
    """Write an rggb DNG of 40 x 40 pixels with extra tags."""
    mosaic, white = np.full((40, 40), 1000, np.uint16), (WHITE_LEVEL, LONG, 1, 16383, True)
    return make_bare_dng(path, mosaic, RGGB, [white, *tags])


def rational(*values: float) -> tuple[int, ...]:
    return tuple(number for value in values for number in (round(value * 64), 64))


TWO = (BLACK_REPEAT, SHORT, 2, (2, 2), True)
LEVELS = (BLACK_LEVEL, LONG, 4, (512, 512, 512, 512), True)
DELTAS = [(DELTA_V, SRATIONAL, 40, rational(*[16] * 40), True), (DELTA_H, SRATIONAL, 40, rational(*[4] * 40), True)]


@pytest.mark.parametrize(
    ("tags", "black"),
    [
        ([TWO, LEVELS], [512] * 4),
        ([TWO, LEVELS, (DELTA_V, SRATIONAL, 40, rational(*np.linspace(12, 20, 40)), True)], [528] * 4),
        ([TWO, LEVELS, (DELTA_H, SRATIONAL, 40, rational(*[-2.5] * 40), True)], [509.5] * 4),
        ([TWO, (BLACK_LEVEL, LONG, 4, (512, 513, 514, 515), True), *DELTAS], [532, 533, 534, 535]),
        ([(BLACK_LEVEL, RATIONAL, 1, rational(512.5), True)], [512.5] * 4),
        ([TWO, (BLACK_LEVEL, RATIONAL, 4, rational(500.25, 501.5, 499.75, 502), True)], [500.25, 501.5, 499.75, 502]),
        (  # 4 x 4: the levels of each site class are (0, 2, 8, 10), (1, 3, 9, 11), ... above 500
            [(BLACK_REPEAT, SHORT, 2, (4, 4), True), (BLACK_LEVEL, LONG, 16, tuple(range(500, 516)), True)],
            [505, 506, 509, 510],
        ),
        ([(BLACK_REPEAT, SHORT, 2, (1, 2), True), (BLACK_LEVEL, LONG, 2, (500, 510), True)], [500, 510, 500, 510]),
    ],
)
def test_black_levels_are_those_of_the_tags(tmp_path: Path, tags: list[tuple[Any, ...]], black: list[float]) -> None:
    raw = read_raw(bare(tmp_path / "a.dng", *tags))
    np.testing.assert_allclose(raw.black, black, atol=0.01)
    assert raw.white.tolist() == [16383] * 4


def test_tiffs_log_of_damaged_tags_stays_off_the_terminal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = bare(tmp_path / "a.dng", TWO, LEVELS, (65000, LONG, 40, tuple(range(40)), True))
    data = bytearray(path.read_bytes())
    place = data.index(struct.pack("<HHI", 65000, LONG, 40)) + 8
    data[place : place + 4] = struct.pack("<I", 2**31)  # its values lie behind the end of the file
    path.write_bytes(data)
    log = logging.getLogger("tifffile")
    with tifffile.TiffFile(path) as tiff:
        assert len(tiff.pages.first.tags) > 10
    assert caplog.records  # tifffile does complain
    caplog.clear()
    assert read_raw(path).black.tolist() == [512] * 4
    render_raw(path)
    assert not caplog.records
    assert not log.disabled  # for others it goes on
