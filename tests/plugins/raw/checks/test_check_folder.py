"""`restore-hub data check` of folders finds each fault, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from restore_hub.photo.picture_writer import write_picture
from restore_hub.photo.raw.reader import read_raw, render_raw
from restore_hub_raw.synthesis.make_folder import make_folder
from restore_hub_raw.synthesis.recipe import Recipe
from support import refused
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
    path = data / "train" / "long" / "b.dng"
    path.write_bytes(path.read_bytes()[:3000])
    return path


def rolled(data: Path) -> Path:
    long, short = (data / "holdout" / side / "d.dng" for side in ("long", "short"))
    change(long, mosaic=np.roll(read_raw(long).mosaic, 2, axis=1))
    return short


def moved(data: Path) -> Path:
    other = make_pairs(data.parent / "other", "b", dy=1.5, dx=-0.75)
    shutil.copy(other / "long" / "b.dng", data / "train" / "long" / "b.dng")
    return data / "train" / "short" / "b.dng"


def dark(data: Path) -> Path:
    path = data / "train" / "short" / "c.dng"
    raw = read_raw(path)
    noise = np.random.default_rng(0).normal(512, 3, raw.mosaic.shape)
    change(path, mosaic=np.rint(noise).astype(np.uint16))
    return path


def untimed(data: Path) -> Path:
    path = data / "train" / "short" / "c.dng"
    change(path, exposure_time=None, gain=None, baseline_exposure=None)
    return path


def blown(data: Path) -> Path:
    path = data / "train" / "long" / "a.dng"
    mosaic = read_raw(path).mosaic.copy()
    mosaic[:130] = 16383
    change(path, mosaic=mosaic)
    return path


def smaller(data: Path) -> Path:
    long, short = (data / "train" / side / "a.dng" for side in ("long", "short"))
    change(long, mosaic=read_raw(long).mosaic[:-2])
    return short


def turned(data: Path) -> Path:
    long, short = (data / "train" / side / "a.dng" for side in ("long", "short"))
    raw = read_raw(long)
    change(long, mosaic=np.roll(raw.mosaic, 1, axis=1), phase=(0, 1))
    return short


def renamed(data: Path) -> Path:
    change(data / "train" / "long" / "a.dng", camera="Maker Other")
    return data / "train" / "short" / "a.dng"


def twin(data: Path) -> Path:
    shutil.copy(data / "train" / "long" / "a.dng", data / "train" / "long" / "a.nef")
    return data / "train" / "long" / "a.nef"


@pytest.mark.parametrize(
    ("fault", "problem", "detail"),
    [
        (cut_off, "unreadable", ""),
        (alone, "no partner", ""),
        (rolled, "misaligned", "-2.0"),
        (moved, "misaligned", "-1.5"),
        (mistimed, "exposure ratio", "exposure times say 50"),
        (dark, "exposure ratio", "the pixels say above"),
        (untimed, "no exposure ratio", "the option `ratio`"),
        (blown, "mostly clipped", "65% of the pixels"),
        (smaller, "sizes differ", "200 x 240 and 198 x 240"),
        (turned, "patterns differ", "(0, 0) and at (0, 1)"),
        (renamed, "cameras differ", "Maker Other"),
        (twin, "same name", ""),
    ],
)
def test_each_fault_is_found_alone(data: Path, fault: Callable[[Path], Path], problem: str, detail: str) -> None:
    file = fault(data)
    result = check_data(data)
    (row,) = found(result)
    split = file.relative_to(data).parts[0]
    assert row.startswith(f"{split} {file} {problem} ")
    assert detail in row
    assert f"1 finding: 1 {problem}" in result.stdout


def test_files_that_occur_twice_are_found(data: Path) -> None:
    for side in SIDES:
        shutil.copy(data / "train" / side / "a.dng", data / "holdout" / side / "z.dng")
        shutil.copy(data / "train" / side / "b.dng", data / "train" / side / "y.dng")
    rows = found(check_data(data))
    assert len(rows) == 4
    for side in SIDES:
        leak = (
            f"train {data}/train/{side}/a.dng in two splits the same content is in holdout: {data}/holdout/{side}/z.dng"
        )
        assert leak in rows
        assert f"train {data}/train/{side}/y.dng duplicate the same content as {data}/train/{side}/b.dng" in rows


def test_all_faults_at_once_are_counted_by_kind(data: Path) -> None:
    for fault in (cut_off, rolled, mistimed, renamed):
        fault(data)
    result = check_data(data)
    assert len(found(result)) == 4
    assert "5 pairs, 4 findings: " in result.stdout


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with refused("raw-check.no-pairs", tmp_path):
        check_data(tmp_path)


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


def test_small_pictures_are_not_aligned(photos: Path, tmp_path: Path) -> None:
    make_folder(photos, tmp_path / "set", Recipe())
    result = check_data(tmp_path / "set")
    assert result.exit_code == 0
    assert "cannot determine the alignment of 3 of 3 pairs" in result.stdout


def test_a_folder_is_checked_without_torch_and_the_exit_status_is_1(data: Path) -> None:
    alone(data)
    code = (
        "import sys; from restore_hub.cli import main\n"
        "try:\n    main(['data', 'check', sys.argv[1]])\n"
        "finally:\n    print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(data)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "False"
    assert "no partner" in done.stdout
