"""`list`, `show` and the commands of plugins, on plugin files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from support import check
from support.commands import invoke, output

Write = Callable[[str, str], Path]
Install = Callable[..., None]

pytestmark = pytest.mark.usefixtures("install")

PLUGIN = """
from typing import ClassVar
import click
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
    register("fetch", "{stem}:fetch", summary="Fetches data", group="data")
    register("glow", "{stem}:glow", summary="Glows")

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

@click.command()
def glow():
    click.echo("glowing")
"""


MODULE = """
class Module:  # like torch's: `__call__` hands everything on
    def __call__(self, *args, **kwargs):
        return self.forward(*args, **kwargs)

class Loss(Module):
    def forward(self, prediction, target): ...
"""

METRICS = """
@hookimpl
def register_metrics(register):
    register("whole", "{stem}:Whole", summary="Of all samples")
    register("single", "{stem}:Loss", summary="Of one sample")

class Whole:
    def update(self, found, wanted): ...
    def compute(self): ...
"""

COMMAND = """
import click
from restore_hub.hookspecs import hookimpl

@hookimpl
def register_commands(register):
    register("fetch", "broken_part:fetch", summary="Fetches too", group="data")

@click.command()
def fetch():
    click.echo("fetched")
"""


@pytest.fixture
def file(write_plugin: Write) -> Path:
    return write_plugin("shown_parts", PLUGIN)


def _plugins(*files: Path) -> list[str]:
    return [word for file in files for word in ("--plugin", str(file))]


def _show(file: Path, name: str) -> Result:
    return invoke("show", name, *_plugins(file))


@pytest.mark.parametrize("kind", ["plugin", "plugins"])
def test_plugins_are_listed(file: Path, kind: str) -> None:
    head, row = output("list", kind, *_plugins(file)).splitlines()
    assert head.split() == ["PLUGIN", "STATUS", "COMPONENTS", "VERSION", "FROM"]
    assert row.split() == ["shown-parts", "ok", "8", "0", str(file)]


def test_plugins_that_failed_are_listed_with_their_error(file: Path, write_plugin: Write) -> None:
    broken = write_plugin("broken_part", "import nothing_of_this_name")
    plugins = output("list", "plugin", *_plugins(file, broken), exit_code=1)
    rows = {line.split()[0]: line.split()[1] for line in plugins.splitlines()[1:3]}
    assert rows == {"shown-parts": "ok", "broken-part": "FAILED"}
    for shown in (plugins, output("list", *_plugins(file, broken))):
        assert "ModuleNotFoundError: No module named 'nothing_of_this_name'" in shown


def test_list_shows_all_or_one_kind(file: Path, install: Install) -> None:
    everything = output("list", *_plugins(file))
    assert len(everything.split("\n\n")[0].splitlines()) == 9
    for kind in ("loss", "losses"):
        losses = output("list", kind, *_plugins(file)).splitlines()
        assert losses[1:] == ["loss  shown-parts/net  A loss of the same name"]
    error = invoke("list", "netwrok", *_plugins(file)).exception
    check(error, "plugin.unknown-kind", kind="netwrok")
    assert "'network'" in str(error)
    install(broken_part="no_such_module_here")
    assert "broken-part failed to load" in output("list", "network", *_plugins(file))


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
        "    stages: any number of channels, map, -1 to 2",
    ]
    assert loss.splitlines()[0] == "loss shown-parts/net"
    assert loss.splitlines()[-2:] == ["  no options", "  tensors: prediction, target"]


def test_show_reads_ports_from_an_instance_or_says_that_they_vary(file: Path) -> None:
    assert "    image: 5 channels" in _show(file, "shown-parts/late").output
    needy = _show(file, "shown-parts/needy").output
    assert "channels: int (required)" in needy
    assert "ports: depend on the options" in needy
    notes = _show(file, "shown-parts/notes").output
    assert "title: str = 'x'" in notes
    assert "folder" not in notes, "a run fills it in"


@pytest.mark.parametrize(("name", "call"), [("fetch", "data fetch"), ("glow", "glow")])
def test_show_tells_how_to_run_a_command(file: Path, name: str, call: str) -> None:
    assert f"run: restore-hub {call} --help" in _show(file, f"shown-parts/{name}").output


@pytest.mark.parametrize(
    ("name", "code", "near"),
    [
        ("shown-part/nett", "plugin.unknown-name", "shown-parts/net"),
        ("late", "plugin.unknown-name", "shown-parts/late"),
        ("qqqq", "plugin.unknown-name", None),
        ("shown-parts/qqqq", "plugin.unknown-name", None),
        ("shown-parts/lost", "plugin.cannot-import", None),
    ],
)
def test_show_fails_clearly(file: Path, name: str, code: str, near: str | None) -> None:
    error = _show(file, name).exception
    check(error, code)
    assert ("did you mean" in str(error)) == (near is not None)
    assert near is None or near in str(error)


@pytest.mark.parametrize("name", ["broken-part/x", "broken_part/x"])
def test_show_of_a_failed_plugin_gives_its_error(file: Path, write_plugin: Write, install: Install, name: str) -> None:
    broken = write_plugin("broken_part", "raise RuntimeError('no camera')")
    check(_show(broken, "broken-part/x").exception, "plugin.fails", broken, cause="RuntimeError: no camera")
    install(broken_part="no_such_module_here")
    check(_show(file, name).exception, "plugin.fails", "broken-part")


def test_show_reads_the_tensors_of_a_module_from_forward(file: Path) -> None:
    file.write_text(file.read_text() + MODULE)
    shown = _show(file, "shown-parts/net").output
    assert "  tensors: prediction, target\n" in shown


def test_show_reads_the_tensors_of_a_metric(file: Path) -> None:
    """From `update`, or of one sample from `__call__`."""
    file.write_text(file.read_text() + METRICS.replace("{stem}", file.stem))
    assert "  tensors: found, wanted\n" in _show(file, "shown-parts/whole").output
    assert "  tensors: prediction, target\n" in _show(file, "shown-parts/single").output


def test_data_runs_a_command_of_a_plugin_file(file: Path, write_plugin: Write) -> None:
    assert "fetch  Fetches data" in output("data", *_plugins(file), "--help")
    assert output("data", *_plugins(write_plugin("broken_part", COMMAND)), "fetch") == "fetched\n"


def test_commands_of_one_short_name_need_their_whole_name(file: Path, write_plugin: Write) -> None:
    options = _plugins(file, write_plugin("broken_part", COMMAND))
    listed = output("data", *options, "--help")
    assert "broken-part/fetch  Fetches too" in listed
    assert "shown-parts/fetch  Fetches data" in listed
    assert output("data", *options, "broken-part/fetch") == "fetched\n"
    bare = invoke("data", *options, "fetch").exception
    check(bare, "plugin.command-of-several", known="broken-part/fetch or shown-parts/fetch")
    shown = output("show", "broken-part/fetch", *options)
    assert "run: restore-hub data broken-part/fetch --help" in shown


@pytest.mark.parametrize("name", ["glow", "shown-parts/glow"])
def test_an_installed_plugin_adds_a_command_at_the_top(file: Path, install: Install, name: str) -> None:
    install(shown_parts=file.stem)
    assert output(name) == "glowing\n"
    check(invoke("fetch").exception, "call.usage")  # it stands in a group
    error = invoke("glwo").exception
    check(error, "call.usage")
    assert "did you mean 'glow'?" in str(error)


def test_importing_the_commands_imports_click_alone() -> None:
    code = (
        "import sys\n"
        "from restore_hub.cli import list_, new_plugin, plugin_commands, show\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'pluggy', 'rich', 'restore_hub.plugins'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
