"""`noise`: measures shot and read noise of RAW files, and keeps them for `make-raw --noise`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from restore_hub.errors import DataError
from restore_hub.photo.raw.mosaic import RawImage
from restore_hub.photo.raw.reader import read_raw
from restore_hub_raw.noise.estimate import Estimate, estimate_from_burst, estimate_from_image
from restore_hub_raw.noise.fit import Fit
from restore_hub_raw.synthesis.sensor_noise import PLANES, write_noise_file


@click.command("noise")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--burst", is_flag=True, help="The files show one scene from a tripod at one exposure; the best way.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the noise of all files here (YAML).")
@click.option("--force", is_flag=True, help="Replace an older output.")
def noise(files: tuple[Path, ...], burst: bool, output: Path | None, force: bool) -> None:
    """Measure the noise of RAW FILEs taken at one ISO setting: its variance is shot * x + read.

    x is the signal, 0 at black and 1 at white, before white balance. Without --burst each file counts by itself, any
    scene will do, and several files are also put together.
    """
    if output is not None and output.exists() and not force:
        raise DataError(f"{output}: already there; give --force to replace it, or another name")
    raws = [read_raw(file) for file in files]
    if burst:
        estimate = estimate_from_burst(raws, [str(file) for file in files])
        _show(f"burst of {len(files)} files", estimate, raws[0])
    else:
        estimate = _separate(files, raws)
    if output is not None:
        planes = [plane.model for plane in estimate.planes]
        cameras = sorted({raw.camera for raw in raws} - {""})
        write_noise_file(output, estimate.pooled.model, planes, ", ".join(cameras), [file.name for file in files])
        click.echo(f"written to {output}")


def _separate(files: Sequence[Path], raws: Sequence[RawImage]) -> Estimate:
    """Show the noise of each file; return that of all together."""
    for file, raw in zip(files, raws, strict=True):
        try:
            estimate = estimate_from_image(raw)
        except DataError as error:
            raise DataError(f"{file}: {error}{'; or leave it out' if len(files) > 1 else ''}") from error
        _show(str(file), estimate, raw)
    if len(raws) > 1:
        estimate = estimate_from_image(*raws)
        _show(f"all {len(raws)} files together", estimate, raws[0])
    return estimate


def _show(title: str, estimate: Estimate, raw: RawImage) -> None:
    """Print an estimate, beside what the file itself states."""
    click.echo(f"{title}\n{'plane':5}  {'shot':>19}  {'read':>19}  {'electrons':>9}  {'read levels':>11}", nl=False)
    click.echo("" if raw.noise is None else f"  {'file: shot':>10} {'ratio':>5}  {'read':>8} {'ratio':>5}")
    ranges = raw.white - raw.black
    for plane, name in enumerate(PLANES):
        stated = None if raw.noise is None else raw.noise[plane]
        click.echo(_line(name, estimate.planes[plane], float(ranges[plane]), stated))
    click.echo(_line("all", estimate.pooled, float(ranges.mean()), None))
    click.echo(f"{estimate.pooled.samples} values of flat blocks, {estimate.pooled.flat:.0%} of those not clipped")
    for note in estimate.notes:
        click.echo(f"note: {note}")


def _line(name: str, fit: Fit, levels: float, stated: np.ndarray | None) -> str:
    shot, read = fit.model.shot, fit.model.read
    electrons = f"{1 / shot:9.0f}" if shot > 0 else f"{'-':>9}"
    line = f"{name:5}  {shot:9.3g} +- {fit.shot_error:<6.1g}  {read:9.3g} +- {fit.read_error:<6.1g}"
    line += f"  {electrons}  {np.sqrt(read) * levels:11.3g}"
    if stated is not None:
        shot_ratio, read_ratio = (
            f"{found / told:5.2f}" if told > 0 else f"{'-':>5}"
            for found, told in zip((shot, read), stated, strict=True)
        )
        line += f"  {stated[0]:10.3g} {shot_ratio}  {stated[1]:8.2g} {read_ratio}"
    return line
