"""`restore-hub zoo`: the models that come with the package, and their cards."""

from __future__ import annotations

import click


@click.command()
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the models that come with this package, or print the card of the one called NAME.

    `restore`, `inspect` and `verify` take one as zoo:NAME.
    """
    from restore_hub.model.zoo import said_of_hidden, zoo_entries, zoo_entry, zoo_folder

    if name is not None:
        click.echo(zoo_entry(name).card(), nl=False)
        return
    from restore_hub.cli.table import table
    from restore_hub.cli.units import printable, size
    from restore_hub.errors import ModelFileError

    rows, damaged = [], list(said_of_hidden(zoo_folder()).values())
    for entry in zoo_entries().values():
        try:
            manifest = entry.manifest()
        except ModelFileError as error:  # the others still serve
            damaged.append(str(error))
            continue
        metrics = ", ".join(f"{metric} {value:.4g}" for metric, value in manifest.metrics.items())
        bytes_ = entry.file.stat().st_size
        rows.append((entry.name, manifest.kind, size(bytes_), metrics or "-", manifest.licence))
    click.echo(table(("NAME", "KIND", "SIZE", "HOLDOUT", "LICENCE"), rows))
    for reason in damaged:
        click.echo(printable(f"error: {reason}"), err=True)
    if damaged:
        click.get_current_context().exit(2)
