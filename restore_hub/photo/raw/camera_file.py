"""Opens camera RAW files with LibRaw, and renders them; the reader of their layout makes the mosaic."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import rawpy
from numpy.typing import NDArray

from restore_hub.errors import DataError, PluginError, UnreadableFileError, reason_of
from restore_hub.photo.exif import exif_from_libraw
from restore_hub.photo.guards import LARGEST, check_file, check_size, open_raw
from restore_hub.photo.raw.dng_tags import Tags, read_tags
from restore_hub.photo.raw.layouts import Layout, reader_for, unknown_layout
from restore_hub.photo.raw.mosaic import LARGEST_GAIN, RawImage

_TIFF_MAGIC = (b"II*\0", b"MM\0*")  # how most RAW formats begin
_FOVEON_MAGIC = b"FOVb"
_EXIF = {0: 1, 1: 2, 2: 4, 3: 3, 4: 5, 5: 8, 6: 6, 7: 7}  # LibRaw's flip: 4 transposes, 2 and 1 mirror
_SAMPLES_A_BYTE = 64  # no camera packs more; a header that promises more is damaged
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class RawFile:
    """A camera's RAW file as its reader gets it.

    Attributes:
        path: where it is.
        libraw: the open `rawpy.RawPy`, which is closed once the reader returns: copy what is kept.
        layout: how the colours lie on its sensor.
        tags: what its TIFF tags say beyond LibRaw.
    """

    path: Path
    libraw: Any
    layout: Layout
    tags: Tags

    def facts(self) -> dict[str, Any]:
        """Return the arguments of `RawImage` that are alike for every layout, all but mosaic, levels and colours."""
        raw, tags, sizes = self.libraw, self.tags, self.libraw.sizes
        time = (raw.other.shutter_speed or None) if tags.exposure_time is None else tags.exposure_time
        exif, lost = exif_from_libraw(raw) if tags.exif is None else (tags.exif, tags.lost)
        corrections = tuple(f"{what} left alone, though the file holds a correction" for what in tags.corrections)
        return {
            "orientation": _EXIF.get(sizes.flip, 1),
            "exposure_time": time if time and time > 0 else None,
            "gain": _gain(tags.baseline_exposure),
            "baseline_exposure": tags.baseline_exposure,
            "camera": tags.camera,
            "sensor": (sizes.raw_height, sizes.raw_width),
            "origin": (sizes.top_margin, sizes.left_margin),
            "noise": None if tags.noise is None else tags.noise[[0, 1, 1, 2] if len(tags.noise) == 3 else [0] * 4],
            "notes": (*corrections, *lost),
            "exif": exif,
        }


def read_camera_file(path: Path) -> RawImage:
    """Read a RAW file with the reader of its sensor's layout.

    Raises:
        DataError: the file is missing, or no reader takes its layout. UnreadableFileError: it is empty or damaged, or
            not a RAW file. PluginError: its reader fails.
    """

    def read(raw: Any) -> RawImage:
        layout = _layout(raw)
        reader = reader_for(layout, path)
        file = RawFile(path, raw, layout, read_tags(path))
        try:
            image: RawImage = reader.read(file)
        except (AttributeError, LookupError, TypeError) as error:  # a mistake in the reader, not in the file
            place = f"{path}: {type(reader).__module__}.{type(reader).__name__}"
            raise PluginError("raw.reader-fails", place, cause=reason_of(error)) from error
        return image

    return _with_libraw(path, read)


def render(source: Path | bytes, name: Path) -> NDArray[np.uint16]:
    """Render a RAW file of any layout as LibRaw does: uint16 (H, W, 3) sRGB, aligned with the mosaic, not turned.

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
    """Open a file with LibRaw, hand it to `use`, and turn LibRaw's errors into ours."""
    if not isinstance(source, bytes):
        _check_not_empty(path)
    known = False
    try:
        with open_raw(source if isinstance(source, bytes) else path) as raw:
            known = True
            _check_sizes(path, raw, len(source) if isinstance(source, bytes) else path.stat().st_size)
            return use(raw)
    except (rawpy.LibRawFileUnsupportedError, rawpy.LibRawIOError) as error:
        # LibRaw says of any file that is too short to be recognised that it ends early.
        if isinstance(error, rawpy.LibRawIOError) and (known or _head(path) in _TIFF_MAGIC):
            raise UnreadableFileError("raw.cut-off", path) from error
        if not isinstance(source, bytes) and _head(path) == _FOVEON_MAGIC:
            raise unknown_layout("all colours at every pixel (a Foveon sensor)", path) from error
        raise UnreadableFileError("raw.unknown-format", path, libraw=_libraw()) from error
    except (MemoryError, rawpy.LibRawUnsufficientMemoryError) as error:
        raise DataError("photo.no-memory", path) from error
    except OSError as error:
        raise DataError("photo.cannot-open", path, cause=reason_of(error)) from error
    except (rawpy.LibRawError, rawpy.NotSupportedError, RuntimeError, ValueError) as error:
        reason = error.args[0].decode(errors="replace") if error.args and isinstance(error.args[0], bytes) else error
        raise UnreadableFileError("raw.undecodable", path, libraw=_libraw(), cause=reason) from error


def _check_not_empty(path: Path) -> None:
    check_file(path)
    try:
        head = _head(path)
    except OSError as error:  # rights, or too many open files: nothing is wrong with the content
        raise DataError("photo.cannot-open", path, cause=reason_of(error)) from error
    if not head:
        raise UnreadableFileError("photo.empty", path)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


def _libraw() -> str:
    return ".".join(map(str, rawpy.libraw_version))


def _check_sizes(path: Path, raw: Any, size: int) -> None:
    """Refuse headers that promise more than the file can hold, and files without a header.

    LibRaw guesses the camera of the latter from their size alone.
    """
    height, width = raw.sizes.raw_height, raw.sizes.raw_width
    if height * width > min(LARGEST, _SAMPLES_A_BYTE * size):
        raise UnreadableFileError("photo.header-lies", path, size=size)
    check_size(path, height, width)
    if any(8 * size == bits * height * width for bits in (8, 10, 12, 14, 16)):
        raise DataError("raw.no-header", path, sidecar=f"{path.name}.yaml")


def _layout(raw: Any) -> Layout:
    if raw.raw_type != rawpy.RawType.Flat:
        return Layout(raw.num_colors, ())
    pattern = raw.raw_pattern
    if raw.num_colors == 1 or pattern is None or pattern.shape == (1, 1):
        return Layout(1, ())
    letters = raw.color_desc.decode("ascii", "replace")
    return Layout(raw.num_colors, tuple("".join(letters[colour] for colour in row) for row in pattern))


def _gain(stops: float | None) -> float | None:
    """Return the gain of BaselineExposure, where it is more than a camera model's usual offset; see `RawImage`."""
    return 2.0**stops if stops is not None and 1 <= stops <= math.log2(LARGEST_GAIN) else None
