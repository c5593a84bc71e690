"""`restore-hub data noise` and `make-raw`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from ruamel.yaml import YAML

from restore_hub.cli.data import command as data_commands
from restore_hub.photo.picture_writer import write_picture
from restore_hub.photo.raw.dng_writer import write_dng
from restore_hub.photo.raw.reader import read_raw
from restore_hub_raw.noise.model import NoiseModel
from restore_hub_raw.noise.noise_file import read_noise_file, write_noise_file
from support import check
from support.sensor import shoot

SHOT, READ = 5e-4, 4e-6  # 2000 electrons, and 31.74 of 15871 levels


def write_shot(path: Path, seed: int, stated: bool = False, shape: tuple[int, int] = (400, 420)) -> Path:
    """Write a smooth picture as a DNG; with `stated` it states twice its shot noise and four times its read noise."""
    signal = 0.002 + 0.7 * np.linspace(0, 1, shape[1]) ** 2 * np.ones((shape[0], 1))
    noise = np.tile([2 * SHOT, 4 * READ], (4, 1)) if stated else None
    write_dng(path, shoot(signal, SHOT, READ, seed, camera="Acme X1", noise=noise))
    return path


def run(*arguments: object, command: str = "noise", fails: bool = False) -> Result:
    result = CliRunner().invoke(data_commands, [command, *map(str, arguments)])
    assert fails or result.exit_code == 0, result.output
    return result


def make_raw(*arguments: object, fails: bool = False) -> Result:
    return run(*arguments, command="make-raw", fails=fails)


def rows(output: str) -> dict[str, list[str]]:
    """Return the last table's cells by plane."""
    lines = (line.replace(" +- ", " ").split() for line in output.splitlines())
    return {cells[0]: cells[1:] for cells in lines if cells and cells[0] in ("R", "Gr", "Gb", "B", "all")}


def test_the_table_has_every_plane(tmp_path: Path) -> None:
    table = rows(run(write_shot(tmp_path / "a.dng", 1)).output)
    assert list(table) == ["R", "Gr", "Gb", "B", "all"]
    for shot, shot_error, read, read_error, electrons, levels in (map(float, row) for row in table.values()):
        assert shot == pytest.approx(SHOT, rel=0.06)
        assert read == pytest.approx(READ, rel=0.5)
        assert 0 < shot_error < 0.1 * SHOT
        assert 0 < read_error < 0.5 * READ
        assert electrons == pytest.approx(1 / shot, rel=0.01)
        assert levels == pytest.approx(np.sqrt(read) * 15871, rel=0.01)
    assert float(table["all"][4]) == pytest.approx(2000, rel=0.04)
    assert float(table["all"][5]) == pytest.approx(31.74, rel=0.1)


def test_the_table_shows_what_the_file_states(tmp_path: Path) -> None:
    result = run(write_shot(tmp_path / "a.dng", 1, stated=True))
    assert re.search(r"file: shot\s+ratio\s+read\s+ratio", result.output)
    row = [float(cell) for cell in rows(result.output)["Gr"]]
    assert row[6] == pytest.approx(2 * SHOT)
    assert row[7] == pytest.approx(0.5, abs=0.04)
    assert row[8] == pytest.approx(4 * READ)
    assert row[9] == pytest.approx(row[2] / (4 * READ), abs=0.01)


def test_several_files_are_also_measured_together_and_written(tmp_path: Path) -> None:
    files = [write_shot(tmp_path / f"{name}.dng", seed) for seed, name in enumerate("abc")]
    out = tmp_path / "noise.yaml"
    result = run(*files, "-o", out)
    assert [result.output.count(f"{name}.dng") for name in "abc"] == [1, 1, 1]
    assert "all 3 files together" in result.output
    model = read_noise_file(out)
    assert model.shot == pytest.approx(SHOT, rel=0.02)
    assert f"{model.shot:.3g}" == f"{float(rows(result.output)['all'][0]):.3g}"
    data = YAML(typ="safe", pure=True).load(out.read_text())
    assert data["camera"] == "Acme X1"
    assert data["sources"] == ["a.dng", "b.dng", "c.dng"]
    assert [plane["plane"] for plane in data["planes"]] == ["R", "Gr", "Gb", "B"]
    assert f"{data['planes'][3]['shot']:.3g}" == f"{float(rows(result.output)['B'][0]):.3g}"


def test_an_existing_output_is_kept_without_force(tmp_path: Path) -> None:
    file, out = write_shot(tmp_path / "a.dng", 1), tmp_path / "noise.yaml"
    out.write_text("precious")
    result = run(file, "-o", out, fails=True)
    check(result.exception, "raw-noise.output-exists", out)
    assert result.output == ""
    assert out.read_text() == "precious"
    run(file, "-o", out, "--force")
    assert read_noise_file(out).shot == pytest.approx(SHOT, rel=0.05)


