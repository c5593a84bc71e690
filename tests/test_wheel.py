"""The built wheel, installed beside nothing of the checkout: it finds its plugins, pipelines and model zoo."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from restore_hub import restore
from restore_hub.photo.pictures import read_picture
from support import ROOT

PLUGINS = ("cleaning", "darktable", "mlflow", "numerical", "raw", "retinex", "std")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel, built from the sources as they are."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.long
def test_the_wheel_works_in_an_empty_environment(
    wheel: Path, tmp_path: Path, models: Path, write_raw: Callable[..., Path]
) -> None:
    """Only the base dependencies: deploying works, training says which extra is missing."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    scripts = home / ("Scripts" if os.name == "nt" else "bin")
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def call(*command: str, status: int = 0) -> str:
        arguments = [str(scripts / command[0]), *command[1:]]
        done = subprocess.run(arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    call("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel))
    assert "torch" not in call("python", "-m", "pip", "list")
    listed = call("restore-hub", "list", "plugins")
    assert all(f"{name} " in listed for name in PLUGINS)
    assert "FAILED" not in listed
    assert "raw/unet" in call("restore-hub", "list", "network")
    said = call("restore-hub", "check", "raw_lowlight", status=2)
    assert said.startswith("error: ")
    assert "restore-hub[train]" in said

    model, photo = models / "chain.onnx", write_raw(tmp_path / "photo.dng", gain=8.0)
    said = call("restore-hub", "restore", str(model), str(photo), "-o", "out.png", "--bits", "16")
    assert "gain 8 (" in said
    there = read_picture(tmp_path / "out.png")
    here = restore(model, photo, tmp_path / "here.png", bits=16).path
    assert there.pixels.shape == (26, 34, 3)
    assert np.abs(there.pixels - read_picture(here).pixels).max() < 1e-3  # onnxruntime may be of another version
    assert "test vector: differs by" in call("restore-hub", "inspect", str(model))
    (tmp_path / "photos").mkdir()
    photo.rename(tmp_path / "photos" / photo.name)
    assert "1/1 photographs" in call("restore-hub", "restore", str(model), "photos", "-o", "restored")

    where = "import restore_hub, pathlib; print(pathlib.Path(restore_hub.__file__).parent / '_shipped')"
    shipped = Path(call("python", "-c", where).strip())
    assert (shipped / "pipelines" / "raw_lowlight.yaml").is_file()
    assert (shipped / "model_zoo" / "README.md").is_file()

    photo = tmp_path / "photos" / photo.name
    assert re.search("^raw-lowlight +raw-to-rgb", call("restore-hub", "zoo"), re.M)
    assert call("restore-hub", "zoo", "raw-lowlight").startswith("# raw-lowlight")
    assert "zoo:raw-lowlight: ok" in call("restore-hub", "verify", "zoo:raw-lowlight")
    call("restore-hub", "restore", "zoo:raw-lowlight", str(photo), "-o", "zoo.png")
    assert read_picture(tmp_path / "zoo.png").pixels.shape == (26, 34, 3)


def test_the_wheel_holds_what_it_should_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    plugins = {f"restore_hub_{name}" for name in PLUGINS}
    assert tops == {"restore_hub", *plugins, next(top for top in tops if top.endswith(".dist-info"))}
    assert any(name.endswith("LICENSE") for name in names)
    assert not [name for name in names if name.startswith("tests/") or "__pycache__" in name]
