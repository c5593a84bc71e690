"""What the TIFF tags of a RAW file say that LibRaw leaves out or changes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from restore_hub.errors import UnreadableFileError
from restore_hub.photo.decoders import not_read, quiet_tifffile
from restore_hub.photo.exif import exif_of_tiff
from restore_hub.photo.raw.mosaic import planes
from restore_hub.photo.tiff import Directory

_EXIF_IFD, _EXPOSURE_TIME, _MAKE, _MODEL = 34665, 33434, 271, 272
_CFA_PATTERN, _ACTIVE_AREA, _BASELINE_EXPOSURE, _NOISE_PROFILE = 33422, 50829, 50730, 51041
_BLACK_REPEAT, _BLACK_LEVEL, _BLACK_DELTAS = 50713, 50714, (50715, 50716)
_COLOUR_MATRICES = ((50722, 50779), (50721, 50778))  # ColorMatrix and CalibrationIlluminant: 2, then 1
_D65 = 21  # EXIF LightSource
# DNG 1.4, chapter 7: corrections that a file may ask its reader for, and that are left alone here.
_OPCODE_LISTS = (51008, 51009, 51022)
_OPCODES = {1: "warp", 2: "warp", 3: "lens shading", 4: "bad pixels", 5: "bad pixels", 9: "lens shading", 14: "warp"}


@dataclass(frozen=True, slots=True)
class Tags:
    """Facts from the tags; each is `None` or empty where the file does not say.

    Attributes:
        exposure_time: seconds; 0 where the tag exists without a usable value.
        baseline_exposure: stops to brighten by (DNG tag 50730).
        camera: make and model.
        black: float64 (2, 2), black levels of the tile that begins at `active`.
        active: row and column where the active area begins.
        noise: float64 (1 or 3, 2), shot and read noise of all colours, or of R, G, B (DNG tag 51041).
        matrix: float64 (3, 3), XYZ to camera under D65, else under what the file has.
        corrections: what the file asks for and nothing here does, such as `lens shading`.
        exif: see `restore_hub.photo.exif.read_exif`; `None` where the file isn't built as a TIFF.
        lost: a note where EXIF is damaged.
    """

    exposure_time: float | None = None
    baseline_exposure: float | None = None
    camera: str = ""
    black: NDArray[np.float64] | None = None
    active: tuple[int, int] = (0, 0)
    noise: NDArray[np.float64] | None = None
    matrix: NDArray[np.float64] | None = None
    corrections: tuple[str, ...] = ()
    exif: Directory | None = None
    lost: tuple[str, ...] = ()


def read_tags(path: Path) -> Tags:
    """Read the tags and the EXIF of a RAW file that is built as a TIFF; other files give empty ones.

    Raises:
        DataError: the system refuses to open the file.
    """
    exif: Directory | None = None
    lost: tuple[str, ...] = ()
    try:
        with path.open("rb") as file:
            exif, lost = exif_of_tiff(file)
            file.seek(0)
            with quiet_tifffile(), tifffile.TiffFile(file) as tiff:
                return replace(_tags(tiff), exif=exif, lost=lost)
    except Exception as error:  # not a TIFF, or a maker's variant of it: LibRaw has read it all the same
        found = not_read(path, error)
        if not isinstance(found, UnreadableFileError):
            raise found from error
        return Tags(exif=exif, lost=lost)


def _tags(tiff: tifffile.TiffFile) -> Tags:
    first = tiff.pages.first
    pages = [first, *(first.pages or ())]
    raw = next((page for page in pages if _CFA_PATTERN in page.tags), first)
    return Tags(
        exposure_time=_exposure_time(first.tags),
        baseline_exposure=_rational(first.tags.valueof(_BASELINE_EXPOSURE)),
        camera=_camera(*(str(first.tags.valueof(code, "")).strip() for code in (_MAKE, _MODEL))),
        black=_black(raw.tags),
        active=_corner(raw.tags.valueof(_ACTIVE_AREA)),
        noise=_noise([page.tags.valueof(_NOISE_PROFILE) for page in (raw, first)]),
        matrix=_matrix(first.tags),
        corrections=tuple(sorted({_OPCODES[code] for page in pages for code in _opcodes(page.tags)})),
    )


def _camera(make: str, model: str) -> str:
    camera = model if model.lower().startswith(make.lower()) else f"{make} {model}".strip()
    return "".join(letter for letter in camera if letter.isprintable())


def _exposure_time(tags: Any) -> float | None:
    """Return seconds: a tag of 0 counts as present, because LibRaw would then invent one second."""
    exif = tags.valueof(_EXIF_IFD)
    time = exif.get("ExposureTime") if isinstance(exif, dict) else None
    time = tags.valueof(_EXPOSURE_TIME) if time is None else time
    return None if time is None else (_rational(time) or 0.0)


def _black(tags: Any) -> NDArray[np.float64] | None:
    """Return the levels of a 2x2 tile, with the means of BlackLevelDeltaH and V; larger tiles are averaged."""
    if _BLACK_LEVEL not in tags:
        return None
    rows, columns = tags.valueof(_BLACK_REPEAT) or (1, 1)
    levels = _reals(tags[_BLACK_LEVEL]).reshape(rows, columns)
    levels = levels + sum(_reals(tags[code]).mean() for code in _BLACK_DELTAS if code in tags)
    twice = np.tile(levels, (2, 2))
    tile = np.array([plane.mean() for plane in planes(twice)]).reshape(2, 2)
    return tile if np.isfinite(tile).all() else None


def _reals(tag: Any) -> NDArray[np.float64]:
    values = np.asarray(tag.value, np.float64).ravel()
    rational = tag.dtype in (tifffile.DATATYPE.RATIONAL, tifffile.DATATYPE.SRATIONAL)
    return np.asarray(values[::2] / values[1::2]) if rational else values


def _corner(area: Any) -> tuple[int, int]:
    return (int(area[0]), int(area[1])) if isinstance(area, tuple) and len(area) == 4 else (0, 0)


def _noise(profiles: list[Any]) -> NDArray[np.float64] | None:
    """Return the first valid profile of 1 or 3 colours."""
    for profile in profiles:
        values = np.asarray(profile if profile is not None else [], np.float64)
        if values.size in (2, 6) and np.isfinite(values).all() and (values >= 0).all() and values.any():
            return values.reshape(-1, 2)
    return None


def _matrix(tags: Any) -> NDArray[np.float64] | None:
    found = {}
    for matrix, light in _COLOUR_MATRICES:
        values = np.asarray(tags.valueof(matrix) or (), np.float64)
        if values.size == 18 and (values[1::2] != 0).all():
            found[tags.valueof(light)] = (values[::2] / values[1::2]).reshape(3, 3)
    return found.get(_D65, next(iter(found.values()), None))


def _opcodes(tags: Any) -> Iterator[int]:
    """Yield the known operations of all opcode lists: big-endian number, version, flags, length, and content."""
    for code in _OPCODE_LISTS:
        data = tags.valueof(code)
        if not isinstance(data, bytes) or len(data) < 4:
            continue
        place = 4
        for _ in range(struct.unpack_from(">I", data)[0]):
            if place + 16 > len(data):
                break
            operation, _, _, length = struct.unpack_from(">IIII", data, place)
            if operation in _OPCODES:
                yield operation
            place += 16 + length


def _rational(value: Any) -> float | None:
    """Return a TIFF rational as a number; a denominator of 0 means unknown."""
    if not isinstance(value, tuple) or len(value) < 2 or value[1] == 0:
        return None
    return float(value[0]) / float(value[1])
