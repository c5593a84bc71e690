"""`restore-hub export RUN`, and `restore-hub export SPEC -o OUT`."""

from __future__ import annotations

from pathlib import Path

import click

from restore_hub.cli.options import plugin_option, set_option


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--weights", help="Checkpoint of the run (last, best, stage-1 …); default: what its spec says.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder; default RUN/export, or RUN/export-WEIGHTS.")
@set_option
@plugin_option
def command(
    run: Path, weights: str | None, out: Path | None, overrides: tuple[str, ...], plugins: tuple[Path, ...]
) -> None:
    """Export the blocks and the chain of RUN, a run folder, as its spec names them.

    In the place of RUN may stand a spec, or the name of a shipped one, whose blocks have their `weights`: published
    ones, say. Nothing is trained then, and OUT has to be given.
    """
    from restore_hub.plugins import default_registry
    from restore_hub.train import export_run, export_spec

    registry = default_registry(plugins)
    if run.is_dir():
        if overrides:
            raise click.UsageError("--set changes a spec; what a run was made of stays")
        files = export_run(run, registry, weights, out)
    else:
        if out is None or weights is not None:
            raise click.UsageError("of a spec, give -o OUT, and no --weights: each block names its own")
        files = export_spec(run, registry, out, overrides)
    for path in files:
        click.echo(f"exported  {path}")
