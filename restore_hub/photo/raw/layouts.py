"""Layouts of sensors, and the readers that plugins register for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from restore_hub.errors import DataError, PluginError, reason_of

if TYPE_CHECKING:
    from restore_hub.contracts import Reader
    from restore_hub.registry import Component

_plugin_files: tuple[Path, ...] = ()


class Layout(NamedTuple):
    """How colours lie on a sensor.

    Attributes:
        colours: how many there are.
        tile: letters of the tile that repeats, a text for each row, beginning at the first visible pixel: `("RG",
            "GB")` is Bayer's; empty where every pixel has all colours, as a monochrome sensor has.
    """

    colours: int
    tile: tuple[str, ...]

    def __str__(self) -> str:
        """Return how people call it."""
        if self.tile:
            xtrans = len(self.tile) == 6 and set("".join(self.tile)) == set("RGB")
            return "an X-Trans mosaic" if xtrans else f"a mosaic of {'/'.join(self.tile)} tiles"
        if self.colours == 1:
            return "a monochrome sensor"
        return f"{self.colours} colours at every pixel (a linear DNG, or a sensor without a mosaic)"


def use_plugin_files(files: tuple[Path, ...]) -> None:
    """Ask the readers of these plugin files too, besides those of installed plugins, throughout this process."""
    global _plugin_files
    _plugin_files = files


def reader_for(layout: Layout, path: Path) -> Reader:
    """Return the first reader, by name, that takes a layout.

    Raises:
        DataError: none does. PluginError: none does, and one of them failed.
    """
    broken = None
    for component in _registered():
        try:
            reader: Reader = component.load()()
            takes = reader.takes(layout)
        except PluginError as error:
            broken = error
        except Exception as error:
            broken = PluginError("raw.reader-fails", component.name, cause=reason_of(error))
        else:
            if takes:
                return reader
    if broken is not None:
        raise broken
    raise unknown_layout(str(layout), path)


def unknown_layout(layout: str, path: Path) -> DataError:
    """Return the error for a layout that no reader takes."""
    readers = ", ".join(component.name for component in _registered())
    if not readers:
        return DataError("raw.no-readers", path)
    return DataError("raw.unknown-layout", path, layout=layout, readers=readers)


def _registered() -> Iterator[Component]:
    # Plugins are loaded when the first RAW file is read, not before: pictures need none of them.
    from restore_hub.plugins import allowed_namespaces, load_plugins, registry_of

    yield from registry_of(load_plugins(_plugin_files, allowed_namespaces())).of_kind("reader")
