"""`restore-hub export RUN`."""

from __future__ import annotations

from pathlib import Path

import click

from restore_hub.cli.options import plugin_option


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--weights", help="Checkpoint of the run (last, best, stage-1 …); default: what its spec says.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder; default RUN/export, or RUN/export-WEIGHTS.")
@plugin_option
def command(run: Path, weights: str | None, out: Path | None, plugins: tuple[Path, ...]) -> None:
    """Export the blocks and the chain of RUN, a run folder, as its spec names them."""
    from restore_hub.plugins import default_registry
    from restore_hub.train import export_run

    for path in export_run(run, default_registry(plugins), weights, out):
        click.echo(f"exported  {path}")
