"""Whether a RAW file or picture can be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import DataError
from restore_hub.photo.kind import kind_of
from restore_hub.photo.pictures import read_picture
from restore_hub.photo.raw.mosaic import RawImage
from restore_hub.photo.raw.reader import read_raw
from restore_hub_raw.checks.findings import Verdict


def check_file(path: Path, verdict: Verdict) -> RawImage | NDArray[np.float32] | None:
    """Return a file's mosaic, hot pixels repaired, or picture (H, W, 3); add a finding if it can't be read."""
    try:
        return read_raw(path, repair=True) if kind_of(path).is_raw else read_picture(path).pixels
    except DataError as error:
        verdict.add(path, "unreadable", str(error).removeprefix(f"{path}: "))
        return None
