"""The command line. A command's module is imported when the command is run or asked for help, not before."""

from __future__ import annotations

import importlib
import itertools
import os
import sys
from typing import Any, NoReturn

import click

from restore_hub import __version__
from restore_hub.commands import COMMANDS
from restore_hub.errors import MissingExtraError, RestoreHubError

# What the extra `train` brings: where one of these is missing, the error says which extra to install.
TRAIN_PACKAGES = (
    "albumentations",
    "mlflow",
    "onnx",
    "onnxscript",
    "timm",
    "torch",
    "torchmetrics",
    "torchvision",
)


class LazyGroup(click.Group):
    """A group that knows its commands by name and help line, and imports one when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the built-in names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a command; one that isn't built in is looked up among those of plugins."""
        if name not in COMMANDS:
            return _of_a_plugin(ctx, name)
        command: click.Command = importlib.import_module(f"restore_hub.cli.{COMMANDS[name][0]}").command
        command.name = name
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help lines without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Plugins add commands: `restore-hub list command` shows them.",
)
@click.option("--json", is_flag=True, expose_value=False, help="Print an error as one JSON object.")
@click.version_option(__version__, prog_name="restore-hub")
def group() -> None:
    """Image restoration: plugins, chained by a YAML spec, trained by bilevel optimisation, deployed as ONNX."""


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; errors meant for people end as one line and status 2, Ctrl-C as 130.

    With `--json` before the command, or `RESTORE_HUB_ERRORS=json`, that line is a JSON object with the keys `code`,
    `kind`, `place`, `what` and `mend`. With `RESTORE_HUB_TRACEBACK` set, errors come with their traceback.
    """
    given = sys.argv[1:] if arguments is None else arguments
    options = itertools.takewhile(lambda argument: argument.startswith("-"), given)
    as_json = "--json" in options or os.environ.get("RESTORE_HUB_ERRORS") == "json"
    try:
        sys.exit(group(arguments, prog_name="restore-hub", standalone_mode=False))
    except click.ClickException as error:
        if isinstance(error, click.exceptions.NoArgsIsHelpError) and not as_json:
            error.show()
            sys.exit(2)
        from restore_hub.cli.usage import usage_error

        _end(usage_error(error, given), 2, as_json)
    except RestoreHubError as error:
        if os.environ.get("RESTORE_HUB_TRACEBACK"):
            raise
        _end(error, 2, as_json)
    except ModuleNotFoundError as error:
        if error.name not in TRAIN_PACKAGES:
            raise
        _end(MissingExtraError("call.missing-extra", package=error.name, extra="train"), 2, as_json)
    except (KeyboardInterrupt, click.Abort):
        if as_json:
            _end(RestoreHubError("call.interrupted"), 130, as_json)
        click.echo("interrupted", err=True)
        sys.exit(130)


def _of_a_plugin(context: click.Context, name: str) -> click.Command:
    from restore_hub.cli.plugin_commands import commands_of, load_command
    from restore_hub.plugins import default_registry

    registry = default_registry()
    command = load_command(registry, None, name)
    if command is None:
        from restore_hub.cli.usage import no_such_command

        raise no_such_command(context, name, [*COMMANDS, *commands_of(registry, None)])
    return command


def _end(error: RestoreHubError, status: int, as_json: bool) -> NoReturn:
    if as_json:
        import json

        click.echo(json.dumps(error.as_json()), err=True)
    else:
        from restore_hub.cli.units import printable

        click.echo(f"error: {printable(str(error))}", err=True)
    sys.exit(status)
