"""`restore-hub restore` for a folder: progress, a table at the end, and what failed."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from restore_hub.cli.progress import Progress
from restore_hub.cli.table import table
from restore_hub.cli.units import printable

if TYPE_CHECKING:
    from restore_hub.runtime.folder_result import RestoredFolder

_HEAD = ("done", "skipped", "failed", "MP/s", "gain", "red", "green", "blue")


def run(model: Path, folder: Path, out: Path, **options: Any) -> None:
    """Restore a folder as `restore_hub.restore_folder` does; if any fail, list them and exit with status 1."""
    from restore_hub.runtime.folder import restore_folder

    before = signal.signal(signal.SIGINT, _stop)
    try:
        with Progress("restore") as progress:
            done = restore_folder(model, folder, out, report=progress.update, **options)
    finally:
        signal.signal(signal.SIGINT, before)
    click.echo(table(_HEAD, [_row(done)]))
    click.echo(f"results in {done.path}")
    for note in done.notes:
        click.echo(printable(f"note: {note}"))
    failed = done.of("failed")
    for result in failed:
        click.echo(printable(f"failed: {result.photo}: {result.reason}"), err=True)
    if failed:
        click.get_current_context().exit(1)


def _stop(number: int, _: Any) -> None:
    """Stop after the photographs in progress; a second Ctrl-C ends the process at once."""
    signal.signal(number, signal.SIG_DFL)
    click.echo("\nstopping after the photographs in progress; press Ctrl-C again to stop at once", err=True)
    click.echo("run the same command to continue from here", err=True)
    raise KeyboardInterrupt


def _row(done: RestoredFolder) -> list[str]:
    """Return the cells of the table: counts, speed, and the ranges of gain and white balance."""
    records = [result.facts["record"] for result in done.of("done", "skipped") if result.facts]
    balances = [record["balance"]["factors"] for record in records if "balance" in record]
    return [
        *(str(len(done.of(state))) for state in ("done", "skipped", "failed")),
        f"{done.speed:.3g}" if done.of("done") else "-",
        _range(record["gain"]["value"] for record in records if "gain" in record),
        *(_range(balance[plane] for balance in balances) for plane in (0, 1, 3)),
    ]


def _range(values: Iterable[float]) -> str:
    """Return the smallest and the largest value, only one if they look the same, or `-` for none."""
    found = sorted(values)
    if not found:
        return "-"
    low, high = f"{found[0]:.4g}", f"{found[-1]:.4g}"
    return low if low == high else f"{low} to {high}"
