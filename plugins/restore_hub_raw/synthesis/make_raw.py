"""`make-raw`: pairs of a short and a long RAW exposure, made from ordinary photos."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from restore_hub.errors import DataError, OptionError
from restore_hub.files import write_file
from restore_hub.photo.kind import PICTURE_SUFFIXES
from restore_hub.photo.pictures import read_picture
from restore_hub.photo.raw.dng_writer import SMALLEST_SIDE, write_dng
from restore_hub.photo.raw.mosaic import GAIN_RANGE, PHASES, RawImage
from restore_hub_raw.synthesis import unprocess
from restore_hub_raw.synthesis.sensor_noise import NoiseModel, read_noise_file

BLACK, WHITE = 512, 16383  # 14 bits, as in the Sony files of Chen et al., CVPR 2018
LONG_EXPOSURE = 10.0  # seconds
_BAND = 512  # rows, an even number
SHOT = 2e-4  # some 5,000 electrons at saturation


@dataclass(frozen=True, slots=True)
class Recipe:
    """How pairs are made.

    Attributes:
        ratio: long over short exposure time, 1 to 300 (more is no gain that networks see).
        shot, read: variance of the short exposure's noise is `shot * x + read` at signal x in [0, 1]; each is below
            1, and `shot` 0 or at least 1e-12.
        phase: one of `PHASES`.
        seed: with a photo's name it decides white balance and noise, whatever other photos there are.
        size: longest side in pixels that larger photos are reduced to, or `None`.
        tone: undo a tone curve; the rendered long exposure is then darker than the photo.
    """

    ratio: float = 100.0
    shot: float = SHOT
    read: float = unprocess.read_noise(SHOT)
    phase: str = "rggb"
    seed: int = 0
    size: int | None = None
    tone: bool = False

    def __post_init__(self) -> None:
        """Refuse what makes no RAW file.

        Raises:
            OptionError: a number out of its range, or none.
        """
        low, high = GAIN_RANGE
        if not low <= self.ratio <= high:
            raise OptionError(f"the exposure ratio is {self.ratio}; give {low:g} to {high:g}", "ratio")
        if not (self.shot == 0 or 1e-12 <= self.shot < 1):
            raise OptionError(f"the shot noise is {self.shot}; give 0, or a variance of 1e-12 to 1", "shot")
        if not 0 <= self.read < 1:
            raise OptionError(f"the read noise is {self.read}; give a variance from 0 to 1", "read")


def make_pair(
    photo: NDArray[Any], recipe: Recipe, rng: np.random.Generator
) -> tuple[NDArray[np.uint16], NDArray[np.uint16], NDArray[np.float64]]:
    """Make a noisy short and a clean long exposure of a photo, sRGB (H, W, 3) in [0, 1].

    Returns:
        Two uint16 mosaics (H, W) with levels `BLACK` and `WHITE`, and the white balance of R, Gr, Gb, B, drawn.
    """
    balance = unprocess.draw_balance(rng)
    short, long = (np.empty(photo.shape[:2], np.uint16) for _ in range(2))
    for top in range(0, len(photo), _BAND):  # the whole of a large photo would take gigabytes
        rows = slice(top, top + _BAND)
        colours = unprocess.sensor_rgb(photo[rows].astype(np.float64), unprocess.CANON_6D, balance, recipe.tone)
        signal = unprocess.mosaic(colours, PHASES[recipe.phase])
        long[rows] = unprocess.quantise(signal, BLACK, WHITE)
        dark = unprocess.expose(signal, recipe.ratio, recipe.shot, recipe.read, rng)
        short[rows] = unprocess.quantise(dark, BLACK, WHITE)
    return short, long, balance


def make_folder(photos: Path, out: Path, recipe: Recipe, force: bool = False) -> int:
    """Write `short/NAME.dng`, `long/NAME.dng` for each photo of a folder, and `pairs.json`; return how many.

    With `force` the pairs that an earlier `pairs.json` lists are replaced; those without a new one are removed
    once everything is written. Other files are never touched.

    Raises:
        DataError: no photo, two of one name, an older result and no `force`, files that no `pairs.json` lists,
            or, after all others are written, photos that could not be read.
    """
    files = list_photos(photos)
    _refuse_equal_names(files)
    older = _earlier(out, {file.stem for file in files}, force)
    pairs, failures = [], []
    for file in files:
        try:
            photo = _read(file, recipe.size)
        except DataError as error:
            failures.append(str(error))
        else:
            pairs.append(_write_pair(file, photo, out, recipe))
    if pairs:
        write_file(out / "pairs.json", json.dumps({**asdict(recipe), "pairs": pairs}, indent=1).encode() + b"\n")
        for name in older - {pair["name"] for pair in pairs}:
            for file in _both(out, name):
                file.unlink(missing_ok=True)
    if failures:
        head = f"{len(pairs)} pairs written, {len(failures)} of {len(files)} photos left out:"
        raise DataError("\n".join((head, *failures)))
    return len(pairs)


@click.command("make-raw")
@click.argument("photos", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--ratio", type=click.FloatRange(min=1), default=100.0, show_default=True, help="Exposure ratio.")
@click.option("--shot", type=click.FloatRange(min=0), help=f"Shot noise (a variance); {SHOT:g} if left out.")
@click.option("--read", type=click.FloatRange(min=0), help="Read noise (a variance); typical of --shot if left out.")
@click.option("--noise", type=click.Path(path_type=Path), help="File with both, as `data noise -o` writes it.")
@click.option("--phase", type=click.Choice(list(PHASES)), default="rggb", show_default=True, help="Colour pattern.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of balance and noise.")
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

    Noise has the variance shot * x + read, where x is the short exposure's signal and 1 its saturation.
    """
    model = _noise(shot, read, noise)
    count = make_folder(photos, out, Recipe(ratio, model.shot, model.read, phase, seed, size, tone), force)
    click.echo(f"{count} pairs written to {out}, exposure ratio {ratio:g}")


