"""`restore-hub export RUN`, `export SPEC -o OUT`, and `export --merge A.onnx+B.onnx -o C.onnx`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from restore_hub.cli.options import plugin_option, set_option


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--weights", help="Checkpoint of the run (last, best, stage-1 …); default: what its spec says.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder; default RUN/export, or RUN/export-WEIGHTS.")
@click.option("--merge", "parts", metavar="A.onnx+B.onnx", help="In place of RUN: files to make one of, OUT.")
@click.option("--overwrite", is_flag=True, help="With --merge, replace OUT when it exists.")
@click.option("--int8", is_flag=True, help="Also the chain in 8-bit integers, as chain.int8.onnx; it reads RUN's data.")
@click.option(
    "--budget",
    type=click.FloatRange(min=0),
    default=0.2,
    show_default=True,
    metavar="DB",
    help="Largest loss of holdout PSNR with which --int8 publishes.",
)
@set_option
@plugin_option
def command(
    run: Path | None,
    weights: str | None,
    out: Path | None,
    parts: str | None,
    overwrite: bool,
    int8: bool,
    budget: float,
    overrides: tuple[str, ...],
    plugins: tuple[Path, ...],
) -> None:
    """Export the blocks and the chain of RUN, a run folder, as its spec names them.

    In the place of RUN may stand a spec, or the name of a shipped one, whose blocks have their `weights`: published
    ones, say. Nothing is trained then, and OUT has to be given. With --merge, make one file OUT of exported files that
    run one after the other.
    """
    if parts is not None:
        _merge(parts, out, overwrite, alone=run is None and weights is None and not overrides and not int8)
    elif run is None or overwrite:
        raise click.UsageError("give RUN, a run folder; or --merge A.onnx+B.onnx, which alone takes --overwrite")
    elif run.is_dir():
        if overrides:
            raise click.UsageError("--set changes a spec; what a run was made of stays")
        _export_run(run, weights, out, budget if int8 else None, plugins)
    else:
        if out is None or weights is not None or int8:
            raise click.UsageError(
                f"{run} is no run folder; of a spec, give -o OUT, and neither --weights nor --int8: it has no run"
            )
        from restore_hub.export.publish import export_spec
        from restore_hub.plugins import default_registry

        _say(export_spec(run, default_registry(plugins), out, overrides))


def _export_run(
    run: Path, weights: str | None, out: Path | None, budget: float | None, plugins: tuple[Path, ...]
) -> None:
    from restore_hub.export.publish import export_run
    from restore_hub.export.quantise import open_judge, quantise
    from restore_hub.plugins import default_registry

    registry = default_registry(plugins)
    judge = None if budget is None else open_judge(run, registry)  # before the work, since it may refuse
    files = export_run(run, registry, weights, out)
    _say(files)
    if judge is not None and budget is not None:
        path, manifest = quantise(files[-1], judge, budget)
        _say([path])
        if manifest.quantisation is not None:
            click.echo(f"  {manifest.quantisation.describe()}")


def _merge(parts: str, out: Path | None, overwrite: bool, *, alone: bool) -> None:
    if out is None or not alone:
        raise click.UsageError("--merge takes -o OUT.onnx, and neither RUN nor --weights, --int8, --set")
    from restore_hub.export import merge

    manifest = merge(parts, out, overwrite=overwrite)
    click.echo(f"merged    {out}  ({manifest.kind}, differs from its parts by at most {manifest.parity:.2g})")


def _say(files: Iterable[Path]) -> None:
    for path in files:
        click.echo(f"exported  {path}")
