"""Reads camera RAW files, and packs their mosaic into the planes that networks see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import rawpy
import tifffile
from numpy.typing import ArrayLike, NDArray

from restore_hub.errors import DataError
from restore_hub.runtime.images import orient

__all__ = ["RawImage", "camera_from_srgb", "exposure_gain", "is_raw", "orient", "pack", "read_raw", "render_raw"]

# fmt: off
RAW_SUFFIXES = frozenset((
    ".3fr", ".arw", ".bay", ".cap", ".cr2", ".cr3", ".crw", ".dcr", ".dcs", ".dng", ".erf", ".fff", ".gpr",
    ".iiq", ".k25", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".ptx", ".qtk", ".raf",
    ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
))
# fmt: on
# Linear sRGB to XYZ at D65, IEC 61966-2-1.
XYZ_FROM_SRGB = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
GAIN_RANGE = (1.0, 300.0)
_MIDDLE_GREY = 0.18
_TIFF_MAGIC = (b"II*\0", b"MM\0*")  # how most RAW formats begin
_EXIF = {0: 1, 1: 2, 2: 4, 3: 3, 4: 5, 5: 8, 6: 6, 7: 7}  # LibRaw's flip: 4 transposes, 2 and 1 mirror
_EXIF_IFD, _EXPOSURE_TIME, _BASELINE_EXPOSURE, _MAKE, _MODEL = 34665, 33434, 50730, 271, 272
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class RawImage:
    """A Bayer mosaic with what is needed to develop it. Planes are in the order R, Gr, Gb, B.

    Gr is the green on red's row, Gb the one on blue's.

    Attributes:
        mosaic: uint16 (H, W), the visible area as stored, not turned.
        phase: (row, column) of red in its 2x2 tile: rggb (0, 0), grbg (0, 1), gbrg (1, 0), bggr (1, 1).
        black, white: float32 (4,), the levels of no light and of saturation.
        balance: float32 (4,), white balance, 1 for Gr.
        balance_source: `camera` (as shot), `daylight` (from the camera's colour matrix), or `none` (all 1).
        orientation: EXIF orientation 1..8 that `orient` applies.
        exposure_time: seconds, or `None` where the file does not say.
        baseline_exposure: stops to brighten by (DNG tag 50730), or `None`.
        camera: make and model, or an empty text.
        to_srgb: float32 (3, 3), white-balanced camera RGB to linear sRGB (rows sum to 1), or `None`.
    """

    mosaic: NDArray[np.uint16]
    phase: tuple[int, int]
    black: NDArray[np.float32]
    white: NDArray[np.float32]
    balance: NDArray[np.float32]
    balance_source: Literal["camera", "daylight", "none"]
    orientation: int
    exposure_time: float | None
    baseline_exposure: float | None
    camera: str
    to_srgb: NDArray[np.float32] | None


def is_raw(path: Path) -> bool:
    """Say whether a file's suffix is that of a camera RAW format."""
    return path.suffix.lower() in RAW_SUFFIXES


def read_raw(path: Path) -> RawImage:
    """Read the Bayer mosaic and the metadata of a RAW file.

    Raises:
        DataError: missing, empty, damaged, no RAW file, or no Bayer mosaic (X-Trans, linear DNG, monochrome,
            four colours); the text names the file and says which.
    """
    path = Path(path)
    return _with_libraw(path, lambda raw: _raw_image(path, raw))


def render_raw(path: Path) -> NDArray[np.uint16]:
    """Render a RAW file as LibRaw does: uint16 (H, W, 3) sRGB, aligned with the mosaic, not turned.

    Camera white balance, AHD, no automatic brightness: white is the sensor's saturation, so that a short
    exposure times the exposure ratio matches. LibRaw would otherwise stretch a picture whose maximum is near
    white (`adjust_maximum_thr`).

    Raises:
        DataError: as `read_raw`.
    """
    return _with_libraw(
        Path(path),
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
    )


def pack(
    mosaic: NDArray[np.uint16],
    phase: tuple[int, int],
    black: ArrayLike,
    white: ArrayLike,
    balance: ArrayLike,
    gain: float,
) -> NDArray[np.float32]:
    """Pack a mosaic (H, W) into float32 planes (4, (H + 2) // 2, (W + 2) // 2) in the order R, Gr, Gb, B.

        plane = min((m - black) / (white - black) * balance * gain, 1)

    The mosaic is first extended to even size with red at (0, 0): row `i` is row `reflect(i - phase[0])` of the
    mosaic, where `reflect(j) = min(abs((H - 1) - abs((H - 1) - abs(j))), H - 1)` mirrors without repeating the
    edge, so that colours stay in their places; columns alike. (A side of 1 pixel has no neighbour to mirror:
    its only row serves for all.) Noise below black stays negative. A picture at full resolution made from the
    planes is aligned with the mosaic after cutting `[phase[0] : phase[0] + H, phase[1] : phase[1] + W]`.
    Graphs exported to ONNX compute the same; this function is their reference.
    """
    rows, columns = (_reflect(size, start) for size, start in zip(mosaic.shape, phase, strict=True))
    padded = mosaic[np.ix_(rows, columns)].astype(np.float32)
    planes = np.stack([padded[::2, ::2], padded[::2, 1::2], padded[1::2, ::2], padded[1::2, 1::2]])
    low, high, factor = (np.asarray(v, np.float32).reshape(4, 1, 1) for v in (black, white, balance))
    planes -= low
    planes *= factor * np.float32(gain) / (high - low)
    return np.minimum(planes, np.float32(1), out=planes)


def exposure_gain(raw: RawImage) -> tuple[float, str]:
    """Return the gain to develop a picture with when nobody gives one, and the rule that it came from.

    The file's BaselineExposure `b` gives 2**b. Without it, the mean of the green planes (black subtracted,
    white-balanced) is brought to 0.18, middle grey, as far as a gain of 1 to 300 does.
    """
    if raw.baseline_exposure is not None:
        gain = 2.0**raw.baseline_exposure
        return gain, f"2**{raw.baseline_exposure:g}, from the file's BaselineExposure"
    greens = pack(raw.mosaic, raw.phase, raw.black, raw.white, raw.balance, 1.0)[1:3]
    mean = float(greens.mean(dtype=np.float64))
    low, high = GAIN_RANGE
    wanted = _MIDDLE_GREY / mean if mean > 0 else float("inf")
    gain = min(max(wanted, low), high)
    if gain == wanted:
        return gain, f"brings the mean green {mean:.4g} to {_MIDDLE_GREY}"
    return gain, f"towards {_MIDDLE_GREY} for the mean green {mean:.4g}, limited to {gain:g}"


def camera_from_srgb(camera_from_xyz: ArrayLike) -> NDArray[np.float64]:
    """Return the (3, 3) matrix from linear sRGB to white-balanced camera RGB, rows summing to 1.

    Args:
        camera_from_xyz: XYZ (D65) to camera (3, 3), as DNG's ColorMatrix1.
    """
    matrix = np.asarray(camera_from_xyz, np.float64) @ XYZ_FROM_SRGB
    return np.asarray(matrix / matrix.sum(axis=1, keepdims=True))


def _reflect(size: int, start: int) -> NDArray[np.intp]:
    """Return the source indices of an axis that is extended to even length with red first; see `pack`."""
    wanted = np.abs(np.arange((size + 2) // 2 * 2) - start)
    return np.asarray(np.minimum(np.abs(size - 1 - np.abs(size - 1 - wanted)), size - 1), np.intp)


def _with_libraw(path: Path, use: Callable[[Any], _Result]) -> _Result:
    """Open a file with LibRaw, unpack it, hand it to `use`, and say in plain words what goes wrong."""
    if not path.is_file():
        raise DataError(f"{path}: {'is a folder, not a RAW file' if path.is_dir() else 'no such file'}")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    known = False
    try:
        with rawpy.imread(str(path)) as raw:
            known = True
            _refuse_guess(path, raw)
            return use(raw)
    except (rawpy.LibRawFileUnsupportedError, rawpy.LibRawIOError) as error:
        # Of a file too short to be recognised LibRaw says that it ends early, whatever it is.
        if isinstance(error, rawpy.LibRawIOError) and (known or path.read_bytes()[:4] in _TIFF_MAGIC):
            raise DataError(f"{path}: cannot be read to its end; the file is cut off or damaged") from error
        raise DataError(f"{path}: no RAW file, or of a format that LibRaw {_libraw()} does not know") from error
    except (rawpy.LibRawError, rawpy.NotSupportedError, RuntimeError, ValueError, MemoryError) as error:
        raise DataError(f"{path}: LibRaw {_libraw()} cannot decode it: {error}") from error


def _libraw() -> str:
    return ".".join(map(str, rawpy.libraw_version))


def _refuse_guess(path: Path, raw: Any) -> None:
    """Refuse files without a header, whose camera LibRaw guesses from their size alone."""
    samples, size = raw.sizes.raw_height * raw.sizes.raw_width, path.stat().st_size
    if any(8 * size == bits * samples for bits in (8, 10, 12, 14, 16)):
        raise DataError(
            f"{path}: sensor values without a header, so that size, pattern and levels would be a guess; "
            "write them as a DNG first (restore_hub.runtime.dng.write_dng)"
        )


def _raw_image(path: Path, raw: Any) -> RawImage:
    phase, channels = _bayer(path, raw)
    black = np.asarray(raw.black_level_per_channel, np.float32)[channels]
    levels = raw.camera_white_level_per_channel
    white = np.asarray(levels if levels and min(levels) > 0 else [raw.white_level] * 4, np.float32)[channels]
    if not (white > black).all():
        raise DataError(f"{path}: white level {white.tolist()} is not above black {black.tolist()}; damaged metadata")
    balance, source = _balance(raw, channels)
    exposure_time, baseline_exposure, camera = _tags(path, raw.other.shutter_speed or None)
    return RawImage(
        mosaic=np.array(raw.raw_image_visible, np.uint16),
        phase=phase,
        black=black,
        white=white,
        balance=balance,
        balance_source=source,
        orientation=_EXIF.get(raw.sizes.flip, 1),
        exposure_time=exposure_time,
        baseline_exposure=baseline_exposure,
        camera=camera,
        to_srgb=_to_srgb(raw),
    )


def _bayer(path: Path, raw: Any) -> tuple[tuple[int, int], list[int]]:
    """Return red's place and LibRaw's channel of each plane R, Gr, Gb, B; the pattern is the visible area's."""
    if raw.raw_type != rawpy.RawType.Flat:
        raise DataError(
            f"{path}: holds {raw.num_colors} colours at every pixel (a linear DNG, or a sensor without mosaic), "
            "not a Bayer mosaic; develop it elsewhere and use the picture"
        )
    pattern, colours = raw.raw_pattern, raw.color_desc.decode("ascii", "replace")
    if raw.num_colors == 1 or pattern is None or pattern.shape == (1, 1):
        raise DataError(f"{path}: a monochrome RAW, not a Bayer mosaic; develop it elsewhere and use the picture")
    if pattern.shape == (6, 6):
        raise DataError(f"{path}: a Fujifilm X-Trans mosaic; only the 2x2 Bayer pattern is supported")
    if raw.num_colors == 4:
        raise DataError(f"{path}: a sensor of four colours ({colours}); only Bayer's red, green and blue is supported")
    text = "".join(colours[c] for c in pattern.ravel())
    if text not in ("RGGB", "GRBG", "GBRG", "BGGR"):
        raise DataError(f"{path}: a mosaic of {text} tiles; only the 2x2 Bayer pattern is supported")
    row, column = divmod(text.index("R"), 2)
    channels = [int(pattern[row ^ down, column ^ right]) for down in (0, 1) for right in (0, 1)]
    return (row, column), channels


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
        if np.isfinite(balance).all() and (balance > 0).all():
            if source == "daylight" and (balance == balance[0]).all():
                break  # LibRaw's way to say that it knows no colour matrix
            return (balance[channels] / balance[channels[1]]).astype(np.float32), source
    return np.ones(4, np.float32), "none"


def _to_srgb(raw: Any) -> NDArray[np.float32] | None:
    """Return camera to sRGB: from LibRaw's table of cameras, else from the file (already combined with sRGB)."""
    table = np.asarray(raw.rgb_xyz_matrix, np.float64)[:3]
    embedded = np.asarray(raw.color_matrix, np.float64)[:, :3]
    if table.any():
        return np.asarray(np.linalg.inv(camera_from_srgb(table)), np.float32)
    return embedded.astype(np.float32) if embedded.any() else None


def _tags(path: Path, shutter: float | None) -> tuple[float | None, float | None, str]:
    """Return exposure time, BaselineExposure and camera from the tags of a file built as a TIFF.

    Without an ExposureTime the exposure is `shutter`, what LibRaw found. A tag of 0 counts as present: LibRaw
    then turns to ShutterSpeedValue, where 0 means one second.
    """
    try:
        with tifffile.TiffFile(path) as tiff:
            tags = tiff.pages.first.tags
            exif = tags.valueof(_EXIF_IFD)
            time = exif.get("ExposureTime") if isinstance(exif, dict) else None
            time = tags.valueof(_EXPOSURE_TIME) if time is None else time
            exposure = shutter if time is None else _rational(time)
            baseline = _rational(tags.valueof(_BASELINE_EXPOSURE))
            camera = " ".join(str(tags.valueof(code, "")).strip() for code in (_MAKE, _MODEL)).strip()
    except Exception:  # no TIFF, or a maker's variant of it: LibRaw has read it all the same
        return shutter, None, ""
    return (exposure if exposure and exposure > 0 else None), baseline, camera


def _rational(value: Any) -> float | None:
    """Return a TIFF rational as a number; a denominator of 0 means unknown."""
    if not isinstance(value, tuple) or len(value) < 2 or value[1] == 0:
        return None
    return float(value[0]) / float(value[1])
