"""Reads camera RAW files with LibRaw."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import rawpy
from numpy.typing import NDArray

from restore_hub.errors import DataError, UnreadableFileError
from restore_hub.photo.colour import XYZ_FROM_SRGB
from restore_hub.photo.guards import LARGEST, check_size, fault_of, open_raw
from restore_hub.photo.raw.dng_tags import Tags, read_tags
from restore_hub.photo.raw.mosaic import LARGEST_GAIN, RawImage, sites

_TIFF_MAGIC = (b"II*\0", b"MM\0*")  # how most RAW formats begin
_FOVEON_MAGIC = b"FOVb"
_NO_MOSAIC = "{}, not a Bayer mosaic; develop it elsewhere and use the picture"
_EXIF = {0: 1, 1: 2, 2: 4, 3: 3, 4: 5, 5: 8, 6: 6, 7: 7}  # LibRaw's flip: 4 transposes, 2 and 1 mirror
_SAMPLES_A_BYTE = 64  # no camera packs more; a header that promises more is damaged
_LARGEST_BALANCE = 100.0  # between two colours; what is beyond is damaged
_SINGULAR = 1e6  # condition of a damaged colour matrix
_Result = TypeVar("_Result")


def read_camera_file(path: Path) -> RawImage:
    """Read the Bayer mosaic and the metadata of a RAW file.

    Raises:
        DataError: missing, or no Bayer mosaic (X-Trans, linear DNG, monochrome, four colours); the text names the
            file and says which. UnreadableFileError: empty, damaged, or no RAW file.
    """
    return _with_libraw(path, lambda raw: _raw_image(path, raw))


def render(source: Path | bytes, name: Path) -> NDArray[np.uint16]:
    """Render a RAW file as LibRaw does: uint16 (H, W, 3) sRGB, aligned with the mosaic, not turned.

    Camera white balance, AHD, no automatic brightness: white is the sensor's saturation, so that a short
    exposure times the exposure ratio matches. LibRaw would otherwise stretch a picture whose maximum is near
    white (`adjust_maximum_thr`).

    Args:
        source: the file, or its content.
        name: what errors call it.

    Raises:
        DataError, UnreadableFileError: as `read_camera_file`.
    """
    return _with_libraw(
        name,
        lambda raw: raw.postprocess(
            use_camera_wb=True,
            no_auto_bright=True,
            adjust_maximum_thr=0,
            demosaic_algorithm=rawpy.DemosaicAlgorithm.AHD,
            output_color=rawpy.ColorSpace.sRGB,
            output_bps=16,
            gamma=(2.4, 12.92),
            user_flip=0,
        ),
        source,
    )


def _with_libraw(path: Path, use: Callable[[Any], _Result], source: Path | bytes | None = None) -> _Result:
    """Open a file with LibRaw, unpack it, hand it to `use`, and say in plain words what goes wrong."""
    if not isinstance(source, bytes):
        _require_file(path)
    known = False
    try:
        with open_raw(source if isinstance(source, bytes) else path) as raw:
            known = True
            _refuse_sizes(path, raw, len(source) if isinstance(source, bytes) else path.stat().st_size)
            return use(raw)
    except (rawpy.LibRawFileUnsupportedError, rawpy.LibRawIOError) as error:
        # Of a file too short to be recognised LibRaw says that it ends early, whatever it is.
        if isinstance(error, rawpy.LibRawIOError) and (known or _head(path) in _TIFF_MAGIC):
            raise UnreadableFileError(f"{path}: cannot be read to its end; the file is cut off or damaged") from error
        if not isinstance(source, bytes) and _head(path) == _FOVEON_MAGIC:
            found = "a Foveon sensor (Sigma X3F), all colours at every pixel"
            raise DataError(f"{path}: {_NO_MOSAIC.format(found)}") from error
        raise UnreadableFileError(
            f"{path}: no RAW file, or of a format that LibRaw {_libraw()} does not know"
        ) from error
    except (MemoryError, rawpy.LibRawUnsufficientMemoryError) as error:
        raise DataError(f"{path}: not enough memory to decode it") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be opened: {error.strerror}") from error
    except (rawpy.LibRawError, rawpy.NotSupportedError, RuntimeError, ValueError) as error:
        reason = error.args[0].decode(errors="replace") if error.args and isinstance(error.args[0], bytes) else error
        raise UnreadableFileError(f"{path}: LibRaw {_libraw()} cannot decode it: {reason}") from error


def _require_file(path: Path) -> None:
    try:
        if fault := fault_of(path):
            raise DataError(f"{path}: {fault}{', not a RAW file' if fault.startswith('is') else ''}")
        head = _head(path)
    except OSError as error:  # rights, or too many open files: nothing is wrong with the content
        raise DataError(f"{path}: cannot be opened: {error.strerror}") from error
    if not head:
        raise UnreadableFileError(f"{path}: the file is empty")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


def _libraw() -> str:
    return ".".join(map(str, rawpy.libraw_version))


def _refuse_sizes(path: Path, raw: Any, size: int) -> None:
    """Refuse headers that promise more than the file can hold, and files without a header.

    Of the latter LibRaw guesses the camera from their size alone.
    """
    height, width = raw.sizes.raw_height, raw.sizes.raw_width
    if height * width > min(LARGEST, _SAMPLES_A_BYTE * size):
        raise UnreadableFileError(
            f"{path}: its header promises {height} x {width} values in {size} bytes; the file is damaged"
        )
    check_size(path, height, width)
    if any(8 * size == bits * height * width for bits in (8, 10, 12, 14, 16)):
        raise DataError(
            f"{path}: sensor values without a header, so that size, pattern and levels would be a guess; "
            f"write {path.name}.yaml beside it, with size, cfa, black and white (docs/raw.md)"
        )


def _raw_image(path: Path, raw: Any) -> RawImage:
    phase, channels = _bayer(path, raw)
    tags, sizes = read_tags(path), raw.sizes
    black = _black(raw, tags, phase, channels)
    # Not `camera_white_level_per_channel`: of some makers that is where the sensor stops being linear.
    white = np.full(4, raw.white_level, np.float32)
    if not (white > black).all():
        raise UnreadableFileError(
            f"{path}: white level {white.tolist()} is not above black {black.tolist()}; damaged metadata"
        )
    balance, source = _balance(raw, channels)
    time = (raw.other.shutter_speed or None) if tags.exposure_time is None else tags.exposure_time
    return RawImage(
        mosaic=np.array(raw.raw_image_visible, np.uint16),
        phase=phase,
        black=black,
        white=white,
        balance=balance,
        balance_source=source,
        orientation=_EXIF.get(sizes.flip, 1),
        exposure_time=time if time and time > 0 else None,
        gain=_gain(tags.baseline_exposure),
        baseline_exposure=tags.baseline_exposure,
        camera=tags.camera,
        camera_from_xyz=_camera_from_xyz(raw, tags),
        sensor=(sizes.raw_height, sizes.raw_width),
        origin=(sizes.top_margin, sizes.left_margin),
        noise=None if tags.noise is None else tags.noise[[0, 1, 1, 2] if len(tags.noise) == 3 else [0] * 4],
        notes=tuple(f"{what} left alone, though the file holds a correction" for what in tags.corrections),
    )


def _bayer(path: Path, raw: Any) -> tuple[tuple[int, int], list[int]]:
    """Return red's place and LibRaw's channel of each plane R, Gr, Gb, B; the pattern is the visible area's."""
    if raw.raw_type != rawpy.RawType.Flat:
        found = f"holds {raw.num_colors} colours at every pixel (a linear DNG, or a sensor without mosaic)"
        raise DataError(f"{path}: {_NO_MOSAIC.format(found)}")
    pattern, colours = raw.raw_pattern, raw.color_desc.decode("ascii", "replace")
    if raw.num_colors == 1 or pattern is None or pattern.shape == (1, 1):
        raise DataError(f"{path}: {_NO_MOSAIC.format('a monochrome RAW')}")
    if pattern.shape == (6, 6):
        raise DataError(f"{path}: a Fujifilm X-Trans mosaic; only the 2x2 Bayer pattern is supported")
    if raw.num_colors == 4:
        raise DataError(f"{path}: a sensor of four colours ({colours}); only Bayer's red, green and blue is supported")
    text = "".join(colours[c] for c in pattern.ravel())
    if text not in ("RGGB", "GRBG", "GBRG", "BGGR"):
        raise DataError(f"{path}: a mosaic of {text} tiles; only the 2x2 Bayer pattern is supported")
    row, column = divmod(text.index("R"), 2)
    return (row, column), [int(pattern[site]) for site in sites((row, column))]


