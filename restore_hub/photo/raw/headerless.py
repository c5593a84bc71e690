"""Reads mosaics without a header (`.raw`, `.npy`, grey PNG and TIFF), which a small YAML file beside them describes."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from restore_hub.errors import DataError, UnreadableFileError, nearest, reason_of
from restore_hub.photo.decoders import check_whole, not_read, quiet_decoders
from restore_hub.photo.exif import exif_of_tiff
from restore_hub.photo.guards import check_file, check_held, check_size
from restore_hub.photo.kind import find_sidecar
from restore_hub.photo.raw.mosaic import LARGEST_GAIN, PHASES, RawImage, planes
from restore_hub.photo.tiff import Directory

_TYPES = {"uint8": "u1", "uint16": "<u2", "uint16be": ">u2", "float32": "<f4"}
PLANES = ("r", "gr", "gb", "b")
_LARGEST = 2**16  # bytes of a sidecar
_LARGEST_LEVEL, _SMALLEST_RANGE = 1e6, 1e-3
_SINGULAR = 1e6  # condition of a matrix
_SQUEEZED = 2 * 2000  # bytes that a byte may stand for: more than any compression of PNG or TIFF reaches


def _levels(value: Any) -> list[float]:
    levels = [value] * 4 if isinstance(value, int | float) else value
    if not _numbers(levels, (4,), -_LARGEST_LEVEL, _LARGEST_LEVEL):
        raise ValueError("give one level, or four: R, Gr, Gb, B")
    return [float(level) for level in levels]


def _balance(value: Any) -> list[float]:
    if not _numbers(value, (3, 4), 0.01, 100):
        raise ValueError("give three factors from 0.01 to 100, of R, G, B, or four, of R, Gr, Gb, B")
    factors = value if len(value) == 4 else [value[0], value[1], value[1], value[2]]
    return [float(factor) for factor in factors]


def _matrix(value: Any) -> list[list[float]]:
    rows = isinstance(value, list) and len(value) == 3 and all(_numbers(row, (3,), -100, 100) for row in value)
    if not rows or np.linalg.cond(value) > _SINGULAR:
        raise ValueError("give three rows of three numbers that can be inverted, XYZ to camera")
    return [[float(number) for number in row] for row in value]


def _size(value: Any) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6})x(\d{1,6})", value) if isinstance(value, str) else None
    if not found or not int(found[1]) * int(found[2]):
        raise ValueError("a size is written WIDTHxHEIGHT, such as 768x512")
    return int(found[2]), int(found[1])


def _area(value: Any) -> list[int]:
    if not _numbers(value, (4,), 0, 10**6) or not all(isinstance(number, int) for number in value):
        raise ValueError("give top, left, height and width in pixels")
    return list(value)


def _planes(value: Any) -> list[str]:
    if not isinstance(value, list) or sorted(map(str, value)) != sorted(PLANES):
        raise ValueError(f"name each of {', '.join(PLANES)} once")
    return list(value)


def _numbers(value: Any, lengths: tuple[int, ...], low: float, high: float) -> bool:
    """Say whether a value is a list of one of these lengths, of numbers within a range."""
    if not isinstance(value, list) or len(value) not in lengths:
        return False
    return all(isinstance(n, int | float) and not isinstance(n, bool) and low <= n <= high for n in value)


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


_Four = Annotated[list[float], BeforeValidator(_levels)]


class Sidecar(BaseModel):
    """What a sidecar says. Lists of four are in the order R, Gr, Gb, B.

    Attributes:
        size: `WIDTHxHEIGHT` in pixels; required for `.raw` and `.bin`, checked for other files.
        cfa: colours of the 2x2 tile at the first stored pixel, row by row.
        black, white: levels of no light and of saturation, one or four.
        gain: exposure gain.
        type: type of the values of a `.raw` or `.bin` file; uint16 is little-endian, uint16be big-endian.
        planes: which colour each plane of a packed `.npy` holds.
        area: top, left, height and width of the visible area; the rest is masked border.
        balance: white balance of R, G, B or of four planes.
        matrix: XYZ (D65) to camera, 3 rows of 3, as DNG's ColorMatrix1.
        orientation: EXIF orientation 1..8.
        exposure_time: seconds.
        camera: make and model.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    size: Annotated[tuple[int, int] | None, BeforeValidator(_size)] = None
    cfa: Annotated[Literal["rggb", "grbg", "gbrg", "bggr"], BeforeValidator(_lower)]
    black: _Four = Field(default_factory=lambda: [0.0] * 4)
    white: _Four
    gain: Annotated[float | None, Field(gt=0, le=LARGEST_GAIN)] = None
    type: Literal["uint8", "uint16", "uint16be", "float32"] = "uint16"
    planes: Annotated[list[str], BeforeValidator(_planes)] = list(PLANES)
    area: Annotated[list[int] | None, BeforeValidator(_area)] = None
    balance: Annotated[list[float] | None, BeforeValidator(_balance)] = None
    matrix: Annotated[list[list[float]] | None, BeforeValidator(_matrix)] = None
    orientation: Annotated[int, Field(ge=1, le=8)] = 1
    exposure_time: Annotated[float | None, Field(gt=0, le=1e6)] = None
    camera: str = ""


