"""What a named tensor holds: its axes, its type, its range of values, and whether a person can look at it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from restore_hub.errors import PluginError, counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Space = Literal["raw", "linear", "srgb", "map"]

PICTURE = ("channel", "y", "x")
VOLUME = ("channel", "z", "y", "x")
SPATIAL = ("z", "y", "x")
COUNT = 3  # length of a ragged axis in an example
ROUNDING = 2.0**-24  # of float32, relative


@dataclass(frozen=True, slots=True)
class Port:
    """A named tensor. In a batch the samples come first: (N, channels, scale * H, scale * W) for a picture of H x W.

        Port(3)                                      a picture
        Port(4, "raw", scale=0.5)                    packed RAW planes
        Port(2, "map", -8, 8)                        a field of displacements in pixels
        Port(1, "map", axes=("channel", "z", "y", "x"))    a volume
        Port.classes(21)                             a class for each pixel, int64
        Port.number(0, 1, default=0.1)               one number for each sample, such as a noise level
        Port.several("box", coordinate=4)            boxes, of which each sample has its own number

    Attributes:
        channels: size of the axis `channel`; `None` without such an axis, or if it differs between training and
            evaluation, as for intermediate results that a loss reads. The latter can't be exported.
        space: `raw` (packed camera planes R, Gr, Gb, B), `linear` or `srgb` for pictures, or `map` for anything else.
        low, high: nominal range of values, which they may leave slightly (noise below black, for example). A
            number of the spec or the data doesn't leave it.
        scale: sizes along `z`, `y` and `x` relative to those of the picture or volume, rounded up; 0.5 for packed RAW
            planes.
        axes: names of a sample's axes. Sizes along `z`, `y` and `x` are those of the picture or volume.
        sizes: sizes of axes other than `channel`, `z`, `y` and `x`.
        dtype: of the tensor.
        ragged: the first axis has another length in each sample, so a batch holds a `restore_hub.ragged.Ragged`.
        default: of a number; an input that has one needs no tensor.

    Raises:
        PluginError: an attribute that makes no sense, such as a default outside the range.
    """

    channels: int | None = None
    space: Space = "srgb"
    low: float = 0.0
    high: float = 1.0
    scale: float = 1.0
    axes: tuple[str, ...] = PICTURE
    sizes: Mapping[str, int] = field(default_factory=dict)
    dtype: Literal["float32", "int64"] = "float32"
    ragged: bool = False
    default: float | None = None

    def __post_init__(self) -> None:
        for wrong, what in (
            (self.space not in get_args(Space), f"the space {self.space!r} isn't one of {', '.join(get_args(Space))}"),
            (self.dtype not in ("float32", "int64"), f"the type {self.dtype!r} isn't float32 or int64"),
            (not self.low <= self.high, f"the lowest value, {self.low:g}, is above the highest, {self.high:g}"),
            (not self.scale > 0, f"the scale {self.scale:g} isn't above 0"),
            (self.channels is not None and self.channels < 1, f"the number of channels, {self.channels}, is below one"),
            (self.default is not None and self.axes != (), "only a number has a default"),
            (
                self.default is not None and not self.low <= self.default <= self.high,
                f"the default, {self.default}, isn't from {self.low:g} to {self.high:g}",
            ),
        ):
            if wrong:
                raise PluginError("plugin.bad-port", "Port", wrong=what)

    @staticmethod
    def number(low: float = 0.0, high: float = 1.0, default: float | None = None) -> Port:
        """Return the port of one number for each sample, (N,) in a batch."""
        return Port(None, "map", low, high, axes=(), default=default)

    @staticmethod
    def classes(count: int, scale: float = 1.0) -> Port:
        """Return the port of a class map, (N, scale * H, scale * W) of integers from 0 to `count` - 1."""
        return Port(None, "map", 0, count - 1, scale, axes=("y", "x"), dtype="int64")

    @staticmethod
    def several(
        item: str,
        low: float = 0.0,
        high: float = 1.0,
        dtype: Literal["float32", "int64"] = "float32",
        **sizes: int,
    ) -> Port:
        """Return the port of items, of which each sample has its own number; `sizes` are the axes of an item."""
        return Port(None, "map", low, high, axes=(item, *sizes), sizes=sizes, dtype=dtype, ragged=True)

    def admits(self, value: float) -> bool:
        """Whether it is one number for each sample, and takes this one."""
        return not self.axes and admits(value, self.low, self.high, self.dtype)

    @property
    def is_picture(self) -> bool:
        """Whether a person can look at it. Only pictures are ever clipped, rounded to 8 bits or shown."""
        return self.axes == PICTURE and self.space != "map" and self.dtype == "float32" and not self.ragged

    @property
    def fixed(self) -> bool:
        """Whether a sample's shape follows from the size of the picture, as an exported file needs it."""
        others = [axis for axis in self.axes if axis not in SPATIAL]
        return not self.ragged and all(self.channels if a == "channel" else self.sizes.get(a) for a in others)

    @property
    def spatial(self) -> tuple[str, ...]:
        """Return the axes along which it is as large as the picture or volume, times `scale`."""
        return tuple(axis for axis in self.axes if axis in SPATIAL)

    def shape(self, extent: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape of a sample.

        Args:
            extent: size of the picture or volume along `y`, `x` and, where there is one, `z`.
        """
        return tuple(self._size(axis, extent) for axis in self.axes)

    def _size(self, axis: str, extent: Mapping[str, int]) -> int:
        if axis in SPATIAL:
            return math.ceil(extent[axis] * self.scale)
        if axis == "channel":
            return self.channels or 1
        return self.sizes.get(axis, COUNT)

    def extent(self, shape: Sequence[int]) -> dict[str, float]:
        """Return the size of the picture or volume to which a sample of a shape belongs."""
        return {axis: size / self.scale for axis, size in zip(self.axes, shape, strict=True) if axis in SPATIAL}

    def crop(self, values: Any, window: Mapping[str, slice]) -> Any:
        """Return the part of a sample, or of a batch, in a window of the picture or volume.

        Args:
            values: an array or tensor, or a ragged value, which stays as it is.
            window: a slice of pixels along each of `y`, `x` and, where there is one, `z`.
        """
        if not self.spatial:
            return values
        return values[(..., *(self._part(window[axis]) if axis in SPATIAL else slice(None) for axis in self.axes))]

    def _part(self, window: slice) -> slice:
        return slice(round(window.start * self.scale), round(window.stop * self.scale))

    def example(self, extent: Mapping[str, int], rng: np.random.Generator) -> NDArray[Any]:
        """Return a random sample, uniform in the range of values."""
        shape = self.shape(extent)
        if self.dtype == "int64":
            return rng.integers(round(self.low), round(self.high) + 1, shape)
        return rng.uniform(self.low, self.high, shape).astype(self.dtype)

    def wrong(self, shape: Sequence[int], dtype: str) -> tuple[str, str] | None:
        """Return what a sample is and what this port says it is, in words, where they differ."""
        if dtype != self.dtype:
            return dtype, self.dtype
        if len(shape) != len(self.axes):
            return f"of shape {tuple(shape)}", f"({', '.join(self.axes)})"
        for axis, size in zip(self.axes, shape, strict=True):
            wanted = self.channels if axis == "channel" else self.sizes.get(axis)
            if wanted is not None and size != wanted:
                return f"{size} along {axis}", str(wanted)
        return None

    def misfit(self, wanted: Port) -> tuple[str, str] | None:
        """Return what this tensor is and what another port takes, in words, where they differ."""
        for mine, theirs in ((self._kind(), wanted._kind()), (self.dtype, wanted.dtype)):
            if mine != theirs:
                return mine, theirs
        if self.channels and wanted.channels and self.channels != wanted.channels:
            return counted(self.channels, "channel"), f"{wanted.channels}"
        for axis in self.axes:
            here, there = self.sizes.get(axis), wanted.sizes.get(axis)
            if None not in (here, there) and here != there:
                return f"{here} along {axis}", f"{there}"
        if self.spatial and self.scale != wanted.scale:
            return f"{self.scale:g} of the picture's size", f"{wanted.scale:g}"
        if "map" not in (self.space, wanted.space) and self.space != wanted.space:
            return f"the space {self.space}", wanted.space
        return None

    def _kind(self) -> str:
        if not self.axes:
            return "a number"
        return f"({', '.join(self.axes)})" + (" of any length" if self.ragged else "")

    def describe(self) -> str:
        """Return a line for people."""
        values = f"{self.low:g} to {self.high:g}"
        if not self.axes:
            default = "" if self.default is None else f", {self.default:g} by default"
            return f"a number, {values}{default}"
        scale = "" if self.scale == 1 else f", {self.scale:g} of the picture's size"
        type_ = "" if self.dtype == "float32" else f", {self.dtype}"
        if self.axes != PICTURE:
            sizes = [str(size) if (size := self.sizes.get(a)) else self._channel_text(a) for a in self.axes]
            return f"({', '.join(sizes)}){' of any length' if self.ragged else ''}{type_}, {values}{scale}"
        channels = "any number of channels" if self.channels is None else counted(self.channels, "channel")
        return f"{channels}, {self.space}{type_}, {values}{scale}"

    def _channel_text(self, axis: str) -> str:
        return counted(self.channels, "channel") if axis == "channel" and self.channels else axis


def admits(value: float, low: float, high: float, dtype: str) -> bool:
    """Whether an input takes a number: a finite one in its range, and a whole one where it's int64.

    In float32, a bound such as 0.1 isn't exact, so a number may leave the range by its rounding.
    """
    if dtype == "int64":
        return low <= value <= high and float(value).is_integer()
    return math.isfinite(value) and low - ROUNDING * abs(low) <= value <= high + ROUNDING * abs(high)
