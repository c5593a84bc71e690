"""Restores a photograph: read, run, write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import DataError, ModelFileError
from restore_hub.files import write_file
from restore_hub.model.locate import locate
from restore_hub.model.model import Model
from restore_hub.model.sequence import ModelSequence, as_sequence, run
from restore_hub.photo.colour import linear_from_srgb
from restore_hub.photo.exif import SOFTWARE
from restore_hub.photo.history import with_record
from restore_hub.photo.icc import is_srgb, profile_name
from restore_hub.photo.picture_writer import encode_picture
from restore_hub.photo.pictures import orient
from restore_hub.photo.raw.dng_writer import encode_dng, encode_linear_dng
from restore_hub.photo.raw.mosaic import in_levels
from restore_hub.photo.raw.white_balance import Balance
from restore_hub.photo.tiff import Directory, text
from restore_hub.runtime.numbers import Used, numbers_used
from restore_hub.runtime.photo_input import PhotoInput, read_photo
from restore_hub.runtime.restore_options import RestoreOptions, check_output, is_dng


@dataclass(frozen=True, slots=True)
class Restored:
    """What was written, and how.

    Attributes:
        path: the picture written.
        height, width: its size when it is upright.
        bits: bits a channel.
        notes: lines that tell which numbers, gain and white balance were used, and what was left out.
        record: what its EXIF says was done: `restore_hub` (version), `model` (name, sha256, and `inputs` if it takes
            numbers) or for several files `models` (a list of these, in order), `colour`, and for RAW `gain` (value,
            rule) and `balance` (factors of R, Gr, Gb, B, and source).
    """

    path: Path
    height: int
    width: int
    bits: int
    notes: tuple[str, ...]
    record: Mapping[str, Any]


def restore(
    model: str | Path | Model | ModelSequence,
    photo: str | Path,
    out: str | Path,
    *,
    gain: float | None = None,
    balance: Balance | None = None,
    bits: int | None = None,
    overwrite: bool = False,
    device: str | None = None,
    tile: int | None = None,
    inputs: Mapping[str, float] | None = None,
) -> Restored:
    """Run one exported file, or several one after the other, on one photograph.

    EXIF and the colour profile travel along; what was done is added to EXIF as a comment. A DNG holds a picture as
    linear light, or the mosaic if the model denoises mosaics; both keep the sensor's rows and columns, with the
    orientation as a tag. Other formats are written upright. Hot pixels of RAW files are repaired first.

    Args:
        model: an ONNX file of restore_hub, `zoo:NAME`, several with a `+` in between, or what `load` returned.
        photo: a Bayer RAW file if the model takes a mosaic, else PNG, TIFF or JPEG.
        out: PNG, TIFF, JPEG or DNG to write.
        gain: exposure gain for RAW, at most 1e6; by default from the file's own metadata, else by a stated rule.
        balance: white balance for RAW: `camera`, `daylight`, or three factors R, G, B from 0.01 to 100; by default as
            shot, else daylight if the colour matrix is known, else all 1.
        bits: 8 or 16 a channel; by default 8, and 16 for DNG, which holds no fewer.
        overwrite: replace an existing `out`.
        device: a key of `restore_hub.model.devices.PROVIDERS`; by default `cpu`, or where the model is loaded.
        tile: side of a large picture's tiles, 0 for none; by default chosen by size and free memory.
        inputs: numbers that the model takes, such as `{"sigma": 0.1}`, in the range that it states. Those with a
            default may be left out. Files in sequence that take a number of the same name get the same.

    Raises:
        DataError: the photo can't be read, the picture can't be written, or a number is unknown, missing or out of
            range.
        ModelFileError: the model can't be used for it.
    """
    photo, out = Path(photo), Path(out)
    options = RestoreOptions(gain, balance, bits, tile, dict(inputs or {}))
    options.bits_of(out)
    check_output(out, overwrite, [photo, *(locate(model) if isinstance(model, str | Path) else [])])
    if not out.parent.is_dir():  # before minutes of work
        raise DataError("restore.no-output-folder", out, folder=out.parent)
    done, data = restore_to_bytes(as_sequence(model, device), photo, out, options)
    write_file(out, data)
    return done


def restore_to_bytes(
    model: ModelSequence, photo: Path, out: Path, options: RestoreOptions, share: float = 1.0
) -> tuple[Restored, bytes]:
    """Restore a photograph without writing it; return what `restore` returns, and the content of the file.

    Args:
        model: loaded.
        photo: what to read.
        out: where the result will go.
        options: how to develop it.
        share: fraction of the free memory that the graph may use.

    Raises:
        DataError, ModelFileError: as `restore`.
    """
    options.check_model(model, out)
    read = read_photo(model, photo, options)
    if is_dng(out) and read.icc is not None and not is_srgb(read.icc):
        raise DataError("restore.dng-needs-srgb", photo, profile=profile_name(read.icc))
    made, tile_notes = run(model, read.feeds, options.tile, share)
    if not np.isfinite(made).all():
        raise ModelFileError("restore.not-finite", photo, model=model.path)
    used = numbers_used(model, options.inputs)
    record, exif, lost = _history(model, read, used)
    bits = options.bits_of(out)
    if read.raw is not None and model.kind == "raw-to-raw":
        data = encode_dng(in_levels(replace(read.raw, mosaic=made[0], noise=None)), str(out), exif)
    else:
        data = _encode(out, made.transpose(1, 2, 0), bits, read, exif)
    height, width = orient(made[0], read.orientation).shape
    notes = (*_notes(model, used), *read.notes, *lost, *tile_notes)
    return Restored(out, height, width, bits, notes, record), data


def _notes(model: ModelSequence, used: Sequence[Used]) -> Iterator[str]:
    """Yield a line for each number, which says whose it is if several files run."""
    for number in used:
        where = f"{number.model.path.name}: " if len(model.models) > 1 else ""
        yield f"{where}{number.name} {number.value:.4g} ({number.source})"


def _history(
    model: ModelSequence, read: PhotoInput, used: Sequence[Used]
) -> tuple[dict[str, Any], Directory, tuple[str, ...]]:
    """Return the record of what was done, the EXIF that holds it, and notes."""
    models = [_entry(part, used) for part in model.models]
    by = {"model": models[0]} if len(models) == 1 else {"models": models}
    record = {"restore_hub": version("restore-hub"), **by, **read.record}
    exif, notes = with_record({**read.exif, SOFTWARE: text(f"restore_hub {version('restore-hub')}")}, record)
    return record, exif, notes


def _entry(part: Model, used: Sequence[Used]) -> dict[str, Any]:
    entry = {"name": part.manifest.name, "sha256": part.graph.sha256}
    inputs = {number.name: number.value for number in used if number.model is part}
    return {**entry, "inputs": inputs} if inputs else entry


def _encode(out: Path, picture: NDArray[np.float32], bits: int, photo: PhotoInput, exif: Directory) -> bytes:
    """Return the file of sRGB values (H, W, 3), clipped to [0, 1]."""
    if is_dng(out):
        light = linear_from_srgb(np.clip(picture, 0, 1))
        return encode_linear_dng(light, str(out), orientation=photo.orientation, exif=exif)
    return encode_picture(out, orient(picture, photo.orientation), bits, photo.icc, exif)
