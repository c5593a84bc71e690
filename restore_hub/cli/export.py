"""`restore-hub export RUN`."""

from __future__ import annotations

from pathlib import Path

import click

from restore_hub.cli.options import plugin_option


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--weights", help="Checkpoint of the run (last, best, stage-1 …); default: what its spec says.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder; default RUN/export, or RUN/export-WEIGHTS.")
@click.option("--int8", is_flag=True, help="Also the chain in 8-bit integers, as chain.int8.onnx; it reads the data.")
@click.option(
    "--budget",
    type=click.FloatRange(min=0),
    default=0.2,
    show_default=True,
    metavar="DB",
    help="Largest loss of holdout PSNR with which --int8 publishes.",
)
@plugin_option
def command(
    run: Path, weights: str | None, out: Path | None, int8: bool, budget: float, plugins: tuple[Path, ...]
) -> None:
    """Export the blocks and the chain of RUN, a run folder, as its spec names them."""
    from restore_hub.cli.inspect_ import said_of_int8
    from restore_hub.plugins import default_registry
    from restore_hub.train import export_run, open_judge, quantise

    registry = default_registry(plugins)
    judge = open_judge(run, registry) if int8 else None  # before the work, since it may refuse
    files = export_run(run, registry, weights, out)
    for path in files:
        click.echo(f"exported  {path}")
    if judge is not None:
        path, manifest = quantise(files[-1], judge, budget)
        click.echo(f"exported  {path}")
        click.echo(f"  {said_of_int8(manifest)}")
