"""`restore-hub verify FILE`."""

from __future__ import annotations

from pathlib import Path

import click

from restore_hub.cli.options import device_option


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@device_option
@click.pass_context
def command(context: click.Context, files: tuple[Path, ...], device: str) -> None:
    """Check exported FILEs: whole, self-contained, as the manifest says, and computing here what they should.

    A model of the zoo is zoo:NAME. The exit code is 1 where a check failed.
    """
    from restore_hub.cli.table import table
    from restore_hub.runtime.verify import verify

    spoilt = False
    for file in files:
        checks = verify(file, device=device)
        wrong = [check.name for check in checks if check.result == "WRONG"]
        click.echo(f"{file}: {'wrong in ' + ', '.join(wrong) if wrong else 'ok'}")
        click.echo(table(("  CHECK", "RESULT", ""), [(f"  {c.name}", c.result, c.said) for c in checks]))
        spoilt = spoilt or bool(wrong)
    if spoilt:
        context.exit(1)
