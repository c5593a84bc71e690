"""`new-plugin` writes a plugin that registers and passes its own tests."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from restore_hub.cli import new_plugin
from support import check
from support.commands import invoke, output

pytestmark = pytest.mark.usefixtures("install")


def _install(folder: Path, site: Path) -> None:
    """Imitate pip, which would need the network: the entry points of pyproject.toml beside the package.

    The build backend and the dependencies named there are not tried.
    """
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [f"{key} = {value}" for key, value in project["entry-points"]["restore_hub"].items()]
    (info / "entry_points.txt").write_text("[restore_hub]\n" + "\n".join(lines) + "\n")
    for package in folder.glob("restore_hub_*"):
        package.rename(site / package.name)


def test_generated_plugin_registers_and_passes_its_own_tests(tmp_path: Path) -> None:
    told = output("new-plugin", "my-net", "--into", tmp_path)
    folder = tmp_path / "restore-hub-my-net"
    assert "pip install -e . && restore-hub show my-net/residual" in told
    written = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    package = ["restore_hub_my_net/__init__.py", "restore_hub_my_net/networks.py"]
    assert written == ["README.md", "pyproject.toml", *package, "tests/test_conformance.py"]
    assert len((folder / "restore_hub_my_net/networks.py").read_text().splitlines()) < 40
    assert all("$" not in path.read_text() for path in folder.rglob("*") if path.is_file())

    site = tmp_path / "site"
    _install(folder, site)
    paths = [str(site), *(p for p in sys.path if p)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "RESTORE_HUB_PLUGINS": "my-net"}
    how = {"capture_output": True, "text": True, "check": False, "env": environment, "cwd": folder}
    listing = "from restore_hub.cli.list_ import command; command(['network'])"
    assert "my-net/residual" in subprocess.run([sys.executable, "-c", listing], **how).stdout
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", folder]
    tested = subprocess.run(command, **how)
    assert tested.returncode == 0, tested.stdout
    assert "3 passed" in tested.stdout


@pytest.mark.parametrize("name", ["My-Net", "my_net", "1net", "net-", "../net", "", "a b", "std"])
def test_bad_names_are_refused(tmp_path: Path, name: str) -> None:
    error = invoke("new-plugin", "--into", tmp_path, "--", name).exception
    check(error, "plugin.reserved" if name == "std" else "plugin.bad-namespace")
    assert list(tmp_path.iterdir()) == []


def test_name_of_an_installed_plugin_is_refused(tmp_path: Path, install: Callable[..., None]) -> None:
    install(raw="nothing_here")
    check(invoke("new-plugin", "raw", "--into", tmp_path).exception, "plugin.installed", owner="nothing_here")


def test_existing_folder_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "restore-hub-mine"
    folder.mkdir()
    (folder / "work.txt").write_text("precious")
    check(invoke("new-plugin", "mine", "--into", tmp_path).exception, "plugin.exists", folder)
    assert [p.name for p in folder.iterdir()] == ["work.txt"]


def test_an_error_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(new_plugin._FILES, "README.md.txt", "pyproject.toml/below")
    check(invoke("new-plugin", "mine", "--into", tmp_path).exception, "plugin.cannot-write", "restore-hub-mine")
    assert list(tmp_path.iterdir()) == []


def test_folders_that_take_no_files_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "absent"
    check(invoke("new-plugin", "mine", "--into", missing).exception, "plugin.bad-folder", missing)
    if Path("/proc/self").exists():
        check(invoke("new-plugin", "mine", "--into", "/proc").exception, "plugin.cannot-write", "/proc")
