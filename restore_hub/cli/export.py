"""`restore-hub export RUN`, `export SPEC -o OUT`, `export FILE --to EXPORTER -o OUT`, `export --merge A+B -o OUT`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from restore_hub.cli.options import plugin_option


@click.command()
@click.argument("source", required=False, type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="Folder for the files; with --to or --merge, the file."
)
@click.option("--weights", help="Checkpoint of the run (last, best, stage-1 …); default: what its spec says.")
@click.option("--int8", is_flag=True, help="Also write the run's chain in 8-bit integers, as chain.int8.onnx.")
@click.option(
    "--budget",
    type=click.FloatRange(min=0),
    default=0.2,
    show_default=True,
    metavar="DB",
    help="Largest loss of holdout PSNR that --int8 accepts.",
)
@click.option("--to", "exporter", metavar="EXPORTER", help="Pack SOURCE, an ONNX file, for another program.")
@click.option("--merge", "parts", metavar="A.onnx+B.onnx", help="Merge ONNX files into one; takes no SOURCE.")
@click.option("--overwrite", is_flag=True, help="With --to or --merge, replace OUT when it exists.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY.PATH=VALUE",
    help="Override one value of the spec; with --to, an option of the exporter.",
)
@plugin_option
def command(
    source: Path | None,
    out: Path | None,
    weights: str | None,
    int8: bool,
    budget: float,
    exporter: str | None,
    parts: str | None,
    overwrite: bool,
    overrides: tuple[str, ...],
    plugins: tuple[Path, ...],
) -> None:
    """Export a run's blocks and chain to ONNX files, or pack or merge exported files.

    SOURCE is a run folder; its spec names what to export. SOURCE can also be a spec, or the name of a shipped pipeline,
    if its blocks have `weights`: nothing is trained then, and -o is needed.

    With --to, SOURCE is an exported ONNX file, packed for another program: `restore-hub list exporter` lists what there
    is. With --merge, exported files that run one after the other become one file.
    """
    if parts is not None:
        if out is None or source is not None or exporter is not None or weights is not None or overrides or int8:
            raise click.UsageError("--merge takes -o OUT.onnx and --overwrite, and nothing else")
        _merge(parts, out, overwrite)
    elif source is None:
        raise click.UsageError("give SOURCE: a run folder, a spec, or an ONNX file with --to; or give --merge")
    elif exporter is not None:
        if out is None or weights is not None or int8:
            raise click.UsageError("--to takes an ONNX file and -o OUT, and neither --weights nor --int8")
        _pack(source, exporter, out, overwrite, overrides, plugins)
    elif overwrite:
        raise click.UsageError("--overwrite goes with --to or --merge")
    elif source.is_dir():
        if overrides:
            raise click.UsageError("--set changes a spec, and a run's spec can't change any more")
        _export_run(source, weights, out, budget if int8 else None, plugins)
    elif source.suffix.lower() == ".onnx":
        raise click.UsageError(f"{source} is exported already; to pack it for another program, give --to EXPORTER")
    else:
        if out is None or weights is not None or int8:
            raise click.UsageError(f"{source} isn't a run folder; for a spec, give -o OUT and no --weights or --int8")
        _export_spec(source, out, overrides, plugins)


def _export_run(
    run: Path, weights: str | None, out: Path | None, budget: float | None, plugins: tuple[Path, ...]
) -> None:
    from restore_hub.export.quantise import open_judge, quantise
    from restore_hub.export.runs import export_run
    from restore_hub.plugins import default_registry

    registry = default_registry(plugins)
    judge = None if budget is None else open_judge(run, registry)  # first, since it may refuse
    files = export_run(run, registry, weights, out)
    _list(files)
    if judge is not None and budget is not None:
        path, manifest = quantise(files[-1], judge, budget)
        _list([path])
        if manifest.quantisation is not None:
            click.echo(f"  {manifest.quantisation.describe()}")


def _export_spec(spec: Path, out: Path, overrides: tuple[str, ...], plugins: tuple[Path, ...]) -> None:
    from restore_hub.export.runs import export_spec
    from restore_hub.plugins import default_registry

    _list(export_spec(spec, default_registry(plugins), out, overrides))


def _pack(
    source: Path, name: str, out: Path, overwrite: bool, overrides: tuple[str, ...], plugins: tuple[Path, ...]
) -> None:
    from restore_hub.export.pack import make_exporter, pack
    from restore_hub.plugins import default_registry

    pack(source, make_exporter(default_registry(plugins), name, overrides), out, overwrite=overwrite)
    click.echo(f"packed    {out}")


def _merge(parts: str, out: Path, overwrite: bool) -> None:
    from restore_hub.export.merge import merge

    manifest = merge(parts, out, overwrite=overwrite)
    click.echo(f"merged    {out}  ({manifest.kind}, differs from its parts by at most {manifest.parity:.2g})")


def _list(files: Iterable[Path]) -> None:
    for path in files:
        click.echo(f"exported  {path}")