def read_headerless(path: Path) -> RawImage:
    """Read a mosaic that a sidecar describes.

    A `.npy` holds (H, W), or packed planes (4, H/2, W/2) or (H/2, W/2, 4).

    Raises:
        DataError: the file or its sidecar is missing, or the sidecar has an unknown key, a bad value, or doesn't fit
            the file. UnreadableFileError: the file is damaged or cut off.
    """
    sidecar = find_sidecar(path)
    if sidecar is None:
        raise DataError("raw.no-sidecar", path, sidecar=f"{path.name}.yaml")
    facts = _read_sidecar(sidecar)
    check_file(path)
    try:
        with quiet_decoders(), np.errstate(over="ignore"):  # NumPy itself refuses sizes that overflow
            values, exif, lost = _read_values(path, sidecar, facts)
    except DataError:
        raise
    except Exception as error:  # decoders raise nearly everything on damaged files
        raise not_read(path, error) from error
    with np.errstate(over="ignore"):  # floats beyond float32 become infinite, which is refused next
        values = values.astype(np.float32 if values.dtype.kind == "f" else np.uint16, copy=False)
    if not np.isfinite(values).all():
        raise UnreadableFileError("raw.not-finite", path)
    if values.ndim == 3:
        values = _unpacked(values, facts)
    if facts.size is not None and values.shape != facts.size:
        raise DataError("raw.other-size", path, found=_text(values.shape), stated=_text(facts.size), sidecar=sidecar)
    return replace(_raw_image(values, facts, sidecar), exif=exif, notes=lost)


def _read_sidecar(sidecar: Path) -> Sidecar:
    try:
        text = sidecar.read_bytes()
        if len(text) > _LARGEST:
            raise DataError("raw.sidecar-too-long", sidecar, found=len(text), limit=_LARGEST)
        content = YAML(typ="safe", pure=True).load(text.decode())
    except OSError as error:
        raise DataError("photo.cannot-open", sidecar, cause=reason_of(error)) from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise DataError("raw.sidecar-not-yaml", sidecar, cause=reason_of(error, 200)) from error
    if not isinstance(content, dict):
        raise DataError("raw.sidecar-not-a-mapping", sidecar)
    for key in content:
        if key not in Sidecar.model_fields:
            known = ", ".join(Sidecar.model_fields)
            near = nearest(str(key), Sidecar.model_fields)
            raise DataError("raw.sidecar-unknown-key", sidecar, key=key, known=known, mend=near)
    try:
        facts = Sidecar.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise DataError("raw.sidecar-missing-key", sidecar, key=key) from None
        cause = first["msg"].removeprefix("Value error, ")
        raise DataError("raw.sidecar-bad-value", f"{sidecar}: {key}", cause=cause) from None
    if not all(high - low >= _SMALLEST_RANGE for low, high in zip(facts.black, facts.white, strict=True)):
        raise DataError("raw.levels", sidecar, white=facts.white, black=facts.black)
    return facts


def _read_values(path: Path, sidecar: Path, facts: Sidecar) -> tuple[NDArray[Any], Directory, tuple[str, ...]]:
    """Return the values as stored, and what a TIFF has of EXIF."""
    if path.suffix.lower() in (".tif", ".tiff"):
        with path.open("rb") as file:
            exif, lost = exif_of_tiff(file)
            file.seek(0)
            return _read_tiff(path, file), exif or {}, lost
    return _read_plain(path, sidecar, facts), {}, ()


