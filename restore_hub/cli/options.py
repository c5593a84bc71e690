"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

from restore_hub.runtime.devices import PROVIDERS

plugin_option = click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path), help="Load a plugin file."
)
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override one value of the spec."
)
device_option = click.option(
    "--device", type=click.Choice(list(PROVIDERS)), default="cpu", show_default=True, help="What onnxruntime runs on."
)
