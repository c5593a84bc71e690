"""The commands `restore-hub data make-raw`, `noise` and `check`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from restore_hub.cli.options import plugin_option, set_option
from restore_hub.errors import DataError, OptionError
from restore_hub.photo.raw.dng_writer import SMALLEST_SIDE
from restore_hub.photo.raw.mosaic import PHASES
from restore_hub_raw.checks.data_report import check_samples, samples_of
from restore_hub_raw.checks.splits import folder_splits, spec_splits
from restore_hub_raw.noise.measure_files import measure_files
from restore_hub_raw.noise.model import NoiseModel
from restore_hub_raw.noise.noise_file import read_noise_file
from restore_hub_raw.noise.report import noise_table
from restore_hub_raw.synthesis.make_folder import make_folder
from restore_hub_raw.synthesis.recipe import SHOT, Recipe
from restore_hub_raw.synthesis.unprocess import read_noise


@click.command("make-raw")
@click.argument("photos", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--ratio", type=click.FloatRange(min=1), default=100.0, show_default=True, help="Exposure ratio.")
@click.option("--shot", type=click.FloatRange(min=0), help=f"Shot noise, a variance; {SHOT:g} by default.")
@click.option("--read", type=click.FloatRange(min=0), help="Read noise, a variance; typical for --shot by default.")
@click.option("--noise", type=click.Path(path_type=Path), help="File with both, as `data noise -o` writes it.")
@click.option("--phase", type=click.Choice(list(PHASES)), default="rggb", show_default=True, help="Colour pattern.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of white balance and noise."
)
@click.option(
    "--size",
    type=click.IntRange(min=SMALLEST_SIDE),
    help="Reduce larger photos to this longest side (hides JPEG noise).",
)
@click.option("--tone", is_flag=True, help="Undo a tone curve too; long exposures then render darker than the photos.")
@click.option("--force", is_flag=True, help="Replace the pairs that OUT/pairs.json lists.")
def make_raw(
    photos: Path,
    out: Path,
    ratio: float,
    shot: float | None,
    read: float | None,
    noise: Path | None,
    phase: str,
    seed: int,
    size: int | None,
    tone: bool,
    force: bool,
) -> None:
    """Make RAW training pairs in OUT from the PNG, TIFF and JPEG files in the folder PHOTOS.

    The noise has the variance shot * x + read, where x is the short exposure's signal, which saturates at 1.
    """
    model = _noise_model(shot, read, noise)
    recipe = Recipe(ratio, model.shot, model.read, phase, seed, size, tone)
    count = make_folder(photos, out, recipe, force, lambda error: click.echo(f"left out: {error}", err=True))
    click.echo(f"{count} pair{'' if count == 1 else 's'} written to {out}, exposure ratio {ratio:g}")


@click.command("noise")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--burst", is_flag=True, help="The files show one scene from a tripod at one exposure; most accurate.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the noise of all files here (YAML).")
@click.option("--force", is_flag=True, help="Replace an existing output.")
def noise(files: tuple[Path, ...], burst: bool, output: Path | None, force: bool) -> None:
    """Measure the noise of RAW FILEs taken at one ISO setting: its variance is shot * x + read.

    x is the signal, 0 at black and 1 at white, before white balance. Without --burst each file is measured alone, any
    scene will do, and several files are also measured together.
    """
    if output is not None and output.exists() and not force:
        raise DataError("raw-noise.output-exists", output)
    for measured in measure_files(files, burst):
        click.echo(noise_table(measured))
    if output is not None:
        measured.write(output, files)
        click.echo(f"written to {output}")


@click.command("check")
@click.argument("source", metavar="SPEC_OR_FOLDER", type=click.Path(path_type=Path))
@set_option
@plugin_option
@click.pass_context
def check(ctx: click.Context, source: Path, overrides: tuple[str, ...], plugins: tuple[Path, ...]) -> None:
    """Check the data of a spec, or of a folder that has short/ and long/ or a folder with these for each split.

    Finds files that have no partner or can't be read, misaligned pairs, exposure ratios that don't fit the pixels,
    long exposures that are mostly clipped, and files that occur twice. The exit status is 1 if there are findings.
    """
    given: tuple[Path, ...] = ctx.parent.params.get("plugins", ()) if ctx.parent else ()  # `data --plugin FILE check`
    plugins = tuple(dict.fromkeys((*given, *plugins)))
    splits, notes = folder_splits(source) if source.is_dir() else spec_splits(source, overrides, plugins)
    with click.progressbar(samples_of(splits), label="checking", file=sys.stderr) as samples:
        report = check_samples(samples, splits, notes)
    for line in report.lines():
        click.echo(line)
    ctx.exit(1 if report.findings else 0)


def _noise_model(shot: float | None, read: float | None, file: Path | None) -> NoiseModel:
    if file is not None:
        if shot is not None or read is not None:
            raise OptionError("raw-noise.given-twice", "noise")
        return read_noise_file(file)
    shot = SHOT if shot is None else shot
    return NoiseModel(shot, read_noise(shot) if read is None else read)
