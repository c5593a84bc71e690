"""A photograph as an exported file takes it, and what travels with it to the result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import DataError
from restore_hub.model.sequence import ModelSequence
from restore_hub.photo.icc import profile_name, srgb_profile
from restore_hub.photo.kind import Kind, kind_of
from restore_hub.photo.pictures import read_picture
from restore_hub.photo.raw.hot_pixels import repair_hot_pixels
from restore_hub.photo.raw.mosaic import RawImage, exposure_gain
from restore_hub.photo.raw.reader import read_raw
from restore_hub.photo.raw.white_balance import with_balance
from restore_hub.photo.tiff import Directory
from restore_hub.runtime.numbers import feeds_of
from restore_hub.runtime.restore_options import RestoreOptions, takes_raw

_MENTIONED = 0.01  # share of clipped values that deserves a note
# What a mosaic's colours are, without and with a colour matrix.
_CAMERA = ("the camera's, taken for sRGB because no colour matrix is known", "the camera's, by its colour matrix")


@dataclass(frozen=True, slots=True)
class PhotoInput:
    """A photograph, read.

    Attributes:
        feeds: the model's inputs by name.
        orientation: EXIF orientation that the result still needs.
        icc: profile of the result; `None` for sRGB that isn't marked as such.
        exif: its EXIF.
        notes: lines for people.
        record: the colours of the result; for RAW the gain and the white balance too.
        raw: the mosaic that went in; `None` for a picture.
    """

    feeds: dict[str, NDArray[Any]]
    orientation: int
    icc: bytes | None
    exif: Directory
    notes: tuple[str, ...]
    record: dict[str, Any]
    raw: RawImage | None = None


def read_photo(model: ModelSequence, photo: Path, options: RestoreOptions) -> PhotoInput:
    """Read a photograph as a model takes it.

    Raises:
        DataError: it can't be read, or the model takes another kind.
    """
    read = _read_raw(model, photo, options) if takes_raw(model) else _read_picture(model, photo)
    return replace(read, feeds={**read.feeds, **feeds_of(model, options.inputs)})


def _read_raw(model: ModelSequence, photo: Path, options: RestoreOptions) -> PhotoInput:
    if kind_of(photo) is Kind.PICTURE:
        raise DataError("restore.needs-raw", photo, model=model.path, sidecar=f"{photo.name}.yaml")
    raw = repair_hot_pixels(with_balance(read_raw(photo), options.balance, photo))
    gain, rule = (options.gain, "given") if options.gain is not None else exposure_gain(raw)
    feeds: dict[str, NDArray[Any]] = {
        "mosaic": raw.mosaic[None, None].astype(np.float32),
        "phase": np.array(raw.phase, dtype=np.int64),
        "black": raw.black.astype(np.float32),
        "white": raw.white.astype(np.float32),
        "balance": raw.balance.astype(np.float32),
        "gain": np.array([gain], dtype=np.float32),
    }
    colour = "sRGB" if model.kind == "raw-to-rgb" else _CAMERA[raw.camera_from_xyz is not None]
    notes = (f"gain {gain:.4g} ({rule})", *_notes(raw), *([] if colour == "sRGB" else [f"colour {colour}"]))
    record = {
        "gain": {"value": float(gain), "rule": rule},
        "balance": {"factors": [float(str(factor)) for factor in raw.balance], "source": raw.balance_source},
        "colour": colour,
    }
    return PhotoInput(feeds, raw.orientation, srgb_profile(), raw.exif, notes, record, raw)


def _notes(raw: RawImage) -> Iterator[str]:
    red, green, _, blue = raw.balance
    yield f"white balance red {red:.3g}, green {green:.3g}, blue {blue:.3g} ({raw.balance_source})"
    if raw.hot_pixels:
        yield f"{raw.hot_pixels} hot pixel{'s' if raw.hot_pixels > 1 else ''} repaired"
    clipped = raw.clipped()
    if clipped >= _MENTIONED:
        yield f"{clipped:.0%} of the sensor's values are clipped"
    yield from raw.notes


def _read_picture(model: ModelSequence, photo: Path) -> PhotoInput:
    if kind_of(photo) in (Kind.RAW, Kind.UNKNOWN):
        raise DataError("restore.needs-picture", photo, model=model.path)
    picture = read_picture(photo)
    tensor = np.ascontiguousarray(picture.pixels.transpose(2, 0, 1)[None], np.float32)
    record = {"colour": "sRGB, as there's no profile" if picture.icc is None else profile_name(picture.icc)}
    name = next(info.name for info in model.inputs if info.is_spatial)
    return PhotoInput({name: tensor}, 1, picture.icc, picture.exif, picture.notes, record)
