"""Every way to a Bayer mosaic: camera RAW files, and plain arrays with a sidecar. Training and runtime read alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restore_hub.runtime import libraw
from restore_hub.runtime.mosaic import RawImage

# fmt: off
RAW_SUFFIXES = frozenset((
    ".3fr", ".arw", ".bay", ".cap", ".cr2", ".cr3", ".crw", ".dcr", ".dcs", ".dng", ".erf", ".fff", ".gpr",
    ".iiq", ".k25", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".ptx", ".qtk", ".raf",
    ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
))
# fmt: on


def is_raw(path: Path) -> bool:
    """Say whether a file's suffix is that of a camera RAW format."""
    return path.suffix.lower() in RAW_SUFFIXES


def read_raw(path: Path) -> RawImage:
    """Read the Bayer mosaic and the metadata of a RAW file.

    Raises:
        DataError: missing, or no Bayer mosaic (X-Trans, linear DNG, monochrome, four colours); the text names the
            file and says which. UnreadableFileError: empty, damaged, or no RAW file.
    """
    return libraw.read_camera_file(Path(path))


def render_raw(path: Path) -> NDArray[np.uint16]:
    """Render a RAW file as LibRaw does; see `restore_hub.runtime.libraw.render`."""
    return libraw.render(Path(path), Path(path))
