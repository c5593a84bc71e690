"""`restore-hub zoo`: the models that come with the package, the card of one, and how to add one."""

from __future__ import annotations

from pathlib import Path

import click


class _Zoo(click.Group):
    """A group that takes any word but a command for the name of a model."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Take `zoo NAME` for `zoo card NAME`."""
        known = args[0] in self.commands
        return super().resolve_command(ctx, args if known or args[0].startswith("-") else ["card", *args])


@click.group(
    cls=_Zoo, invoke_without_command=True, subcommand_metavar="[NAME | COMMAND [ARGS]...]", no_args_is_help=False
)
@click.pass_context
def command(context: click.Context) -> None:
    """List the models that come with this package, or show the card of the one called NAME.

    `restore`, `inspect` and `verify` take a model of the zoo as zoo:NAME.
    """
    if context.invoked_subcommand is None:
        _list(context)


def _list(context: click.Context) -> None:
    from restore_hub.cli.table import table
    from restore_hub.cli.units import printable, size
    from restore_hub.errors import ModelFileError
    from restore_hub.model.zoo import hidden_errors, zoo_entries, zoo_folder

    rows, damaged = [], list(hidden_errors(zoo_folder()).values())
    for entry in zoo_entries().values():
        try:
            manifest = entry.manifest()
        except ModelFileError as error:  # the others still work
            damaged.append(error)
            continue
        metrics = ", ".join(f"{metric} {value:.4g}" for metric, value in manifest.metrics.items())
        bytes_ = entry.file.stat().st_size
        rows.append((entry.name, manifest.kind, size(bytes_), metrics or "-", manifest.licence))
    click.echo(table(("NAME", "KIND", "SIZE", "HOLDOUT", "LICENCE"), rows))
    for reason in damaged:
        click.echo(printable(f"error: {reason}"), err=True)
    if damaged:
        context.exit(2)


@command.command()
@click.argument("name")
def card(name: str) -> None:
    """Show the card of the model NAME; `zoo NAME` is short for this."""
    from restore_hub.model.zoo import zoo_entry

    click.echo(zoo_entry(name).card(), nl=False)


@command.command(short_help="Make a zoo entry from a run.")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--model", metavar="FILE", help="Which file of RUN/export; default: chain.onnx, or the only one.")
@click.option("--overwrite", is_flag=True, help="Replace an older entry in FOLDER.")
def add(run: Path, folder: Path, model: str | None, overwrite: bool) -> None:
    """Make a zoo entry in FOLDER from the run folder RUN: the file, its card, metrics, spec and pictures.

    Every figure on the card is generated. Its author's words come from the spec: `about` and `limits` under `export`,
    and `source` of each split. An entry in a checkout's model_zoo folder is found as zoo:NAME, others by their path.
    """
    from restore_hub.report import write_entry

    click.echo(f"wrote {write_entry(run, folder, model=model, overwrite=overwrite)}")
