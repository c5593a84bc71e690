"""A photograph through an exported file: read, run, write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import DataError, ModelFileError
from restore_hub.runtime.colour import linear_from_srgb
from restore_hub.runtime.dng import write_dng, write_linear_dng
from restore_hub.runtime.exif import SOFTWARE, read_exif
from restore_hub.runtime.icc import is_srgb, profile_name, srgb_profile
from restore_hub.runtime.images import PICTURE_SUFFIXES, orient, read_picture, write_picture
from restore_hub.runtime.large import run
from restore_hub.runtime.model import Model, load
from restore_hub.runtime.mosaic import LARGEST_GAIN, RawImage, exposure_gain, in_levels
from restore_hub.runtime.raw import is_raw, read_raw
from restore_hub.runtime.tiff import Directory, text

_MENTIONED = 0.01  # share of clipped values that a person is told of


@dataclass(frozen=True, slots=True)
class Restored:
    """What was written, and what was assumed for it.

    Attributes:
        path: the picture written.
        height, width: its size as it is looked at.
        bits: bits a channel.
        notes: lines that say which gain and white balance were used, and what was left out.
    """

    path: Path
    height: int
    width: int
    bits: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Photo:
    """A photograph as an exported file takes it, and what travels along to the result.

    Attributes:
        feeds: the inputs by name.
        orientation: EXIF orientation that the result still needs.
        icc: profile of the result, or `None` for sRGB that is not marked so.
        exif: its EXIF.
        notes: what to say of it.
        raw: the mosaic that went in; `None` for a picture.
    """

    feeds: dict[str, NDArray[Any]]
    orientation: int
    icc: bytes | None
    exif: Directory
    notes: tuple[str, ...]
    raw: RawImage | None = None


def restore(
    model: str | Path | Model,
    photo: str | Path,
    out: str | Path,
    *,
    gain: float | None = None,
    bits: int | None = None,
    overwrite: bool = False,
    device: str = "cpu",
    tile: int | None = None,
) -> Restored:
    """Run one exported file on one photograph.

    EXIF and the colour profile travel along. A DNG holds a picture as linear light, and of a file that denoises
    mosaics the mosaic; both in the sensor's rows and columns, with the orientation as a tag. All else is written
    upright. Hot pixels of RAW files are repaired first.

    Args:
        model: an ONNX file of restore_hub, or one already loaded.
        photo: a Bayer RAW file for a file that takes a mosaic, else PNG, TIFF or JPEG.
        out: PNG, TIFF, JPEG or DNG to write.
        gain: exposure gain for RAW, at most 1e6; without it, the file's own metadata, else a stated rule.
        bits: 8 or 16 a channel; without it 8, and 16 for DNG, which holds no fewer.
        overwrite: replace an existing `out`.
        device: `cpu` or `cuda`.
        tile: side of the tiles that a large picture is cut into, 0 for none; without it, by the memory that is free.

    Raises:
        DataError: the photo cannot be read or the picture not written; ModelFileError: the file is not fit for it.
    """
    photo, out = Path(photo), Path(out)
    bits = _bits(out, bits)
    _check_out(out, overwrite, [photo, *([Path(model)] if isinstance(model, str | Path) else [])])
    if gain is not None and not 0 < gain <= LARGEST_GAIN:
        raise DataError(f"the gain {gain:g} is not a positive number of at most {LARGEST_GAIN:g}")
    loaded = model if isinstance(model, Model) else load(model, device=device)
    if loaded.manifest.kind == "raw-to-raw" and not _is_dng(out):
        raise DataError(f"{loaded.path} gives a mosaic, which a DNG holds; write {out.with_suffix('.dng').name}")
    read = _read(loaded, photo, gain)
    if _is_dng(out) and read.icc is not None and not is_srgb(read.icc):
        raise DataError(
            f"{photo}: its colours are by the profile {profile_name(read.icc)!r}, and a DNG is written from sRGB only; "
            "convert the picture to sRGB first, or write PNG, TIFF or JPEG"
        )
    made, tiled = run(loaded, read.feeds, tile)
    if not np.isfinite(made).all():
        raise ModelFileError(f"{loaded.path} gave values that are not finite for {photo}; nothing is written")
    exif = {**read.exif, SOFTWARE: text(f"restore_hub {version('restore-hub')}")}
    if loaded.manifest.kind == "raw-to-raw":
        assert read.raw is not None
        write_dng(out, in_levels(replace(read.raw, mosaic=made[0], noise=None)), exif)
    else:
        _write_picture(out, made.transpose(1, 2, 0), bits, read, exif)
    height, width = orient(made[0], read.orientation).shape
    return Restored(out, height, width, bits, (*read.notes, *tiled))


def _is_dng(out: Path) -> bool:
    return out.suffix.lower() == ".dng"


def _check_out(out: Path, overwrite: bool, sources: Sequence[Path]) -> None:
    """Refuse an output of no known format, one that is there already, and one that is the photo or the model."""
    if not _is_dng(out) and out.suffix.lower() not in PICTURE_SUFFIXES:
        known = ", ".join((*PICTURE_SUFFIXES, ".dng"))
        raise DataError(f"{out}: cannot write {out.suffix or 'no suffix'}; use one of {known}")
    try:
        if not out.exists():
            return
        if any(source.exists() and out.samefile(source) for source in sources):
            raise DataError(f"{out} is the very file to be read; choose another name for the result")
    except OSError as error:  # a name too long, say
        raise DataError(f"{out}: cannot be written: {error.strerror}") from error
    if not overwrite:
        raise DataError(f"{out} exists already; choose another name, or pass --overwrite")


def _bits(out: Path, bits: int | None) -> int:
    if _is_dng(out) and bits not in (None, 16):
        raise DataError(f"{out}: a DNG holds 16 bits a channel, not {bits}; leave --bits out")
    return bits or (16 if _is_dng(out) else 8)


def _read(model: Model, photo: Path, gain: float | None) -> _Photo:
    if model.manifest.kind in ("raw-to-rgb", "raw-to-raw"):
        return _read_raw(model, photo, gain)
    if model.manifest.kind == "rgb-to-rgb":
        if gain is not None:
            raise DataError(f"{model.path} takes pictures, to which no exposure gain applies; leave the gain out")
        return _read_picture(model, photo)
    names = ", ".join(tensor.name for tensor in model.manifest.inputs)
    raise ModelFileError(f"{model.path} takes the tensors {names}, not a photograph; run it with onnxruntime")


def _read_raw(model: Model, photo: Path, gain: float | None) -> _Photo:
    if photo.suffix.lower() in PICTURE_SUFFIXES and not is_raw(photo):
        raise DataError(
            f"{model.path} takes RAW files and {photo} is an ordinary picture by its suffix; give the camera's RAW "
            f"file, or write {photo.name}.yaml beside it if it holds a mosaic (docs/raw.md)"
        )
    raw = read_raw(photo, repair=True)
    used, rule = (gain, "given") if gain is not None else exposure_gain(raw)
    feeds: dict[str, NDArray[Any]] = {
        "mosaic": raw.mosaic[None, None].astype(np.float32),
        "phase": np.array(raw.phase, dtype=np.int64),
        "black": raw.black.astype(np.float32),
        "white": raw.white.astype(np.float32),
        "balance": raw.balance.astype(np.float32),
        "gain": np.array([used], dtype=np.float32),
    }
    exif, lost = read_exif(photo)
    notes = (f"gain {used:.4g} ({rule})", *_notes(raw), *lost)
    return _Photo(feeds, raw.orientation, srgb_profile(), exif, notes, raw)


def _notes(raw: RawImage) -> Iterator[str]:
    red, green, _, blue = raw.balance
    yield f"white balance red {red:.3g}, green {green:.3g}, blue {blue:.3g} ({raw.balance_source})"
    if raw.hot_pixels:
        yield f"{raw.hot_pixels} hot pixel{'s' if raw.hot_pixels > 1 else ''} repaired"
    clipped = raw.clipped()
    if clipped >= _MENTIONED:
        yield f"{clipped:.0%} of the sensor's values are clipped"
    yield from raw.notes


def _read_picture(model: Model, photo: Path) -> _Photo:
    if photo.suffix.lower() not in PICTURE_SUFFIXES:
        raise DataError(f"{model.path} takes PNG, TIFF or JPEG, not {photo.name}; give a file that takes RAW for RAW")
    picture = read_picture(photo)
    tensor = np.ascontiguousarray(picture.pixels.transpose(2, 0, 1)[None], np.float32)
    return _Photo({model.manifest.inputs[0].name: tensor}, 1, picture.icc, picture.exif, picture.notes)


def _write_picture(out: Path, picture: NDArray[np.float32], bits: int, photo: _Photo, exif: Directory) -> None:
    """Write sRGB values (H, W, 3), clipped to [0, 1]."""
    if _is_dng(out):
        write_linear_dng(out, linear_from_srgb(np.clip(picture, 0, 1)), orientation=photo.orientation, exif=exif)
    else:
        write_picture(out, orient(picture, photo.orientation), bits, photo.icc, exif)
