"""`restore-hub verify FILE`."""

from __future__ import annotations

from pathlib import Path

import click

from restore_hub.cli.options import FilePath, device_option
from restore_hub.cli.units import printable


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=FilePath())
@device_option
@click.pass_context
def command(context: click.Context, files: tuple[Path, ...], device: str) -> None:
    """Check that exported FILEs are whole and self-contained, match their manifests, and compute the right values here.

    zoo:NAME is a model of the zoo. Files with a + in between are checked one by one, and then whether they fit. The
    exit code is 1 if a check failed.
    """
    from restore_hub.model.locate import locate

    all_ok = True
    for source in files:
        paths = locate(source)
        each_ok = [_verify(path, device, str(path if len(paths) > 1 else source)) for path in paths]
        all_ok = all(each_ok) and (len(paths) == 1 or _fit(source, paths)) and all_ok
    if not all_ok:
        context.exit(1)


def _verify(file: Path, device: str, name: str) -> bool:
    """Print the checks of a file, and return whether all passed."""
    from restore_hub.cli.table import table
    from restore_hub.model.verify import verify

    checks = verify(file, device=device)
    wrong = [check.name for check in checks if check.result == "WRONG"]
    click.echo(f"{printable(name)}: {'wrong in ' + ', '.join(wrong) if wrong else 'ok'}")
    click.echo(table(("  CHECK", "RESULT", ""), [(f"  {c.name}", c.result, printable(c.finding)) for c in checks]))
    return not wrong


def _fit(source: Path, paths: tuple[Path, ...]) -> bool:
    from restore_hub.model.model import load
    from restore_hub.model.sequence import misfit

    wrong = misfit([load(path) for path in paths])
    click.echo(printable(f"{source}: {wrong or 'fit together'}"))
    return not wrong
