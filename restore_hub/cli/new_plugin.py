"""`restore-hub new-plugin`: a plugin that works, to start from."""

from __future__ import annotations

import click

from restore_hub.errors import PluginError, reason_of

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
        raise PluginError("plugin.bad-folder", parent)
    if folder.exists():
        raise PluginError("plugin.exists", folder)
    contents = _contents({"name": name, "package": f"restore_hub_{name.replace('-', '_')}"})
    # Written aside and moved at the end: an error leaves nothing half-made.
    try:
        with tempfile.TemporaryDirectory(dir=parent, prefix=".restore-hub-") as aside:
            for place, text in contents.items():
                target = Path(aside) / folder.name / place
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
            (Path(aside) / folder.name).rename(folder)
    except OSError as error:
        raise PluginError("plugin.cannot-write", folder, cause=reason_of(error)) from error
    click.echo(f"wrote {folder}; next: cd {folder} && pip install -e . && restore-hub show {name}/residual")


def _check_name(name: str, taken: dict[str, str]) -> None:
    import re

    from restore_hub.registry import RESERVED_NAMESPACE

    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise PluginError("plugin.bad-namespace", name=name)
    if name == RESERVED_NAMESPACE:
        raise PluginError("plugin.reserved", name=name)
    if name in taken:
        raise PluginError("plugin.installed", name=name, owner=taken[name])


def _contents(values: dict[str, str]) -> dict[str, str]:
    """Return the text of each file, by its place in the new folder."""
    from importlib.resources import files
    from string import Template

    folder = files("restore_hub.cli").joinpath("template")
    return {
        Template(place).substitute(values): Template(folder.joinpath(source).read_text("utf-8")).substitute(values)
        for source, place in _FILES.items()
    }
