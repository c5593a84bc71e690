"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from restore_hub.model.devices import PROVIDERS


class FilePath(click.Path):
    """A path. An empty text, left by an unset variable, is refused rather than taken for the current folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        if not str(value):
            self.fail("it is empty", param, ctx)
        return super().convert(value, param, ctx)


plugin_option = click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path), help="Load a plugin file."
)
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override one value of the spec."
)
device_option = click.option(
    "--device", type=click.Choice(list(PROVIDERS)), default="cpu", show_default=True, help="Where onnxruntime runs."
)
