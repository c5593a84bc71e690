"""`plugins`, `list` and `show` on plugin files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from restore_hub import plugins as plugins_module
from restore_hub.cli.data import command as data_command
from restore_hub.cli.list_ import command as list_command
from restore_hub.cli.plugins_ import command as plugins_command
from restore_hub.cli.show import command as show_command
from restore_hub.errors import PluginError, UnknownComponentError
from restore_hub.plugins import load_plugins

PLUGIN = """
from typing import ClassVar
from restore_hub.contracts import Port
from restore_hub.hookspecs import hookimpl

@hookimpl
def register_networks(register):
    register("net", "{stem}:Net", summary="A network", references=("Somebody, 2026",))
    register("late", "{stem}:Late", summary="Ports made by the constructor")
    register("needy", "{stem}:Needy", summary="Ports that depend on options")
    register("lost", "{stem}:Lost", summary="No such class")

@hookimpl
def register_losses(register):
    register("net", "{stem}:Loss", summary="A loss of the same name")

@hookimpl
def register_trackers(register):
    register("notes", "{stem}:Notes", summary="Writes notes")

@hookimpl
def register_commands(register):
    register("fetch", "{stem}:fetch", summary="Fetches data")

class Net:
    inputs: ClassVar = {"raw": Port(4, "raw", scale=0.5)}
    outputs: ClassVar = {"rgb": Port(3), "stages": Port(None, "map", -1, 2)}
    def __init__(self, width: int = 8, mode: str | None = None): ...

class Late:
    def __init__(self, channels: int = 5):
        self.inputs, self.outputs = {"image": Port(channels)}, {"image": Port(channels)}

class Needy:
    def __init__(self, channels: int):
        self.inputs, self.outputs = {"image": Port(channels)}, {"image": Port(channels)}

class Loss:
    def __call__(self, prediction, target): ...

class Notes:
    def __init__(self, folder: str, title: str = "x"): ...

def fetch(): ...
"""


MODULE = """
class Module:  # like torch's: `__call__` hands everything on
    def __call__(self, *args, **kwargs):
        return self.forward(*args, **kwargs)

class Loss(Module):
    def forward(self, prediction, target): ...
"""

COMMAND = """
import click
from restore_hub.hookspecs import hookimpl

@hookimpl
def register_commands(register):
    register("fetch", "broken_part:fetch", summary="Fetches too")

