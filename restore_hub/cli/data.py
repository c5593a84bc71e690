"""`restore-hub data COMMAND`: commands that plugins add to prepare or check data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from restore_hub.cli.plugin_commands import commands_of, load_command
from restore_hub.cli.usage import no_such_command

if TYPE_CHECKING:
    from restore_hub.registry import Registry

GROUP = "data"


class _DataCommands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(commands_of(_registry(ctx), GROUP))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        found = load_command(_registry(ctx), GROUP, name)
        if found is None:
            raise no_such_command(ctx, name, self.list_commands(ctx))
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, c.summary) for name, c in sorted(commands_of(_registry(ctx), GROUP).items())])


def _registry(ctx: click.Context) -> Registry:
    from restore_hub.plugins import default_registry

    return default_registry(ctx.params.get("plugins", ()))


# Eager, so that `--help` lists the commands of these plugins too.
@click.group(cls=_DataCommands)
@click.option(
    "--plugin", "plugins", multiple=True, is_eager=True, type=click.Path(path_type=Path), help="Load a plugin file."
)
def command(plugins: tuple[Path, ...]) -> None:
    """Prepare or check data, with commands that plugins add."""
    del plugins  # read where commands are looked up
