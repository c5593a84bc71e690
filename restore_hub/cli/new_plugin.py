"""`restore-hub new-plugin`: a plugin that works, to start from."""

from __future__ import annotations

import click

from restore_hub.errors import PluginError

# Template file to its place in the new folder.
_FILES = {
    "pyproject.toml.txt": "pyproject.toml",
    "README.md.txt": "README.md",
    "init.py.txt": "$package/__init__.py",
    "networks.py.txt": "$package/networks.py",
    "test_conformance.py.txt": "tests/test_conformance.py",
}


@click.command(name="new-plugin")
@click.argument("name")
@click.option("--into", default=".", metavar="DIR", help="Folder to write into; by default the current one.")
def command(name: str, into: str) -> None:
    """Write the folder restore-hub-NAME: a package with one network, its test and its entry point."""
    import tempfile
    from pathlib import Path

    from restore_hub.plugins import load_plugins

    _check_name(name, {plugin.namespace: plugin.origin for plugin in load_plugins()})
    parent, folder = Path(into), Path(into) / f"restore-hub-{name}"
    if not parent.is_dir():
        raise PluginError(f"{parent} is no folder; make it first, or give another --into")
    if folder.exists():
        raise PluginError(f"{folder} exists; choose another name, or remove it first")
    contents = _contents({"name": name, "package": f"restore_hub_{name.replace('-', '_')}"})
    # Written aside and moved at the end, so that an error leaves nothing half-made.
    try:
        with tempfile.TemporaryDirectory(dir=parent, prefix=".restore-hub-") as aside:
            for place, text in contents.items():
                target = Path(aside) / folder.name / place
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
            (Path(aside) / folder.name).rename(folder)
    except OSError as error:
        raise PluginError(f"{folder} cannot be written: {error.strerror or error}; give another --into") from error
    click.echo(f"wrote {folder}; next: cd {folder} && pip install -e . && restore-hub show {name}/residual")


def _check_name(name: str, taken: dict[str, str]) -> None:
    import re

    from restore_hub.registry import RESERVED_NAMESPACE

    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise PluginError(f"{name!r} is no plugin name; use lower-case words and digits joined by '-', like 'my-net'")
    if name == RESERVED_NAMESPACE:
        raise PluginError(f"{name!r} is reserved for the bare names; choose another")
    if name in taken:
        raise PluginError(f"the plugin {name!r} is installed already, from {taken[name]}; choose another name")


def _contents(values: dict[str, str]) -> dict[str, str]:
    """Return the text of each file by its place in the new folder."""
    from importlib.resources import files
    from string import Template

    folder = files("restore_hub.cli").joinpath("template")
    return {
        Template(place).substitute(values): Template(folder.joinpath(source).read_text("utf-8")).substitute(values)
        for source, place in _FILES.items()
    }
