"""A photograph through an exported file: read, run, turn upright, write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import DataError, ModelFileError
from restore_hub.runtime.images import PICTURE_SUFFIXES, Picture, orient, read_picture, write_picture
from restore_hub.runtime.model import Model, load
from restore_hub.runtime.mosaic import RawImage, exposure_gain
from restore_hub.runtime.raw import read_raw

LARGEST_GAIN = 1e6  # far above any exposure ratio; larger ones overflow float32 in the networks


@dataclass(frozen=True, slots=True)
class Restored:
    """What was written, and what was assumed for it.

    Attributes:
        path: the picture written.
        height, width: its size.
        notes: lines that say which gain and white balance were used, and what was left out.
    """

    path: Path
    height: int
    width: int
    notes: tuple[str, ...]


def restore(
    model: str | Path | Model,
    photo: str | Path,
    out: str | Path,
    *,
    gain: float | None = None,
    bits: int = 8,
    overwrite: bool = False,
    device: str = "cpu",
) -> Restored:
    """Run one exported file on one photograph.

    Args:
        model: an ONNX file of restore_hub, or one already loaded.
        photo: a Bayer RAW file for a file that takes a mosaic, else PNG, TIFF or JPEG.
        out: PNG, TIFF or JPEG to write.
        gain: exposure gain for RAW, at most 1e6; without it, the file's own metadata, else a stated rule.
        bits: 8 or 16 a channel.
        overwrite: replace an existing `out`.
        device: `cpu` or `cuda`.

    Raises:
        DataError: the photo cannot be read or the picture not written; ModelFileError: the file is not fit for it.
    """
    photo, out = Path(photo), Path(out)
    if out.exists() and not overwrite:
        raise DataError(f"{out} exists already; choose another name, or pass --overwrite")
    if gain is not None and not 0 < gain <= LARGEST_GAIN:
        raise DataError(f"the gain {gain:g} is not a positive number of at most {LARGEST_GAIN:g}")
    loaded = model if isinstance(model, Model) else load(model, device=device)
    if loaded.manifest.kind == "raw-to-rgb":
        picture, notes = _from_raw(loaded, photo, gain)
        icc = None
    elif loaded.manifest.kind == "rgb-to-rgb":
        if gain is not None:
            raise DataError(f"{loaded.path} takes pictures, to which no exposure gain applies; leave the gain out")
        read = _read_rgb(loaded, photo)
        picture, notes, icc = _from_rgb(loaded, read), read.notes, read.icc
    else:
        names = ", ".join(tensor.name for tensor in loaded.manifest.inputs)
        raise ModelFileError(f"{loaded.path} takes the tensors {names}, not a photograph; run it with onnxruntime")
    if not np.isfinite(picture).all():
        raise ModelFileError(f"{loaded.path} gave values that are not finite for {photo}; nothing is written")
    picture = np.clip(picture, 0.0, 1.0)
    write_picture(out, picture, bits=bits, icc=icc)
    return Restored(out, picture.shape[0], picture.shape[1], notes)


def _from_raw(model: Model, photo: Path, gain: float | None) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    if photo.suffix.lower() in PICTURE_SUFFIXES:
        raise DataError(
            f"{model.path} takes RAW files and {photo} is an ordinary picture by its suffix; give the camera's RAW file"
        )
    raw = read_raw(photo)
    used, rule = (gain, "given") if gain is not None else exposure_gain(raw)
    feeds: dict[str, NDArray[Any]] = {
        "mosaic": raw.mosaic[None, None].astype(np.float32),
        "phase": np.array(raw.phase, dtype=np.int64),
        "black": raw.black.astype(np.float32),
        "white": raw.white.astype(np.float32),
        "balance": raw.balance.astype(np.float32),
        "gain": np.array([used], dtype=np.float32),
    }
    picture = orient(model(feeds)[0].transpose(1, 2, 0), raw.orientation)
    return picture, (f"gain {used:.4g} ({rule})", _balance_note(raw))


def _balance_note(raw: RawImage) -> str:
    red, _, _, blue = raw.balance
    return f"white balance red {red:.3g}, blue {blue:.3g} ({raw.balance_source})"


def _read_rgb(model: Model, photo: Path) -> Picture:
    if photo.suffix.lower() not in PICTURE_SUFFIXES:
        raise DataError(f"{model.path} takes PNG, TIFF or JPEG, not {photo.name}; give a file that takes RAW for RAW")
    return read_picture(photo)


def _from_rgb(model: Model, picture: Picture) -> NDArray[np.float32]:
    tensor = picture.pixels.transpose(2, 0, 1)[None].astype(np.float32)
    output = model({model.manifest.inputs[0].name: np.ascontiguousarray(tensor)})
    return np.asarray(output[0].transpose(1, 2, 0), np.float32)