@click.command()
def fetch():
    click.echo("fetched")
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A plugin file, with no installed plugin around it."""
    monkeypatch.setattr(plugins_module, "entry_points", lambda **_: [])
    path = tmp_path / "shown_parts.py"
    path.write_text(PLUGIN.replace("{stem}", "shown_parts"))
    load_plugins.cache_clear()
    yield path
    load_plugins.cache_clear()
    for name in ("shown_parts", "broken_part"):
        sys.modules.pop(name, None)


def _show(file: Path, name: str) -> Result:
    return CliRunner().invoke(show_command, [name, "--plugin", str(file)])


def test_plugins_lists_what_loaded(file: Path) -> None:
    result = CliRunner().invoke(plugins_command, ["--plugin", str(file)])
    assert result.exit_code == 0
    head, row = result.output.splitlines()
    assert head.split() == ["PLUGIN", "STATUS", "PARTS", "VERSION", "FROM"]
    assert row.split() == ["shown-parts", "ok", "7", "0", str(file)]


def test_plugins_reports_failures_and_exits_with_one(file: Path) -> None:
    broken = file.with_name("broken_part.py")
    broken.write_text("import nothing_of_this_name")
    result = CliRunner().invoke(plugins_command, ["--plugin", str(file), "--plugin", str(broken)])
    assert result.exit_code == 1
    rows = {line.split()[0]: line.split()[1] for line in result.output.splitlines()[1:3]}
    assert rows == {"shown-parts": "ok", "broken-part": "FAILED"}
    assert "broken-part: ModuleNotFoundError: No module named 'nothing_of_this_name'" in result.output


def test_list_shows_all_or_one_kind(file: Path) -> None:
    everything = CliRunner().invoke(list_command, ["--plugin", str(file)])
    assert everything.exit_code == 0
    assert len(everything.output.splitlines()) == 8
    losses = CliRunner().invoke(list_command, ["loss", "--plugin", str(file)])
    assert losses.output.splitlines()[1:] == ["loss  shown-parts/net  A loss of the same name"]


def test_list_refuses_an_unknown_kind(file: Path) -> None:
    result = CliRunner().invoke(list_command, ["networks", "--plugin", str(file)])
    assert isinstance(result.exception, UnknownComponentError)
    assert "did you mean 'network'?" in str(result.exception)


def test_list_mentions_plugins_that_failed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("broken-part", "no_such_module_here", "restore_hub")
    monkeypatch.setattr(plugins_module, "entry_points", lambda **_: [point])
    result = CliRunner().invoke(list_command, ["--plugin", str(file)])
    assert result.exit_code == 0
    assert "broken-part failed to load" in result.stderr


def test_show_tells_all_of_every_kind_of_a_name(file: Path) -> None:
    result = _show(file, "shown-parts/net")
    assert result.exit_code == 0
    loss, network = result.output.rstrip().split("\n\n")
    assert network.splitlines() == [
        "network shown-parts/net",
        "  A network",
        f"  from {file} 0, shown_parts:Net",
        "  reference: Somebody, 2026",
        "  options:",
        "    width: int = 8",
        "    mode: str | None = None",
        "  inputs:",
        "    raw: 4 channels, raw, 0 to 1, 0.5 of the picture's size",
        "  outputs:",
        "    rgb: 3 channels, srgb, 0 to 1",
        "    stages: differing channels, map, -1 to 2",
    ]
    assert loss.splitlines()[0] == "loss shown-parts/net"
    assert loss.splitlines()[-2:] == ["  no options", "  tensors: prediction, target"]


def test_show_reads_ports_from_an_instance_or_says_that_they_vary(file: Path) -> None:
    assert "    image: 5 channels" in _show(file, "shown-parts/late").output
    needy = _show(file, "shown-parts/needy").output
    assert "channels: int (required)" in needy
    assert "ports: depend on the options" in needy


def test_show_leaves_out_what_a_run_fills_in(file: Path) -> None:
    output = _show(file, "shown-parts/notes").output
    assert "title: str = 'x'" in output
    assert "folder" not in output


def test_show_tells_how_to_run_a_command(file: Path) -> None:
    assert "run: restore-hub data fetch --help" in _show(file, "shown-parts/fetch").output


def test_show_fails_clearly(file: Path) -> None:
    near = _show(file, "shown-part/nett").exception
    assert isinstance(near, UnknownComponentError)
    assert "did you mean 'shown-parts/net'?" in str(near)
    bare = _show(file, "late").exception
    assert isinstance(bare, UnknownComponentError)
    assert "did you mean 'shown-parts/late'?" in str(bare)
    lost = _show(file, "shown-parts/lost").exception
    assert isinstance(lost, PluginError)
    assert "no attribute 'Lost'" in str(lost)


def test_show_of_a_failed_plugin_gives_its_error(file: Path) -> None:
    broken = file.with_name("broken_part.py")
    broken.write_text("raise RuntimeError('no camera')")
    error = CliRunner().invoke(show_command, ["broken-part/x", "--plugin", str(broken)]).exception
    assert isinstance(error, PluginError)
    assert "RuntimeError: no camera" in str(error)


@pytest.mark.parametrize("name", ["broken-part/x", "broken_part/x"])
def test_show_of_a_failed_installed_plugin_gives_its_error(
    file: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    point = EntryPoint("broken-part", "no_such_module_here", "restore_hub")
    monkeypatch.setattr(plugins_module, "entry_points", lambda **_: [point])
    error = _show(file, name).exception
    assert isinstance(error, UnknownComponentError)
    assert "'broken-part', which failed to load: ModuleNotFoundError" in str(error)


def test_show_suggests_nothing_where_nothing_is_near(file: Path) -> None:
    for name in ("qqqq", "shown-parts/qqqq"):
        error = _show(file, name).exception
        assert isinstance(error, UnknownComponentError)
        assert "did you mean" not in str(error)


def test_show_reads_the_tensors_of_a_module_from_forward(file: Path) -> None:
    file.write_text(file.read_text() + MODULE)
    shown = _show(file, "shown-parts/net").output
    assert "  tensors: prediction, target\n" in shown


def _clashing(file: Path) -> list[str]:
    other = file.with_name("broken_part.py")
    other.write_text(COMMAND)
    return ["--plugin", str(file), "--plugin", str(other)]


def test_data_runs_a_command_of_a_plugin_file(file: Path) -> None:
    listed = CliRunner().invoke(data_command, ["--plugin", str(file), "--help"])
    assert "fetch  Fetches data" in listed.output
    file.with_name("broken_part.py").write_text(COMMAND)
    done = CliRunner().invoke(data_command, ["--plugin", str(file.with_name("broken_part.py")), "fetch"])
    assert done.output == "fetched\n"


def test_commands_of_one_short_name_need_their_whole_name(file: Path) -> None:
    options = _clashing(file)
    listed = CliRunner().invoke(data_command, [*options, "--help"]).output
    assert "broken-part/fetch  Fetches too" in listed
    assert "shown-parts/fetch  Fetches data" in listed
    assert CliRunner().invoke(data_command, [*options, "broken-part/fetch"]).output == "fetched\n"
    bare = CliRunner().invoke(data_command, [*options, "fetch"]).exception
    assert isinstance(bare, PluginError)
    assert "broken-part/fetch or shown-parts/fetch" in str(bare)
    shown = CliRunner().invoke(show_command, ["broken-part/fetch", *options]).output
    assert "run: restore-hub data broken-part/fetch --help" in shown


def test_importing_the_commands_imports_click_alone() -> None:
    code = (
        "import sys\n"
        "from restore_hub.cli import list_, new_plugin, plugins_, show\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'pluggy', 'rich', 'restore_hub.plugins'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
