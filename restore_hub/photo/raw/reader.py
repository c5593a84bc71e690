"""Every way to a Bayer mosaic: camera RAW files, and plain arrays with a sidecar. Training and runtime read alike."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import DataError
from restore_hub.photo.raw import camera_file
from restore_hub.photo.raw.dng_writer import encode_dng
from restore_hub.photo.raw.headerless import SIDECAR_SUFFIXES, find_sidecar, read_headerless
from restore_hub.photo.raw.hot_pixels import repair_hot_pixels
from restore_hub.photo.raw.mosaic import RawImage, in_levels

# fmt: off
RAW_SUFFIXES = frozenset((
    ".3fr", ".arw", ".bay", ".cap", ".cr2", ".cr3", ".crw", ".dcr", ".dcs", ".dng", ".erf", ".fff", ".gpr",
    ".iiq", ".k25", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".ptx", ".qtk", ".raf",
    ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
))
# fmt: on


def is_raw(path: Path) -> bool:
    """Say whether a file is RAW: by its suffix, or because a sidecar describes it."""
    return path.suffix.lower() in RAW_SUFFIXES or find_sidecar(path) is not None


def read_raw(path: Path, *, repair: bool = False) -> RawImage:
    """Read the Bayer mosaic and the metadata of a RAW file, or of an array with a sidecar (docs/raw.md).

    Args:
        path: what to read.
        repair: replace hot pixels; values are otherwise those of the file.

    Raises:
        DataError: missing, or no Bayer mosaic (X-Trans, linear DNG, monochrome, four colours); the text names the
            file and says which. UnreadableFileError: empty, damaged, or no RAW file.
    """
    path = Path(path)
    sidecar = find_sidecar(path)
    if sidecar is None and path.suffix.lower() in set(SIDECAR_SUFFIXES) - RAW_SUFFIXES and os.path.isfile(path):
        raise DataError(
            f"{path}: no RAW file; if it holds a mosaic, write {path.name}.yaml beside it, with cfa, black and white "
            "(docs/raw.md)"
        )
    raw = read_headerless(path, sidecar) if sidecar else camera_file.read_camera_file(path)
    return repair_hot_pixels(raw) if repair else raw


def render_raw(path: Path) -> NDArray[np.uint16]:
    """Render a RAW file as LibRaw does; see `restore_hub.photo.raw.camera_file.render`.

    A mosaic with a sidecar becomes a DNG in memory first, so that it is rendered alike.

    Raises:
        DataError, UnreadableFileError: as `read_raw`; a mosaic with a sidecar and a side under 22.
    """
    path = Path(path)
    if find_sidecar(path) is None:
        return camera_file.render(path, path)
    return camera_file.render(encode_dng(in_levels(read_raw(path)), str(path)), path)