def _black(raw: Any, tags: Tags, phase: tuple[int, int], channels: Sequence[int]) -> NDArray[np.float32]:
    """Return the black levels of the planes.

    A DNG counts its black levels from the active area's corner. LibRaw begins the visible area at the next even
    line, and then has them in the wrong places; it also drops fractions.
    """
    if tags.black is None:
        return np.asarray(raw.black_level_per_channel, np.float32)[channels]
    top, left = raw.sizes.top_margin - tags.active[0], raw.sizes.left_margin - tags.active[1]
    return np.array([tags.black[(row + top) % 2, (column + left) % 2] for row, column in sites(phase)], np.float32)


def _gain(stops: float | None) -> float | None:
    """Return the gain of BaselineExposure, where it is more than a camera model's usual offset; see `RawImage`."""
    return 2.0**stops if stops is not None and 1 <= stops <= math.log2(LARGEST_GAIN) else None


def _balance(raw: Any, channels: Sequence[int]) -> tuple[NDArray[np.float32], Literal["camera", "daylight", "none"]]:
    """Return the white balance of the planes: as shot, else daylight, else 1; a second green of 0 is the first."""
    found: list[tuple[Any, Literal["camera", "daylight"]]] = [
        (raw.camera_whitebalance, "camera"),
        (raw.daylight_whitebalance, "daylight"),
    ]
    for values, source in found:
        balance = np.array(values, np.float64)
        if balance[3] == 0:
            balance[3] = balance[1]
        if np.isfinite(balance).all() and (balance > 0).all() and balance.max() <= _LARGEST_BALANCE * balance.min():
            if source == "daylight" and (balance == balance[0]).all():
                break  # LibRaw's way to say that it knows no colour matrix
            return (balance[channels] / balance.min()).astype(np.float32), source
    return np.ones(4, np.float32), "none"


def _camera_from_xyz(raw: Any, tags: Tags) -> NDArray[np.float64] | None:
    """Return XYZ to camera: from the tags, else LibRaw's table of cameras, else what the file has in LibRaw's form.

    The last is white-balanced and combined with sRGB; daylight's factors turn it back.
    """
    matrix = np.asarray(raw.rgb_xyz_matrix, np.float64)[:3] if tags.matrix is None else tags.matrix
    embedded, daylight = np.asarray(raw.color_matrix, np.float64)[:, :3], np.array(raw.daylight_whitebalance[:3])
    if not matrix.any() and embedded.any() and np.linalg.cond(embedded) < _SINGULAR and (daylight > 0).all():
        matrix = np.asarray(np.linalg.inv(XYZ_FROM_SRGB @ embedded) / daylight[:, None] * daylight.max(), np.float64)
    usable = matrix.any() and np.isfinite(matrix).all() and np.linalg.cond(matrix) < _SINGULAR
    return matrix if usable else None
