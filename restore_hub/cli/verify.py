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
    """Check exported FILEs: whole, self-contained, as the manifest says, and computing here what they should.

    A model of the zoo is zoo:NAME. Of files with a + in between each is checked, and then whether they fit. The exit
    code is 1 where a check failed.
    """
    from restore_hub.model.locate import paths_of

    sound = True
    for source in files:
        paths = paths_of(source)
        well = [_verify(path, device, str(path if len(paths) > 1 else source)) for path in paths]
        sound = all(well) and (len(paths) == 1 or _fit(source, paths)) and sound
    if not sound:
        context.exit(1)


def _verify(file: Path, device: str, name: str) -> bool:
    """Print the checks of a file, and return whether all are well."""
    from restore_hub.cli.table import table
    from restore_hub.model.verify import verify

    checks = verify(file, device=device)
    wrong = [check.name for check in checks if check.result == "WRONG"]
    click.echo(f"{printable(name)}: {'wrong in ' + ', '.join(wrong) if wrong else 'ok'}")
    click.echo(table(("  CHECK", "RESULT", ""), [(f"  {c.name}", c.result, printable(c.said)) for c in checks]))
    return not wrong


def _fit(source: Path, paths: tuple[Path, ...]) -> bool:
    from restore_hub.model.model import load
    from restore_hub.model.sequence import misfit

    wrong = misfit([load(path) for path in paths])
    click.echo(printable(f"{source}: {wrong or 'fit, and run one after the other'}"))
    return not wrong
