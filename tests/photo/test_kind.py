from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from restore_hub.photo.kind import Kind, find_sidecar, kind_of

DNG = [(50706, 1, 4, bytes((1, 4, 0, 0)), True)]


KINDS = {Kind.RAW: ("a.dng", "a.CR3"), Kind.PICTURE: ("a.png", "a.TIFF"), Kind.UNKNOWN: ("a.npy", "a.txt", "a")}


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for kind, names in KINDS.items() for name in names])
def test_a_name_says_the_kind_of_a_missing_or_damaged_file(tmp_path: Path, name: str, kind: Kind) -> None:
    assert kind_of(tmp_path / name) is kind
    (tmp_path / name).write_bytes(b"II*\0\xff\xff\xff\xff damaged")
    assert kind_of(tmp_path / name) is kind


def test_a_sidecar_makes_a_mosaic_but_not_of_a_dng_or_a_jpeg(tmp_path: Path) -> None:
    (tmp_path / "mosaic.yaml").touch()
    for name in ("a.raw", "a.bin", "a.npy", "a.png", "a.tif"):
        assert kind_of(tmp_path / name) is Kind.MOSAIC
        assert find_sidecar(tmp_path / name) == tmp_path / "mosaic.yaml"
    assert kind_of(tmp_path / "a.dng") is Kind.RAW
    assert kind_of(tmp_path / "a.jpg") is Kind.PICTURE


@pytest.mark.parametrize(("tags", "kind"), [(DNG, Kind.RAW), ([], Kind.PICTURE)])
def test_a_dng_is_raw_under_the_suffix_of_a_tiff(tmp_path: Path, tags: list[object], kind: Kind) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((30, 40), np.uint16), extratags=tags)
    assert kind_of(tmp_path / "a.tif") is kind