def test_a_burst_is_one_estimate(tmp_path: Path) -> None:
    files = [write_shot(tmp_path / f"{seed}.dng", seed) for seed in range(3)]
    result = run("--burst", *files)
    assert result.output.count("plane") == 1
    assert "burst of 3 files" in result.output
    assert float(rows(result.output)["all"][0]) == pytest.approx(SHOT, rel=0.03)
    alone = run("--burst", files[0], fails=True)
    check(alone.exception, "raw-noise.single-frame", "0.dng")
    other = run("--burst", files[0], write_shot(tmp_path / "other.dng", 4, shape=(400, 300)), fails=True)
    check(other.exception, "raw-noise.settings-differ", "other.dng", setting="size")


def test_errors_name_the_file(tmp_path: Path) -> None:
    small = write_shot(tmp_path / "small.dng", 1, shape=(60, 60))
    for files in ([small], [write_shot(tmp_path / "a.dng", 1), small]):
        check(run(*files, fails=True).exception, "raw-noise.too-few-flat-blocks", small)
    check(run(tmp_path / "none.dng", fails=True).exception, "photo.missing", "none.dng")


def test_make_raw_takes_a_measured_noise(photos: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "noise.yaml", tmp_path / "out"
    write_noise_file(file, NoiseModel(3e-3, 7e-5))
    for other in (("--shot", "2e-4"), ("--read", "0")):
        result = make_raw(photos, out, "--noise", file, *other, fails=True)
        check(result.exception, "raw-noise.given-twice", "noise")
        assert not out.exists()
    make_raw(photos, out, "--noise", file)
    listing = json.loads((out / "pairs.json").read_text())
    assert (listing["shot"], listing["read"]) == (3e-3, 7e-5)


def test_what_make_raw_adds_is_what_noise_measures(tmp_path: Path) -> None:
    """Full circle: noise file, make-raw, noise."""
    (tmp_path / "photos").mkdir()
    grey = np.linspace(0.1, 1, 700)[None, :, None] * np.ones((500, 1, 3))
    write_picture(tmp_path / "photos" / "a.png", grey, bits=16)
    write_noise_file(tmp_path / "noise.yaml", NoiseModel(1e-3, 1e-5))
    make_raw(tmp_path / "photos", tmp_path / "out", "--ratio", 2, "--noise", tmp_path / "noise.yaml")
    result = run(tmp_path / "out" / "short" / "a.dng", "-o", tmp_path / "found.yaml")
    found = read_noise_file(tmp_path / "found.yaml")
    np.testing.assert_allclose(found.variance([0.01, 0.3]), [2e-5, 3.1e-4], rtol=0.05)
    assert float(rows(result.output)["R"][7]) == pytest.approx(1, abs=0.08)


def test_make_raw_writes_pairs_and_a_listing(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = make_raw(photos, out, "--ratio", 20, "--phase", "bggr", "--seed", 5, "--shot", 0.001)
    assert "3 pairs" in result.output
    assert sorted(p.name for p in (out / "short").iterdir()) == ["a.dng", "b.dng", "c.dng"]
    listing = json.loads((out / "pairs.json").read_text())
    assert (listing["ratio"], listing["phase"], listing["seed"]) == (20, "bggr", 5)
    assert listing["read"] == pytest.approx(np.exp(2.18 * np.log(0.001) + 1.2))
    assert [pair["photo"] for pair in listing["pairs"]] == ["a.png", "b.jpg", "c.tif"]
    raw = read_raw(out / "short" / "a.dng")
    np.testing.assert_allclose(listing["pairs"][0]["balance"], raw.balance, rtol=1e-5)


def test_make_raw_names_each_unusable_photo_and_makes_the_others(photos: Path, tmp_path: Path) -> None:
    (photos / "bad.png").write_bytes(b"no picture")
    (photos / "notes.txt").write_text("ignored")
    write_picture(photos / "tiny.png", np.zeros((21, 90, 3)))
    result = make_raw(photos, tmp_path / "out", fails=True)
    check(result.exception, "raw-synthesis.photos-left-out", photos, written=3, failed=2, photos=5)
    for line, name in zip(result.stderr.splitlines(), ("bad.png", "tiny.png"), strict=True):
        assert line.startswith("left out: ")
        assert name in line
    assert len(list((tmp_path / "out" / "long").iterdir())) == 3
    assert len(json.loads((tmp_path / "out" / "pairs.json").read_text())["pairs"]) == 3
