"""`restore-hub data COMMAND`: commands that plugins register to prepare or check data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from restore_hub.errors import PluginError

if TYPE_CHECKING:
    from restore_hub.registry import Component, Registry


def commands_of(registry: Registry) -> dict[str, Component]:
    """Return the commands by what one types: the part after the slash, or the whole name where several share it."""
    found = registry.of_kind("command")
    owners = Counter(_short(component) for component in found)
    return {c.name if owners[_short(c)] > 1 else _short(c): c for c in found}


class _PluginCommands(click.Group):
    """Looks commands up in the registry; a whole name always works."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(commands_of(_registry(ctx)))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        registry = _registry(ctx)
        component = commands_of(registry).get(name) or registry.components.get(("command", name))
        if component is None:
            same = [c.name for c in registry.of_kind("command") if _short(c) == name]
            if same:
                raise PluginError(f"several plugins bring a command {name!r}; say which: {' or '.join(same)}")
            return None
        command: click.Command = component.load()
        command.name = name
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, c.summary) for name, c in sorted(commands_of(_registry(ctx)).items())])


def _short(component: Component) -> str:
    return component.name.partition("/")[2]


def _registry(ctx: click.Context) -> Registry:
    from restore_hub.plugins import default_registry

    return default_registry(ctx.params.get("plugins", ()))


# Eager, so that it is known when `--help` lists the commands.
@click.group(cls=_PluginCommands)
@click.option(
    "--plugin", "plugins", multiple=True, is_eager=True, type=click.Path(path_type=Path), help="Load a plugin file."
)
def command(plugins: tuple[Path, ...]) -> None:
    """Prepare data with the commands that plugins bring."""
    del plugins  # read where commands are looked up
