"""`restore-hub data COMMAND`: commands that plugins register to prepare or check data."""

from __future__ import annotations

from typing import Any

import click


class _PluginCommands(click.Group):
    """Looks commands up in the registry by the part of their name after the slash."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._table())

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        component = self._table().get(name)
        if component is None:
            return None
        command: click.Command = component.load()
        command.name = name
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, c.summary) for name, c in sorted(self._table().items())])

    @staticmethod
    def _table() -> dict[str, Any]:
        from restore_hub.plugins import default_registry

        return {c.name.partition("/")[2]: c for c in default_registry().of_kind("command")}


@click.group(cls=_PluginCommands)
def command() -> None:
    """Prepare data with the commands that plugins bring."""
