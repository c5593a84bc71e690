"""The command line. A command's module is imported when it is run or asked for help, not before."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from restore_hub import __version__
from restore_hub.errors import RestoreHubError

# Name, module, and the line shown by --help, so that help imports no command.
COMMANDS = {
    "run": ("run", "Train a pipeline spec: tracked run, metrics, ONNX files."),
    "check": ("check", "Check a spec: names, levels, shapes, cost; train nothing."),
    "plan": ("plan", "Forecast time, memory and disk of a run; compare solvers."),
    "export": ("export", "Export a run again, or blocks with published weights."),
    "track": ("track", "Send what a tracker has not had of a run, from its folder."),
    "compare": ("compare", "Compare runs: what differs in their specs, metrics, curves, pictures."),
    "restore": ("restore", "Run an exported ONNX file on a photograph or a folder, without PyTorch."),
    "inspect": ("inspect_", "Show what an exported ONNX file says of itself, and verify it."),
    "verify": ("verify", "Check exported ONNX files, and that they compute here what they should."),
    "zoo": ("zoo", "List the models that come with this package, or print the card of one."),
    "zoo-add": ("zoo_add", "Make an entry of the zoo from a run: file, card, metrics, spec, pictures."),
    "doctor": ("doctor", "Check this machine: versions, devices and their speed, memory, folders."),
    "data": ("data", "Prepare data: commands that plugins bring."),
    "list": ("list_", "List registered components."),
    "show": ("show", "Show one component: options, types, defaults, references."),
    "plugins": ("plugins_", "List plugins and whether they loaded."),
    "new-plugin": ("new_plugin", "Write the folder of a new plugin that installs and passes its tests."),
    "schema": ("schema", "Print the JSON Schema of specs, for editors."),
}

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
        """Return the names in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import the module of a command; unknown names are left to click, which suggests near ones."""
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"restore_hub.cli.{COMMANDS[name][0]}").command
        command.name = name
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help lines without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="restore-hub")
def group() -> None:
    """Image restoration: plugins, chained by a YAML spec, trained by bilevel optimisation, deployed as ONNX."""


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; errors meant for people end as one line and status 2, Ctrl-C as 130.

    With `RESTORE_HUB_TRACEBACK` set they come with their traceback, for authors of plugins.
    """
    try:
        sys.exit(group(arguments, standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except RestoreHubError as error:
        if os.environ.get("RESTORE_HUB_TRACEBACK"):
            raise
        from restore_hub.cli.units import printable

        click.echo(f"error: {printable(str(error))}", err=True)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if error.name not in TRAIN_PACKAGES:
            raise
        click.echo(
            f"error: this needs {error.name}, which is not installed: pip install 'restore-hub[train]'", err=True
        )
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(130)
