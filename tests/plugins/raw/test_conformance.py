from __future__ import annotations

from pathlib import Path

from restore_hub.testing import check_dataset
from restore_hub_raw.make_raw import Recipe, make_folder
from restore_hub_raw.pairs import Pairs


def test_pairs(photos: Path, tmp_path: Path) -> None:
    make_folder(photos, tmp_path / "data", Recipe(phase="gbrg"))
    check_dataset(Pairs(tmp_path / "data", crop=32))
