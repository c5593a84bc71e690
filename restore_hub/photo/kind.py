"""What kind of photograph a file is: asked here, and nowhere else."""

from __future__ import annotations

import os
import struct
from enum import StrEnum
from pathlib import Path

from restore_hub.photo.tiff import read_directory, read_header

PICTURE_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
SIDECAR_SUFFIXES = (".raw", ".bin", ".npy", ".png", ".tif", ".tiff")
FOLDER_SIDECAR = "mosaic.yaml"  # describes every such file of its folder that has no sidecar of its own
# fmt: off
RAW_SUFFIXES = frozenset((
    ".3fr", ".arw", ".bay", ".cap", ".cr2", ".cr3", ".crw", ".dcr", ".dcs", ".dng", ".erf", ".fff", ".gpr",
    ".iiq", ".k25", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".ptx", ".qtk", ".raf",
    ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
))
# fmt: on
_DNG_VERSION = 50706  # TIFF tag


class Kind(StrEnum):
    """What a file holds."""

    RAW = "raw"  # a camera's RAW file, or a DNG
    MOSAIC = "mosaic"  # sensor values without a header, described by a sidecar
    PICTURE = "picture"  # PNG, TIFF or JPEG
    UNKNOWN = "unknown"

    @property
    def is_raw(self) -> bool:
        """Whether `restore_hub.photo.raw.reader.read_raw` reads it."""
        return self in (Kind.RAW, Kind.MOSAIC)


def kind_of(path: Path) -> Kind:
    """Return the kind of a file: by its sidecar, its suffix, and of a TIFF by its content, which may be a DNG.

    A file that is missing or damaged has the kind of its name.
    """
    suffix = path.suffix.lower()
    if find_sidecar(path) is not None:
        return Kind.MOSAIC
    if suffix in RAW_SUFFIXES or (suffix in (".tif", ".tiff") and _is_dng(path)):
        return Kind.RAW
    return Kind.PICTURE if suffix in PICTURE_SUFFIXES else Kind.UNKNOWN


def find_sidecar(path: Path) -> Path | None:
    """Return the sidecar of a file: `NAME.EXT.yaml`, else the folder's `mosaic.yaml`, else `None`."""
    if path.suffix.lower() not in SIDECAR_SUFFIXES:
        return None
    own, shared = path.with_name(path.name + ".yaml"), path.with_name(FOLDER_SIDECAR)
    # Not Path.is_file, which raises where the suffix makes the name too long for a file.
    return next((sidecar for sidecar in (own, shared) if os.path.isfile(sidecar)), None)


def _is_dng(path: Path) -> bool:
    if not os.path.isfile(path):
        return False
    try:
        with path.open("rb") as file:
            header = read_header(file)
            return header is not None and bool(read_directory(file, *header, {_DNG_VERSION}))
    except (OSError, ValueError, struct.error):
        return False
