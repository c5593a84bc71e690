"""`restore-hub export RUN`, `export SPEC -o OUT`, and `export --merge A.onnx+B.onnx -o C.onnx`."""

from __future__ import annotations

from pathlib import Path

import click

from restore_hub.cli.options import plugin_option, set_option


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--weights", help="Checkpoint of the run (last, best, stage-1 …); default: what its spec says.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder; default RUN/export, or RUN/export-WEIGHTS.")
@click.option("--merge", "parts", metavar="A.onnx+B.onnx", help="In place of RUN: files to make one of, OUT.")
@click.option("--overwrite", is_flag=True, help="With --merge, replace OUT when it exists.")
@set_option
@plugin_option
def command(
    run: Path | None,
    weights: str | None,
    out: Path | None,
    parts: str | None,
    overwrite: bool,
    overrides: tuple[str, ...],
    plugins: tuple[Path, ...],
) -> None:
    """Export the blocks and the chain of RUN, a run folder, as its spec names them.

    In the place of RUN may stand a spec, or the name of a shipped one, whose blocks have their `weights`: published
    ones, say. Nothing is trained then, and OUT has to be given. With --merge, make one file OUT of exported files that
    run one after the other.
    """
    if parts is not None:
        _merge(parts, out, overwrite, alone=run is None and weights is None and not overrides)
        return
    if run is None or overwrite:
        raise click.UsageError("give RUN, a run folder; or --merge A.onnx+B.onnx, which alone takes --overwrite")
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


def _merge(parts: str, out: Path | None, overwrite: bool, *, alone: bool) -> None:
    if out is None or not alone:
        raise click.UsageError("--merge takes -o OUT.onnx, and neither RUN nor --weights nor --set")
    from restore_hub.export import merge

    manifest = merge(parts, out, overwrite=overwrite)
    click.echo(f"merged    {out}  ({manifest.kind}, differs from its parts by at most {manifest.parity:.2g})")
