"""Every block of the README and of the guides that it links to runs, in order, in one folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from restore_hub.errors import DataError
from restore_hub.export import deployed_chain, export_onnx
from restore_hub.photo.picture_writer import write_picture
from restore_hub.photo.raw.reader import read_raw
from restore_hub.plan import Plan, build_chain, make_plan
from restore_hub.plugins import default_registry
from restore_hub.spec import read_spec
from restore_hub_raw.synthesis.make_raw import Recipe, make_folder
from support import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.S)
PHOTOS = {"train": ["lake", "tower"], "upper": ["street"], "holdout": ["cat"]}


def _picture(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0.1, 0.9, (5, 6, 3))
    return np.kron(coarse, np.ones((28, 28, 1))).astype(np.float32)  # 140 x 168


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `photos/<split>`, and the files that the README writes out."""
    root = tmp_path_factory.mktemp("readme")
    for seed, (split, name) in enumerate((s, n) for s, names in PHOTOS.items() for n in names):
        (root / "photos" / split).mkdir(parents=True, exist_ok=True)
        write_picture(root / "photos" / split / f"{name}.png", _picture(seed))
    for language, text in BLOCKS:
        named = re.match(r"# file: (\S+)\n", text)
        if language == "python" and named:
            (root / named[1]).write_text(text, encoding="utf-8")
    return root


def _run(folder: Path, language: str, text: str) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), environment.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment["PYTHONSAFEPATH"] = ""
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = ["bash", "-euo", "pipefail", "-c", text] if language == "sh" else [sys.executable, "-c", text]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.timeout(900)  # two runs and three exports
def test_every_block_runs(folder: Path) -> None:
    """The runner's blocks come first, because the deployer's use the file that they make."""
    make, deploy, train, plugins = _sh_blocks()
    assert make.split() == ["make", "demo", "make", "test"]
    _run(folder, "sh", train)
    _run(folder, "sh", deploy)
    _run(folder, "sh", plugins)
    for language, text in BLOCKS:
        if language == "python":
            _run(folder, language, text)
    assert (folder / "cat.png").is_file()
    assert (folder / "cat.tif").is_file()
    assert (folder / "restored" / "cat.png").is_file()
    assert (folder / "restore-hub-glow" / "pyproject.toml").is_file()


def test_every_block_of_the_raw_guide_runs(folder: Path, tmp_path: Path, make: Callable[..., Plan]) -> None:
    blocks = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "docs" / "raw.md").read_text(encoding="utf-8"), re.S)
    shutil.copytree(folder / "photos", tmp_path / "photos")
    make_folder(tmp_path / "photos" / "holdout", tmp_path / "made", Recipe())
    shutil.copyfile(tmp_path / "made" / "short" / "cat.dng", tmp_path / "photo.dng")
    read_raw(tmp_path / "photo.dng").mosaic.tofile(tmp_path / "sensor.raw")
    chain = deployed_chain(build_chain(make()).eval(), "enhanced")
    export_onnx(chain, tmp_path / "chain.onnx", name="t", licence=None, metrics={}, provenance={})
    for language, text in blocks:
        if language == "yaml":
            (tmp_path / text.split(maxsplit=3)[2]).write_text(text, encoding="utf-8")
        else:
            _run(tmp_path, "sh", text)
    assert {language for language, _ in blocks} == {"yaml", "sh"}
    assert read_raw(tmp_path / "quiet.dng").mosaic.shape == (140, 168)
    assert read_raw(tmp_path / "sensor.raw").camera == "Acme X1"
    with pytest.raises(DataError, match="linear DNG"):
        read_raw(tmp_path / "linear.dng")


@pytest.mark.timeout(900)
def test_every_block_of_the_guide_to_training_runs(folder: Path, tmp_path: Path) -> None:
    (text,) = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "training.md").read_text(encoding="utf-8"), re.S)
    for split in PHOTOS:
        make_folder(folder / "photos" / split, tmp_path / "data" / split, Recipe())
    _run(tmp_path, "sh", text)
    assert [path.name for path in sorted((tmp_path / "runs").glob("*/report.html"))] == ["report.html"] * 3


def test_every_block_of_the_guide_to_deploying_runs(folder: Path, tmp_path: Path, models: Path) -> None:
    blocks = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8"), re.S)
    make_folder(folder / "photos" / "holdout", tmp_path / "made", Recipe())
    shutil.copytree(tmp_path / "made" / "short", tmp_path / "photos")
    for name in ("chain.onnx", "enhance.onnx"):
        shutil.copyfile(models / name, tmp_path / name)
    for language, text in blocks:
        if language != "js":  # see test_node.py
            _run(tmp_path, language, text)
    assert [language for language, _ in blocks] == ["sh", "python", "python", "sh", "python", "js"]
    assert (tmp_path / "twice.png").is_file()
    assert [path.name for path in (tmp_path / "tiffs").glob("*.tif")] == ["cat.tif"]


def test_every_block_of_the_guide_to_plugins_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8"), re.S)
    said = ""
    for _, text in blocks:
        if named := re.match(r"# file: (\S+)\n", text):
            (tmp_path / named[1]).write_text(text, encoding="utf-8")
    for language, text in blocks:
        if language != "yaml":
            said += _run(tmp_path, language, text)
    assert [language for language, _ in blocks] == ["python", "python", "python", "python", "yaml", "sh"]
    assert "greedy/t1-t2 steps theta in the right direction" in said
    assert re.search(r"weight_error, end of stage 1 +0\.63\d+ +0\.70\d+", said)


def _sh_blocks() -> list[str]:
    return [text for language, text in BLOCKS if language == "sh"]


def test_there_is_no_block_that_nothing_runs() -> None:
    assert {language for language, _ in BLOCKS} <= {"sh", "python", "yaml"}
    assert len(_sh_blocks()) == 4


def test_the_spec_is_the_shipped_one(tmp_path: Path) -> None:
    """Comments apart, the README's pipeline is `pipelines/raw_lowlight.yaml`."""
    (text,) = (text for language, text in BLOCKS if language == "yaml")
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    ours = read_spec(tmp_path / "s.yaml")
    shipped = read_spec(ROOT / "pipelines" / "raw_lowlight.yaml").data
    assert ours.data == {key: value for key, value in shipped.items() if key != "spec"}
    make_plan(ours, default_registry())


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("setup", "demo", "test", "test-long", "lint", "bench"):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_names_in_the_solver_table_are_registered() -> None:
    named = re.findall(r"^\| `([\w-]+)` \|", README, re.M)
    assert set(named) == {name.removeprefix("std/") for name in default_registry().names("solver")}
