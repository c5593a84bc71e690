"""`restore-hub run SPEC`."""

from __future__ import annotations

from pathlib import Path

import click

from restore_hub.cli.options import plugin_option, set_option


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@set_option
@plugin_option
@click.option("--runs", default="runs", show_default=True, type=click.Path(path_type=Path), help="Folder of runs.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of this run, instead of a new one in --runs.")
@click.option("--device", default="cpu", show_default=True, help="A torch device.")
@click.option("--resume", is_flag=True, help="Resume the run in --out, or the newest unfinished run of this spec.")
@click.option(
    "--inexact",
    is_flag=True,
    help="Resume even if threads, torch, machine, processes or a loss changed; the bits will differ.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print only the result; log.txt in the run folder has every line.")
@click.option("-v", "--verbose", is_flag=True, help="Print every value of every step.")
def command(
    spec: Path,
    overrides: tuple[str, ...],
    plugins: tuple[Path, ...],
    runs: Path,
    out: Path | None,
    device: str,
    resume: bool,
    inexact: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Train the pipeline in SPEC (a file, or the name of a shipped pipeline) and export it."""
    from restore_hub.train.ranks import is_first
    from restore_hub.train.run import run

    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose contradict each other; use one of them")
    result = run(
        spec,
        overrides=overrides,
        plugins=plugins,
        runs=runs,
        out=out,
        device=device,
        resume=resume,
        inexact=inexact,
        quiet=quiet,
        verbose=verbose,
    )
    if not is_first():
        return
    click.echo(f"run       {result.folder}")
    for path in result.exported:
        click.echo(f"exported  {path}")
    for name, value in result.metrics.items():
        click.echo(f"holdout   {name} {value:.4g}")
    if result.where:
        click.echo(f"tracker   {result.where}")
