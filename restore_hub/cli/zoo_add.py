"""`restore-hub zoo-add RUN FOLDER`: what a run made, ready to be handed on."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--model", metavar="FILE", help="Which file of RUN/export; default: chain.onnx, or the only one.")
@click.option("--overwrite", is_flag=True, help="Replace an older entry in FOLDER.")
def command(run: Path, folder: Path, model: str | None, overwrite: bool) -> None:
    """Make an entry of a model zoo in FOLDER from RUN, a run folder: the file, its card, metrics, spec and pictures.

    Every figure of the card is generated. Its author's words are in the spec: `about` and `limits` of `export`, and
    `source` of each split. In the folder model_zoo of a checkout the entry is found as zoo:NAME, elsewhere by its path.
    """
    from restore_hub.report import write_entry

    click.echo(f"wrote {write_entry(run, folder, model=model, overwrite=overwrite)}")
