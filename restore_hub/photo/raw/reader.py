"""Every way to a mosaic: camera RAW files, and plain arrays with a sidecar. Training and restoring read alike."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import DataError
from restore_hub.photo.kind import SIDECAR_SUFFIXES, Kind, kind_of
from restore_hub.photo.raw import camera_file
from restore_hub.photo.raw.dng_writer import encode_dng
from restore_hub.photo.raw.headerless import read_headerless
from restore_hub.photo.raw.hot_pixels import repair_hot_pixels
from restore_hub.photo.raw.mosaic import RawImage, in_levels


def read_raw(path: Path, *, repair: bool = False) -> RawImage:
    """Read the mosaic and the metadata of a RAW file, or of an array with a sidecar (docs/how-to/raw.md).

    Args:
        path: what to read.
        repair: replace hot pixels; values are otherwise those of the file.

    Raises:
        DataError: the file is missing, or has a layout that no reader takes (a sensor without a mosaic, say).
            UnreadableFileError: it is empty or damaged, or not a RAW file.
    """
    path = Path(path)
    raw = read_headerless(path) if _kind(path) is Kind.MOSAIC else camera_file.read_camera_file(path)
    return repair_hot_pixels(raw) if repair else raw


def render_raw(path: Path) -> NDArray[np.uint16]:
    """Render a RAW file as LibRaw does; see `restore_hub.photo.raw.camera_file.render`.

    A mosaic with a sidecar becomes a DNG in memory first, so that it is rendered alike.

    Raises:
        DataError, UnreadableFileError: as `read_raw`, or a mosaic with a sidecar has a side under 22.
    """
    path = Path(path)
    mosaic = encode_dng(in_levels(read_headerless(path)), str(path)) if _kind(path) is Kind.MOSAIC else path
    return camera_file.render(mosaic, path)


def _kind(path: Path) -> Kind:
    """Return the kind of a file, and refuse one that needs a sidecar and has none."""
    kind = kind_of(path)
    if not kind.is_raw and path.suffix.lower() in SIDECAR_SUFFIXES and os.path.isfile(path):
        raise DataError("raw.no-sidecar", path, sidecar=f"{path.name}.yaml")
    return kind
