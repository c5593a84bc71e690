"""`restore-hub restore FILE.onnx PHOTO -o OUT`."""

from __future__ import annotations

from pathlib import Path

import click

from restore_hub.cli.options import device_option


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("photo", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="PNG, TIFF, JPEG or DNG to write.")
@click.option("--gain", type=float, help="Exposure gain for RAW; default: the file's metadata, else a stated rule.")
@click.option("--bits", type=click.Choice(["8", "16"]), help="Bits a channel; default: 8, and 16 for DNG.")
@click.option("--overwrite", is_flag=True, help="Replace OUT when it exists.")
@device_option
@click.option("--tile", type=click.IntRange(min=0), help="Side of tiles, 0 for none; default: by the free memory.")
def command(
    model: Path,
    photo: Path,
    out: Path,
    gain: float | None,
    bits: str | None,
    overwrite: bool,
    device: str,
    tile: int | None,
) -> None:
    """Run the exported MODEL on PHOTO (RAW, PNG, TIFF or JPEG, whichever it takes).

    EXIF and the colour profile travel along. A DNG holds the result as linear light.
    """
    from restore_hub.runtime import restore

    depth = int(bits) if bits else None
    done = restore(model, photo, out, gain=gain, bits=depth, overwrite=overwrite, device=device, tile=tile)
    for note in done.notes:
        click.echo(note)
    click.echo(f"wrote {done.path} ({done.width}x{done.height}, {done.bits} bits)")
