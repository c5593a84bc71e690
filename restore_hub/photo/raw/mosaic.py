"""A Bayer mosaic with what it takes to develop it, and the planes that networks see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from restore_hub.photo.colour import camera_from_srgb
from restore_hub.photo.tiff import Directory

# Red's (row, column) in the 2x2 tile, by the letters of the tile read row by row.
PHASES = {"rggb": (0, 0), "grbg": (0, 1), "gbrg": (1, 0), "bggr": (1, 1)}
GAIN_RANGE = (1.0, 300.0)
LARGEST_GAIN = 1e6  # far above any exposure ratio; larger ones overflow float32 in the networks
MIDDLE_GREY = 0.18


@dataclass(frozen=True, slots=True)
class RawImage:
    """A Bayer mosaic with what it takes to develop it. Planes are in the order R, Gr, Gb, B.

    Gr is the green on red's row, Gb the one on blue's.

    Attributes:
        mosaic: (H, W), the visible area as stored, not turned; uint16, or float32 from arrays of floats.
        phase: (row, column) of red in its 2x2 tile, one of `PHASES`.
        black, white: float32 (4,), the levels of no light and of saturation.
        balance: float32 (4,), white balance; the smallest factor is 1, which keeps what is saturated in every
            colour white.
        balance_source: `camera` (as shot), `daylight` (from the camera's colour matrix), `sidecar`, `given` by a
            person, or `none` (all 1).
        orientation: EXIF orientation 1..8 that `restore_hub.photo.pictures.orient` applies.
        exposure_time: seconds, or `None` where the file does not say.
        gain: exposure gain that the file asks for, or `None`: its sidecar's, or 2**BaselineExposure of a DNG from one
            stop up. Camera models state less than that in every photo, however dark.
        camera: make and model, or an empty text.
        camera_from_xyz: float64 (3, 3), XYZ (D65) to camera RGB as DNG's ColorMatrix1, or `None`.
        sensor: height and width of the whole sensor, masked border included.
        origin: row and column of the visible area on the sensor.
        noise: float64 (4, 2), shot and read noise that the file states (DNG's NoiseProfile): the variance at the
            signal x in [0, 1] is `shot * x + read`; or `None`.
        baseline_exposure: DNG tag 50730 in stops, or `None`.
        hot_pixels: how many were repaired; 0 where none was looked for.
        notes: what a person should know about the file, a few words each.
        exif: what stays true of its EXIF, see `restore_hub.photo.exif.read_exif`.
    """

    mosaic: NDArray[Any]
    phase: tuple[int, int]
    black: NDArray[np.float32]
    white: NDArray[np.float32]
    balance: NDArray[np.float32]
    balance_source: Literal["camera", "daylight", "sidecar", "given", "none"]
    orientation: int = 1
    exposure_time: float | None = None
    gain: float | None = None
    camera: str = ""
    camera_from_xyz: NDArray[np.float64] | None = None
    sensor: tuple[int, int] = (0, 0)
    origin: tuple[int, int] = (0, 0)
    noise: NDArray[np.float64] | None = None
    baseline_exposure: float | None = None
    hot_pixels: int = 0
    notes: tuple[str, ...] = ()
    exif: Directory = field(default_factory=dict)

    @property
    def to_srgb(self) -> NDArray[np.float32] | None:
        """White-balanced camera RGB to linear sRGB, float32 (3, 3), rows summing to 1."""
        if self.camera_from_xyz is None:
            return None
        return np.asarray(np.linalg.inv(camera_from_srgb(self.camera_from_xyz)), np.float32)

    def clipped(self) -> float:
        """Return the share of the sites that are saturated, 0 to 1."""
        pairs = zip(planes(self.mosaic, self.phase), self.white, strict=True)
        return sum(int((plane >= white).sum()) for plane, white in pairs) / self.mosaic.size


def sites(phase: Sequence[int]) -> list[tuple[int, int]]:
    """Return the (row, column) of R, Gr, Gb and B in the 2x2 tile."""
    return [(row ^ phase[0], column ^ phase[1]) for row in (0, 1) for column in (0, 1)]


def planes(mosaic: Any, phase: Sequence[int] = (0, 0)) -> list[Any]:
    """Return views of R, Gr, Gb and B in a mosaic (..., H, W), a NumPy array or a torch tensor.

    Writing into a view writes into the mosaic. Planes of odd mosaics differ in size.
    """
    return [mosaic[..., row::2, column::2] for row, column in sites(phase)]


def in_levels(raw: RawImage) -> RawImage:
    """Return a mosaic of floats as uint16, with black 4096 and white 65535; one of integers as it is.

    That leaves nearly 16 bits between black and white, and room for noise below black.
    """
    if raw.mosaic.dtype == np.uint16:
        return raw
    black, white = 4096.0, 65535.0
    levels = np.empty(raw.mosaic.shape, np.uint16)
    stored, made = planes(raw.mosaic, raw.phase), planes(levels, raw.phase)
    for plane in range(4):
        signal = (stored[plane] - raw.black[plane]) / (raw.white[plane] - raw.black[plane])
        made[plane][...] = np.rint(np.clip(black + signal * (white - black), 0, white))
    return replace(raw, mosaic=levels, black=np.full(4, black, np.float32), white=np.full(4, white, np.float32))


def pack(
    mosaic: NDArray[Any],
    phase: tuple[int, int],
    black: ArrayLike,
    white: ArrayLike,
    balance: ArrayLike,
    gain: float,
) -> NDArray[np.float32]:
    """Pack a mosaic (H, W) into float32 planes (4, (H + 2) // 2, (W + 2) // 2) in the order R, Gr, Gb, B.

        plane = min((m - black) / (white - black) * balance * gain, 1)

    The mosaic is first extended to even size with red at (0, 0), see `source_lines`. Noise below black stays
    negative. A full-resolution picture made from the planes is aligned with the mosaic after cutting it to
    `[phase[0] : phase[0] + H, phase[1] : phase[1] + W]`.

    `restore_hub.export.raw_input.pack` does the same inside exported graphs, with the same functions.
    """
    rows, columns = (
        source_lines(np.arange(padded(size)), first, size) for size, first in zip(mosaic.shape, phase, strict=True)
    )
    packed = np.stack(planes(mosaic[np.ix_(rows, columns)].astype(np.float32)))
    low, high, factors = (np.asarray(value, np.float32) for value in (black, white, balance))
    return np.asarray(scaled(packed, low, high, factors, np.float32(gain)))


def padded(size: int) -> int:
    """Return the even length of a side that holds `size` lines and one more before them."""
    return (size + 2) // 2 * 2


def source_lines(lines: Any, first: Any, size: int) -> Any:
    """Return which line of the mosaic each line of the extended one copies, so that red comes first.

    The edge is mirrored without repeating it, which keeps every colour on its sites. A side of one pixel has no
    neighbour to mirror, so its only line is repeated.

    Args:
        lines: 0 .. `padded(size)` - 1, a NumPy array or a torch tensor.
        first: row or column of red, 0 or 1.
        size: lines of the mosaic.
    """
    last = size - 1
    return abs(last - abs(last - abs(lines - first))).clip(max=last)


def scaled(packed: Any, black: Any, white: Any, balance: Any, gain: Any) -> Any:
    """Return packed planes (..., 4, h, w) from black to white, balanced and exposed; overwrites `packed`.

    Args:
        packed: stored levels, a float NumPy array or torch tensor.
        black, white, balance: (4,), of R, Gr, Gb, B.
        gain: exposure gain, one number.
    """
    packed -= black.reshape(4, 1, 1)
    packed *= (balance * gain / (white - black)).reshape(4, 1, 1)
    return packed.clip(max=1)


def exposure_gain(raw: RawImage) -> tuple[float, str]:
    """Return the gain to develop a picture with when nobody gives one, and the rule it comes from.

    It is the gain that the file asks for, else the one from 1 to 300 that brings the mean of the green planes (black
    subtracted, white-balanced) closest to 0.18, middle grey.
    """
    if raw.gain is not None:
        return raw.gain, "stated in the file's metadata"
    greens = pack(raw.mosaic, raw.phase, raw.black, raw.white, raw.balance, 1.0)[1:3]
    mean = float(greens.mean(dtype=np.float64))
    low, high = GAIN_RANGE
    wanted = MIDDLE_GREY / mean if mean > 0 else float("inf")
    gain = min(max(wanted, low), high)
    if gain == wanted:
        return gain, f"brings the mean green {mean:.4g} to {MIDDLE_GREY}"
    return gain, f"towards {MIDDLE_GREY} for the mean green {mean:.4g}, limited to {gain:g}"
