"""`restore-hub data check` of folders finds each fault, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from restore_hub.photo.picture_writer import write_picture
from restore_hub.photo.raw.mosaic import RawImage
from restore_hub.photo.raw.reader import read_raw, render_raw
from restore_hub_raw.synthesis.make_folder import make_folder
from restore_hub_raw.synthesis.recipe import Recipe
from support import refused
from support.fresh import fresh_python
from support.raw_pairs import SIDES, alone, change, check_data, found, make_pairs, mistimed, scene


def test_clean_data_has_no_findings(clean: Path) -> None:
    for folder, count in ((clean, 5), (clean / "train", 3)):
        result = check_data(folder)
        assert result.exit_code == 0, result.output
        assert f"{count} pairs, no findings" in result.output
        assert "note" not in result.output


@pytest.mark.parametrize("ratio", [1, 300])
def test_equal_and_very_short_exposures_are_not_findings(tmp_path: Path, ratio: float) -> None:
    assert check_data(make_pairs(tmp_path / "set", "abcd", Recipe(ratio))).exit_code == 0


def cut_off(data: Path) -> Path:
    path = data / "train/long/b.dng"
    path.write_bytes(path.read_bytes()[:3000])
    return path


def moved(data: Path) -> Path:
    other = make_pairs(data.parent / "other", "b", dy=1.5, dx=-0.75)
    shutil.copy(other / "long" / "b.dng", data / "train/long/b.dng")
    return data / "train/short/b.dng"


def twin(data: Path) -> Path:
    return Path(shutil.copy(data / "train/long/a.dng", data / "train/long/a.nef"))


def assert_found(data: Path, file: Path, problem: str, detail: str) -> None:
    result = check_data(data)
    (row,) = found(result)
    assert row.startswith(f"{file.relative_to(data).parts[0]} {file} {problem} ")
    assert detail in row
    assert f"1 finding: 1 {problem}" in result.stdout


@pytest.mark.parametrize(
    ("fault", "problem", "detail"),
    [
        (cut_off, "unreadable", ""),
        (alone, "no partner", ""),
        (moved, "misaligned", "-1.5"),
        (mistimed, "exposure ratio", "exposure times say 50"),
        (twin, "same name", ""),
    ],
)
def test_each_fault_is_found_alone(data: Path, fault: Callable[[Path], Path], problem: str, detail: str) -> None:
    assert_found(data, fault(data), problem, detail)


def rolled(raw: RawImage) -> dict[str, Any]:
    return {"mosaic": np.roll(raw.mosaic, 2, axis=1)}


def dark(raw: RawImage) -> dict[str, Any]:
    return {"mosaic": np.rint(np.random.default_rng(0).normal(512, 3, raw.mosaic.shape)).astype(np.uint16)}


def untimed(_: RawImage) -> dict[str, Any]:
    return {"exposure_time": None, "gain": None, "baseline_exposure": None}


def turned(raw: RawImage) -> dict[str, Any]:
    return {"mosaic": np.roll(raw.mosaic, 1, axis=1), "phase": (0, 1)}


def blown(raw: RawImage) -> dict[str, Any]:
    return {"mosaic": np.where(np.arange(len(raw.mosaic))[:, None] < 130, 16383, raw.mosaic).astype(np.uint16)}


@pytest.mark.parametrize(
    ("changed", "found_in", "fields", "problem", "detail"),
    [
        ("holdout/long/d", "short", rolled, "misaligned", "-2.0"),
        ("train/short/c", "short", dark, "exposure ratio", "the pixels say above"),
        ("train/short/c", "short", untimed, "no exposure ratio", "the option `ratio`"),
        ("train/long/a", "long", blown, "mostly clipped", "65% of the pixels"),
        ("train/long/a", "short", lambda raw: {"mosaic": raw.mosaic[:-2]}, "sizes differ", "200 x 240 and 198 x 240"),
        ("train/long/a", "short", turned, "patterns differ", "(0, 0) and at (0, 1)"),
        ("train/long/a", "short", lambda _: {"camera": "Maker Other"}, "cameras differ", "Maker Other"),
    ],
)
def test_each_change_of_a_file_is_found_alone(
    data: Path, changed: str, found_in: str, fields: Callable[[RawImage], dict[str, Any]], problem: str, detail: str
) -> None:
    path = data / f"{changed}.dng"
    change(path, **fields(read_raw(path)))
    assert_found(data, path.parent.with_name(found_in) / path.name, problem, detail)


def test_files_that_occur_twice_are_found(data: Path) -> None:
    for side in SIDES:
        shutil.copy(data / "train" / side / "a.dng", data / "holdout" / side / "z.dng")
        shutil.copy(data / "train" / side / "b.dng", data / "train" / side / "y.dng")
    rows = found(check_data(data))
    assert len(rows) == 4
    for side in SIDES:
        train, leak = data / "train" / side, data / "holdout" / side / "z.dng"
        assert f"train {train}/a.dng in two splits the same content is in holdout: {leak}" in rows
        assert f"train {train}/y.dng duplicate the same content as {train}/b.dng" in rows


def test_all_faults_at_once_are_counted_by_kind(data: Path) -> None:
    for fault in (cut_off, mistimed):
        fault(data)
    change(data / "train/long/a.dng", camera="Maker Other")
    change(data / "holdout/long/d.dng", **rolled(read_raw(data / "holdout/long/d.dng")))
    result = check_data(data)
    assert len(found(result)) == 4
    assert "5 pairs, 4 findings: " in result.stdout


def test_hidden_files_of_macos_are_ignored(data: Path) -> None:
    for side in SIDES:
        for name in ("._a.dng", "._lonely.dng", ".DS_Store"):
            (data / "train" / side / name).write_bytes(b"Mac OS X")
    (data / "train" / "short" / "._alone.dng").write_bytes(b"Mac OS X")
    result = check_data(data)
    assert result.exit_code == 0, result.output
    assert "5 pairs, no findings" in result.output


def test_a_missing_side_is_found(data: Path) -> None:
    shutil.rmtree(data / "train" / "long")
    (row,) = found(check_data(data / "train"))
    assert row.startswith(f"train {data}/train/long no folder ")


def test_pictures_as_references_are_aligned_too(data: Path) -> None:
    for file in sorted((data / "train" / "long").iterdir()):
        write_picture(file.with_suffix(".png"), render_raw(file) / 65535, bits=16)
        file.unlink()
    assert check_data(data / "train").exit_code == 0
    other = data / "train" / "long" / "b.png"
    write_picture(other, scene(200, 240, ord("b"), dy=2), bits=16)
    (row,) = found(check_data(data / "train"))
    assert f"{data}/train/short/b.dng misaligned" in row


def test_something_else_is_refused_and_small_pictures_are_not_aligned(photos: Path, tmp_path: Path) -> None:
    with refused("raw-check.no-pairs", photos):
        check_data(photos)
    make_folder(photos, tmp_path / "set", Recipe())
    result = check_data(tmp_path / "set")
    assert result.exit_code == 0
    assert "cannot determine the alignment of 3 of 3 pairs" in result.stdout


def test_a_folder_is_checked_without_torch_and_the_exit_status_is_1(data: Path) -> None:
    alone(data)
    code = (
        "import atexit, sys; from restore_hub.cli import main\n"
        "atexit.register(lambda: print('torch' in sys.modules)); main(['data', 'check', sys.argv[1]])"
    )
    printed = fresh_python(code, data, status=1).stdout
    assert "no partner" in printed
    assert printed.splitlines()[-1] == "False"
