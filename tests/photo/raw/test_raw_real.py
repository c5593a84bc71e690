"""RAW files of cameras."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from restore_hub.photo.raw.mosaic import PHASES, pack
from restore_hub.photo.raw.reader import read_raw
from support import refused
from support.raw_files import make_dng
from support.real import DATA, real


@real
@pytest.mark.parametrize(
    ("name", "size", "white"),
    [
        ("apple_quicktake_shared/QKTK/Image__1.qtk", (480, 640), 1023),
        ("apple_quicktake_shared/QKTN/TEST150.QTK", (480, 640), 16383),
        ("kodak_dc50/DC0011M.KDC", (512, 768), 16383),
    ],
)
def test_real_files_in_grbg(name: str, size: tuple[int, int], white: int) -> None:
    raw = read_raw(DATA / "raw" / name)
    assert raw.mosaic.shape == size
    assert raw.phase == (0, 1)
    assert raw.black.tolist() == [0] * 4
    assert raw.white.tolist() == [white] * 4
    assert raw.mosaic.max() <= white
    assert raw.balance_source == ("camera" if name.startswith("kodak") else "daylight")
    assert 0.5 < raw.balance.min() <= raw.balance.max() < 2


@real
def test_real_dng() -> None:
    raw = read_raw(DATA / "raw" / "tinydng_colorchart" / "colorchart.dng")
    assert raw.mosaic.shape == (1156, 1734)
    assert (raw.mosaic.min(), raw.mosaic.max()) == (1958, 12128)
    assert raw.phase == (0, 0)
    assert raw.black.tolist() == [2056] * 4
    assert raw.white.tolist() == [15000] * 4
    np.testing.assert_allclose(raw.balance, [2.477, 1, 1, 1.69425], rtol=1e-4)
    assert raw.camera == "Canon EOS Kiss X4"
    assert raw.exposure_time is None  # stored as 0/1000000
    assert raw.gain is None  # stored as 0/0
    np.testing.assert_allclose(raw.to_srgb.sum(axis=1), 1, atol=1e-4)
    planes = pack(raw.mosaic, raw.phase, raw.black, raw.white, raw.balance, 1.0)
    assert planes.shape == (4, 579, 868)
    assert planes.min() < 0


@real
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("misc_dng_shared/canon_eos_6d.dng", "raw.unknown-layout"),
        ("halide_bayer_small/bayer_small.png", "raw.no-sidecar"),
        ("nikon_dsc1339_4cfa/DSC_1339_768x512_rggb.raw", "raw.no-header"),
        ("openisp_test/test.RAW", "raw.no-header"),
    ],
)
def test_real_files_that_are_refused(name: str, code: str) -> None:
    with refused(code, name):
        read_raw(DATA / "raw" / name)


@real
def test_real_scene_in_four_patterns(tmp_path: Path) -> None:
    """The same sensor values, their sites permuted inside each tile, are the same planes."""
    folder, planes = DATA / "raw" / "nikon_dsc1339_4cfa", []
    for name, phase in PHASES.items():
        mosaic = np.fromfile(folder / f"DSC_1339_768x512_{name}.raw", "<u2").reshape(512, 768)
        raw = read_raw(
            make_dng(tmp_path / "a.dng", mosaic, phase=phase, black=np.full(4, 600), white=np.full(4, 15520))
        )
        assert raw.phase == phase
        even = raw.mosaic[phase[0] : 510 + phase[0], phase[1] : 766 + phase[1]]
        planes.append(pack(even, (0, 0), raw.black, raw.white, raw.balance, 1.0))
    for other in planes[1:]:
        assert np.corrcoef(planes[0].ravel(), other.ravel())[0, 1] > 0.9
