"""`restore-hub darktable FILE -o NAME.dtmodel`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="NAME.dtmodel to write.")
@click.option("--overwrite", is_flag=True, help="Replace OUT when it exists.")
def command(model: Path, out: Path, overwrite: bool) -> None:
    """Pack MODEL, an exported file that denoises mosaics, as a raw denoise model for darktable 5.6."""
    from restore_hub.export.darktable import export_darktable

    click.echo(f"wrote {out}, the model {export_darktable(model, out, overwrite=overwrite)}")
