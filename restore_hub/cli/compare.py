"""`restore-hub compare RUN RUN`."""

from __future__ import annotations

from pathlib import Path

import click

CELL = 40  # letters of a value on the terminal; the page shows all of it


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--out", default="compare.html", show_default=True, type=click.Path(path_type=Path), help="Page.")
def command(runs: tuple[Path, ...], out: Path) -> None:
    """Compare RUNS, run folders: print a table, and write a page with their curves and pictures over each other."""
    from restore_hub.cli.table import table
    from restore_hub.report import read_runs, result_rows, spec_rows, write_comparison

    found = read_runs(runs)
    if len(found) < 2:
        raise click.UsageError("give two different runs, or more")
    differing = spec_rows(found) or [("spec", ["equal"] * len(found))]
    rows = [[name, *map(_short, values)] for name, values in (*differing, *result_rows(found))]
    click.echo(table(["", *found], rows))
    write_comparison(found, out)
    click.echo(f"\npage  {out}")


def _short(text: str) -> str:
    return text if len(text) <= CELL else text[: CELL - 1] + "…"
