"""A photograph through an exported file: read, run, write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import DataError, ModelFileError
from restore_hub.files import file_hash, write_file
from restore_hub.model.locate import paths_of
from restore_hub.model.model import Model
from restore_hub.model.sequence import Chained, chained, run
from restore_hub.photo.colour import linear_from_srgb
from restore_hub.photo.exif import SOFTWARE
from restore_hub.photo.history import with_record
from restore_hub.photo.icc import is_srgb, profile_name, srgb_profile
from restore_hub.photo.kind import Kind, kind_of
from restore_hub.photo.picture_writer import encode_picture
from restore_hub.photo.pictures import orient, read_picture
from restore_hub.photo.raw.dng_writer import encode_dng, encode_linear_dng
from restore_hub.photo.raw.hot_pixels import repair_hot_pixels
from restore_hub.photo.raw.mosaic import RawImage, exposure_gain, in_levels
from restore_hub.photo.raw.reader import read_raw
from restore_hub.photo.raw.white_balance import Balance, with_balance
from restore_hub.photo.tiff import Directory, text
from restore_hub.runtime.restore_options import Wishes, check_out, is_dng, takes_raw

_MENTIONED = 0.01  # share of clipped values that a person is told of
# How the colours of a mosaic are to be read, without and with a colour matrix.
_CAMERA = ("of the camera, taken for sRGB: no colour matrix is known", "of the camera, by its colour matrix")


@dataclass(frozen=True, slots=True)
class Restored:
    """What was written, and what was assumed for it.

    Attributes:
        path: the picture written.
        height, width: its size as it is looked at.
        bits: bits a channel.
        notes: lines that say which gain and white balance were used, and what was left out.
        record: what its EXIF says was done: `restore_hub` (version), `model` (name, sha256) or of several files
            `models` (a list of these, in order), `colour`, and of RAW `gain` (value, rule) and `balance` (factors of R,
            Gr, Gb, B, and source).
    """

    path: Path
    height: int
    width: int
    bits: int
    notes: tuple[str, ...]
    record: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Photo:
    """A photograph as an exported file takes it, and what travels along to the result.

    Attributes:
        feeds: the inputs by name.
        orientation: EXIF orientation that the result still needs.
        icc: profile of the result, or `None` for sRGB that is not marked so.
        exif: its EXIF.
        notes: what to say of it.
        record: which colours the result has; of RAW the gain and the white balance too.
        raw: the mosaic that went in; `None` for a picture.
    """

    feeds: dict[str, NDArray[Any]]
    orientation: int
    icc: bytes | None
    exif: Directory
    notes: tuple[str, ...]
    record: dict[str, Any]
    raw: RawImage | None = None


def restore(
    model: str | Path | Model | Chained,
    photo: str | Path,
    out: str | Path,
    *,
    gain: float | None = None,
    balance: Balance | None = None,
    bits: int | None = None,
    overwrite: bool = False,
    device: str | None = None,
    tile: int | None = None,
) -> Restored:
    """Run one exported file, or several one after the other, on one photograph.

    EXIF and the colour profile travel along; what was done is added to EXIF as a comment. A DNG holds a picture as
    linear light, and of a file that denoises mosaics the mosaic; both in the sensor's rows and columns, with the
    orientation as a tag. All else is written upright. Hot pixels of RAW files are repaired first.

    Args:
        model: an ONNX file of restore_hub, `zoo:NAME`, several with a `+` in between, or what `load` gave.
        photo: a Bayer RAW file for a file that takes a mosaic, else PNG, TIFF or JPEG.
        out: PNG, TIFF, JPEG or DNG to write.
        gain: exposure gain for RAW, at most 1e6; without it, the file's own metadata, else a stated rule.
        balance: white balance for RAW: `camera`, `daylight`, or three factors R, G, B from 0.01 to 100; without it,
            as shot, else daylight where the colour matrix is known, else all 1.
        bits: 8 or 16 a channel; without it 8, and 16 for DNG, which holds no fewer.
        overwrite: replace an existing `out`.
        device: a key of `restore_hub.model.devices.PROVIDERS`; without it `cpu`, or where the model is loaded.
        tile: side of the tiles that a large picture is cut into, 0 for none; without it, by its size and the memory
            that is free.

    Raises:
        DataError: the photo cannot be read or the picture not written; ModelFileError: the file is not fit for it.
    """
    photo, out = Path(photo), Path(out)
    wishes = Wishes(gain, balance, bits, tile)
    wishes.bits_of(out)
    check_out(out, overwrite, [photo, *(paths_of(model) if isinstance(model, str | Path) else [])])
    if not out.parent.is_dir():  # before minutes of work
        raise DataError(f"{out}: cannot be written: {out.parent} is no folder; make it first")
    loaded = chained(model, device)
    # A loaded file may be gone by now.
    hashes = [file_hash(part.path) if part.path.is_file() else None for part in loaded.models]
    done, data = developed(loaded, hashes, photo, out, wishes)
    write_file(out, data)
    return done


def developed(
    loaded: Chained, hashes: Sequence[str | None], photo: Path, out: Path, wishes: Wishes, share: float = 1.0
) -> tuple[Restored, bytes]:
    """Return what `restore` tells of a photograph, and the content of the file that it writes.

    Args:
        loaded: the model.
        hashes: SHA-256 of its files, for the record.
        photo: what to read.
        out: where the result is to go; nothing is written.
        wishes: how to develop it.
        share: part of the free memory that the graph may take.

    Raises:
        DataError, ModelFileError: as `restore`.
    """
    wishes.check_model(loaded, out)
    read = _read_raw(loaded, photo, wishes) if takes_raw(loaded) else _read_picture(loaded, photo)
    if is_dng(out) and read.icc is not None and not is_srgb(read.icc):
        raise DataError(
            f"{photo}: its colours are by the profile {profile_name(read.icc)!r}, and a DNG is written from sRGB only; "
            "convert the picture to sRGB first, or write PNG, TIFF or JPEG"
        )
    made, tiled = run(loaded, read.feeds, wishes.tile, share)
    if not np.isfinite(made).all():
        raise ModelFileError(f"{loaded.path} gave values that are not finite for {photo}; nothing is written")
    models = [{"name": m.manifest.name, "sha256": sha256} for m, sha256 in zip(loaded.models, hashes, strict=True)]
    by = {"model": models[0]} if len(models) == 1 else {"models": models}
    record = {"restore_hub": version("restore-hub"), **by, **read.record}
    exif, lost = with_record({**read.exif, SOFTWARE: text(f"restore_hub {version('restore-hub')}")}, record)
    if read.raw is not None and loaded.kind == "raw-to-raw":
        data = encode_dng(in_levels(replace(read.raw, mosaic=made[0], noise=None)), str(out), exif)
    else:
        data = _encoded(out, made.transpose(1, 2, 0), wishes.bits_of(out), read, exif)
    height, width = orient(made[0], read.orientation).shape
    return Restored(out, height, width, wishes.bits_of(out), (*read.notes, *lost, *tiled), record), data


def _read_raw(model: Chained, photo: Path, wishes: Wishes) -> _Photo:
    if kind_of(photo) is Kind.PICTURE:
        raise DataError(
            f"{model.path} takes RAW files and {photo} is an ordinary picture by its suffix; give the camera's RAW "
            f"file, or write {photo.name}.yaml beside it if it holds a mosaic (docs/raw.md)"
        )
    raw = repair_hot_pixels(with_balance(read_raw(photo), wishes.balance, photo))
    used, rule = (wishes.gain, "given") if wishes.gain is not None else exposure_gain(raw)
    feeds: dict[str, NDArray[Any]] = {
        "mosaic": raw.mosaic[None, None].astype(np.float32),
        "phase": np.array(raw.phase, dtype=np.int64),
        "black": raw.black.astype(np.float32),
        "white": raw.white.astype(np.float32),
        "balance": raw.balance.astype(np.float32),
        "gain": np.array([used], dtype=np.float32),
    }
    colour = "sRGB" if model.kind == "raw-to-rgb" else _CAMERA[raw.camera_from_xyz is not None]
    notes = (f"gain {used:.4g} ({rule})", *_notes(raw), *([] if colour == "sRGB" else [f"colour {colour}"]))
    record = {
        "gain": {"value": float(used), "rule": rule},
        "balance": {"factors": [float(str(factor)) for factor in raw.balance], "source": raw.balance_source},
        "colour": colour,
    }
    return _Photo(feeds, raw.orientation, srgb_profile(), raw.exif, notes, record, raw)


def _notes(raw: RawImage) -> Iterator[str]:
    red, green, _, blue = raw.balance
    yield f"white balance red {red:.3g}, green {green:.3g}, blue {blue:.3g} ({raw.balance_source})"
    if raw.hot_pixels:
        yield f"{raw.hot_pixels} hot pixel{'s' if raw.hot_pixels > 1 else ''} repaired"
    clipped = raw.clipped()
    if clipped >= _MENTIONED:
        yield f"{clipped:.0%} of the sensor's values are clipped"
    yield from raw.notes


def _read_picture(model: Chained, photo: Path) -> _Photo:
    if kind_of(photo) in (Kind.RAW, Kind.UNKNOWN):
        raise DataError(f"{model.path} takes PNG, TIFF or JPEG, not {photo.name}; give a file that takes RAW for RAW")
    picture = read_picture(photo)
    tensor = np.ascontiguousarray(picture.pixels.transpose(2, 0, 1)[None], np.float32)
    record = {"colour": "sRGB, no profile says otherwise" if picture.icc is None else profile_name(picture.icc)}
    return _Photo({model.inputs[0].name: tensor}, 1, picture.icc, picture.exif, picture.notes, record)


def _encoded(out: Path, picture: NDArray[np.float32], bits: int, photo: _Photo, exif: Directory) -> bytes:
    """Return the file of sRGB values (H, W, 3), clipped to [0, 1]."""
    if is_dng(out):
        light = linear_from_srgb(np.clip(picture, 0, 1))
        return encode_linear_dng(light, str(out), orientation=photo.orientation, exif=exif)
    return encode_picture(out, orient(picture, photo.orientation), bits, photo.icc, exif)
