"""Where crops can lie: every place that begins with red is drawn, upright and mirrored."""

from __future__ import annotations

import numpy as np
import pytest

from restore_hub_raw.datasets.mosaic_cut import _place


def admissible(length: int, phase: int, size: int, flip: bool) -> set[tuple[int, int]]:
    """Return the first and the last line of every crop whose first line has red, by trying all."""
    found = set()
    for top in range(length - size + 1):
        bottom = top + size - 1
        if top % 2 == phase:
            found.add((top, bottom))
        if flip and bottom % 2 == phase:
            found.add((bottom, top))
    return found


@pytest.mark.parametrize("phase", [0, 1])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("length", "size"), [(11, 4), (12, 4), (12, 10), (6, 4), (5, 4), (21, 2)])
def test_every_admissible_place_is_drawn_and_no_other(length: int, size: int, phase: int, flip: bool) -> None:
    rng, lines, drawn = np.random.default_rng(0), np.arange(length), []
    for _ in range(600):
        cut = lines[_place(length, phase, size, flip, rng)]
        assert len(cut) == size
        assert (np.abs(np.diff(cut)) == 1).all()
        drawn.append((int(cut[0]), int(cut[-1])))
    assert set(drawn) == admissible(length, phase, size, flip)
    # A crop that just fits has one place.
    assert {tuple(lines[_place(size, 0, size, True, rng)].tolist()) for _ in range(50)} == {tuple(range(size))}


@pytest.mark.parametrize("phase", [0, 1])
def test_no_place_is_preferred(phase: int) -> None:
    """Of 20,000 draws, each of ten upright and ten mirrored places on 23 lines gets 1000, within 5 deviations."""
    rng, lines = np.random.default_rng(1), np.arange(23)
    firsts = [int(lines[_place(23, phase, 4, True, rng)][0]) for _ in range(20000)]
    count = np.bincount(firsts, minlength=23)[phase::2]
    upright = np.array([first % 2 == phase and first + 4 <= 23 for first in range(phase, 23, 2)], int)
    mirrored = np.array([first >= 3 for first in range(phase, 23, 2)], int)
    expected = 10000 * (upright / upright.sum() + mirrored / mirrored.sum())
    assert (np.abs(count - expected) < 5 * np.sqrt(expected)).all()
