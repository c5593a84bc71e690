"""`raw/sid`: the official lists and layout, with small DNG files instead of the camera's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from restore_hub.photo.raw.dng_writer import write_dng
from restore_hub.photo.raw.reader import read_raw, render_raw
from restore_hub.plugins import default_registry
from restore_hub.testing import check_dataset
from restore_hub_raw.datasets.sid import Sid
from restore_hub_raw.synthesis.make_folder import make_folder
from restore_hub_raw.synthesis.recipe import Recipe
from support import refused

LINES = {
    "train": [
        ("00001_00_0.04s", "00001_00_10s"),
        ("00001_01_0.1s", "00001_00_10s"),
        ("00002_00_0.04s", "00002_00_30s"),
    ],
    "val": [("20001_00_0.1s", "20001_00_10s")],
    "test": [("10003_00_0.04s", "10003_00_10s"), ("10034_00_0.1s", "10034_00_10s"), ("10172_00_0.1s", "10172_00_10s")],
}


@pytest.fixture
def root(photos: Path, tmp_path: Path) -> Path:
    """Return the set's folders and lists; every short exposure is dark, none states its time."""
    make_folder(photos, tmp_path / "made", Recipe(ratio=50))
    short, long = (
        replace(read_raw(tmp_path / "made" / side / "a.dng"), exposure_time=None) for side in ("short", "long")
    )
    root = tmp_path / "sid"
    for side in ("short", "long"):
        (root / "Sony" / side).mkdir(parents=True)
    for split, pairs in LINES.items():
        for one, other in pairs:
            write_dng(root / "Sony" / "short" / f"{one}.ARW", short)
            write_dng(root / "Sony" / "long" / f"{other}.ARW", long)
        write_list(root, split, *pairs)
    return root


def write_list(root: Path, split: str, *pairs: tuple[str, str]) -> None:
    lines = [f"./Sony/short/{one}.ARW ./Sony/long/{other}.ARW ISO200 F8\n" for one, other in pairs]
    (root / f"Sony_{split}_list.txt").write_text("".join(lines))


def test_pairs_and_ratios_follow_the_list(root: Path) -> None:
    assert default_registry().find("dataset", "raw/sid").load() is Sid
    sid = Sid(root, "train")
    assert [tuple(file.name for file in sid.files(i)) for i in range(len(sid))] == [
        (f"{one}.ARW", f"{other}.ARW") for one, other in LINES["train"]
    ]
    raw = read_raw(root / "Sony" / "short" / "00001_00_0.04s.ARW")
    signal = (raw.mosaic[::2, ::2] - 512.0) / (16383 - 512) * raw.balance[0]
    for index, ratio in enumerate([250, 100, 300]):  # 30 / 0.04 is more than 300
        sample = sid.sample(index, None)
        np.testing.assert_allclose(sample["raw"][0], np.minimum(signal * ratio, 1), atol=1e-4)
    expected = render_raw(root / "Sony" / "long" / "00001_00_10s.ARW").transpose(2, 0, 1) / 65535
    np.testing.assert_allclose(sid.sample(1, None)["rgb"], expected, atol=1e-6)
    assert sid.notes == ()
    assert len(Sid(root, "val")) == 1


def test_crops_are_cut_alike(root: Path) -> None:
    sid = Sid(root, "train", crop=24)
    check_dataset(sid)
    assert sid.sample(0, np.random.default_rng(0))["rgb"].shape == (3, 24, 24)


def test_misaligned_test_scenes_are_left_out_and_noted(root: Path) -> None:
    sid = Sid(root, "test")
    assert [sid.files(i)[0].name for i in range(len(sid))] == ["10003_00_0.04s.ARW"]
    (note,) = sid.notes
    assert note.startswith("2 of 3 images of ")
    assert "10034, 10045, 10172" in note
    # They need not be there.
    (root / "Sony" / "short" / "10034_00_0.1s.ARW").unlink()
    assert len(Sid(root, "test")) == 1


@pytest.mark.parametrize(
    ("pair", "code", "name"),
    [
        (("10003_00_0.04s", "10003_00_10s"), "other-split", "10003_00_0.04s.ARW"),
        (("00001_00_0.04s", "20001_00_10s"), "other-split", "20001_00_10s.ARW"),
        (("00001_00_0.04s", "00002_00_30s"), "two-scenes", None),
        (("DSC0001", "00001_00_10s"), "unknown-time", "DSC0001.ARW"),
        (("00001_00_0s", "00001_00_10s"), "unknown-time", "00001_00_0s.ARW"),
    ],
)
def test_errors_name_the_line_of_the_list(root: Path, pair: tuple[str, str], code: str, name: str | None) -> None:
    write_list(root, "train", LINES["train"][0], pair)
    with refused(f"raw-sid.{code}", "Sony_train_list.txt:2", **{"name": name} if name else {}):
        Sid(root, "train")


def test_unusable_lists_and_options_are_refused(root: Path) -> None:
    with refused("raw-data.bad-crop", "crop", got=15):
        Sid(root, "train", crop=15)
    (root / "Sony_val_list.txt").write_text("./Sony/short/20001_00_0.1s.ARW\n")
    with refused("raw-sid.too-few-fields", "Sony_val_list.txt:1"):
        Sid(root, "val")
    (root / "Sony" / "long" / "00001_00_10s.ARW").unlink()
    (root / "Sony" / "short" / "00002_00_0.04s.ARW").unlink()
    with refused("raw-sid.missing-files", "00001_00_10s.ARW", missing=2, files=5):
        Sid(root, "train")
    with refused("raw-data.unreadable-list", "Sony_test_list.txt"):
        Sid(root / "Sony", "test")
