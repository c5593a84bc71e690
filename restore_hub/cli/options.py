"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from restore_hub.model.devices import PROVIDERS
from restore_hub.photo.raw.layouts import use_plugin_files


class FilePath(click.Path):
    """A path. An empty text, left by an unset variable, is refused rather than taken for the current folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        if not str(value):
            self.fail("it is empty", param, ctx)
        return super().convert(value, param, ctx)


class NumberInput(click.ParamType[Any]):
    """`NAME=NUMBER`."""

    name = "NAME=NUMBER"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name and the number."""
        name, _, text = value.partition("=")
        try:
            return name, float(text)
        except ValueError:
            self.fail(f"{value!r} isn't a name and a number, such as sigma=0.1", param, ctx)


def as_mapping(inputs: tuple[tuple[str, float], ...]) -> dict[str, float]:
    """Return numbers by name; refuse a name that is given twice."""
    if len(dict(inputs)) < len(inputs):
        raise click.UsageError("--input gives the same name twice")
    return dict(inputs)


def _with_readers(_: click.Context, option: click.Parameter, files: tuple[Path, ...]) -> tuple[Path, ...]:
    """Let RAW files be read by what plugin files register too."""
    use_plugin_files(files)
    if files and not option.expose_value:
        from restore_hub.plugins import default_registry

        default_registry(files)  # raises for a file that fails to load, as other commands do by themselves
    return files


plugin_option = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    callback=_with_readers,
    help="Load a plugin file.",
)
reader_option = click.option(
    "--plugin",
    multiple=True,
    type=click.Path(path_type=Path),
    callback=_with_readers,
    expose_value=False,
    help="Load a plugin file that reads RAW files of another sensor layout.",
)
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override one value of the spec."
)
device_option = click.option(
    "--device", type=click.Choice(list(PROVIDERS)), default="cpu", show_default=True, help="Where onnxruntime runs."
)
