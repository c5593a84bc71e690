"""`restore-hub export RUN`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--weights", default="best", show_default=True, help="Checkpoint of the run: best, last, stage-1 …")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder for the files; RUN/export by default.")
@click.option("--plugin", "plugins", multiple=True, type=click.Path(path_type=Path), help="Load a plugin file.")
def command(run: Path, weights: str, out: Path | None, plugins: tuple[Path, ...]) -> None:
    """Export the blocks and the chain of RUN, a run folder, as its spec names them."""
    from restore_hub.plugins import default_registry
    from restore_hub.train import export_run

    for path in export_run(run, default_registry(plugins), weights, out):
        click.echo(f"exported  {path}")
