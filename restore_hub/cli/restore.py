"""`restore-hub restore FILE.onnx PHOTO -o OUT`, for one photograph or a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

import click

from restore_hub.cli.native import quiet_libraw
from restore_hub.cli.options import FilePath, NumberInput, as_mapping, device_option, reader_option
from restore_hub.cli.units import printable


class _Balance(click.ParamType[Any]):
    """`camera`, `daylight`, or three numbers."""

    name = "camera|daylight|R,G,B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a name as it is, and numbers as floats."""
        if value in ("camera", "daylight"):
            return value
        try:
            factors = tuple(float(part) for part in value.split(","))
        except ValueError:
            factors = ()
        if len(factors) != 3:
            self.fail(f"{value!r} isn't camera, daylight, or three numbers such as 2,1,1.5", param, ctx)
        return factors


@click.command()
@click.argument("model", type=FilePath())
@click.argument("photo", type=FilePath())
@click.option("-o", "--out", required=True, type=FilePath(), help="PNG, TIFF, JPEG or DNG to write.")
@click.option(
    "--gain",
    type=float,
    help="Exposure gain for RAW; default: from the file, else a stated rule.",
)
@click.option("--balance", type=_Balance(), help="White balance for RAW; default: as shot, else daylight, else 1.")
@click.option("--input", "inputs", type=NumberInput(), multiple=True, help="A number that MODEL takes, as sigma=0.1.")
@click.option("--bits", type=click.Choice(["8", "16"]), help="Bits a channel; default: 8, and 16 for DNG.")
@click.option(
    "--format",
    type=click.Choice(["png", "tif", "jpg", "dng"]),
    help="Format of a folder's results; default: png, or dng if the model denoises mosaics.",
)
@click.option("--jobs", type=click.IntRange(min=1), help="Photographs of a folder at once; default: 1.")
@click.option("--overwrite", is_flag=True, help="Replace OUT; in a folder, also files that it didn't make.")
@device_option
@reader_option
@click.option(
    "--tile",
    type=click.IntRange(min=0),
    help="Side of tiles, 0 for none; default: by size and free memory.",
)
@quiet_libraw()
def command(
    model: Path,
    photo: Path,
    out: Path,
    gain: float | None,
    balance: Any,
    inputs: tuple[tuple[str, float], ...],
    bits: str | None,
    format: str | None,
    jobs: int | None,
    overwrite: bool,
    device: str,
    tile: int | None,
) -> None:
    """Run the exported MODEL on PHOTO (RAW, PNG, TIFF or JPEG, whichever it takes), or on every photo in a folder.

    MODEL is a file, a zoo:NAME that `restore-hub zoo` lists, or several with a + in between, as in a.onnx+b.onnx: each
    takes the output of the one before. EXIF and the colour profile are kept, and what was done is added to EXIF. A DNG
    holds the result as linear light. A folder includes its sub-folders, results keep their photographs' names, and
    running the same command again continues where it stopped.
    """
    options: dict[str, Any] = {"gain": gain, "balance": balance, "bits": int(bits) if bits else None, "tile": tile}
    options["inputs"] = as_mapping(inputs)
    if photo.is_dir():
        from restore_hub.cli.restore_folder import run

        kind = cast("Literal['png', 'tif', 'jpg', 'dng'] | None", format)
        run(model, photo, out, format=kind, jobs=jobs or 1, overwrite=overwrite, device=device, **options)
        return
    if format is not None or jobs is not None:
        raise click.UsageError("--format and --jobs are for a folder; for one photograph, OUT's suffix sets the format")
    from restore_hub.runtime.restore import restore

    done = restore(model, photo, out, overwrite=overwrite, device=device, **options)
    for note in done.notes:
        click.echo(printable(note))
    click.echo(f"wrote {printable(str(done.path))} ({done.width}x{done.height}, {done.bits} bits)")
