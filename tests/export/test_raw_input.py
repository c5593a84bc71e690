"""RAW preprocessing inside the graph equals the reader's own, for every phase and size."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from restore_hub.export.raw_input import pack, unpad
from restore_hub.photo.raw import mosaic as packing

SIZES = [(1, 1), (1, 4), (2, 2), (2, 5), (3, 3), (4, 5), (6, 7), (9, 2)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("phase", list(itertools.product((0, 1), (0, 1))), ids=str)
def test_pack_is_the_reader_s_pack(size: tuple[int, int], phase: tuple[int, int]) -> None:
    rng = np.random.default_rng(sum(size))
    mosaic = rng.integers(400, 4000, size).astype(np.uint16)
    black, white = rng.uniform(400, 600, 4), rng.uniform(3000, 4000, 4)
    balance, gain = rng.uniform(1, 2, 4), 1.7
    expected = packing.pack(mosaic, phase, black, white, balance, gain)
    numbers = [torch.tensor(v, dtype=torch.float32) for v in (black, white, balance, [gain])]
    given = torch.from_numpy(mosaic.astype(np.float32))[None, None]
    ours = pack(given, torch.tensor(phase), *numbers)[0].numpy()
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, atol=2e-6)


@pytest.mark.parametrize("phase", list(itertools.product((0, 1), (0, 1))), ids=str)
def test_unpad_puts_every_pixel_back_where_the_sensor_had_it(phase: tuple[int, int]) -> None:
    mosaic = torch.arange(5.0 * 6).reshape(1, 1, 5, 6)
    one = torch.ones(4)
    planes = pack(mosaic, torch.tensor(phase), 0 * one, 100 * one, one, torch.ones(1))
    picture = torch.nn.functional.pixel_shuffle(planes, 2)
    assert torch.allclose(unpad(picture, mosaic, torch.tensor(phase)) * 100, mosaic)