def _noise(shot: float | None, read: float | None, file: Path | None) -> NoiseModel:
    if file is not None:
        if shot is not None or read is not None:
            raise OptionError("--noise gives shot and read noise already; leave out --shot and --read", "noise")
        return read_noise_file(file)
    shot = SHOT if shot is None else shot
    return NoiseModel(shot, unprocess.read_noise(shot) if read is None else read)


def list_photos(folder: Path) -> list[Path]:
    """Return the PNG, TIFF and JPEG files of a folder by name, but for hidden ones.

    Raises:
        DataError: no such folder, or none in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    found = (file for file in folder.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES and file.is_file())
    files = sorted(file for file in found if not file.name.startswith("."))  # macOS leaves `._NAME` beside NAME
    if not files:
        raise DataError(f"{folder}: holds no photo ({', '.join(PICTURE_SUFFIXES)})")
    return files


def _refuse_equal_names(files: Sequence[Path]) -> None:
    first: dict[str, Path] = {}
    for file in files:
        if first.setdefault(file.stem, file) is not file:
            raise DataError(f"{first[file.stem]} and {file} would both become {file.stem}.dng; rename one")


def _earlier(out: Path, names: Set[str], force: bool) -> set[str]:
    """Return the names of an earlier run's pairs, after making sure that `names` overwrite nothing else."""
    older = _listed(out / "pairs.json")
    if older is not None and not force:
        raise DataError(f"{out}: already holds pairs; give --force to replace them, or another folder")
    present = [file for side in ("short", "long") if (out / side).is_dir() for file in sorted((out / side).iterdir())]
    if older is None and present:
        raise DataError(f"{present[0]}: not made by make-raw, as {out} has no pairs.json; give another folder")
    foreign = {file for name in names - (older or set()) for file in _both(out, name)}.intersection(present)
    if foreign:
        raise DataError(f"{min(foreign)}: would be overwritten, and pairs.json does not list it; move it away")
    for side in ("short", "long"):
        try:
            (out / side).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{out / side}: cannot be made: {error.strerror}") from error
    return older or set()


def _listed(listing: Path) -> set[str] | None:
    """Return the names in a `pairs.json`, or `None` where there is none."""
    try:
        names = [pair["name"] for pair in json.loads(listing.read_bytes())["pairs"]]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{listing}: cannot be read, so its pairs are not known; give another folder") from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise DataError(f"{listing}: {name!r} is no file name; give another folder")
    return set(names)


def _both(out: Path, name: str) -> tuple[Path, Path]:
    return out / "short" / f"{name}.dng", out / "long" / f"{name}.dng"


def _write_pair(file: Path, photo: NDArray[np.float32], out: Path, recipe: Recipe) -> dict[str, Any]:
    """Write both exposures; return the pair's entry in `pairs.json`."""
    rng = np.random.default_rng((recipe.seed, zlib.crc32(file.stem.encode())))
    short, long, balance = make_pair(photo, recipe, rng)
    time = float(Fraction(LONG_EXPOSURE) / Fraction(recipe.ratio))
    paths = _both(out, file.stem)
    common = RawImage(
        mosaic=long,
        phase=PHASES[recipe.phase],
        black=np.full(4, BLACK, np.float32),
        white=np.full(4, WHITE, np.float32),
        balance=np.asarray(balance, np.float32),
        balance_source="camera",
        exposure_time=LONG_EXPOSURE,
        camera="restore_hub make-raw",
        camera_from_xyz=unprocess.CANON_6D,
    )
    noise = np.tile([recipe.shot, recipe.read], (4, 1)) if recipe.shot or recipe.read else None
    write_dng(paths[0], replace(common, mosaic=short, exposure_time=time, gain=recipe.ratio, noise=noise))
    write_dng(paths[1], common)
    return {
        "name": file.stem,
        "photo": file.name,
        "height": len(photo),
        "width": photo.shape[1],
        "balance": balance.tolist(),
    }


def _read(file: Path, size: int | None) -> NDArray[np.float32]:
    """Read a photo (H, W, 3), reduced to a longest side of at most `size`."""
    photo = read_picture(file).pixels
    height, width, _ = photo.shape
    longest = max(height, width)
    if size is not None and longest > size:
        height, width = round(height * size / longest), round(width * size / longest)
    if min(height, width) < SMALLEST_SIDE:
        raise DataError(f"{file}: {height} x {width} pixels, but RAW files have at least {SMALLEST_SIDE} a side")
    if photo.shape[:2] == (height, width):
        return photo
    lanczos = Image.Resampling.LANCZOS
    planes = [np.asarray(Image.fromarray(photo[..., c]).resize((width, height), lanczos)) for c in range(3)]
    return np.asarray(np.clip(np.stack(planes, axis=-1), 0, 1), np.float32)
