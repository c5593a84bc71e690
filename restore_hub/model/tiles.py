"""The tiles of a large picture: each is read with its surroundings, and only its core is kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Tile(NamedTuple):
    """One tile, rows then columns, as half-open ranges of the picture.

    Attributes:
        read: what goes through the graph.
        keep: the part of the result that stays, inside `read`.
    """

    read: tuple[slice, slice]
    keep: tuple[slice, slice]

    @property
    def crop(self) -> tuple[slice, slice]:
        """What stays, in the coordinates of the graph's output."""
        rows, columns = (
            slice(keep.start - read.start, keep.stop - read.start)
            for read, keep in zip(self.read, self.keep, strict=True)
        )
        return rows, columns


def tiles(height: int, width: int, core: int, margin: int, align: int) -> Iterator[Tile]:
    """Cover a picture with tiles, row by row.

    Every tile begins at a multiple of `align`, so that stride and CFA phase are those of the whole picture. Nothing is
    read beyond the picture's own borders, just as when it runs whole.

    Args:
        height, width: of the picture.
        core: side of what one tile yields, rounded up to a multiple of `align`.
        margin: pixels on each side that its values depend on, rounded up likewise.
        align: what a tile's position must be a multiple of.
    """
    core, margin = (-(-value // align) * align for value in (core, margin))
    for rows in _ranges(height, core, margin):
        for columns in _ranges(width, core, margin):
            yield Tile((rows[0], columns[0]), (rows[1], columns[1]))


def _ranges(size: int, core: int, margin: int) -> Iterator[tuple[slice, slice]]:
    for start in range(0, size, core):
        stop = min(start + core, size)
        yield slice(max(start - margin, 0), min(stop + margin, size)), slice(start, stop)
