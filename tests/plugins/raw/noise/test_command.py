from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from ruamel.yaml import YAML

import restore_hub_raw
from restore_hub.errors import DataError, OptionError
from restore_hub.photo.raw.dng_writer import write_dng
from restore_hub.photo.raw.mosaic import RawImage
from restore_hub.registry import Component
from restore_hub_raw.noise.command import noise
from restore_hub_raw.synthesis import unprocess
from restore_hub_raw.synthesis.make_raw import make_raw
from restore_hub_raw.synthesis.sensor_noise import NoiseModel, read_noise_file, write_noise_file

SHOT, READ = 5e-4, 4e-6  # 2000 electrons, and 31.74 of 15871 levels


def shoot(path: Path, seed: int, stated: bool = False, shape: tuple[int, int] = (400, 420)) -> Path:
    """Write a smooth picture as a DNG, which may say twice its shot noise and four times its read noise."""
    signal = 0.002 + 0.7 * np.linspace(0, 1, shape[1]) ** 2 * np.ones((shape[0], 1))
    noisy = unprocess.expose(signal, 1, SHOT, READ, np.random.default_rng(seed))
    write_dng(
        path,
        RawImage(
            unprocess.quantise(noisy, 512, 16383),
            (0, 0),
            np.full(4, 512, np.float32),
            np.full(4, 16383, np.float32),
            np.ones(4, np.float32),
            "camera",
            camera="Acme X1",
            noise=np.tile([2 * SHOT, 4 * READ], (4, 1)) if stated else None,
        ),
    )
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(noise, [str(argument) for argument in arguments])


def rows(output: str) -> dict[str, list[str]]:
    """Return the last table's cells by plane."""
    lines = (line.replace(" +- ", " ").split() for line in output.splitlines())
    return {cells[0]: cells[1:] for cells in lines if cells and cells[0] in ("R", "Gr", "Gb", "B", "all")}


def test_the_command_is_registered() -> None:
    found = {}

    def register(name: str, target: str, *, summary: str, references: tuple[str, ...] = (), **_: object) -> None:
        found[name] = Component("command", f"raw/{name}", target, summary, references, "test", "0")

    restore_hub_raw.register_commands(register)
    assert found["noise"].load() is noise


def test_the_table_says_everything(tmp_path: Path) -> None:
    result = run(shoot(tmp_path / "a.dng", 1))
    assert result.exit_code == 0, result.output
    table = rows(result.output)
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


def test_what_the_file_states_stands_beside(tmp_path: Path) -> None:
    result = run(shoot(tmp_path / "a.dng", 1, stated=True))
    assert re.search(r"file: shot\s+ratio\s+read\s+ratio", result.output)
    row = [float(cell) for cell in rows(result.output)["Gr"]]
    assert row[6] == pytest.approx(2 * SHOT)
    assert row[7] == pytest.approx(0.5, abs=0.04)
    assert row[8] == pytest.approx(4 * READ)
    assert row[9] == pytest.approx(row[2] / (4 * READ), abs=0.01)


def test_several_files_end_with_all_together_and_an_output(tmp_path: Path) -> None:
    files = [shoot(tmp_path / f"{name}.dng", seed) for seed, name in enumerate("abc")]
    out = tmp_path / "noise.yaml"
    result = run(*files, "-o", out)
    assert result.exit_code == 0, result.output
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


def test_an_older_output_stays_unless_forced(tmp_path: Path) -> None:
    file, out = shoot(tmp_path / "a.dng", 1), tmp_path / "noise.yaml"
    out.write_text("precious")
    result = run(file, "-o", out)
    assert isinstance(result.exception, DataError)
    assert "--force" in str(result.exception)
    assert result.output == ""
    assert out.read_text() == "precious"
    assert run(file, "-o", out, "--force").exit_code == 0
    assert read_noise_file(out).shot == pytest.approx(SHOT, rel=0.05)


def test_a_burst_is_one_estimate(tmp_path: Path) -> None:
    files = [shoot(tmp_path / f"{seed}.dng", seed) for seed in range(3)]
    result = run("--burst", *files)
    assert result.exit_code == 0, result.output
    assert result.output.count("plane") == 1
    assert "burst of 3 files" in result.output
    assert float(rows(result.output)["all"][0]) == pytest.approx(SHOT, rel=0.03)
    alone = run("--burst", files[0])
    assert "0.dng: a burst has two frames or more" in str(alone.exception)
    other = run("--burst", files[0], shoot(tmp_path / "other.dng", 4, shape=(400, 300)))
    assert "other.dng: its size" in str(other.exception)


def test_errors_name_the_file(tmp_path: Path) -> None:
    small = shoot(tmp_path / "small.dng", 1, shape=(60, 60))
    result = run(small)
    assert isinstance(result.exception, DataError)
    assert re.match(r".*small\.dng: the noise cannot be measured: too few", str(result.exception))
    assert "leave it out" in str(run(shoot(tmp_path / "a.dng", 1), small).exception)
    assert "none.dng: no such file" in str(run(tmp_path / "none.dng").exception)


def test_make_raw_takes_a_measured_noise(photos: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "noise.yaml", tmp_path / "out"
    write_noise_file(file, NoiseModel(3e-3, 7e-5))
    result = CliRunner().invoke(make_raw, [str(photos), str(out), "--noise", str(file)])
    assert result.exit_code == 0, result.output
    listing = json.loads((out / "pairs.json").read_text())
    assert (listing["shot"], listing["read"]) == (3e-3, 7e-5)


@pytest.mark.parametrize("other", [["--shot", "2e-4"], ["--read", "0"]])
def test_make_raw_takes_noise_from_one_place(photos: Path, tmp_path: Path, other: list[str]) -> None:
    write_noise_file(tmp_path / "noise.yaml", NoiseModel(3e-3, 7e-5))
    arguments = [str(photos), str(tmp_path / "out"), "--noise", str(tmp_path / "noise.yaml"), *other]
    result = CliRunner().invoke(make_raw, arguments)
    assert isinstance(result.exception, OptionError)
    assert "leave out --shot and --read" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_what_make_raw_adds_is_what_noise_measures(tmp_path: Path) -> None:
    """A whole circle: noise file, make-raw, noise."""
    from restore_hub.photo.picture_writer import write_picture

    (tmp_path / "photos").mkdir()
    grey = np.linspace(0.1, 1, 700)[None, :, None] * np.ones((500, 1, 3))
    write_picture(tmp_path / "photos" / "a.png", grey, bits=16)
    write_noise_file(tmp_path / "noise.yaml", NoiseModel(1e-3, 1e-5))
    arguments = [tmp_path / "photos", tmp_path / "out", "--ratio", 2, "--noise", tmp_path / "noise.yaml"]
    assert CliRunner().invoke(make_raw, [str(argument) for argument in arguments]).exit_code == 0
    result = run(tmp_path / "out" / "short" / "a.dng", "-o", tmp_path / "found.yaml")
    assert result.exit_code == 0, result.output
    found = read_noise_file(tmp_path / "found.yaml")
    np.testing.assert_allclose(found.variance([0.01, 0.3]), [2e-5, 3.1e-4], rtol=0.05)
    assert float(rows(result.output)["R"][7]) == pytest.approx(1, abs=0.08)
