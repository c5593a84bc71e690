"""Reads RAW files of Bayer sensors."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import UnreadableFileError
from restore_hub.photo.colour import XYZ_FROM_SRGB
from restore_hub.photo.raw.camera_file import RawFile
from restore_hub.photo.raw.dng_tags import Tags
from restore_hub.photo.raw.layouts import Layout
from restore_hub.photo.raw.mosaic import PHASES, RawImage, sites

_LARGEST_BALANCE = 100.0  # between two colours; more is damage
_SINGULAR = 1e6  # condition of a damaged colour matrix


class Bayer:
    """Takes 2x2 tiles of one red, two green and one blue; see `restore_hub.contracts.Reader`."""

    def takes(self, layout: Layout) -> bool:
        """Say whether a layout is Bayer's."""
        return layout.colours == 3 and len(layout.tile) == 2 and "".join(layout.tile).lower() in PHASES

    def read(self, file: RawFile) -> RawImage:
        """Return the mosaic.

        Raises:
            UnreadableFileError: its levels are damaged.
        """
        raw = file.libraw
        phase = PHASES["".join(file.layout.tile).lower()]
        channels = [int(raw.raw_pattern[site]) for site in sites(phase)]  # LibRaw's, of R, Gr, Gb, B
        black = _black(raw, file.tags, phase, channels)
        # Not `camera_white_level_per_channel`: for some makers that is where the sensor stops being linear.
        white = np.full(4, raw.white_level, np.float32)
        if not (white > black).all():
            raise UnreadableFileError("raw.levels", file.path, white=white.tolist(), black=black.tolist())
        balance, source = _balance(raw, channels)
        return RawImage(
            mosaic=np.array(raw.raw_image_visible, np.uint16),
            phase=phase,
            black=black,
            white=white,
            balance=balance,
            balance_source=source,
            camera_from_xyz=_camera_from_xyz(raw, file.tags),
            **file.facts(),
        )


def _black(raw: Any, tags: Tags, phase: tuple[int, int], channels: list[int]) -> NDArray[np.float32]:
    """Return the black levels of the planes.

    A DNG counts its black levels from the active area's corner. LibRaw begins the visible area at the next even
    line, and then has them in the wrong places; it also drops fractions.
    """
    if tags.black is None:
        return np.asarray(raw.black_level_per_channel, np.float32)[channels]
    top, left = raw.sizes.top_margin - tags.active[0], raw.sizes.left_margin - tags.active[1]
    return np.array([tags.black[(row + top) % 2, (column + left) % 2] for row, column in sites(phase)], np.float32)


def _balance(raw: Any, channels: list[int]) -> tuple[NDArray[np.float32], Literal["camera", "daylight", "none"]]:
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