def _read_plain(path: Path, sidecar: Path, facts: Sidecar) -> NDArray[Any]:
    suffix = path.suffix.lower()
    if suffix in (".raw", ".bin"):
        return _read_bare(path, sidecar, facts)
    if suffix == ".npy":
        # Mapped, because the header may promise more than the file holds.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        kind = array.dtype.newbyteorder("=")
        packed = array.ndim == 3 and 4 in (array.shape[0], array.shape[2])
        if not (array.ndim == 2 or packed) or array.size == 0 or kind not in ("u1", "u2", "f2", "f4", "f8"):
            raise DataError("raw.not-a-mosaic", path, found=f"an array of {array.dtype} {array.shape}")
        check_size(path, *array.shape[-2:] if array.shape[0] == 4 else array.shape[:2])
        return np.array(array, kind)
    return _read_png(path)


def _read_bare(path: Path, sidecar: Path, facts: Sidecar) -> NDArray[Any]:
    if facts.size is None:
        raise DataError("raw.sidecar-missing-key", sidecar, key="size")
    kind = np.dtype(_TYPES[facts.type])
    wanted, found = math.prod(facts.size) * kind.itemsize, path.stat().st_size
    if found < wanted:
        raise UnreadableFileError("raw.truncated", path, found=found, expected=wanted, sidecar=sidecar)
    if found > wanted:
        raise DataError("raw.too-long", path, found=found, expected=wanted, sidecar=sidecar)
    check_size(path, *facts.size)
    values = np.fromfile(path, kind).reshape(facts.size)
    return values.astype(kind.newbyteorder("="), copy=False)


def _read_png(path: Path) -> NDArray[Any]:
    """Read the values of a PNG with one channel, as stored."""
    with Image.open(path, formats=("PNG",)) as image:
        if image.mode not in ("L", "I;16"):
            raise DataError("raw.not-a-mosaic", path, found=f"a PNG of {image.mode}")
        check_held(path, image.height * image.width, _SQUEEZED)
        check_size(path, image.height, image.width)
        return np.array(image)


def _read_tiff(path: Path, file: BinaryIO) -> NDArray[Any]:
    """Read the values of an open TIFF with one channel, as stored."""
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        if page.dtype not in (np.uint8, np.uint16) or len(page.shape) != 2:
            raise DataError("raw.not-a-mosaic", path, found=f"a TIFF of {page.dtype} {page.shape}")
        check_held(path, page.size, _SQUEEZED)
        check_size(path, *page.shape)
        check_whole(path, page)
        values = np.asarray(page.asarray())
        if values.shape != page.shape:
            raise UnreadableFileError("photo.parts-missing", path)
        return values


def _unpacked(values: NDArray[Any], facts: Sidecar) -> NDArray[Any]:
    """Put packed planes on their sites: (4, h, w) or (h, w, 4) to (2h, 2w)."""
    packed = values if values.shape[0] == 4 else np.moveaxis(values, 2, 0)
    mosaic = np.empty((2 * packed.shape[1], 2 * packed.shape[2]), values.dtype)
    places = dict(zip(PLANES, planes(mosaic, PHASES[facts.cfa]), strict=True))
    for name, plane in zip(facts.planes, packed, strict=True):
        places[name][...] = plane
    return mosaic


def _raw_image(values: NDArray[Any], facts: Sidecar, sidecar: Path) -> RawImage:
    phase, sensor = PHASES[facts.cfa], (values.shape[0], values.shape[1])
    top, left, height, width = facts.area or (0, 0, *sensor)
    if min(top, left) < 0 or min(height, width) < 1 or top + height > sensor[0] or left + width > sensor[1]:
        raise DataError("raw.area-outside", sidecar, area=facts.area, size=_text(sensor))
    balance = np.array(facts.balance or [1.0] * 4)
    return RawImage(
        mosaic=np.ascontiguousarray(values[top : top + height, left : left + width]),
        phase=(phase[0] ^ top % 2, phase[1] ^ left % 2),
        black=np.array(facts.black, np.float32),
        white=np.array(facts.white, np.float32),
        balance=(balance / balance.min()).astype(np.float32),
        balance_source="sidecar" if facts.balance else "none",
        orientation=facts.orientation,
        exposure_time=facts.exposure_time,
        gain=facts.gain,
        camera="".join(letter for letter in facts.camera if letter.isprintable()),
        camera_from_xyz=None if facts.matrix is None else np.array(facts.matrix, np.float64),
        sensor=sensor,
        origin=(top, left),
    )


def _text(size: tuple[int, ...]) -> str:
    return f"{size[1]}x{size[0]}"
